//! Records in the state store, in pieces: a value there is small, an object need not be.
//!
//! ```text
//! kube/KIND/NAMESPACE/NAME/PIECE    CRC32C of the whole, count of pieces (both little-endian u32), bytes
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inventory::Names;
use super::record::{Kind, Record};
use crate::state::{Entry, StateError, StateStore};

/// Bytes of a record in one value: what the state store takes, with room for the longest key.
const PIECE_BYTES: usize = 60 * 1024;
/// Most pieces of a record: twice what the API server takes as one object.
const PIECES_MAX: usize = 64;

fn prefix(kind: Kind) -> String {
    format!("kube/{}/", kind.name().to_lowercase())
}

/// What the store has of one kind.
#[derive(Debug)]
pub(super) struct Ledger {
    kind: Kind,
    stored: BTreeMap<Names, Stored>,
}

#[derive(Debug)]
struct Stored {
    /// `None` when it cannot be read.
    record: Option<Arc<Record>>,
    pieces: usize,
}

impl Ledger {
    /// All records that can be read; what cannot be is logged and left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn load(store: &dyn StateStore, kind: Kind) -> Result<Self, StateError> {
        let stored = decode(kind, &store.scan(&prefix(kind)).await?);
        for ((namespace, name), _) in stored.iter().filter(|(_, stored)| stored.record.is_none()) {
            let kind = kind.name();
            tracing::warn!(
                "the stored {kind} {namespace}/{name} cannot be read; it is unknown until the API server answers"
            );
        }
        Ok(Self { kind, stored })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&Names, &Arc<Record>)> {
        self.stored.iter().filter_map(|(names, stored)| Some((names, stored.record.as_ref()?)))
    }

    /// What to put into the store so that it has `wanted`; if that is `complete`, nothing else.
    pub(super) fn follow(
        &mut self,
        wanted: &BTreeMap<&Names, &Arc<Record>>,
        complete: bool,
    ) -> Vec<(String, Option<Vec<u8>>)> {
        let mut puts = Vec::new();
        for (&names, &record) in wanted {
            let former = self.stored.get(names);
            if former.and_then(|former| former.record.as_ref()).is_some_and(|former| Arc::ptr_eq(former, record)) {
                continue;
            }
            let before = former.map_or(0, |former| former.pieces);
            let values = encode(record);
            let pieces = values.len();
            let values = values.into_iter().map(Some).chain((pieces..before).map(|_| None));
            puts.extend(values.enumerate().map(|(index, value)| (key(self.kind, names, index), value)));
            self.stored.insert(names.clone(), Stored { record: Some(record.clone()), pieces });
        }
        if complete {
            let kind = self.kind;
            self.stored.retain(|names, stored| {
                let kept = wanted.contains_key(names);
                if !kept {
                    puts.extend((0..stored.pieces).map(|index| (key(kind, names, index), None)));
                }
                kept
            });
        }
        puts
    }
}

fn key(kind: Kind, (namespace, name): &Names, index: usize) -> String {
    format!("{}{namespace}/{name}/{index:02}", prefix(kind))
}

fn encode(record: &Record) -> Vec<Vec<u8>> {
    let whole = serde_json::to_vec(record).unwrap_or_default();
    let crc = crc32c::crc32c(&whole).to_le_bytes();
    let pieces: Vec<&[u8]> = whole.chunks(PIECE_BYTES).take(PIECES_MAX).collect();
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX).to_le_bytes();
    pieces.into_iter().map(|piece| [&crc[..], &count[..], piece].concat()).collect()
}

fn decode(kind: Kind, entries: &[Entry]) -> BTreeMap<Names, Stored> {
    let mut found: BTreeMap<Names, Vec<(usize, &[u8])>> = BTreeMap::new();
    for (key, value) in entries {
        let mut parts = key.strip_prefix(&prefix(kind)).unwrap_or_default().splitn(3, '/');
        if let (Some(namespace), Some(name), Some(index)) = (parts.next(), parts.next(), parts.next()) {
            let names = (namespace.to_owned(), name.to_owned());
            found.entry(names).or_default().push((index.parse().unwrap_or(0), value));
        }
    }
    let stored = |pieces: Vec<(usize, &[u8])>| {
        let last = pieces.last().map_or(0, |(index, _)| *index);
        let pieces: Vec<&[u8]> = pieces.into_iter().map(|(_, piece)| piece).collect();
        Stored { record: join(&pieces).map(Arc::new), pieces: last + 1 }
    };
    found.into_iter().map(|(names, pieces)| (names, stored(pieces))).collect()
}

