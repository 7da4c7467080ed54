//! How a cursor lies on disk, in the database and in the checkpoint alike.
//!
//! ```text
//! byte 0      CURSOR_VERSION
//! broker      namespace, name: each length varint, UTF-8
//! scanned     varint
//! log         varint; not in versions 1 to 3
//! began       varint; not in version 1
//! retired     0, or 1 and varint microseconds
//! incarnation length varint, UTF-8; empty for none; not in versions 1 and 2
//! unsettled   count varint, then for each: offset (delta to the one before), flags, due
//!   flags     varint: attempts << 2 | phase << 1 | has due
//!   due       only with `has due`: microseconds (delta to the due before)
//! ```
//! Varints are LEB128; deltas are zigzag, so that any order of offsets reads back as it was. A window of a thousand
//! neighbouring offsets takes about 2 KiB.

use std::sync::Arc;

use super::{Cursor, Phase, Unsettled};
use crate::clock::UnixMicros;
use crate::log::{LogId, Offset};
use crate::names::{BrokerKey, TriggerKey};

const CURSOR_VERSION: u8 = 4;
/// Before logs had an id: those of that time have the id 0.
const CURSOR_VERSION_WITHOUT_LOG: u8 = 3;
/// Before cursors knew which of several Triggers of one name they are of.
const CURSOR_VERSION_WITHOUT_INCARNATION: u8 = 2;
/// The layout before where a Trigger began was kept.
const CURSOR_VERSION_OLD: u8 = 1;

/// Why stored bytes are no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end early, or a value in them is out of range.
    #[error("the stored cursor is damaged")]
    Damaged,
    /// They were written by a later release.
    #[error("the stored cursor has version {0}, this release reads up to 4")]
    Version(u8),
}

/// Encodes a cursor.
#[must_use]
pub fn encode_cursor(cursor: &Cursor) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + cursor.unsettled.len() * 4);
    out.push(CURSOR_VERSION);
    put_text(&mut out, cursor.broker.namespace.as_str());
    put_text(&mut out, cursor.broker.name.as_str());
    put_varint(&mut out, cursor.scanned.0);
    put_varint(&mut out, cursor.log.0);
    put_varint(&mut out, cursor.began.0);
    match cursor.retired {
        None => out.push(0),
        Some(at) => {
            out.push(1);
            put_varint(&mut out, at.0);
        }
    }
    put_text(&mut out, cursor.incarnation.as_deref().unwrap_or_default());
    put_varint(&mut out, cursor.unsettled.len() as u64);
    let (mut offset, mut due) = (0_u64, 0_u64);
    for event in &cursor.unsettled {
        put_varint(&mut out, zigzag(event.offset.0.wrapping_sub(offset)));
        offset = event.offset.0;
        let phase = u64::from(event.phase == Phase::DeadLetterSink);
        let has_due = event.due != UnixMicros(0);
        put_varint(&mut out, (u64::from(event.attempts) << 2) | (phase << 1) | u64::from(has_due));
        if has_due {
            put_varint(&mut out, zigzag(event.due.0.wrapping_sub(due)));
            due = event.due.0;
        }
    }
    out
}

/// Decodes what [`encode_cursor`] wrote. Never panics, whatever the bytes.
///
/// # Errors
/// [`CodecError`] says whether the bytes are damaged or of a later release.
pub fn decode_cursor(bytes: &[u8]) -> Result<Cursor, CodecError> {
    let (&version, mut rest) = bytes.split_first().ok_or(CodecError::Damaged)?;
    if !(CURSOR_VERSION_OLD..=CURSOR_VERSION).contains(&version) {
        return Err(CodecError::Version(version));
    }
    let cursor = take_cursor(&mut rest, version).ok_or(CodecError::Damaged)?;
    if rest.is_empty() { Ok(cursor) } else { Err(CodecError::Damaged) }
}

fn take_cursor(rest: &mut &[u8], version: u8) -> Option<Cursor> {
    let broker = BrokerKey::parse(take_text(rest)?, take_text(rest)?).ok()?;
    let scanned = Offset(take_varint(rest)?);
    let log = if version <= CURSOR_VERSION_WITHOUT_LOG { LogId(0) } else { LogId(take_varint(rest)?) };
    let began = if version == CURSOR_VERSION_OLD { Offset(0) } else { Offset(take_varint(rest)?) };
    let retired = match take_varint(rest)? {
        0 => None,
        1 => Some(UnixMicros(take_varint(rest)?)),
        _ => return None,
    };
    let incarnation = match version {
        CURSOR_VERSION_OLD | CURSOR_VERSION_WITHOUT_INCARNATION => None,
        _ => Some(take_text(rest)?).filter(|text| !text.is_empty()).map(Arc::from),
    };
    let count = usize::try_from(take_varint(rest)?).ok()?;
    // Each event takes two bytes at least: a damaged count must not reserve memory.
    if count > rest.len() / 2 {
        return None;
    }
    let mut unsettled = Vec::with_capacity(count);
    let (mut offset, mut due) = (0_u64, 0_u64);
    for _ in 0..count {
        offset = offset.wrapping_add(unzigzag(take_varint(rest)?));
        let flags = take_varint(rest)?;
        let attempts = u32::try_from(flags >> 2).ok()?;
        let phase = if flags & 0b10 == 0 { Phase::Subscriber } else { Phase::DeadLetterSink };
        let mut event = Unsettled { offset: Offset(offset), attempts, due: UnixMicros(0), phase };
        if flags & 0b01 != 0 {
            due = due.wrapping_add(unzigzag(take_varint(rest)?));
            event.due = UnixMicros(due);
        }
        unsettled.push(event);
    }
    Some(Cursor { incarnation, broker, log, began, scanned, unsettled, retired })
}

