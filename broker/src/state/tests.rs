//! The contract of [`StateStore`], run on every store.

pub(crate) mod files;

use super::*;
use crate::clock::UnixMicros;
use crate::log::{LogId, Offset};

pub(super) fn key(name: &str) -> TriggerKey {
    TriggerKey::parse("ns", name).unwrap()
}

pub(super) fn cursor(scanned: u64, unsettled: &[u64]) -> Cursor {
    let unsettled = unsettled.iter().map(|offset| Unsettled {
        offset: Offset(*offset),
        attempts: 3,
        due: UnixMicros(1_700_000_000_000_000),
        phase: Phase::Subscriber,
    });
    Cursor {
        incarnation: None,
        broker: "ns/broker".parse().unwrap(),
        log: LogId::default(),
        began: Offset(1),
        scanned: Offset(scanned),
        unsettled: unsettled.collect(),
        retired: None,
    }
}

pub(super) async fn contract(store: &dyn StateStore) {
    assert_eq!(store.load_cursors().await, Ok(vec![]));

    store.save_cursor(&key("a"), cursor(1, &[]));
    store.save_cursor(&key("b"), cursor(7, &[3, 5]));
    store.save_cursor(&key("a"), cursor(2, &[1]));
    let expected = vec![(key("a"), cursor(2, &[1])), (key("b"), cursor(7, &[3, 5]))];
    assert_eq!(store.load_cursors().await, Ok(expected), "the last one queued wins, and is seen at once");

    let retired = Cursor { retired: Some(UnixMicros(5)), ..cursor(9, &[]) };
    store.save_cursor(&key("a"), retired.clone());
    store.remove_cursor(&key("b"));
    store.remove_cursor(&key("never-there"));
    assert_eq!(store.load_cursors().await, Ok(vec![(key("a"), retired)]));

    for (name, value) in [("x/2", "two"), ("x/1", "one"), ("y/1", "other"), ("x/10", "ten")] {
        store.put(name.to_owned(), Some(value.as_bytes().to_vec()));
    }
    store.put("x/2".to_owned(), None);
    let found = store.scan("x/").await.unwrap();
    assert_eq!(found, [("x/1".to_owned(), b"one".to_vec()), ("x/10".to_owned(), b"ten".to_vec())], "in order of key");
    assert_eq!(store.scan("").await.unwrap().len(), 3);
    assert_eq!(store.scan("z").await, Ok(vec![]));
    assert_eq!(store.flush().await, Ok(()));
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(&MemoryStore::new()).await;
}
