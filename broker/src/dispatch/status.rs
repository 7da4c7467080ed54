//! What dispatch shows to the admin API and to metrics: a board of small snapshots, one per Trigger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::UnixMicros;
use crate::log::Offset;
use crate::names::{BrokerKey, TriggerKey};
use crate::wake::WakeState;

/// Attempts remembered per Trigger for `reveille events show`: enough for the last burst, small enough (about
/// 100 KiB) for many Triggers.
pub const ATTEMPTS_KEPT_MAX: usize = 512;

/// One attempt that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Of which event.
    pub offset: Offset,
    /// When it began.
    pub at: UnixMicros,
    /// Where to.
    pub endpoint: Arc<str>,
    /// HTTP status, if any.
    pub code: Option<u16>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What was wrong, if anything.
    pub error: Option<String>,
}

/// A Trigger's dispatch at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerStatus {
    /// Its Broker.
    pub broker: BrokerKey,
    /// Everything below is matched.
    pub scanned: Offset,
    /// The lowest unsettled offset; nothing at or above it may be trimmed.
    pub floor: Offset,
    /// Matched and not settled, those that wait for a retry included.
    pub unsettled: u64,
    /// Of those, waiting for a retry.
    pub retrying: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Dead letters of this Trigger since the broker started.
    pub dead_letters: u64,
    /// Whether the subscriber is up; `None` where the broker does not wake it.
    pub wake: Option<WakeState>,
    /// The last attempts failed.
    pub failing: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Append time of the oldest unsettled event.
    pub oldest_unsettled: Option<UnixMicros>,
}

/// Shared by the workers (which write their own entry) and readers (which copy).
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    status: BTreeMap<TriggerKey, TriggerStatus>,
    attempts: BTreeMap<TriggerKey, VecDeque<AttemptRecord>>,
}

impl StatusBoard {
    /// An empty board.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Board) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a Trigger's entry.
    pub fn set(&self, key: &TriggerKey, status: TriggerStatus) {
        self.with(|board| board.status.insert(key.clone(), status));
    }

    /// Removes a Trigger.
    pub fn remove(&self, key: &TriggerKey) {
        self.with(|board| {
            board.status.remove(key);
            board.attempts.remove(key);
        });
    }

    /// One Trigger.
    #[must_use]
    pub fn get(&self, key: &TriggerKey) -> Option<TriggerStatus> {
        self.with(|board| board.status.get(key).cloned())
    }

    /// All Triggers.
    #[must_use]
    pub fn all(&self) -> Vec<(TriggerKey, TriggerStatus)> {
        self.with(|board| board.status.iter().map(|(key, status)| (key.clone(), status.clone())).collect())
    }

    /// Remembers an attempt that is worth showing: a failed one, or a success after failures.
    pub fn record(&self, key: &TriggerKey, attempt: AttemptRecord) {
        self.with(|board| {
            let kept = board.attempts.entry(key.clone()).or_default();
            if kept.len() >= ATTEMPTS_KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(attempt);
        });
    }

    /// The attempts remembered for one event of a Trigger.
    #[must_use]
    pub fn attempts(&self, key: &TriggerKey, offset: Offset) -> Vec<AttemptRecord> {
        self.with(|board| {
            let kept = board.attempts.get(key);
            kept.map_or_else(Vec::new, |kept| kept.iter().filter(|a| a.offset == offset).cloned().collect())
        })
    }
}
