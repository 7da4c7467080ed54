//! Which objects to look at next, and when.
//!
//! *Responsibility*: each object at most once in the queue; none while a write for it is under way; waits that double
//! after failures, and between the writes of an object that is written over and over. *Invariants*: pure, `now` is
//! handed in; bounded by the number of objects. *Not here*: looking at them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::world::Key;

/// Wait after a first failure: about one turn of a busy API server.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest wait after failures: an hour of trouble costs sixty writes an object.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Writes of one object in a row that need not wait: more than any healthy change takes.
const WRITES_AT_ONCE: u32 = 5;
/// Wait before the next write of a longer row; it doubles.
const REST_FIRST: Duration = Duration::from_secs(1);
/// How long without a write, the waits left aside, ends a row.
const ROW_ENDS: Duration = Duration::from_secs(10);

/// The queue, see the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In order of their turn: Brokers before Triggers.
    ready: BTreeSet<Key>,
    later: BTreeMap<Key, Instant>,
    /// Under way; true where the object changed meanwhile.
    busy: HashMap<Key, bool>,
    troubles: HashMap<Key, Trouble>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Trouble {
    failures: u32,
    writes: u32,
    last_write: Option<Instant>,
}

impl Queue {
    /// The object changed, or something that it refers to.
    pub(crate) fn add(&mut self, key: Key, now: Instant) {
        if let Some(again) = self.busy.get_mut(&key) {
            *again = true;
        } else if self.later.get(&key).is_none_or(|due| *due <= now || self.may_hurry(&key)) {
            self.later.remove(&key);
            self.ready.insert(key);
        }
    }

    /// Objects in trouble keep their wait whatever changes around them.
    fn may_hurry(&self, key: &Key) -> bool {
        self.troubles.get(key).is_none_or(|trouble| trouble.failures == 0 && trouble.writes < WRITES_AT_ONCE)
    }

    /// Looks at the object again after that wait.
    pub(crate) fn add_later(&mut self, key: Key, wait: Duration, now: Instant) {
        self.later.insert(key, now + wait);
    }

    /// The next object whose turn it is.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Key> {
        let due: Vec<Key> = self.later.iter().filter(|(_, due)| **due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.later.remove(&key);
            self.ready.insert(key);
        }
        self.ready.pop_first()
    }

    /// When the next wait is over; now or earlier when something is ready.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if self.ready.is_empty() { self.later.values().min().copied() } else { Some(now) }
    }

    /// A write for the object begins.
    pub(crate) fn begin(&mut self, key: &Key) {
        self.busy.insert(key.clone(), false);
    }

    /// How long the object's next write has to wait: it was written too often in a row.
    pub(crate) fn must_rest(&self, key: &Key, now: Instant) -> Option<Duration> {
        let trouble = self.troubles.get(key)?;
        let over = trouble.writes.checked_sub(WRITES_AT_ONCE)?;
        let until = trouble.last_write? + doubled(REST_FIRST, over);
        (until > now).then(|| until - now)
    }

    /// The write went through.
    pub(crate) fn succeeded(&mut self, key: &Key, now: Instant) {
        let trouble = self.troubles.entry(key.clone()).or_default();
        let rest = trouble.writes.checked_sub(WRITES_AT_ONCE).map_or(Duration::ZERO, |over| doubled(REST_FIRST, over));
        let goes_on = trouble.last_write.is_some_and(|last| now < last + rest + ROW_ENDS);
        trouble.writes = if goes_on { trouble.writes.saturating_add(1) } else { 1 };
        trouble.failures = 0;
        trouble.last_write = Some(now);
        self.end(key, now);
    }

    /// The write failed: it is tried again, after a longer wait each time.
    pub(crate) fn failed(&mut self, key: &Key, now: Instant) {
        let trouble = self.troubles.entry(key.clone()).or_default();
        trouble.failures = trouble.failures.saturating_add(1);
        let wait = doubled(BACKOFF_FIRST, trouble.failures - 1);
        self.busy.remove(key);
        self.later.insert(key.clone(), now + wait);
    }

    /// The object is as it should be.
    pub(crate) fn settled(&mut self, key: &Key) {
        if let Some(trouble) = self.troubles.get_mut(key) {
            trouble.failures = 0;
        }
    }

    /// The object is gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.ready.remove(key);
        self.later.remove(key);
        self.troubles.remove(key);
    }

    /// Forgets what was to be done: another process does it now.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Objects that wait for their turn.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.later.len()
    }

    fn end(&mut self, key: &Key, now: Instant) {
        if self.busy.remove(key) == Some(true) {
            self.add(key.clone(), now);
        }
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
