//! The state store on sled, with one owner thread.
//!
//! *Responsibility*: takes writes without blocking, keeps the last one for each key, and makes them durable together:
//! first the checkpoint, then the database, then our own `fdatasync` (sled's flush is none). *Inputs*: cursors and
//! small values. *Outputs*: what was stored, newest first of database and checkpoint. *Invariants*: only the owner
//! thread touches the database; memory is bounded however slow the disk is; a failed flush or sync is never tried
//! again, the store goes on with the checkpoint alone. *Not here*: events, and anything whose loss would lose one.
//!
//! Database keys: `c/NAMESPACE/NAME` (sequence varint, then a cursor as [`super::codec`] writes it) and `v/KEY`.

mod database;
mod owner;
mod queue;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Cursor, Entry, StateError, StateStore, StoreHealth, codec};
use crate::log::segment::fs::FileSystem;
use crate::names::TriggerKey;
use owner::Owner;
use queue::{FLUSH_TIME_MAX, Request, Shared};

/// Largest value. Seventeen of them fill a leaf of sled's tree, which stays below the size at which sled would
/// move it into a file of its own that it never syncs. Larger cursors are kept in the checkpoint alone.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// How long dropping the store waits for the last flush: sled may hang on a disk that hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// How the store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// sled's page cache, in bytes. It may take several times as much.
    pub cache_bytes: u64,
    /// Longest time between a write and its flush: what a crash repeats at the most.
    pub flush_interval: Duration,
}

impl Default for Options {
    /// 8 MiB, which holds the cursors of some ten thousand Triggers; 1 s.
    fn default() -> Self {
        Self { cache_bytes: 8 << 20, flush_interval: Duration::from_secs(1) }
    }
}

/// A [`StateStore`] on disk. Dropping it flushes, waiting for that at most 5 s.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
}

impl SledStore {
    /// Opens the database in `directory` and the checkpoint `cursors.ckpt` beside it, both made where missing, and
    /// starts the owner thread. A database that cannot be read is moved aside (`sled.broken-N`, the last one is
    /// kept) with a warning; cursors then come from the checkpoint. Blocks: call it before the runtime is busy.
    ///
    /// # Errors
    /// [`StateError::InUse`] when another process has the database open; [`StateError::Failed`] when the directory
    /// cannot be made or written.
    pub fn open(directory: &Path, options: Options, files: Arc<dyn FileSystem>) -> Result<Self, StateError> {
        let owner = Owner::open(directory, options, files)?;
        let shared = Arc::new(Shared::new(owner.health()));
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("state".to_owned());
        let started = thread.spawn(move || owner.run(&of_thread, options.flush_interval));
        started.map_err(|error| StateError::Failed(format!("cannot start the owner thread: {error}")))?;
        Ok(Self { shared })
    }

    /// Hands a request to the owner now; the future waits for the answer.
    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StateError>>) -> Request,
    ) -> BoxFuture<'_, Result<T, StateError>> {
        let (sender, answer) = oneshot::channel();
        let accepted = self.shared.request(request(sender));
        Box::pin(async move {
            accepted?;
            match tokio::time::timeout(FLUSH_TIME_MAX, answer).await {
                Ok(answer) => answer.unwrap_or_else(|_| {
                    Err(StateError::Failed("its owner thread has stopped; start the broker again".to_owned()))
                }),
                Err(_) => {
                    Err(StateError::Failed("a flush hangs; look at the disk, then restart the broker".to_owned()))
                }
            }
        })
    }
}

impl StateStore for SledStore {
    fn load_cursors(&self) -> BoxFuture<'_, Result<Vec<(TriggerKey, Cursor)>, StateError>> {
        self.ask(Request::Load)
    }

    fn save_cursor(&self, key: &TriggerKey, cursor: Cursor) {
        self.shared.write_cursor(key, Some(codec::encode_cursor(&cursor)));
    }

    fn remove_cursor(&self, key: &TriggerKey) {
        self.shared.write_cursor(key, None);
    }

    fn put(&self, key: String, value: Option<Vec<u8>>) {
        self.shared.write_value(key, value);
    }

    fn scan(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<Entry>, StateError>> {
        let prefix = prefix.to_owned();
        self.ask(|answer| Request::Scan(prefix, answer))
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.ask(Request::Flush)
    }

    fn unflushed(&self) -> Duration {
        self.shared.unflushed()
    }

    fn health(&self) -> StoreHealth {
        self.shared.health()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if !self.shared.stop(CLOSE_WAIT) {
            tracing::error!("the state store did not finish its last flush; some deliveries will be repeated");
        }
    }
}

#[cfg(test)]
mod tests;
