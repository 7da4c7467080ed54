//! Reads records: from frames in memory, or from a file with every checksum verified. Blocking; the handle calls
//! the file part on a blocking thread.
//!
//! *Invariants*: a page holds only records whose checksum is right; what is damaged is named in `lost`; no read goes
//! past the durable end as it was when the span was taken, so a reader never sees the writer at work.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::format::{FRAME_HEADER_BYTES, FormatError, decode_frame_header};
use super::fs::{File, FileSystem, Open};
use super::record::{RECORD_HEADER_BYTES, split_record};
use super::scan::{Damage, End, FrameAt, Scanner, Start, Step, read_up_to, slice_at};
use super::spans::{CachedFrame, Span};
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::{Offset, Page, ReadLimit, Record};

/// Read in addition to what the page may hold: the way from the index entry, and headers.
const CHUNK_EXTRA_BYTES: usize = 64 << 10;
/// No more than this is read at once, whatever the limit of the page: a page may be smaller than asked for.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// A damaged stretch that a read met.
#[derive(Debug, Clone)]
pub(super) struct LostAt {
    /// Where in the file.
    pub(super) position: u64,
    /// Which offsets.
    pub(super) offsets: Vec<Range<Offset>>,
    /// What is wrong.
    pub(super) reason: FormatError,
}

/// Collects a page up to a limit.
#[derive(Debug)]
struct Collector {
    page: Page,
    limit: ReadLimit,
    bytes: usize,
    from: Offset,
}

impl Collector {
    fn new(from: Offset, limit: ReadLimit) -> Self {
        let page = Page { records: Vec::new(), next: from, lost: Vec::new() };
        Self { page, limit, bytes: 0, from }
    }

    fn full(&self) -> bool {
        !self.page.records.is_empty()
            && (self.page.records.len() >= self.limit.records || self.bytes >= self.limit.bytes)
    }

    /// Whether a record of this size still belongs into the page.
    fn takes(&self, bytes: usize) -> bool {
        self.page.records.is_empty()
            || (self.page.records.len() < self.limit.records && self.bytes.saturating_add(bytes) <= self.limit.bytes)
    }

    fn push(&mut self, offset: Offset, appended: UnixMicros, event: Event) {
        self.bytes = self.bytes.saturating_add(event.size_bytes());
        self.page.next = offset.next();
        self.page.records.push(Record { offset, appended, event });
    }

    fn lose(&mut self, range: Range<Offset>) {
        let start = range.start.max(self.from);
        if start < range.end {
            self.page.lost.push(start..range.end);
            self.page.next = self.page.next.max(range.end);
        }
    }
}

/// A page from frames in memory, which follow each other and the first of which holds `from`.
#[must_use]
pub(super) fn read_memory(frames: &[CachedFrame], from: Offset, limit: ReadLimit) -> Page {
    let mut collector = Collector::new(from, limit);
    for frame in frames {
        let mut rest = frame.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let mut offset = frame.base;
        while offset < frame.next {
            let Ok((record, after)) = split_record(rest) else { break };
            if offset >= from {
                if !collector.takes(record.block.len() + record.body.len()) {
                    return collector.page;
                }
                let (block, body) = (frame.bytes.slice_ref(record.block), frame.bytes.slice_ref(record.body));
                match Event::from_parts(block, body) {
                    Ok(event) => collector.push(offset, frame.appended, event),
                    Err(_) => collector.lose(offset..offset.next()),
                }
            }
            offset = offset.next();
            rest = after;
        }
    }
    collector.page
}

/// A page from a file, and the damage met on the way.
///
/// # Errors
/// What the system said about opening or reading the file.
pub(super) fn read_file(
    fs: &dyn FileSystem,
    span: &Span,
    from: Offset,
    limit: ReadLimit,
) -> io::Result<(Page, Vec<LostAt>)> {
    let opened = match &span.file {
        Some(file) => file.clone(),
        None => fs.open(&span.path, Open::Read)?,
    };
    let mut walk = Walk::new(opened.as_ref(), span, from, limit);
    walk.begin()?;
    while walk.expect < span.next && !walk.collector.full() {
        let found = if walk.at >= walk.frame.end { walk.frame_header()? } else { walk.record()? };
        match found {
            Found::Sound => {}
            Found::PageFull => break,
            Found::Bad => walk.step_over_damage()?,
        }
    }
    let reached = walk.expect;
    if reached >= span.next && walk.collector.page.next < span.next {
        let rest = walk.collector.page.next..span.next;
        walk.lose(walk.at, &[rest], FormatError::Short);
    }
    Ok((walk.collector.page, walk.damage))
}

