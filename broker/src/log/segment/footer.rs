//! The footer of a sealed segment: a summary, the sparse index and the Bloom filter. Pure. Derived data: when it
//! is missing or wrong it is made again from the frames.
//!
//! ```text
//!  0  magic          4   "RVFT"
//!  4  crc            u32 over everything from byte 8 to the end
//!  8  length         u32 of the footer, these bytes included
//! 12  segment id     u64
//! 20  base offset    u64
//! 28  next offset    u64 one past the last record
//! 36  frames end     u64 position; the footer begins here
//! 44  oldest         u64 append time of the first record, µs
//! 52  newest         u64 append time of the last record, µs
//! 60  entries        u32, then per entry: record u32, record at u32, frame u32, frame at u32, appended u64
//!     words          u32, then that many u64 of the Bloom filter
//!     end            u32 the footer's length again, so that it is found from the end of the file
//! ```

use super::bloom::Bloom;
use super::format::{Fields, FormatError, SegmentId};
use super::index::{Entry, SparseIndex};
use crate::clock::UnixMicros;
use crate::log::Offset;

/// First bytes of a footer.
pub const FOOTER_MAGIC: [u8; 4] = *b"RVFT";
/// Bytes at the very end that tell the footer's length.
pub const TRAILER_BYTES: usize = 4;
/// Bytes of a footer without entries and filter words.
const FIXED_BYTES: usize = 72;
/// A footer larger than this is none of ours: 4 GiB of frames have 131,072 entries of 24 bytes.
pub const FOOTER_BYTES_MAX: usize = 4 << 20;

/// What a footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The file it belongs to.
    pub segment: SegmentId,
    /// First offset.
    pub base: Offset,
    /// One past the last offset.
    pub next: Offset,
    /// Where the frames end and the footer begins.
    pub frames_end: u64,
    /// Append time of the first record.
    pub oldest: UnixMicros,
    /// Append time of the last record.
    pub newest: UnixMicros,
    /// Where to begin reading.
    pub index: SparseIndex,
    /// Types and sources.
    pub bloom: Bloom,
}

/// The bytes of a footer.
#[must_use]
pub fn encode_footer(footer: &Footer) -> Vec<u8> {
    let mut body = Vec::with_capacity(FIXED_BYTES + footer.index.entries().len() * 24);
    body.extend_from_slice(&footer.segment.0.to_le_bytes());
    for value in [footer.base.0, footer.next.0, footer.frames_end, footer.oldest.0, footer.newest.0] {
        body.extend_from_slice(&value.to_le_bytes());
    }
    body.extend_from_slice(&u32::try_from(footer.index.entries().len()).unwrap_or(u32::MAX).to_le_bytes());
    for entry in footer.index.entries() {
        for value in [entry.record, entry.record_at, entry.frame, entry.frame_at] {
            body.extend_from_slice(&value.to_le_bytes());
        }
        body.extend_from_slice(&entry.appended.0.to_le_bytes());
    }
    footer.bloom.encode(&mut body);
    let length = u32::try_from(body.len() + 12 + TRAILER_BYTES).unwrap_or(u32::MAX).to_le_bytes();
    body.extend_from_slice(&length);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), &body);
    let mut bytes = Vec::with_capacity(body.len() + 12);
    bytes.extend_from_slice(&FOOTER_MAGIC);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads a footer that fills `bytes` exactly.
///
/// # Errors
/// [`FormatError`] says what is wrong with it.
pub fn decode_footer(bytes: &[u8]) -> Result<Footer, FormatError> {
    let mut fields = Fields(bytes);
    if fields.take()? != FOOTER_MAGIC {
        return Err(FormatError::Magic);
    }
    let crc = fields.u32()?;
    if crc != crc32c::crc32c(fields.0) {
        return Err(FormatError::Checksum);
    }
    if usize::try_from(fields.u32()?) != Ok(bytes.len()) {
        return Err(FormatError::Length);
    }
    let segment = SegmentId(fields.u64()?);
    let (base, next) = (Offset(fields.u64()?), Offset(fields.u64()?));
    let frames_end = fields.u64()?;
    let (oldest, newest) = (UnixMicros(fields.u64()?), UnixMicros(fields.u64()?));
    let entries = usize::try_from(fields.u32()?).map_err(|_| FormatError::Length)?;
    if entries.checked_mul(24).is_none_or(|bytes| bytes > fields.0.len()) {
        return Err(FormatError::Length);
    }
    let mut index = Vec::with_capacity(entries);
    for _ in 0..entries {
        index.push(Entry {
            record: fields.u32()?,
            record_at: fields.u32()?,
            frame: fields.u32()?,
            frame_at: fields.u32()?,
            appended: UnixMicros(fields.u64()?),
        });
    }
    let bloom = Bloom::decode(&mut fields)?;
    let _ = fields.u32()?;
    if !fields.0.is_empty() || next < base {
        return Err(FormatError::Length);
    }
    Ok(Footer { segment, base, next, frames_end, oldest, newest, index: SparseIndex::from_entries(index), bloom })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::segment::bloom::{Distinct, Field};

    #[test]
    fn it_round_trips_and_no_flipped_byte_or_cut_gets_through() {
        let mut distinct = Distinct::default();
        distinct.add(Field::Type, "t");
        let entry = |n: u32| Entry { record: n, record_at: n * 40_000, frame: n, frame_at: n, appended: UnixMicros(9) };
        let footer = Footer {
            segment: SegmentId(7),
            base: Offset(3),
            next: Offset(9),
            frames_end: 4711,
            oldest: UnixMicros(1),
            newest: UnixMicros(2),
            index: SparseIndex::from_entries((0..5).map(entry).collect()),
            bloom: distinct.filter(),
        };
        let bytes = encode_footer(&footer);
        assert_eq!(decode_footer(&bytes), Ok(footer));
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        assert_eq!(bytes[bytes.len() - TRAILER_BYTES..], length);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(decode_footer(&flipped).is_err(), "flip at {at}");
            assert!(decode_footer(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
