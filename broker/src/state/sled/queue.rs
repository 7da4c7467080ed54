//! What waits for the owner thread: the last write for each key, and requests that want an answer.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::VALUE_BYTES_MAX;
use crate::names::TriggerKey;
use crate::state::{Cursor, Entry, StateError, StoreHealth};

/// Writes that wait, in bytes: the cursors of 10,000 Triggers with a thousand unsettled events each fit. Beyond it
/// new keys are refused, those that wait may still be replaced by something as large.
const PENDING_BYTES_MAX: usize = 64 << 20;
/// What an entry takes besides its key and value, about.
const ENTRY_BYTES: usize = 64;
/// Requests that wait: far more than there are callers.
const REQUESTS_MAX: usize = 1024;
/// A flush that takes longer than this has hung: one hundred times the slowest disk that is of use.
pub(super) const FLUSH_TIME_MAX: Duration = Duration::from_secs(30);

type Answer<T> = oneshot::Sender<Result<T, StateError>>;

/// What a caller waits for.
#[derive(Debug)]
pub(super) enum Request {
    /// Everything written so far is durable.
    Flush(Answer<()>),
    /// All cursors.
    Load(Answer<Vec<(TriggerKey, Cursor)>>),
    /// Values by prefix.
    Scan(String, Answer<Vec<Entry>>),
}

/// The last write for each key; `None` removes it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Encoded cursors.
    pub(super) cursors: BTreeMap<TriggerKey, Option<Vec<u8>>>,
    /// Values.
    pub(super) values: BTreeMap<String, Option<Vec<u8>>>,
    bytes: usize,
    /// Why a write was refused, if one was: the next flush says so.
    pub(super) refused: Option<String>,
}

/// One round of the owner.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) pending: Pending,
    pub(super) requests: Vec<Request>,
    /// The store is being dropped.
    pub(super) last: bool,
}

/// What the handle and the owner thread share.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued, or the store stops.
    queued: Condvar,
    /// The owner has stopped.
    stopped: Condvar,
}

#[derive(Debug)]
struct Queue {
    pending: Pending,
    requests: Vec<Request>,
    stopping: bool,
    stopped: bool,
    busy_since: Option<Instant>,
    /// Since when the oldest of `pending` waits.
    pending_since: Option<Instant>,
    /// Since when the oldest write that the owner is making durable does.
    flushing_since: Option<Instant>,
    health: StoreHealth,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.values.is_empty() && self.refused.is_none()
    }

    fn refuse(&mut self, key: &str, reason: String) {
        if self.refused.is_none() {
            tracing::error!(key, error = %reason, "a state value was not stored");
            self.refused = Some(format!("{key}: {reason}"));
        }
    }
}

/// Replaces the write that waits under `key`; `false` when there is no room.
fn replace<K: Ord>(
    map: &mut BTreeMap<K, Option<Vec<u8>>>,
    total: &mut usize,
    key: (K, usize),
    value: Option<Vec<u8>>,
) -> bool {
    let (key, key_bytes) = key;
    let cost = |value: &Option<Vec<u8>>| ENTRY_BYTES + key_bytes + value.as_ref().map_or(0, Vec::len);
    let old = map.get(&key).map_or(0, cost);
    let new = cost(&value);
    let after = (*total - old).saturating_add(new);
    if after > PENDING_BYTES_MAX && new > old {
        return false;
    }
    *total = after;
    map.insert(key, value);
    true
}

