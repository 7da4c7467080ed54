//! Space in front of the writer, zeroed before it is needed.
//!
//! A sync of bytes written over zeros that are on disk costs the disk one write. Over space that is only reserved it
//! costs a commit of the file system's journal too, which takes longer than the write itself. So a busy log has a
//! thread write zeros ahead of it, a piece at a time.
//!
//! *Invariants*: zeros go only where the writer does not: behind [`Current::allocated`], which moves on once they are
//! synced; no such thread outlives its engine, a cut of its file, or the segment's turn. A failure here loses nothing:
//! the writer reserves space as it comes to it. The zeros have a descriptor of their own, so that their sync never
//! takes away an error that belongs to a frame.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::format::{FILE_HEADER_BYTES, SegmentId};
use super::fs::{FileSystem, Open};
use super::writer::{Current, Engine};

/// Zeros written and synced at once. 1 MiB: few syncs, and the writer's own sync, which may have to wait for these
/// bytes, waits for a millisecond at the most.
const CHUNK_BYTES: usize = 1 << 20;

/// A log writes this much into a segment before zeros are written ahead of it: what is hardly used costs nothing.
const BUSY_BYTES: u64 = 256 << 10;

/// It formats nothing and calls the file system: 64 KiB of address space is ample.
const STACK_BYTES: usize = 64 << 10;

/// A piece of a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    segment: SegmentId,
    path: PathBuf,
    from: u64,
    to: u64,
}

/// What goes on in front of the writer.
#[derive(Debug, Default)]
pub(super) enum Room {
    /// Nothing.
    #[default]
    Idle,
    /// A piece is being zeroed.
    Zeroing { segment: SegmentId, to: u64, thread: JoinHandle<io::Result<()>> },
    /// It failed in this segment and is not tried again there.
    Failed(SegmentId),
}

/// The piece to zero next, if it is time: half a piece before the writer gets there.
fn wanted(current: &Current, piece_bytes: u64, segment_bytes: u64) -> Option<Piece> {
    let busy = current.at >= FILE_HEADER_BYTES as u64 + BUSY_BYTES.min(piece_bytes);
    let near = current.at.saturating_add(piece_bytes / 2) >= current.allocated;
    let to = current.allocated.saturating_add(piece_bytes).min(segment_bytes);
    if !busy || !near || to <= current.allocated {
        return None;
    }
    Some(Piece { segment: current.id, path: current.path.clone(), from: current.allocated, to })
}

impl Piece {
    /// Writes the zeros and syncs them. Blocking.
    fn zero(&self, fs: &dyn FileSystem) -> io::Result<()> {
        let file = fs.open(&self.path, Open::Write)?;
        let zeros = vec![0; CHUNK_BYTES];
        let mut at = self.from;
        while at < self.to {
            let left = usize::try_from(self.to - at).unwrap_or(usize::MAX);
            let chunk = zeros.get(..left).unwrap_or(&zeros);
            file.write_all_at(chunk, at)?;
            file.sync_data()?;
            at += chunk.len() as u64;
        }
        Ok(())
    }
}

impl Engine {
    /// Takes over a zeroed piece that is finished, and has the next one begun if it is time.
    pub(super) fn look_ahead(&mut self) {
        if matches!(&self.room, Room::Zeroing { thread, .. } if thread.is_finished()) {
            self.settle_room();
        }
        let piece_bytes = self.options.zero_ahead_bytes;
        let Some(current) = self.current.as_ref().filter(|_| piece_bytes > 0) else { return };
        let Some(piece) = wanted(current, piece_bytes, self.options.segment_bytes) else { return };
        match self.room {
            Room::Zeroing { .. } => return,
            Room::Failed(segment) if segment == piece.segment => return,
            Room::Failed(_) | Room::Idle => {}
        }
        let (segment, to) = (piece.segment, piece.to);
        let fs: Arc<dyn FileSystem> = self.view.fs.clone();
        let work = move || piece.zero(fs.as_ref());
        let spawned = std::thread::Builder::new().name("log-ahead".to_owned()).stack_size(STACK_BYTES).spawn(work);
        self.room = match spawned {
            Ok(thread) => Room::Zeroing { segment, to, thread },
            Err(_) => Room::Failed(segment),
        };
    }

    /// Waits for the piece that is being zeroed, if any, and takes it over. Afterwards nobody but the caller writes.
    pub(super) fn settle_room(&mut self) {
        if !matches!(self.room, Room::Zeroing { .. }) {
            return;
        }
        let Room::Zeroing { segment, to, thread } = std::mem::take(&mut self.room) else { return };
        let done = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")));
        match done {
            Ok(()) => {
                if let Some(current) = self.current.as_mut().filter(|current| current.id == segment) {
                    current.allocated = current.allocated.max(to);
                }
            }
            Err(error) => {
                tracing::debug!(broker = %self.view.metrics.labels, %error, "no space zeroed ahead in this segment");
                self.room = Room::Failed(segment);
            }
        }
    }
}

impl Drop for Engine {
    /// Nothing of this engine writes once it is gone and its directory can be claimed again.
    fn drop(&mut self) {
        self.settle_room();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bloom::Distinct;
    use super::*;
    use crate::log::Offset;
    use crate::log::segment::RealFs;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_piece_is_wanted_when_half_of_the_last_one_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.seg");
        let file = RealFs.open(&path, Open::CreateNew).unwrap();
        let mut current = Current {
            file,
            path,
            id: SegmentId(7),
            base: Offset(0),
            at: 0,
            allocated: 0,
            distinct: Distinct::default(),
        };
        let mut check = |at, allocated, expected: Option<(u64, u64)>| {
            (current.at, current.allocated) = (at, allocated);
            let piece = wanted(&current, 8 * MIB, 64 * MIB).map(|piece| (piece.from, piece.to));
            assert_eq!(piece, expected, "at {at} of {allocated}");
        };
        check(4096, 2 * MIB, None);
        check(MIB, 2 * MIB, Some((2 * MIB, 10 * MIB)));
        check(5 * MIB, 10 * MIB, None);
        check(6 * MIB, 10 * MIB, Some((10 * MIB, 18 * MIB)));
        check(57 * MIB, 60 * MIB, Some((60 * MIB, 64 * MIB)));
        check(63 * MIB, 64 * MIB, None);
    }
}
