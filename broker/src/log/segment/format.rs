//! Bytes of a segment file: header, frames, records. Pure; no I/O.
//!
//! *Responsibility*: encode and decode, and say what is wrong with bytes that are not ours. *Invariants*: what is
//! encoded decodes to the same; no input makes a decoder panic; a flipped bit anywhere in a frame is detected.
//! *Not here*: where a frame lies, whether a bad one is a tear or damage (`scan`), the footer (`footer`).
//!
//! Format version 1. Integers are little-endian; CRC is CRC32C (Castagnoli).
//!
//! ```text
//! file header, 48 bytes, at the start of a segment
//!    0  magic             8   "RVLSEGM" 0
//!    8  version           u16 1
//!   10  reserved          u16 0
//!   12  header bytes      u32 48
//!   16  segment id        u64 tells frames of this file from those of any other
//!   24  base offset       u64 also the file's name
//!   32  created           u64 µs since the epoch
//!   40  reserved          u32 0
//!   44  crc               u32 over bytes 0..44
//!
//! frame header, 64 bytes; one frame per group commit, frames follow each other without padding
//!    0  magic             4   "RVF1"
//!    4  header crc        u32 over bytes 8..64
//!    8  segment id        u64
//!   16  length            u32 of the frame, header included
//!   20  payload crc       u32 over segment id, then all records
//!   24  base offset       u64 of the first record
//!   32  appended          u64 µs since the epoch, never less than in the frame before
//!   40  durable up to     u64 every offset below it was synced before this frame was written
//!   48  count             u32 of records; 0 in the mark that a clean close leaves behind
//!   52  flags             u8  0 (kept for encryption)
//!   53  reserved          11  0
//!
//! record, 16 bytes and its content
//!    0  length            u32 of the record, these 16 bytes included
//!    4  crc               u32 over segment id, whole offset, length, then bytes 8..length
//!    8  offset            u32 the low half of its offset
//!   12  block length      u32
//!   16  attribute block, then the body up to the record's length
//! ```
//!
//! A record's CRC covers its whole offset and its segment, so that it can be told intact, and where it belongs,
//! even when the header of its frame is gone.

use super::record::{RECORD_HEADER_BYTES, encode_record, split_record};
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::Offset;

/// First bytes of a segment file.
pub const FILE_MAGIC: [u8; 8] = *b"RVLSEGM\0";
/// First bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"RVF1";
/// The version that this release writes and reads.
pub const VERSION: u16 = 1;
/// Bytes of the file header.
pub const FILE_HEADER_BYTES: usize = 48;
/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 64;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the structure does.
    #[error("cut short")]
    Short,
    /// It does not begin with the right magic.
    #[error("does not begin with the magic number")]
    Magic,
    /// A length or count in it cannot be.
    #[error("a length in it is impossible")]
    Length,
    /// A checksum is wrong.
    #[error("the checksum is wrong")]
    Checksum,
    /// Written by a later release.
    #[error("written by a later release (version or flags {0}), this one reads version 1")]
    Version(u16),
}

/// Identity of a segment file, mixed into every checksum in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// An id for a file that begins at `base` and is made at `created`: the same place made twice differs.
    #[must_use]
    pub fn derive(base: Offset, created: UnixMicros) -> Self {
        // The finalizer of SplitMix64: spreads both inputs over all bits.
        let mut mixed = base.0.rotate_left(32) ^ created.0 ^ 0x9e37_79b9_7f4a_7c15;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    pub(super) fn checksum(self) -> u32 {
        crc32c::crc32c(&self.0.to_le_bytes())
    }
}

/// The header of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Whose frames these are.
    pub segment: SegmentId,
    /// Offset of the first record.
    pub base: Offset,
    /// When the file was made.
    pub created: UnixMicros,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The file it belongs to.
    pub segment: SegmentId,
    /// Bytes of the frame, header included.
    pub length: u32,
    /// Checksum of the records.
    pub payload_crc: u32,
    /// Offset of the first record.
    pub base: Offset,
    /// Append time of all its records.
    pub appended: UnixMicros,
    /// Every offset below was synced before this frame was written.
    pub durable_up_to: Offset,
    /// Records in it.
    pub count: u32,
}

impl FrameHeader {
    /// One past its last offset.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }
}

/// A whole frame whose checksums are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// The bytes of its records.
    pub payload: &'a [u8],
}

