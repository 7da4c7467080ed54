//! Logs whose Brokers are gone, as far as people are told of them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Bounds;
use crate::clock::UnixMicros;
use crate::names::{BrokerKey, TriggerKey};

/// The log of a Broker that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Whose it was.
    pub key: BrokerKey,
    /// What its log of events holds; `None` where it cannot be opened.
    pub bounds: Option<Bounds>,
    /// Number of its dead letters.
    pub dead_letters: u64,
    /// What its files take on disk, in bytes.
    pub disk_bytes: u64,
    /// Since when the Broker is known to be gone.
    pub since: UnixMicros,
    /// When it may be removed.
    pub until: UnixMicros,
    /// Triggers that have still to get something from it; it stays as long as there are any.
    pub held_by: Vec<TriggerKey>,
}

/// All of them, in order of key. Clones share the same list.
#[derive(Debug, Clone, Default)]
pub struct Orphans(Arc<ArcSwap<Vec<Orphan>>>);

impl Orphans {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those there are now.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Orphan>> {
        self.0.load_full()
    }

    /// Replaces the list.
    pub fn set(&self, orphans: Vec<Orphan>) {
        self.0.store(Arc::new(orphans));
    }
}
