//! The sparse index of a segment: where to begin reading for an offset or a time. Pure; derived data, never
//! evidence about the log.

use crate::clock::UnixMicros;
use crate::log::Offset;

/// Bytes between two entries: 2,048 entries (48 KiB) for a 64 MiB segment, and at most 32 KiB read in vain.
pub const INDEX_EVERY_BYTES: u64 = 32 << 10;

/// A place to begin reading: a record, and the frame it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the record, less the segment's base.
    pub record: u32,
    /// Where the record begins in the file.
    pub record_at: u32,
    /// First offset of its frame, less the segment's base.
    pub frame: u32,
    /// Where the frame begins in the file.
    pub frame_at: u32,
    /// Append time of the frame.
    pub appended: UnixMicros,
}

/// Entries in order of offset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SparseIndex(Vec<Entry>);

impl SparseIndex {
    /// An index of these entries; they must be in order.
    #[must_use]
    pub fn from_entries(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Offers a record; it is taken when it lies far enough behind the last one taken.
    pub fn offer(&mut self, entry: Entry) {
        let due = self
            .0
            .last()
            .is_none_or(|last| u64::from(entry.record_at) >= u64::from(last.record_at) + INDEX_EVERY_BYTES);
        if due {
            self.0.push(entry);
        }
    }

    /// The last entry at or before the record that lies `delta` past the segment's base.
    #[must_use]
    pub fn before(&self, delta: u64) -> Option<Entry> {
        let count = self.0.partition_point(|entry| u64::from(entry.record) <= delta);
        self.0.get(count.checked_sub(1)?).copied()
    }

    /// An entry of a frame at or before the first one appended at or after `time`.
    #[must_use]
    pub fn before_time(&self, time: UnixMicros) -> Option<Entry> {
        let count = self.0.partition_point(|entry| entry.appended < time);
        self.0.get(count.saturating_sub(1)).copied()
    }

    /// Gives back memory that was taken ahead.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// The offset that lies `delta` past `base`.
#[must_use]
pub fn at(base: Offset, delta: u32) -> Offset {
    base.plus(u64::from(delta))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(record: u32, record_at: u32) -> Entry {
        Entry { record, record_at, frame: record, frame_at: record_at, appended: UnixMicros(u64::from(record) * 10) }
    }

    #[test]
    fn it_keeps_one_entry_per_32_kib_and_finds_the_one_before() {
        let mut index = SparseIndex::default();
        for record in 0..100 {
            index.offer(entry(record, 48 + record * 10_000));
        }
        let kept: Vec<u32> = index.entries().iter().map(|entry| entry.record).collect();
        assert_eq!(kept.get(..4), Some(&[0, 4, 8, 12][..]));
        let before = |delta| index.before(delta).map(|entry| entry.record);
        assert_eq!((before(0), before(3), before(4), before(1000)), (Some(0), Some(0), Some(4), Some(96)));
        let before_time = |time| index.before_time(UnixMicros(time)).map(|entry| entry.record);
        assert_eq!(
            (before_time(0), before_time(40), before_time(41), before_time(9999)),
            (Some(0), Some(0), Some(4), Some(96))
        );
        assert_eq!(SparseIndex::default().before(0), None);
    }
}
