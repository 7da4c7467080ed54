//! Finds the records that are intact in a damaged stretch of a segment. Pure.

use std::ops::Range;

use bytes::Bytes;

use super::format::SegmentId;
use super::record::{low_half, split_record};
use crate::event::Event;
use crate::log::Offset;

/// Checksums are tried over at most this many times the stretch's length, so that bytes made to look like many
/// overlapping records cannot stop a start.
const EFFORT: usize = 16;

/// A record that is intact by its own checksum.
#[derive(Debug, Clone)]
pub(super) struct Intact {
    /// Where it belongs.
    pub(super) offset: Offset,
    /// What it holds.
    pub(super) event: Event,
}

/// All intact records of `bytes` that begin in `places` and belong into `offsets`, in order; and the position behind
/// the last of them.
#[must_use]
pub(super) fn intact_records(
    bytes: &Bytes,
    places: Range<usize>,
    segment: SegmentId,
    offsets: Range<Offset>,
) -> (Vec<Intact>, usize) {
    let mut found = Vec::new();
    let mut effort = bytes.len().saturating_mul(EFFORT);
    let (mut at, mut behind, mut expect) = (places.start, places.start, offsets.start);
    while expect < offsets.end && at < places.end {
        match record_at(bytes, at, segment, expect..offsets.end, &mut effort) {
            Some((intact, length)) => {
                expect = intact.offset.next();
                found.push(intact);
                at += length;
                behind = at;
            }
            None if effort == 0 => break,
            None => at += 1,
        }
    }
    (found, behind)
}

fn record_at(
    bytes: &Bytes,
    at: usize,
    segment: SegmentId,
    offsets: Range<Offset>,
    effort: &mut usize,
) -> Option<(Intact, usize)> {
    let (record, _) = split_record(bytes.get(at..)?).ok()?;
    let ahead = record.offset_low.wrapping_sub(low_half(offsets.start));
    let offset = offsets.start.plus(u64::from(ahead));
    if offset >= offsets.end || record.length() > *effort {
        return None;
    }
    *effort -= record.length();
    record.check(segment, offset).ok()?;
    let event = Event::from_parts(bytes.slice_ref(record.block), bytes.slice_ref(record.body)).ok()?;
    Some((Intact { offset, event }, record.length()))
}
