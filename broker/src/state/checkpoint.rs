//! The checkpoint: cursors in a small append-only file of ours, so that the database may be lost.
//!
//! *Responsibility*: its layout, reading whatever is left of it, appending, and writing it anew when it has grown.
//! *Inputs*: encoded cursors with sequence numbers. *Outputs*: for each Trigger the newest entry that is whole.
//! *Invariants*: a damaged frame is left out and named, never guessed at, so what is read was once written; a new
//! file replaces the old one only when it is durable. *Not here*: what a cursor means, when to write.
//!
//! Layout, version 1; integers little-endian. The file is a sequence of frames and nothing else:
//!
//! ```text
//! marker   4 bytes   "RvC" 0x01        where reading goes on after damage; the last byte is the version
//! length   u32       of the payload
//! crc      u32       CRC32C of length and payload
//! payload            sequence varint | Trigger namespace, name: length varint, UTF-8 each | kind u8 | cursor
//! ```
//! Kind 1 is a cursor (layout in [`super::codec`]), kind 0 says that the Trigger has none any more. Of several frames
//! for a Trigger the one with the highest sequence counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec;
use crate::log::segment::fs::{File, FileSystem, Open};
use crate::names::TriggerKey;

const MARKER: [u8; 4] = *b"RvC\x01";
const HEADER_BYTES: usize = 12;
/// Longest payload that is believed: a cursor of a million unsettled events.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Below this size the file is not written anew: it is read in a moment, and rewriting costs two syncs.
const COMPACT_BYTES_MIN: u64 = 1 << 20;
/// How many times larger than its live content the file may grow: rewriting then costs a quarter of the appends.
const COMPACT_FACTOR: u64 = 4;
/// Largest file that is read: ten times what a hundred thousand Triggers need.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes asked for in one read.
const READ_BYTES: usize = 1 << 20;

/// What the checkpoint, or the database, holds for a Trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Higher is newer; never used twice.
    pub sequence: u64,
    /// The encoded cursor; `None` when it was removed.
    pub cursor: Option<Arc<[u8]>>,
}

/// Everything that could be read from a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The newest whole entry of each Trigger.
    pub entries: BTreeMap<TriggerKey, Saved>,
    /// Bytes that belong to no whole frame: a torn tail, or damage.
    pub damaged_bytes: usize,
}

/// Reads a checkpoint. Never panics, whatever the bytes; damaged frames are left out.
#[must_use]
pub fn decode_checkpoint(bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some((key, saved, after)) = split_frame(rest) {
            keep_newest(&mut contents.entries, key, saved);
            rest = after;
            continue;
        }
        // The next marker that begins a whole frame is at least one byte on.
        let skipped =
            rest.get(1..).and_then(|later| memchr::memmem::find(later, &MARKER)).map_or(rest.len(), |at| at + 1);
        contents.damaged_bytes += skipped;
        rest = rest.get(skipped..).unwrap_or_default();
    }
    contents
}

/// Puts an entry into the map unless a newer one is there.
pub(super) fn keep_newest(entries: &mut BTreeMap<TriggerKey, Saved>, key: TriggerKey, saved: Saved) {
    let older = entries.get(&key).is_none_or(|known| known.sequence <= saved.sequence);
    if older {
        entries.insert(key, saved);
    }
}

fn split_frame(bytes: &[u8]) -> Option<(TriggerKey, Saved, &[u8])> {
    let (marker, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|size| *size <= PAYLOAD_BYTES_MAX)?;
    let (payload, after) = rest.split_at_checked(size)?;
    if *marker != MARKER || crc_of(*length, payload) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut rest = payload;
    let sequence = codec::take_varint(&mut rest)?;
    let key = codec::take_key(&mut rest)?;
    let cursor = match rest.split_first()? {
        (0, []) => None,
        (1, cursor) => Some(cursor.into()),
        _ => return None,
    };
    Some((key, Saved { sequence, cursor }, after))
}

/// Appends the frame of an entry.
pub(super) fn put_frame(out: &mut Vec<u8>, key: &TriggerKey, saved: &Saved) {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0; 8]);
    codec::put_varint(out, saved.sequence);
    codec::put_key(out, key);
    match &saved.cursor {
        None => out.push(0),
        Some(cursor) => {
            out.push(1);
            out.extend_from_slice(cursor);
        }
    }
    let Some((header, payload)) = out.get_mut(start..).and_then(|frame| frame.split_at_mut_checked(HEADER_BYTES))
    else {
        return;
    };
    // A payload beyond 4 GiB cannot be held; beyond PAYLOAD_BYTES_MAX it would read as damage.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc_of(length, payload).to_le_bytes();
    let values = length.into_iter().chain(crc);
    header.iter_mut().skip(MARKER.len()).zip(values).for_each(|(byte, value)| *byte = value);
}

fn crc_of(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct Checkpoint {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    size: u64,
    /// Size when it was last written anew: about what its live content needs.
    base: u64,
}

impl Checkpoint {
    /// Opens the file and reads it; a missing one is empty.
    ///
    /// # Errors
    /// What the system said to opening or reading.
    pub(super) fn open(files: Arc<dyn FileSystem>, path: &Path) -> io::Result<(Self, Contents)> {
        let mut checkpoint = Self { files, path: path.to_owned(), file: None, size: 0, base: 0 };
        let file = match checkpoint.files.open(path, Open::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((checkpoint, Contents::default())),
            Err(error) => return Err(error),
        };
        let bytes = read_whole(&*file)?;
        checkpoint.size = bytes.len() as u64;
        checkpoint.base = checkpoint.size;
        checkpoint.file = Some(file);
        Ok((checkpoint, decode_checkpoint(&bytes)))
    }

    /// Makes `frames` durable at the end of the file; `all` gives the whole content where the file has to be written
    /// anew: when there is none, when it has grown, or after an error (a failed sync is never tried again on the
    /// same file).
    ///
    /// # Errors
    /// What the system said; the next call writes a new file.
    pub(super) fn write(&mut self, frames: &[u8], all: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let grown = self.size.saturating_add(frames.len() as u64);
        let worn = grown > COMPACT_BYTES_MIN && grown > self.base.saturating_mul(COMPACT_FACTOR);
        match self.file.take() {
            Some(file) if !worn => {
                file.write_all_at(frames, self.size)?;
                file.sync_data()?;
                self.size = grown;
                self.file = Some(file);
                Ok(())
            }
            _ => self.replace(&all()),
        }
    }

    /// Writes a new file and puts it into the place of the old one.
    ///
    /// # Errors
    /// What the system said; the old file is still there then.
    pub(super) fn replace(&mut self, all: &[u8]) -> io::Result<()> {
        self.file = None;
        let new = self.path.with_extension("ckpt.new");
        match self.files.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.files.open(&new, Open::CreateNew)?;
        file.write_all_at(all, 0)?;
        file.sync_data()?;
        self.files.rename(&new, &self.path)?;
        if let Some(directory) = self.path.parent() {
            self.files.sync_dir(directory)?;
        }
        self.size = all.len() as u64;
        self.base = self.size;
        self.file = Some(file);
        Ok(())
    }
}

fn read_whole(file: &dyn File) -> io::Result<Vec<u8>> {
    let size = file.size()?;
    if size > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes are more than it ever needs")));
    }
    let mut bytes = Vec::new();
    let mut page = vec![0; READ_BYTES];
    loop {
        let count = file.read_at(&mut page, bytes.len() as u64)?;
        match page.get(..count) {
            None | Some([]) => return Ok(bytes),
            Some(read) => bytes.extend_from_slice(read),
        }
    }
}

#[cfg(test)]
mod tests;
