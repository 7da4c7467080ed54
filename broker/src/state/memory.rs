//! A state store in memory: for tests, and for looking at a broker that must leave nothing behind.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::{Cursor, Entry, StateError, StateStore};
use crate::names::TriggerKey;

/// Keeps everything until it is dropped; `flush` has nothing to do.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    cursors: BTreeMap<TriggerKey, Cursor>,
    values: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Held) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for MemoryStore {
    fn load_cursors(&self) -> BoxFuture<'_, Result<Vec<(TriggerKey, Cursor)>, StateError>> {
        let all = self.with(|held| held.cursors.iter().map(|(key, cursor)| (key.clone(), cursor.clone())).collect());
        Box::pin(std::future::ready(Ok(all)))
    }

    fn save_cursor(&self, key: &TriggerKey, cursor: Cursor) {
        self.with(|held| held.cursors.insert(key.clone(), cursor));
    }

    fn remove_cursor(&self, key: &TriggerKey) {
        self.with(|held| held.cursors.remove(key));
    }

    fn put(&self, key: String, value: Option<Vec<u8>>) {
        self.with(|held| match value {
            Some(value) => held.values.insert(key, value),
            None => held.values.remove(&key),
        });
    }

    fn scan(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<Entry>, StateError>> {
        let found = self.with(|held| {
            let from = held.values.range(prefix.to_owned()..);
            let matching = from.take_while(|(key, _)| key.starts_with(prefix));
            matching.map(|(key, value)| (key.clone(), value.clone())).collect()
        });
        Box::pin(std::future::ready(Ok(found)))
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