/// Writes a Trigger's key as two texts.
pub(super) fn put_key(out: &mut Vec<u8>, key: &TriggerKey) {
    put_text(out, key.namespace.as_str());
    put_text(out, key.name.as_str());
}

/// Reads what [`put_key`] wrote.
pub(super) fn take_key(rest: &mut &[u8]) -> Option<TriggerKey> {
    TriggerKey::parse(take_text(rest)?, take_text(rest)?).ok()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

/// Writes an integer as LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`put_varint`] wrote; `None` when it ends early or exceeds 64 bits.
pub(super) fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Small for small differences in either direction.
fn zigzag(delta: u64) -> u64 {
    let negative = delta >> 63;
    (delta << 1) ^ 0_u64.wrapping_sub(negative)
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ 0_u64.wrapping_sub(value & 1)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::state) fn any_cursor() -> impl Strategy<Value = Cursor> {
        let number = || prop_oneof![0..200_u64, any::<u64>()];
        let event =
            (number(), any::<u32>(), number(), any::<bool>()).prop_map(|(offset, attempts, due, dead)| Unsettled {
                offset: Offset(offset),
                attempts,
                due: UnixMicros(due),
                phase: if dead { Phase::DeadLetterSink } else { Phase::Subscriber },
            });
        let incarnation = prop::option::of("[0-9a-f-]{1,36}");
        let places = (number(), number(), number());
        (places, prop::collection::vec(event, 0..40), prop::option::of(number()), incarnation).prop_map(
            |((log, began, scanned), unsettled, retired, incarnation)| Cursor {
                incarnation: incarnation.map(Arc::from),
                broker: "ns/broker".parse().unwrap(),
                log: LogId(log),
                began: Offset(began),
                scanned: Offset(scanned),
                unsettled,
                retired: retired.map(UnixMicros),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(cursor in any_cursor()) {
            prop_assert_eq!(decode_cursor(&encode_cursor(&cursor)), Ok(cursor));
        }

        #[test]
        fn a_cut_or_longer_cursor_is_refused(cursor in any_cursor(), at in any::<prop::sample::Index>()) {
            let mut bytes = encode_cursor(&cursor);
            let cut = at.index(bytes.len());
            prop_assert!(decode_cursor(&bytes[..cut]).is_err());
            bytes.push(0);
            prop_assert_eq!(decode_cursor(&bytes), Err(CodecError::Damaged));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_cursor(&bytes);
            for version in CURSOR_VERSION_OLD..=CURSOR_VERSION {
                let _ = decode_cursor(&[&[version], &bytes[..]].concat());
            }
        }
    }

    #[test]
    fn a_later_version_is_named() {
        assert_eq!(decode_cursor(&[9, 1, 2]), Err(CodecError::Version(9)));
    }

    #[test]
    fn cursors_of_the_former_layouts_are_read() {
        let text = b"\x01\x02ns\x06broker\x09\x00\x01\x0e\x04";
        let cursor = decode_cursor(text).unwrap();
        assert_eq!((cursor.began, cursor.scanned, cursor.retired), (Offset(0), Offset(9), None));
        let event = Unsettled { offset: Offset(7), attempts: 1, due: UnixMicros(0), phase: Phase::Subscriber };
        assert_eq!((cursor.incarnation, cursor.unsettled), (None, vec![event]));
        let text = b"\x02\x02ns\x06broker\x09\x05\x00\x01\x0e\x04";
        let cursor = decode_cursor(text).unwrap();
        assert_eq!((cursor.began, cursor.scanned, cursor.retired), (Offset(5), Offset(9), None));
        assert_eq!((cursor.incarnation, cursor.unsettled), (None, vec![event]));
        let text = b"\x03\x02ns\x06broker\x09\x05\x00\x01u\x01\x0e\x04";
        let cursor = decode_cursor(text).unwrap();
        assert_eq!((cursor.log, cursor.began, cursor.scanned), (LogId(0), Offset(5), Offset(9)));
        assert_eq!((cursor.incarnation.as_deref(), cursor.unsettled), (Some("u"), vec![event]));
    }

    #[test]
    fn a_window_of_neighbours_is_small() {
        let unsettled = (0..1000).map(|n| Unsettled {
            offset: Offset(5_000_000_000 + n),
            attempts: 0,
            due: UnixMicros(0),
            phase: Phase::Subscriber,
        });
        let broker = "ns/broker".parse().unwrap();
        let (began, scanned) = (Offset(0), Offset(5_000_001_000));
        let cursor = Cursor {
            incarnation: None,
            broker,
            log: LogId(0),
            began,
            scanned,
            unsettled: unsettled.collect(),
            retired: None,
        };
        assert!(encode_cursor(&cursor).len() < 2100);
    }
}
