//! What dispatch shows to the admin API and to metrics: a board of small snapshots, one per Trigger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::clock::UnixMicros;
use crate::log::{Bounds, Offset};
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
    /// Where it began: what lies below was never for it. 0 where that is not known.
    pub began: Offset,
    /// Everything below is matched.
    pub scanned: Offset,
    /// The lowest unsettled offset; nothing at or above it may be trimmed.
    pub floor: Offset,
    /// The lowest of its dead letters, in the dead-letter log, that its dead letter sink has still to get.
    pub letters_floor: Option<Offset>,
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

/// How much a Trigger has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Events that matched and are not settled (those that wait for a retry or a dead letter sink included), and all
    /// kept records that the Trigger has not looked at yet.
    pub events: u64,
    /// Their bytes, estimated from the mean size of the records kept.
    pub bytes: u64,
}

impl TriggerStatus {
    /// The one definition of lag, for the API and the metrics. `log` is of the Trigger's Broker.
    #[must_use]
    pub fn lag(&self, log: &Bounds) -> Lag {
        let unread = log.next.0.saturating_sub(self.scanned.max(log.first).0);
        let events = self.unsettled.saturating_add(unread);
        let kept = log.next.0.saturating_sub(log.first.0);
        // What a log keeps is more than what waits, unless it was trimmed under its hard limit.
        let bytes = (u128::from(log.bytes) * u128::from(events.min(kept))).checked_div(u128::from(kept)).unwrap_or(0);
        Lag { events, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }
}

/// Shared by the workers (which write their own entry) and readers (which copy).
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    /// Told when a subscriber wakes, goes to sleep, or cannot be woken.
    turned: Notify,
}

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
        f(&mut self.0.board.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a Trigger's entry.
    pub fn set(&self, key: &TriggerKey, status: TriggerStatus) {
        let shown = |status: &TriggerStatus| (status.wake, status.last_error.clone());
        let now = status.wake.map(|_| shown(&status));
        let before = self.with(|board| board.status.insert(key.clone(), status));
        if now.is_some_and(|now| before.is_none_or(|before| shown(&before) != now)) {
            self.0.turned.notify_one();
        }
    }

    /// Waits until a subscriber that the broker wakes wakes, goes to sleep or cannot be woken; for one who waits.
    ///
    /// # Cancel safety
    /// May be dropped and called again; nothing is missed.
    pub async fn turned(&self) {
        self.0.turned.notified().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_waits_and_what_was_not_looked_at() {
        let bounds =
            |first, next, bytes| Bounds { first: Offset(first), next: Offset(next), bytes, ..Bounds::default() };
        for (row, scanned, unsettled, bounds, (events, bytes)) in [
            ("empty log", 0, 0, bounds(0, 0, 0), (0, 0)),
            ("caught up", 100, 0, bounds(0, 100, 5000), (0, 0)),
            ("half behind", 50, 0, bounds(0, 100, 5000), (50, 2500)),
            ("one old event retries, the rest is done", 100, 1, bounds(0, 100, 5000), (1, 50)),
            ("both", 90, 2, bounds(0, 100, 5000), (12, 600)),
            ("trimmed past the position", 10, 3, bounds(60, 100, 4000), (43, 4000)),
            ("position ahead of the log", 101, 0, bounds(0, 100, 5000), (0, 0)),
        ] {
            let status = TriggerStatus {
                broker: "ns/b".parse().unwrap(),
                began: Offset(0),
                scanned: Offset(scanned),
                floor: Offset(0),
                letters_floor: None,
                unsettled,
                retrying: 0,
                in_flight: 0,
                dead_letters: 0,
                wake: None,
                failing: false,
                last_error: None,
                oldest_unsettled: None,
            };
            assert_eq!(status.lag(&bounds), Lag { events, bytes }, "{row}");
        }
    }
}
