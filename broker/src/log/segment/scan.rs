//! Walks the frames of a segment file and judges what is not a frame: the clean end, a torn tail, or damage.
//!
//! *Responsibility*: one [`Step`] after the other, from a known place on. *Inputs*: the file, and what is known
//! about where its frames end. *Invariants*: nothing is written; a frame is reported only when every checksum in it
//! is right; of a damaged stretch every record that is intact by its own checksum is reported. *Not here*: cutting,
//! reporting, serving.
//!
//! A bad stretch is **damage** when it lies below the known end, or when a sound frame of this segment follows it:
//! frames are written one at a time, each synced before the next (its `durable_up_to` says so). Otherwise it is the
//! last write, and it is a **tear** if a disk sector of it never arrived, that is, still reads as zeros; where every
//! sector arrived and the checksum is still wrong, the bytes have changed since: damage.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use super::footer::FOOTER_MAGIC;
use super::format::{FRAME_HEADER_BYTES, FRAME_MAGIC, FormatError, FrameHeader, SegmentId};
use super::format::{decode_frame, decode_frame_header};
use super::fs::File;
use super::record::{RECORD_HEADER_BYTES, split_record};
use super::salvage::{self, Intact};
use crate::clock::UnixMicros;
use crate::event::{BlockError, Event};
use crate::log::Offset;

/// What disks write whole or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;
/// Bytes read at once: large enough to make system calls rare, small against the memory of a log.
const WINDOW_BYTES: usize = 256 << 10;

/// What is known about where the frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Offsets up to `next` were durable, and no frame lies at or behind `at`.
    Known {
        /// Position in the file.
        at: u64,
        /// One past the last offset.
        next: Offset,
    },
    /// Nothing but the length of the file: this is the last segment.
    Open {
        /// Length of the file.
        file_bytes: u64,
    },
}

/// A place in a segment from which its frames can be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The segment's identity.
    pub(super) segment: SegmentId,
    /// Where a frame begins.
    pub(super) at: u64,
    /// The first offset of that frame.
    pub(super) expect: Offset,
    /// No record behind it was appended before this.
    pub(super) appended: UnixMicros,
}

/// A sound frame.
#[derive(Debug, Clone)]
pub(super) struct FrameAt {
    /// Where it begins.
    pub(super) at: u64,
    /// Its header.
    pub(super) header: FrameHeader,
    /// All of it.
    pub(super) bytes: Bytes,
}

/// A stretch of a file that should hold frames and does not.
#[derive(Debug, Clone)]
pub(super) struct Damage {
    /// Where in the file.
    pub(super) at: Range<u64>,
    /// Which offsets it should hold.
    pub(super) offsets: Range<Offset>,
    /// Those of them that are intact.
    pub(super) intact: Vec<Intact>,
    /// Append time of those, or the latest moment known to lie before them.
    pub(super) appended: UnixMicros,
    /// What is wrong at its beginning.
    pub(super) reason: FormatError,
}

impl FrameAt {
    /// Its records, in order.
    pub(super) fn events(&self) -> impl Iterator<Item = (Offset, Result<Event, BlockError>)> + '_ {
        let mut rest = self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        (0..u64::from(self.header.count)).map_while(move |delta| {
            let (record, after) = split_record(rest).ok()?;
            rest = after;
            let event = Event::from_parts(self.bytes.slice_ref(record.block), self.bytes.slice_ref(record.body));
            Some((self.header.base.plus(delta), event))
        })
    }
}

impl Damage {
    /// The offsets that cannot be read.
    #[must_use]
    pub(super) fn lost(&self) -> Vec<Range<Offset>> {
        let mut lost = Vec::new();
        let mut from = self.offsets.start;
        for intact in &self.intact {
            if from < intact.offset {
                lost.push(from..intact.offset);
            }
            from = intact.offset.next();
        }
        if from < self.offsets.end {
            lost.push(from..self.offsets.end);
        }
        lost
    }
}

/// What lies at the end of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros, or nothing.
    Clean,
    /// The remains of a write that was never acknowledged.
    Torn {
        /// First position behind them that holds only zeros.
        until: u64,
        /// How many records the write meant to hold, if its header arrived.
        records: Option<u32>,
    },
}

/// What the walk met.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A sound frame.
    Frame(FrameAt),
    /// Damage; the walk goes on behind it.
    Damage(Damage),
    /// The end of the frames.
    End(Tail),
}

/// The walk.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    file: &'a dyn File,
    here: Start,
    end: End,
    window: Bytes,
    window_at: u64,
}

/// What lies ahead of a bad place.
enum Ahead {
    Frame { at: u64, header: FrameHeader },
    Nothing { zeros_from: u64 },
}

impl<'a> Scanner<'a> {
    /// A walk of `file` from `start` on.
    #[must_use]
    pub(super) fn new(file: &'a dyn File, start: Start, end: End) -> Self {
        Self { file, here: start, end, window: Bytes::new(), window_at: 0 }
    }

