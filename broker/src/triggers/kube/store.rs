//! Records in the state store, in pieces: a value there is small, an object need not be.
//!
//! ```text
//! kube/KIND/NAMESPACE/NAME/PIECE    CRC32C of the whole, count of pieces (both little-endian u32), bytes
//! ```

use std::collections::BTreeMap;

use super::inventory::{Change, Names};
use super::record::{Kind, Record};
use crate::state::{Entry, StateError, StateStore};

/// Bytes of a record in one value: what the state store takes, with room for the longest key.
const PIECE_BYTES: usize = 60 * 1024;
/// Most pieces of a record: twice what the API server takes as one object.
const PIECES_MAX: usize = 64;

fn prefix(kind: Kind) -> String {
    format!("kube/{}/", kind.name().to_lowercase())
}

/// What to put into the store for a change. Pieces that are no longer used are removed with it.
pub(super) fn encode((kind, (namespace, name), record): &Change) -> Vec<(String, Option<Vec<u8>>)> {
    let whole = record.as_ref().and_then(|record| serde_json::to_vec(record).ok()).unwrap_or_default();
    let crc = crc32c::crc32c(&whole).to_le_bytes();
    let pieces: Vec<&[u8]> = whole.chunks(PIECE_BYTES).take(PIECES_MAX).collect();
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX).to_le_bytes();
    let value = |index: usize| pieces.get(index).map(|piece| [&crc[..], &count[..], piece].concat());
    let key = |index: usize| format!("{}{namespace}/{name}/{index:02}", prefix(*kind));
    (0..PIECES_MAX).map(|index| (key(index), value(index))).collect()
}

/// The records of a kind that are whole; the keys of others.
fn decode(kind: Kind, entries: &[Entry]) -> (Vec<(Names, Record)>, Vec<String>) {
    let mut pieces: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (key, value) in entries {
        if let Some((object, _)) = key.rsplit_once('/') {
            pieces.entry(object).or_default().push(value);
        }
    }
    let (mut records, mut bad) = (Vec::new(), Vec::new());
    for (key, pieces) in pieces {
        let names = key.strip_prefix(&prefix(kind)).and_then(|rest| rest.split_once('/'));
        match (names, join(&pieces)) {
            (Some((namespace, name)), Some(record)) => records.push(((namespace.into(), name.into()), record)),
            _ => bad.push(key.to_owned()),
        }
    }
    (records, bad)
}

fn join(pieces: &[&[u8]]) -> Option<Record> {
    let (first, _) = pieces.first()?.split_at_checked(8)?;
    let (crc, count) = first.split_at_checked(4)?;
    let (crc, count) = (u32::from_le_bytes(crc.try_into().ok()?), u32::from_le_bytes(count.try_into().ok()?));
    let mut whole = Vec::new();
    for piece in pieces {
        let (head, bytes) = piece.split_at_checked(8)?;
        whole.extend_from_slice((head == first).then_some(bytes)?);
    }
    let sound = usize::try_from(count).ok()? == pieces.len() && crc32c::crc32c(&whole) == crc;
    sound.then(|| serde_json::from_slice(&whole).ok()).flatten()
}

/// All records that can be read; what cannot be is logged and left out.
pub(super) async fn load(store: &dyn StateStore, kind: Kind) -> Result<Vec<(Names, Record)>, StateError> {
    let (records, bad) = decode(kind, &store.scan(&prefix(kind)).await?);
    for key in bad {
        tracing::warn!("state key {key} cannot be read; its object is unknown until the API server is asked");
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_of_any_size_read_back_and_torn_ones_do_not() {
        for size in [0, 10, PIECE_BYTES, 3 * PIECE_BYTES] {
            let object = json!({"spec": "x".repeat(size)});
            let record = Record { uid: "u".into(), created: 5, object, findings: Default::default() };
            let names: Names = ("ns".into(), "t".into());
            let put = encode(&(Kind::Trigger, names.clone(), Some(record.clone())));
            assert!(put.iter().all(|(_, value)| value.as_ref().is_none_or(|value| value.len() <= 64 * 1024 - 600)));
            let entries: Vec<Entry> = put.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            assert_eq!(decode(Kind::Trigger, &entries), (vec![(names, record)], vec![]), "{size}");
            let mut torn = entries.clone();
            torn[0].1.pop();
            assert_eq!(decode(Kind::Trigger, &torn).1, ["kube/trigger/ns/t"], "{size}");
            assert_eq!(decode(Kind::Trigger, &entries[1..]).0, [], "{size}");
        }
    }
}