/// Reads little-endian integers off the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(FormatError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(FormatError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The bytes of a file header.
#[must_use]
pub fn encode_file_header(header: &FileHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
    bytes.extend_from_slice(&FILE_MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u16.to_le_bytes());
    bytes.extend_from_slice(&48_u32.to_le_bytes());
    bytes.extend_from_slice(&header.segment.0.to_le_bytes());
    bytes.extend_from_slice(&header.base.0.to_le_bytes());
    bytes.extend_from_slice(&header.created.0.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a file header.
///
/// # Errors
/// [`FormatError`] says what is wrong with it.
pub fn decode_file_header(bytes: &[u8]) -> Result<FileHeader, FormatError> {
    let bytes = bytes.get(..FILE_HEADER_BYTES).ok_or(FormatError::Short)?;
    let mut fields = Fields(bytes);
    if fields.take()? != FILE_MAGIC {
        return Err(FormatError::Magic);
    }
    let version = fields.u16()?;
    let (_, _) = (fields.u16()?, fields.u32()?);
    let header = FileHeader {
        segment: SegmentId(fields.u64()?),
        base: Offset(fields.u64()?),
        created: UnixMicros(fields.u64()?),
    };
    let _ = fields.u32()?;
    let covered = bytes.split_last_chunk::<4>().map_or(bytes, |(covered, _)| covered);
    if fields.u32()? != crc32c::crc32c(covered) {
        return Err(FormatError::Checksum);
    }
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    Ok(header)
}

/// What a new frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFrame {
    /// The file it goes to.
    pub segment: SegmentId,
    /// Offset of its first record.
    pub base: Offset,
    /// Append time.
    pub appended: UnixMicros,
    /// What was synced before.
    pub durable_up_to: Offset,
}

/// The bytes of a frame that holds `events`; `capacity` is its length, where known, so that memory is taken once.
///
/// # Errors
/// [`FormatError::Length`] when an event or the whole is 4 GiB or more.
pub fn encode_frame<'a>(
    frame: &NewFrame,
    events: impl Iterator<Item = &'a Event>,
    capacity: usize,
) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::with_capacity(capacity.max(FRAME_HEADER_BYTES));
    bytes.resize(FRAME_HEADER_BYTES, 0);
    let mut count = 0_u32;
    for event in events {
        let offset = frame.base.plus(u64::from(count));
        encode_record(&mut bytes, frame.segment, offset, event)?;
        count = count.checked_add(1).ok_or(FormatError::Length)?;
    }
    let length = u32::try_from(bytes.len()).map_err(|_| FormatError::Length)?;
    let (head, payload) = bytes.split_at_mut_checked(FRAME_HEADER_BYTES).ok_or(FormatError::Short)?;
    let payload_crc = crc32c::crc32c_append(frame.segment.checksum(), payload);
    let header = FrameHeader {
        segment: frame.segment,
        length,
        payload_crc,
        base: frame.base,
        appended: frame.appended,
        durable_up_to: frame.durable_up_to,
        count,
    };
    head.copy_from_slice(&encode_frame_header(&header));
    Ok(bytes)
}

fn encode_frame_header(header: &FrameHeader) -> [u8; FRAME_HEADER_BYTES] {
    let mut tail = Vec::with_capacity(FRAME_HEADER_BYTES);
    tail.extend_from_slice(&header.segment.0.to_le_bytes());
    tail.extend_from_slice(&header.length.to_le_bytes());
    tail.extend_from_slice(&header.payload_crc.to_le_bytes());
    tail.extend_from_slice(&header.base.0.to_le_bytes());
    tail.extend_from_slice(&header.appended.0.to_le_bytes());
    tail.extend_from_slice(&header.durable_up_to.0.to_le_bytes());
    tail.extend_from_slice(&header.count.to_le_bytes());
    tail.resize(FRAME_HEADER_BYTES - 8, 0);
    let mut bytes = [0; FRAME_HEADER_BYTES];
    let crc = crc32c::crc32c(&tail).to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(FRAME_MAGIC.iter().chain(&crc).chain(&tail)) {
        *to = *from;
    }
    bytes
}

/// Reads a frame header; the records may be missing.
///
/// # Errors
/// [`FormatError`] says what is wrong with it.
pub fn decode_frame_header(bytes: &[u8]) -> Result<FrameHeader, FormatError> {
    let bytes = bytes.get(..FRAME_HEADER_BYTES).ok_or(FormatError::Short)?;
    let mut fields = Fields(bytes);
    if fields.take()? != FRAME_MAGIC {
        return Err(FormatError::Magic);
    }
    if fields.u32()? != crc32c::crc32c(fields.0) {
        return Err(FormatError::Checksum);
    }
    let header = FrameHeader {
        segment: SegmentId(fields.u64()?),
        length: fields.u32()?,
        payload_crc: fields.u32()?,
        base: Offset(fields.u64()?),
        appended: UnixMicros(fields.u64()?),
        durable_up_to: Offset(fields.u64()?),
        count: fields.u32()?,
    };
    let [flags] = fields.take()?;
    if flags != 0 {
        return Err(FormatError::Version(u16::from(flags)));
    }
    let least = u64::from(header.count) * RECORD_HEADER_BYTES as u64 + FRAME_HEADER_BYTES as u64;
    let ends = header.base.0.checked_add(u64::from(header.count));
    if u64::from(header.length) < least || ends.is_none() || header.durable_up_to > header.base {
        return Err(FormatError::Length);
    }
    Ok(header)
}

/// Reads a whole frame from the front of `bytes` and checks every checksum in it.
///
/// # Errors
/// [`FormatError`] says what is wrong with it.
pub fn decode_frame(bytes: &[u8]) -> Result<Frame<'_>, FormatError> {
    let header = decode_frame_header(bytes)?;
    let length = usize::try_from(header.length).map_err(|_| FormatError::Length)?;
    let payload = bytes.get(FRAME_HEADER_BYTES..length).ok_or(FormatError::Short)?;
    if crc32c::crc32c_append(header.segment.checksum(), payload) != header.payload_crc {
        return Err(FormatError::Checksum);
    }
    let frame = Frame { header, payload };
    let mut rest = payload;
    for at in 0..u64::from(header.count) {
        let (record, after) = split_record(rest)?;
        record.check(header.segment, header.base.plus(at))?;
        rest = after;
    }
    if rest.is_empty() { Ok(frame) } else { Err(FormatError::Length) }
}

#[cfg(test)]
mod tests;