    /// Where the next step begins.
    #[must_use]
    pub(super) fn here(&self) -> Start {
        self.here
    }

    /// Goes on by one frame or one damaged stretch.
    ///
    /// # Errors
    /// What the system said about a read.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let (header, reason) = match self.frame_here()? {
            Ok(frame) => {
                self.advance(frame.at + u64::from(frame.header.length), frame.header.next());
                self.here.appended = self.here.appended.max(frame.header.appended);
                return Ok(Step::Frame(frame));
            }
            Err(bad) => bad,
        };
        match self.end {
            End::Known { next, .. } if self.here.expect >= next => Ok(Step::End(Tail::Clean)),
            End::Known { at, next } => {
                let (until, last) = match header {
                    Some(header) => (self.frame_end(&header).min(at), header.next().min(next)),
                    None => match self.ahead(self.here.at.saturating_add(1), self.here.expect)? {
                        Ahead::Frame { at, header } => (at, header.base),
                        Ahead::Nothing { .. } => (at.max(self.here.at), next),
                    },
                };
                self.damage(until, last, header, reason)
            }
            End::Open { .. } => self.bad_in_last_segment(header, reason),
        }
    }

    fn advance(&mut self, at: u64, expect: Offset) {
        self.here.at = at;
        self.here.expect = expect;
    }

    fn frame_end(&self, header: &FrameHeader) -> u64 {
        self.here.at.saturating_add(u64::from(header.length))
    }

    fn limit(&self) -> u64 {
        match self.end {
            End::Known { at, .. } => at,
            End::Open { file_bytes } => file_bytes,
        }
    }

    /// The frame that begins here, or what is wrong, with the header if that is sound.
    fn frame_here(&mut self) -> io::Result<Result<FrameAt, (Option<FrameHeader>, FormatError)>> {
        let at = self.here.at;
        let head = self.bytes(at, FRAME_HEADER_BYTES)?;
        let header = match decode_frame_header(&head) {
            Ok(header) if header.segment == self.here.segment && header.base == self.here.expect => header,
            Ok(_) => return Ok(Err((None, FormatError::Magic))),
            Err(reason) => return Ok(Err((None, reason))),
        };
        if self.frame_end(&header) > self.limit() {
            return Ok(Err((Some(header), FormatError::Short)));
        }
        let bytes = self.bytes(at, usize::try_from(header.length).unwrap_or(usize::MAX))?;
        Ok(match decode_frame(&bytes) {
            Ok(_) => Ok(FrameAt { at, header, bytes }),
            Err(reason) => Err((Some(header), reason)),
        })
    }

    fn bad_in_last_segment(&mut self, header: Option<FrameHeader>, reason: FormatError) -> io::Result<Step> {
        let at = self.here.at;
        let (from, base) = match &header {
            Some(header) => (self.frame_end(header), header.next()),
            None => (at.saturating_add(1), self.here.expect),
        };
        let zeros_from = match self.ahead(from, base)? {
            Ahead::Frame { .. } if header.is_some() => return self.damage(from, base, header, reason),
            Ahead::Frame { at, header: found } => return self.damage(at, found.base, None, reason),
            Ahead::Nothing { zeros_from } => zeros_from.max(at),
        };
        if zeros_from == at {
            return Ok(Step::End(Tail::Clean));
        }
        // Where the header is not sound, only its own sectors tell: how far the write went is unknown then.
        let written = header.as_ref().map_or(at + FRAME_HEADER_BYTES as u64, |header| self.frame_end(header));
        let bytes = self.bytes(at, usize::try_from(written - at).unwrap_or(usize::MAX))?;
        if written > self.limit() || bytes.starts_with(&FOOTER_MAGIC) || tear_shows(&bytes, at) {
            let records = header.map(|header| header.count);
            return Ok(Step::End(Tail::Torn { until: zeros_from, records }));
        }
        match header {
            Some(_) => self.damage(written, base, header, reason),
            None => self.headless_tail(zeros_from, reason),
        }
    }

    /// The last frame, whole but for its header: how many records it has is known from those that are intact, or,
    /// if they do not reach its end, from what the header says nevertheless.
    fn headless_tail(&mut self, zeros_from: u64, reason: FormatError) -> io::Result<Step> {
        let Start { segment, at, expect, appended } = self.here;
        // The last body may end with zeros.
        let bytes = self.bytes(at, usize::try_from(self.limit() - at).unwrap_or(usize::MAX))?;
        let used = usize::try_from(zeros_from - at).unwrap_or(usize::MAX).min(bytes.len());
        let most = expect.plus((used / RECORD_HEADER_BYTES) as u64);
        let (intact, behind) = salvage::intact_records(&bytes, 0..used, segment, expect..most);
        let found = intact.last().map_or(expect, |record| record.offset.next());
        let last = if behind >= used { found } else { found.max(claimed_end(&bytes, expect)).max(expect.next()) };
        let until = zeros_from.max(at + behind as u64);
        self.advance(until, last);
        Ok(Step::Damage(Damage { at: at..until, offsets: expect..last, intact, appended, reason }))
    }

    /// Reports the stretch up to `until` and steps over it.
    fn damage(
        &mut self,
        until: u64,
        last: Offset,
        header: Option<FrameHeader>,
        reason: FormatError,
    ) -> io::Result<Step> {
        let Start { segment, at, expect, .. } = self.here;
        let bytes = self.bytes(at, usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX))?;
        let skip = if header.is_some() { FRAME_HEADER_BYTES } else { 0 };
        let (intact, _) = salvage::intact_records(&bytes, skip..bytes.len(), segment, expect..last);
        let appended = header.map_or(self.here.appended, |header| header.appended);
        self.advance(until, last);
        self.here.appended = self.here.appended.max(appended);
        Ok(Step::Damage(Damage { at: at..until, offsets: expect..last, intact, appended, reason }))
    }

    /// The next sound frame header of this segment at or behind `from` whose base is not below `base`.
    fn ahead(&mut self, from: u64, base: Offset) -> io::Result<Ahead> {
        let limit = self.limit();
        let mut zeros_from = self.here.at;
        if from > self.here.at {
            let skipped = self.bytes(self.here.at, usize::try_from(from - self.here.at).unwrap_or(usize::MAX))?;
            zeros_from += trailing_zeros_from(&skipped);
        }
        let mut at = from;
        while at < limit {
            let window = self.bytes(at, WINDOW_BYTES)?;
            if window.is_empty() {
                break;
            }
            let nonzero = trailing_zeros_from(&window);
            if nonzero > 0 {
                zeros_from = at + nonzero;
            }
            for found in memmem::find_iter(&window, &FRAME_MAGIC) {
                let place = at + u64::try_from(found).unwrap_or(u64::MAX);
                let head = self.bytes(place, FRAME_HEADER_BYTES)?;
                match decode_frame_header(&head) {
                    Ok(header) if header.segment == self.here.segment && header.base >= base => {
                        return Ok(Ahead::Frame { at: place, header });
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            // A magic number may lie across two windows.
            let overlap = if window.len() == WINDOW_BYTES { FRAME_MAGIC.len() - 1 } else { 0 };
            at += u64::try_from(window.len() - overlap).unwrap_or(u64::MAX);
        }
        Ok(Ahead::Nothing { zeros_from })
    }

    /// Up to `count` bytes at `at`; fewer at the limit.
    fn bytes(&mut self, at: u64, count: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.limit().saturating_sub(at)).unwrap_or(usize::MAX);
        let count = count.min(left);
        if let Some(bytes) = slice_at(&self.window, self.window_at, at, count) {
            return Ok(bytes);
        }
        self.window = read_up_to(self.file, at, count.max(WINDOW_BYTES).min(left))?;
        self.window_at = at;
        Ok(self.window.slice(..count.min(self.window.len())))
    }
}

/// Reads up to `count` bytes at `at`; fewer only at the end of the file.
pub(super) fn read_up_to(file: &dyn File, at: u64, count: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; count];
    let done = file.read_at(&mut bytes, at)?;
    bytes.truncate(done);
    Ok(Bytes::from(bytes))
}

