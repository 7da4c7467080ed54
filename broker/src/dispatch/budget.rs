//! Bytes of events in memory, per Trigger and for all of them.
//!
//! *Invariants*: what is counted is given back when the [`Permit`] drops; a Trigger that holds nothing always gets
//! its first permit, so that even an event larger than every limit can be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event::Event;

/// The bytes that all Triggers share.
#[derive(Debug)]
pub(super) struct Pool {
    used: AtomicUsize,
    limit: usize,
}

/// The bytes of one Trigger.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
    pool: Arc<Pool>,
}

/// Bytes that are taken; dropping gives them back.
#[derive(Debug)]
#[must_use = "the bytes are given back as soon as this is dropped"]
pub(super) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

/// An event in memory, and the permit for it.
#[derive(Debug)]
pub(super) struct Kept {
    /// The event, in memory of its own.
    pub(super) event: Event,
    _permit: Permit,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }
}

impl Budget {
    pub(super) fn new(limit: usize, pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit, pool })
    }

    /// Takes bytes, unless that would pass a limit.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let own = self.used.fetch_add(bytes, Ordering::AcqRel);
        let all = self.pool.used.fetch_add(bytes, Ordering::AcqRel);
        // Counted already, so that dropping the permit on refusal gives back just that.
        let permit = Permit { budget: self.clone(), bytes };
        let fits = own.saturating_add(bytes) <= self.limit && all.saturating_add(bytes) <= self.pool.limit;
        (fits || own == 0).then_some(permit)
    }

    /// Keeps an event, which has memory of its own, unless that would pass a limit.
    pub(super) fn keep(self: &Arc<Self>, event: &Event) -> Option<Kept> {
        let permit = self.take(event.size_bytes())?;
        Some(Kept { event: event.clone(), _permit: permit })
    }

    /// Whether so little is held that reading ahead makes sense.
    pub(super) fn is_low(&self) -> bool {
        let own = self.used.load(Ordering::Acquire);
        own == 0 || (own <= self.limit / 2 && self.pool.used.load(Ordering::Acquire) <= self.pool.limit / 2)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.pool.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_the_first_always_passes() {
        let pool = Pool::new(100);
        let (a, b) = (Budget::new(80, pool.clone()), Budget::new(80, pool.clone()));
        let first = a.take(70).unwrap();
        assert!(a.take(20).is_none(), "its own limit");
        assert!(!a.is_low());
        let of_b = b.take(500).unwrap();
        assert!(b.take(1).is_none());
        drop(of_b);
        let of_b = b.take(10).unwrap();
        assert!(b.take(30).is_none(), "the limit of all");
        drop((first, of_b));
        assert_eq!(pool.used.load(Ordering::Acquire), 0);
        assert!(a.is_low() && b.is_low());
    }
}
