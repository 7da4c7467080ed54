//! The state store: cursors and other small things that can be rebuilt or repeated, never an event.
//!
//! [`StateStore`] is the seam; [`sled`] keeps it in a sled database with one owner thread, [`checkpoint`] keeps
//! the cursors a second time in a small checksummed file of ours, so that the sled directory may be deleted.

pub mod checkpoint;
pub mod codec;
pub mod cursor;
pub mod memory;
pub mod sled;

pub use cursor::{Cursor, Phase, Unsettled};
pub use memory::MemoryStore;
pub use sled::{Options, SledStore};

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::names::TriggerKey;

/// Why the state store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another process holds the store.
    #[error("{path} is in use by another broker; stop it, or give this one another --data directory")]
    InUse {
        /// Which directory.
        path: String,
    },
    /// The store failed.
    #[error("state store: {0}")]
    Failed(String),
}

/// Whether a state store keeps what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Sound,
    /// One of the two copies cannot be written; cursors go on in the other.
    Degraded(String),
    /// Nothing can be written: a restart repeats deliveries made since.
    Failed(String),
}

/// A stored value under its key.
pub type Entry = (String, Vec<u8>);

/// Small durable values. Writes are queued to one owner and become durable together, at least once per flush
/// interval (default 1 s); what a crash takes is at most that interval.
///
/// # Guarantees
/// - `load` functions see every earlier queued write.
/// - No future waits for ever, however long the disk hangs.
/// - After [`StateStore::flush`] resolves `Ok`, every write queued before it survives a power cut.
/// - Cursors survive the deletion of the database directory.
pub trait StateStore: Send + Sync + std::fmt::Debug + 'static {
    /// All cursors, those of deleted Triggers too (see [`Cursor::retired`]).
    fn load_cursors(&self) -> BoxFuture<'_, Result<Vec<(TriggerKey, Cursor)>, StateError>>;

    /// Queues a cursor; the last one queued for a Trigger wins.
    fn save_cursor(&self, key: &TriggerKey, cursor: Cursor);

    /// Queues the removal of a cursor.
    fn remove_cursor(&self, key: &TriggerKey);

    /// Queues a small value (at most 64 KiB) under a key; `None` removes it.
    fn put(&self, key: String, value: Option<Vec<u8>>);

    /// All values whose keys begin with `prefix`, in order of key.
    fn scan(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<Entry>, StateError>>;

    /// Makes everything queued so far durable.
    fn flush(&self) -> BoxFuture<'_, Result<(), StateError>>;

    /// How long the oldest write that is not durable waits for that; zero when all are.
    fn unflushed(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether what is saved gets to disk.
    fn health(&self) -> StoreHealth {
        StoreHealth::Sound
    }
}

#[cfg(test)]
pub(crate) mod tests;
