//! Bytes of events in memory, per Trigger and for all of them.
//!
//! *Invariants*: what is counted is given back when the [`Permit`] drops; a Trigger that holds nothing always gets
//! its first permit, so that even an event larger than every limit can be delivered; what others hold never takes
//! a Trigger's own share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event::Event;

/// What a Trigger may hold whatever the others do: so many usual events that a healthy subscriber is kept busy.
const SHARE_BYTES: usize = 256 << 10;

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
        let held = own.saturating_add(bytes);
        let room = all.saturating_add(bytes) <= self.pool.limit || held <= SHARE_BYTES;
        ((held <= self.limit && room) || own == 0).then_some(permit)
    }

    /// Keeps an event, which has memory of its own, unless that would pass a limit.
    pub(super) fn keep(self: &Arc<Self>, event: &Event) -> Option<Kept> {
        let permit = self.take(event.size_bytes())?;
        Some(Kept { event: event.clone(), _permit: permit })
    }

    /// Bytes that may be read ahead; `None` while so much is held that it is better to wait.
    pub(super) fn room(&self) -> Option<usize> {
        let own = self.used.load(Ordering::Acquire);
        let free = self.pool.limit.saturating_sub(self.pool.used.load(Ordering::Acquire));
        let limit = self.limit.min(free.max(SHARE_BYTES));
        (own <= limit / 2).then(|| limit - own)
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
        let mib = 1 << 20;
        let pool = Pool::new(10 * mib);
        let (a, b) = (Budget::new(8 * mib, pool.clone()), Budget::new(8 * mib, pool.clone()));
        let first = a.take(7 * mib).unwrap();
        assert!(a.take(2 * mib).is_none(), "its own limit");
        assert_eq!(a.room(), None);
        let of_b = b.take(50 * mib).unwrap();
        assert!(b.take(1).is_none(), "the first passes, the second does not");
        drop(of_b);
        let of_b = b.take(mib).unwrap();
        assert!(b.take(3 * mib).is_none(), "the limit of all");
        drop(of_b);
        let crowd = a.take(0).unwrap();
        let rest = b.take(3 * mib).unwrap();
        let c = Budget::new(8 * mib, pool.clone());
        assert_eq!(c.room(), Some(SHARE_BYTES));
        let shares: Vec<_> = (0..4).map(|_| c.take(SHARE_BYTES / 4).unwrap()).collect();
        assert!(c.take(1).is_none() && c.room().is_none(), "others have taken the rest");
        drop((first, crowd, rest, shares));
        assert_eq!(pool.used.load(Ordering::Acquire), 0);
        assert_eq!(a.room(), Some(8 * mib));
    }
}