enum Found {
    Sound,
    Bad,
    PageFull,
}

/// The frame that the walk is in.
#[derive(Debug, Clone, Copy)]
struct Within {
    at: u64,
    base: Offset,
    end: u64,
    appended: UnixMicros,
}

struct Walk<'a> {
    file: &'a dyn File,
    span: &'a Span,
    collector: Collector,
    chunk: Bytes,
    chunk_at: u64,
    at: u64,
    expect: Offset,
    frame: Within,
    damage: Vec<LostAt>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a dyn File, span: &'a Span, from: Offset, limit: ReadLimit) -> Self {
        let entry = span.entry;
        let frame_at = u64::from(entry.frame_at);
        let base = span.base.plus(u64::from(entry.frame));
        Self {
            file,
            span,
            collector: Collector::new(from, limit),
            chunk: Bytes::new(),
            chunk_at: 0,
            at: frame_at,
            expect: base,
            frame: Within { at: frame_at, base, end: frame_at, appended: entry.appended },
            damage: Vec::new(),
        }
    }

    /// Enters the frame of the index entry at its record.
    fn begin(&mut self) -> io::Result<()> {
        let entry = self.span.entry;
        let head = read_up_to(self.file, self.at, FRAME_HEADER_BYTES)?;
        let header = decode_frame_header(&head).ok();
        let sound = header.filter(|header| header.segment == self.span.id && header.base == self.expect);
        if let Some(header) = sound.filter(|_| entry.record_at > entry.frame_at) {
            self.frame.end = self.frame.at.saturating_add(u64::from(header.length));
            self.frame.appended = header.appended;
            self.at = u64::from(entry.record_at);
            self.expect = self.span.base.plus(u64::from(entry.record));
        }
        Ok(())
    }

    fn frame_header(&mut self) -> io::Result<Found> {
        self.frame = Within { at: self.at, base: self.expect, end: self.at, appended: self.frame.appended };
        let Some(head) = self.bytes(self.at, FRAME_HEADER_BYTES)? else { return Ok(Found::Bad) };
        let Ok(header) = decode_frame_header(&head) else { return Ok(Found::Bad) };
        let end = self.at.saturating_add(u64::from(header.length));
        if header.segment != self.span.id || header.base != self.expect || end > self.span.frames_end {
            return Ok(Found::Bad);
        }
        self.frame.end = end;
        self.frame.appended = header.appended;
        self.at += FRAME_HEADER_BYTES as u64;
        Ok(Found::Sound)
    }

    fn record(&mut self) -> io::Result<Found> {
        let left = usize::try_from(self.frame.end - self.at).unwrap_or(usize::MAX);
        let Some(head) = self.bytes(self.at, RECORD_HEADER_BYTES)? else { return Ok(Found::Bad) };
        let length = head.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < RECORD_HEADER_BYTES || length > left {
            return Ok(Found::Bad);
        }
        let wanted = self.expect >= self.collector.from;
        if wanted && !self.collector.takes(length - RECORD_HEADER_BYTES) {
            return Ok(Found::PageFull);
        }
        let Some(bytes) = self.bytes(self.at, length)? else { return Ok(Found::Bad) };
        let Ok((record, _)) = split_record(&bytes) else { return Ok(Found::Bad) };
        if record.check(self.span.id, self.expect).is_err() {
            return Ok(Found::Bad);
        }
        if wanted {
            match Event::from_parts(bytes.slice_ref(record.block), bytes.slice_ref(record.body)) {
                Ok(event) => self.collector.push(self.expect, self.frame.appended, event),
                Err(_) => self.lose(self.at, &[self.expect..self.expect.next()], FormatError::Length),
            }
        }
        self.at += u64::try_from(length).unwrap_or(u64::MAX);
        self.expect = self.expect.next();
        Ok(Found::Sound)
    }

    fn lose(&mut self, position: u64, offsets: &[Range<Offset>], reason: FormatError) {
        offsets.iter().for_each(|range| self.collector.lose(range.clone()));
        self.damage.push(LostAt { position, offsets: offsets.to_vec(), reason });
    }

    /// The slow way through the frame in which something is wrong: whole, with the search for intact records.
    fn step_over_damage(&mut self) -> io::Result<()> {
        let Within { at, base, appended, .. } = self.frame;
        let start = Start { segment: self.span.id, at, expect: base, appended };
        let end = End::Known { at: self.span.frames_end, next: self.span.next };
        let mut scanner = Scanner::new(self.file, start, end);
        // What was delivered of this frame before the bad record is not delivered again.
        let from = self.expect.max(self.collector.from);
        match scanner.step()? {
            Step::Frame(frame) => self.take_frame(&frame, from),
            Step::Damage(damage) => self.take_damage(&damage, from),
            Step::End(_) => {}
        }
        let here = scanner.here();
        self.at = here.at;
        self.expect = here.expect;
        self.frame = Within { at: here.at, base: here.expect, end: here.at, appended: here.appended };
        Ok(())
    }

    fn take_damage(&mut self, damage: &Damage, from: Offset) {
        let lost = damage.lost();
        let mut lost_here = lost.iter().filter(|range| range.end > from).peekable();
        for intact in damage.intact.iter().filter(|intact| intact.offset >= from) {
            while let Some(range) = lost_here.next_if(|range| range.start < intact.offset) {
                self.collector.lose(range.clone());
            }
            self.collector.push(intact.offset, damage.appended, intact.event.clone());
        }
        for range in lost_here {
            self.collector.lose(range.clone());
        }
        self.damage.push(LostAt { position: damage.at.start, offsets: lost, reason: damage.reason });
    }

    /// The frame is sound after all: the first read of it must have failed in passing.
    fn take_frame(&mut self, frame: &FrameAt, from: Offset) {
        let cached = CachedFrame {
            base: frame.header.base,
            next: frame.header.next(),
            appended: frame.header.appended,
            bytes: frame.bytes.clone(),
        };
        let unlimited = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        let page = read_memory(&[cached], from, unlimited);
        page.records.into_iter().for_each(|record| self.collector.push(record.offset, record.appended, record.event));
        page.lost.into_iter().for_each(|range| self.collector.lose(range));
    }

    /// `count` bytes at `at`, unless the frames end before.
    fn bytes(&mut self, at: u64, count: usize) -> io::Result<Option<Bytes>> {
        let left = usize::try_from(self.span.frames_end.saturating_sub(at)).unwrap_or(usize::MAX);
        if count > left {
            return Ok(None);
        }
        if let Some(bytes) = slice_at(&self.chunk, self.chunk_at, at, count) {
            return Ok(Some(bytes));
        }
        let usual = self.collector.limit.bytes.saturating_add(CHUNK_EXTRA_BYTES).min(CHUNK_BYTES_MAX);
        self.chunk = read_up_to(self.file, at, usual.max(count).min(left))?;
        self.chunk_at = at;
        Ok(slice_at(&self.chunk, at, at, count))
    }
}

/// The first offset of `span` appended at or after `time`.
///
/// # Errors
/// What the system said about opening or reading the file.
pub(super) fn seek_time(fs: &dyn FileSystem, span: &Span, time: UnixMicros) -> io::Result<Offset> {
    let opened = match &span.file {
        Some(file) => file.clone(),
        None => fs.open(&span.path, Open::Read)?,
    };
    let entry = span.entry;
    let start = Start {
        segment: span.id,
        at: u64::from(entry.frame_at),
        expect: span.base.plus(u64::from(entry.frame)),
        appended: entry.appended,
    };
    let end = End::Known { at: span.frames_end, next: span.next };
    let mut scanner = Scanner::new(opened.as_ref(), start, end);
    loop {
        match scanner.step()? {
            Step::Frame(frame) if frame.header.appended >= time && frame.header.count > 0 => {
                return Ok(frame.header.base);
            }
            Step::Damage(damage) if damage.appended >= time => return Ok(damage.offsets.start),
            Step::Frame(_) | Step::Damage(_) => {}
            Step::End(_) => return Ok(span.next),
        }
    }
}
