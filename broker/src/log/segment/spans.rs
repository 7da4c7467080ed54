//! What is known of a segment, the part of it that a reader may read, and the latest frames in memory. Values only.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::bloom::Bloom;
use super::format::{FILE_HEADER_BYTES, SegmentId};
use super::fs::File;
use super::index::{Entry, SparseIndex};
use crate::clock::UnixMicros;
use crate::log::Offset;

/// Where a segment's frames begin, and its first record behind the frame's header.
const FRAMES_AT: u32 = 48;
const FIRST_RECORD_AT: u32 = FRAMES_AT + 64;

/// What is known of a segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Its identity.
    pub(super) id: SegmentId,
    /// First offset.
    pub(super) base: Offset,
    /// One past the last durable offset.
    pub(super) next: Offset,
    /// Where its frames end.
    pub(super) frames_end: u64,
    /// Append time of its first record.
    pub(super) oldest: Option<UnixMicros>,
    /// Append time of its last record.
    pub(super) newest: Option<UnixMicros>,
    /// Where to begin reading.
    pub(super) index: SparseIndex,
    /// Types and sources; says yes to everything while the segment is being written.
    pub(super) bloom: Bloom,
    /// The file.
    pub(super) path: PathBuf,
}

impl Segment {
    /// A segment without frames.
    #[must_use]
    pub(super) fn empty(id: SegmentId, base: Offset, path: PathBuf) -> Self {
        Self {
            id,
            base,
            next: base,
            frames_end: FILE_HEADER_BYTES as u64,
            oldest: None,
            newest: None,
            index: SparseIndex::default(),
            bloom: Bloom::default(),
            path,
        }
    }

    /// Bytes of its frames.
    #[must_use]
    pub(super) fn frame_bytes(&self) -> u64 {
        self.frames_end.saturating_sub(FILE_HEADER_BYTES as u64)
    }

    /// Takes in that a frame ends at `frames_end` with offset `next`.
    pub(super) fn extend(&mut self, next: Offset, frames_end: u64, appended: UnixMicros) {
        if next > self.next {
            self.oldest = self.oldest.or(Some(appended));
            self.newest = Some(appended);
        }
        self.next = next;
        self.frames_end = frames_end;
    }

    /// Where to begin reading for `offset`.
    #[must_use]
    pub(super) fn entry(&self, offset: Offset) -> Entry {
        self.index.before(offset.0.saturating_sub(self.base.0)).unwrap_or_else(|| self.first_entry())
    }

    /// Where to begin reading from its start.
    #[must_use]
    pub(super) fn first_entry(&self) -> Entry {
        Entry {
            record: 0,
            record_at: FIRST_RECORD_AT,
            frame: 0,
            frame_at: FRAMES_AT,
            appended: self.oldest.unwrap_or_default(),
        }
    }
}

/// Part of a segment that a reader may read, as it was when it asked.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// The segment's identity.
    pub(super) id: SegmentId,
    /// Its first offset.
    pub(super) base: Offset,
    /// One past its last durable offset.
    pub(super) next: Offset,
    /// Where its durable frames end.
    pub(super) frames_end: u64,
    /// Where to begin.
    pub(super) entry: Entry,
    /// The file's name.
    pub(super) path: PathBuf,
    /// The open file, if it is the one being written.
    pub(super) file: Option<Arc<dyn File>>,
}

/// A committed frame in memory.
#[derive(Debug, Clone)]
pub(super) struct CachedFrame {
    /// First offset.
    pub(super) base: Offset,
    /// One past the last offset.
    pub(super) next: Offset,
    /// Append time.
    pub(super) appended: UnixMicros,
    /// All of it.
    pub(super) bytes: Bytes,
}

impl Span {
    /// What a reader may now read of `segment`, beginning at `entry`.
    #[must_use]
    pub(super) fn new(segment: &Segment, entry: Entry, file: Option<Arc<dyn File>>) -> Self {
        Self {
            id: segment.id,
            base: segment.base,
            next: segment.next,
            frames_end: segment.frames_end,
            entry,
            path: segment.path.clone(),
            file,
        }
    }
}

/// The latest frames, up to a number of bytes.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) frames: VecDeque<CachedFrame>,
    bytes: usize,
}

impl Ring {
    pub(super) fn push(&mut self, frame: CachedFrame, bytes_max: usize) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.bytes > bytes_max {
            let Some(old) = self.frames.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.bytes.len());
        }
    }

    pub(super) fn forget(&mut self, old: impl Fn(&CachedFrame) -> bool) {
        while self.frames.front().is_some_and(&old) {
            let bytes = self.frames.pop_front().map_or(0, |frame| frame.bytes.len());
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        if self.frames.is_empty() {
            self.frames.shrink_to_fit();
        }
    }
}
