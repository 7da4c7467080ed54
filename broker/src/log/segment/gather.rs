//! Learns a segment's extent, index and filter from its file: from the footer, or frame by frame. Reads only.

use std::io;
use std::path::PathBuf;

use super::bloom::{Distinct, Field};
use super::footer::{FOOTER_BYTES_MAX, Footer, TRAILER_BYTES, decode_footer, encode_footer};
use super::format::{FILE_HEADER_BYTES, FRAME_MAGIC, FileHeader, FormatError, SegmentId};
use super::format::{decode_file_header, decode_frame_header};
use super::fs::File;
use super::index::Entry;
use super::record::split_record;
use super::scan::{Damage, End, FrameAt, Scanner, Start, Step, Tail, read_up_to};
use super::spans::Segment;
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::Offset;

/// Searched for a frame when the file header is bad.
const HEADER_SEARCH_BYTES: usize = 64 << 20;

/// What the beginning of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// A sound header.
    Header(FileHeader),
    /// The header is bad, a frame tells whose file it is.
    Frame(SegmentId, FormatError),
    /// The header was never written, and nothing else was.
    Unfinished,
    /// Neither header nor frames can be made out.
    Unknown(FormatError),
}

/// Finds out whose file it is.
///
/// # Errors
/// What the system said about a read.
pub(super) fn identify(file: &dyn File) -> io::Result<Identity> {
    let head = read_up_to(file, 0, FILE_HEADER_BYTES)?;
    let reason = match decode_file_header(&head) {
        Ok(header) => return Ok(Identity::Header(header)),
        Err(reason) => reason,
    };
    // The header is synced before the file takes anything else.
    if file.size()? <= FILE_HEADER_BYTES as u64 {
        return Ok(Identity::Unfinished);
    }
    let bytes = read_up_to(file, FILE_HEADER_BYTES as u64, HEADER_SEARCH_BYTES)?;
    for at in memchr::memmem::find_iter(&bytes, &FRAME_MAGIC) {
        if let Ok(frame) = decode_frame_header(bytes.get(at..).unwrap_or_default()) {
            return Ok(Identity::Frame(frame.segment, reason));
        }
    }
    Ok(Identity::Unknown(reason))
}

/// The segment as its footer describes it; `None` when there is no footer, or not the right one.
///
/// # Errors
/// What the system said about a read.
pub(super) fn from_footer(file: &dyn File, id: SegmentId, base: Offset, path: PathBuf) -> io::Result<Option<Segment>> {
    let size = file.size()?;
    let Some(trailer_at) = size.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let trailer = read_up_to(file, trailer_at, TRAILER_BYTES)?;
    let length = trailer.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
    let bytes_max = u64::try_from(FOOTER_BYTES_MAX).unwrap_or(u64::MAX).min(size);
    if u64::from(length) > bytes_max {
        return Ok(None);
    }
    let at = size - u64::from(length);
    let bytes = read_up_to(file, at, usize::try_from(length).unwrap_or(0))?;
    let Ok(footer) = decode_footer(&bytes) else { return Ok(None) };
    if footer.segment != id || footer.base != base || footer.frames_end != at {
        return Ok(None);
    }
    Ok(Some(Segment {
        id,
        base,
        next: footer.next,
        frames_end: footer.frames_end,
        oldest: Some(footer.oldest),
        newest: Some(footer.newest),
        index: footer.index,
        bloom: footer.bloom,
        path,
    }))
}

/// Writes the footer behind the frames and cuts the file there. Not synced.
///
/// # Errors
/// What the system said; the file ends with its frames then, as far as that was possible.
pub(super) fn write_footer(file: &dyn File, segment: &Segment) -> io::Result<()> {
    let (Some(oldest), Some(newest)) = (segment.oldest, segment.newest) else { return Ok(()) };
    let footer = encode_footer(&Footer {
        segment: segment.id,
        base: segment.base,
        next: segment.next,
        frames_end: segment.frames_end,
        oldest,
        newest,
        index: segment.index.clone(),
        bloom: segment.bloom.clone(),
    });
    let at = segment.frames_end;
    file.set_len(at)?;
    file.write_all_at(&footer, at).inspect_err(|_| {
        // What is left of it is no frame and no footer, so it does no harm if this fails too.
        let _ = file.set_len(at);
    })
}

/// Where the frames of a file without a footer end: at offset `next` if another file follows, else unknown.
///
/// # Errors
/// What the system said about the file's length.
pub(super) fn end_of(file: &dyn File, next: Option<Offset>) -> io::Result<End> {
    let file_bytes = file.size()?;
    Ok(next.map_or(End::Open { file_bytes }, |next| End::Known { at: file_bytes, next }))
}

/// What reading a segment frame by frame found.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Its extent and index; the filter is in `distinct`.
    pub(super) segment: Segment,
    /// Types and sources.
    pub(super) distinct: Distinct,
    /// What is damaged.
    pub(super) damage: Vec<Damage>,
    /// What lies behind the frames.
    pub(super) tail: Tail,
    /// The last sound frame: where, and its bytes.
    pub(super) last: Option<FrameAt>,
    /// Sound frames, marks included.
    pub(super) frames: u64,
}

/// Reads a segment frame by frame.
///
/// # Errors
/// What the system said about a read.
pub(super) fn from_frames(
    file: &dyn File,
    id: SegmentId,
    base: Offset,
    path: PathBuf,
    end: End,
) -> io::Result<Gathered> {
    let start = Start { segment: id, at: FILE_HEADER_BYTES as u64, expect: base, appended: UnixMicros::default() };
    let mut scanner = Scanner::new(file, start, end);
    let mut found = Gathered {
        segment: Segment::empty(id, base, path),
        distinct: Distinct::default(),
        damage: Vec::new(),
        tail: Tail::Clean,
        last: None,
        frames: 0,
    };
    loop {
        match scanner.step()? {
            Step::Frame(frame) => found.take_frame(frame),
            Step::Damage(damage) => {
                found.segment.extend(damage.offsets.end, damage.at.end, damage.appended);
                found.damage.push(damage);
                found.last = None;
            }
            Step::End(tail) => {
                found.tail = tail;
                found.segment.bloom = found.distinct.filter();
                return Ok(found);
            }
        }
    }
}

impl Gathered {
    fn take_frame(&mut self, frame: FrameAt) {
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let delta = frame.header.base.0.saturating_sub(self.segment.base.0);
        let mut rest = frame.bytes.get(super::format::FRAME_HEADER_BYTES..).unwrap_or_default();
        let mut at = frame.at + super::format::FRAME_HEADER_BYTES as u64;
        for record in delta..delta + u64::from(frame.header.count) {
            let Ok((stored, after)) = split_record(rest) else { break };
            self.segment.index.offer(Entry {
                record: narrow(record),
                record_at: narrow(at),
                frame: narrow(delta),
                frame_at: narrow(frame.at),
                appended: frame.header.appended,
            });
            let (block, body) = (frame.bytes.slice_ref(stored.block), frame.bytes.slice_ref(stored.body));
            if let Ok(event) = Event::from_parts(block, body) {
                self.distinct.add(Field::Type, event.ty());
                self.distinct.add(Field::Source, event.source());
            }
            at += stored.length() as u64;
            rest = after;
        }
        let end = frame.at + u64::from(frame.header.length);
        self.segment.extend(frame.header.next(), end, frame.header.appended);
        self.frames += 1;
        self.last = Some(frame);
    }
}