fn join(pieces: &[&[u8]]) -> Option<Record> {
    let (first, _) = pieces.first()?.split_at_checked(8)?;
    let (crc, count) = first.split_at_checked(4)?;
    let (crc, count) = (u32::from_le_bytes(crc.try_into().ok()?), u32::from_le_bytes(count.try_into().ok()?));
    let mut whole = Vec::new();
    // A crash may have left more of a former, longer one.
    for piece in pieces.get(..usize::try_from(count).ok()?)? {
        let (head, bytes) = piece.split_at_checked(8)?;
        whole.extend_from_slice((head == first).then_some(bytes)?);
    }
    (crc32c::crc32c(&whole) == crc).then(|| serde_json::from_slice(&whole).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::memory::MemoryStore;

    fn record(size: usize) -> Arc<Record> {
        let object = json!({"spec": "x".repeat(size)});
        Arc::new(Record { uid: "u".into(), created: 5, object, findings: Default::default() })
    }

    fn names(name: &str) -> Names {
        ("ns".into(), name.into())
    }

    async fn loaded(store: &MemoryStore) -> Ledger {
        Ledger::load(store, Kind::Trigger).await.unwrap()
    }

    fn apply(store: &MemoryStore, puts: Vec<(String, Option<Vec<u8>>)>) -> usize {
        let count = puts.len();
        for (key, value) in puts {
            assert!(value.as_ref().is_none_or(|value| value.len() <= 64 * 1024 - 600));
            store.put(key, value);
        }
        count
    }

    #[tokio::test]
    async fn records_of_any_size_read_back_and_torn_ones_do_not() {
        for size in [0, 10, PIECE_BYTES, 3 * PIECE_BYTES] {
            let (store, names, record) = (MemoryStore::new(), names("t"), record(size));
            let puts = loaded(&store).await.follow(&BTreeMap::from([(&names, &record)]), true);
            let first = puts[0].clone();
            apply(&store, puts);
            assert_eq!(loaded(&store).await.records().collect::<Vec<_>>(), [(&names, &record)], "{size}");
            for torn in [None, first.1.map(|value| value[..value.len() - 1].to_vec())] {
                store.put(first.0.clone(), torn);
                assert_eq!(loaded(&store).await.records().count(), 0, "{size}");
            }
            // What cannot be read goes once it is known that nobody wants it.
            let mut ledger = loaded(&store).await;
            assert_eq!(apply(&store, ledger.follow(&BTreeMap::new(), false)), 0);
            apply(&store, ledger.follow(&BTreeMap::new(), true));
            assert_eq!(store.scan("kube/").await.unwrap(), [], "{size}");
        }
    }

    #[tokio::test]
    async fn only_what_changed_is_written() {
        let (store, one, two) = (MemoryStore::new(), names("one"), names("two"));
        let (small, large) = (record(10), record(2 * PIECE_BYTES));
        let mut ledger = loaded(&store).await;
        let mut check = |wanted: &[(&Names, &Arc<Record>)], writes: usize| {
            let puts = ledger.follow(&wanted.iter().copied().collect(), true);
            assert_eq!(apply(&store, puts), writes, "{wanted:?}");
        };
        check(&[(&one, &small)], 1);
        check(&[(&one, &small), (&two, &large)], 3);
        check(&[(&one, &small), (&two, &large)], 0);
        // The two pieces too many are removed.
        check(&[(&one, &small), (&two, &small)], 3);
        check(&[(&two, &small)], 1);
        assert_eq!(loaded(&store).await.records().collect::<Vec<_>>(), [(&two, &small)]);
    }
}
