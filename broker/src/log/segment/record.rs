//! One record inside a frame; its layout is in [`super::format`].

use super::format::{Fields, FormatError, SegmentId};
use crate::event::Event;
use crate::log::Offset;

/// Bytes of a record ahead of its attribute block.
pub const RECORD_HEADER_BYTES: usize = 16;

/// One record, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRecord<'a> {
    /// Low half of its offset.
    pub offset_low: u32,
    /// Its checksum.
    crc: u32,
    /// Everything its checksum covers that lies behind it.
    covered: &'a [u8],
    /// The attribute block.
    pub block: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// Bytes that an event takes in a frame.
#[must_use]
pub fn record_bytes(event: &Event) -> usize {
    RECORD_HEADER_BYTES + event.size_bytes()
}

/// Appends the bytes of a record.
///
/// # Errors
/// [`FormatError::Length`] when it would be 4 GiB or more.
pub(super) fn encode_record(
    bytes: &mut Vec<u8>,
    segment: SegmentId,
    offset: Offset,
    event: &Event,
) -> Result<(), FormatError> {
    let length = u32::try_from(record_bytes(event)).map_err(|_| FormatError::Length)?;
    let block_length = u32::try_from(event.block().len()).map_err(|_| FormatError::Length)?.to_le_bytes();
    let offset_low = low_half(offset).to_le_bytes();
    let mut crc = record_seed(segment, offset, length);
    for part in [&offset_low[..], &block_length, event.block(), event.body()] {
        crc = crc32c::crc32c_append(crc, part);
    }
    for part in [&length.to_le_bytes()[..], &crc.to_le_bytes(), &offset_low, &block_length, event.block(), event.body()]
    {
        bytes.extend_from_slice(part);
    }
    Ok(())
}

/// Checksum of what a record's own bytes do not hold.
fn record_seed(segment: SegmentId, offset: Offset, length: u32) -> u32 {
    let mut crc = segment.checksum();
    crc = crc32c::crc32c_append(crc, &offset.0.to_le_bytes());
    crc32c::crc32c_append(crc, &length.to_le_bytes())
}

/// The low 32 bits of an offset, as a record holds them.
#[must_use]
pub fn low_half(offset: Offset) -> u32 {
    let [a, b, c, d, ..] = offset.0.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Splits the first record off, without looking at its checksum.
///
/// # Errors
/// [`FormatError::Short`] when it is not all there, [`FormatError::Length`] when its lengths cannot be.
pub fn split_record(bytes: &[u8]) -> Result<(StoredRecord<'_>, &[u8]), FormatError> {
    let mut fields = Fields(bytes);
    let length = usize::try_from(fields.u32()?).map_err(|_| FormatError::Length)?;
    let crc = fields.u32()?;
    let inner = length.checked_sub(8).filter(|_| length >= RECORD_HEADER_BYTES).ok_or(FormatError::Length)?;
    let covered = fields.bytes(inner)?;
    let rest = fields.0;
    let mut fields = Fields(covered);
    let offset_low = fields.u32()?;
    let block_length = usize::try_from(fields.u32()?).map_err(|_| FormatError::Length)?;
    let (block, body) = fields.0.split_at_checked(block_length).ok_or(FormatError::Length)?;
    Ok((StoredRecord { offset_low, crc, covered, block, body }, rest))
}

impl StoredRecord<'_> {
    /// Bytes of the whole record.
    #[must_use]
    pub fn length(&self) -> usize {
        self.covered.len() + 8
    }

    /// Whether it is intact and belongs at `offset`.
    ///
    /// # Errors
    /// [`FormatError::Checksum`] when it is not or does not.
    pub fn check(&self, segment: SegmentId, offset: Offset) -> Result<(), FormatError> {
        let length = u32::try_from(self.length()).map_err(|_| FormatError::Length)?;
        let crc = crc32c::crc32c_append(record_seed(segment, offset, length), self.covered);
        if crc == self.crc && self.offset_low == low_half(offset) { Ok(()) } else { Err(FormatError::Checksum) }
    }
}