impl Shared {
    pub(super) fn new(health: StoreHealth) -> Self {
        let pending = Pending::default();
        let queue = Queue {
            pending,
            requests: Vec::new(),
            stopping: false,
            stopped: false,
            busy_since: None,
            pending_since: None,
            flushing_since: None,
            health,
        };
        Self { queue: Mutex::new(queue), queued: Condvar::new(), stopped: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_cursor(&self, key: &TriggerKey, cursor: Option<Vec<u8>>) {
        let mut queue = self.lock();
        queue.pending_since.get_or_insert_with(Instant::now);
        let pending = &mut queue.pending;
        let key_bytes = key.namespace.as_str().len() + key.name.as_str().len();
        // Refusing a cursor costs repeated deliveries only: the one stored before stays valid.
        if !replace(&mut pending.cursors, &mut pending.bytes, (key.clone(), key_bytes), cursor) {
            pending.refuse(&key.to_string(), format!("more than {PENDING_BYTES_MAX} bytes wait for the disk"));
        }
        drop(queue);
        self.queued.notify_one();
    }

    pub(super) fn write_value(&self, key: String, value: Option<Vec<u8>>) {
        let mut queue = self.lock();
        queue.pending_since.get_or_insert_with(Instant::now);
        let pending = &mut queue.pending;
        let size = key.len() + value.as_ref().map_or(0, Vec::len);
        if size > VALUE_BYTES_MAX {
            let shown: String = key.chars().take(64).collect();
            pending.refuse(&shown, format!("{size} bytes with its key, the state store takes {VALUE_BYTES_MAX}"));
        } else {
            let name = (key.clone(), key.len());
            if !replace(&mut pending.values, &mut pending.bytes, name, value) {
                pending.refuse(&key, format!("more than {PENDING_BYTES_MAX} bytes wait for the disk"));
            }
        }
        drop(queue);
        self.queued.notify_one();
    }

    pub(super) fn request(&self, request: Request) -> Result<(), StateError> {
        let mut queue = self.lock();
        if queue.stopped {
            return Err(StateError::Failed("its owner thread has stopped; start the broker again".to_owned()));
        }
        if queue.requests.len() >= REQUESTS_MAX {
            return Err(StateError::Failed(format!("{REQUESTS_MAX} requests wait already; is the disk stuck?")));
        }
        queue.requests.push(request);
        drop(queue);
        self.queued.notify_one();
        Ok(())
    }

    /// Waits for something to do: at once for a request, after `interval` for writes alone, for ever for nothing.
    pub(super) fn next(&self, interval: Duration) -> Work {
        let queue = self.lock();
        let idle = |queue: &mut Queue| queue.requests.is_empty() && !queue.stopping;
        let queue = self.queued.wait_while(queue, |queue| idle(queue) && queue.pending.is_empty());
        let queue = queue.unwrap_or_else(PoisonError::into_inner);
        let waited = self.queued.wait_timeout_while(queue, interval, idle);
        let mut queue = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(queue, _)| queue);
        queue.busy_since = Some(Instant::now());
        queue.flushing_since = queue.pending_since.take();
        let pending = std::mem::take(&mut queue.pending);
        Work { pending, requests: std::mem::take(&mut queue.requests), last: queue.stopping }
    }

    /// The owner has done a round.
    pub(super) fn done(&self, health: StoreHealth) {
        let mut queue = self.lock();
        queue.busy_since = None;
        queue.flushing_since = None;
        queue.health = health;
    }

    /// The owner has closed the database and ends; whoever waits for an answer gets an error.
    pub(super) fn ended(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        queue.requests.clear();
        self.stopped.notify_all();
    }

    /// How long the oldest write that is not durable waits.
    pub(super) fn unflushed(&self) -> Duration {
        let queue = self.lock();
        // What the owner has in hand is older than what was queued since.
        queue.flushing_since.or(queue.pending_since).map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn health(&self) -> StoreHealth {
        let queue = self.lock();
        match queue.busy_since {
            _ if queue.stopped => {
                StoreHealth::Failed("its owner thread has stopped; start the broker again".to_owned())
            }
            Some(since) if since.elapsed() > FLUSH_TIME_MAX => {
                let seconds = since.elapsed().as_secs();
                StoreHealth::Failed(format!(
                    "a flush hangs since {seconds} s; look at the disk, then restart the broker"
                ))
            }
            _ => queue.health.clone(),
        }
    }

    /// Tells the owner to flush and end; whether it did within `wait`.
    pub(super) fn stop(&self, wait: Duration) -> bool {
        let mut queue = self.lock();
        queue.stopping = true;
        self.queued.notify_one();
        let waited = self.stopped.wait_timeout_while(queue, wait, |queue| !queue.stopped);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(queue, _)| queue).stopped
    }
}