/// The `count` bytes at file position `at` of a buffer that was read at `buffer_at`, if it holds them all.
pub(super) fn slice_at(buffer: &Bytes, buffer_at: u64, at: u64, count: usize) -> Option<Bytes> {
    let from = usize::try_from(at.checked_sub(buffer_at)?).ok()?;
    let to = from.checked_add(count)?;
    (to <= buffer.len()).then(|| buffer.slice(from..to))
}

/// Where the zeros at the end of `bytes` begin.
fn trailing_zeros_from(bytes: &[u8]) -> u64 {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut rest = bytes;
    while let Some((head, tail)) = rest.len().checked_sub(ZEROS.len()).and_then(|at| rest.split_at_checked(at)) {
        if tail != ZEROS {
            break;
        }
        rest = head;
    }
    let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    u64::try_from(used).unwrap_or(u64::MAX)
}

/// Whether a sector of `bytes`, which were written at file position `at`, still reads as zeros.
fn tear_shows(bytes: &[u8], at: u64) -> bool {
    let first = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(usize::MAX);
    let (head, rest) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
    let missing = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    missing(head) || rest.chunks(usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX)).any(missing)
}

/// Where the offsets of a frame end whose header is not sound, by what it says nevertheless, if that can be true.
fn claimed_end(bytes: &[u8], expect: Offset) -> Offset {
    let field = |at: usize| bytes.get(at..).and_then(|rest| rest.split_first_chunk::<4>()).map(|(field, _)| *field);
    let count = field(48).map_or(0, u32::from_le_bytes);
    let possible = usize::try_from(count).is_ok_and(|count| count <= bytes.len() / RECORD_HEADER_BYTES);
    if possible { expect.plus(u64::from(count)) } else { expect }
}
