//! The bounded way from a Broker's router to one worker.
//!
//! ```text
//!   attached:   router ──▶ [ queue ] ──▶ worker         everything that matches from `attached_from` on is queued
//!   overflow:   router drops what does not fit, notes the offset, and thinks no more of this worker
//!   detached:   worker empties the queue, reads the log by itself from that offset, and attaches again
//! ```
//! *Invariants*: between two attachments the queue has every match without a gap; the queue holds at most its
//! limit of events and what the [`Budget`] allows. *Not here*: reading the log ([`super::worker`]), matching
//! ([`super::router`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::budget::{Budget, Kept};
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::Offset;

/// An event that matched, as the router hands it on.
#[derive(Debug, Clone)]
pub(super) struct Matched {
    pub(super) offset: Offset,
    pub(super) appended: UnixMicros,
    pub(super) event: Event,
}

/// An event in the queue.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) offset: Offset,
    pub(super) appended: UnixMicros,
    pub(super) kept: Kept,
}

/// What a look into the queue found besides events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Nothing is left in the queue.
    pub(super) emptied: bool,
    /// The queue is empty and was cut off here: go on reading from this offset.
    pub(super) detached_at: Option<Offset>,
    /// The router asks for a report.
    pub(super) nudged: bool,
}

/// The queue; the router and the worker hold it together.
#[derive(Debug)]
pub(super) struct Feed {
    inner: Mutex<Inner>,
    notify: Notify,
    budget: Arc<Budget>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Fed>,
    attached_from: Option<Offset>,
    detached_at: Option<Offset>,
    nudged: bool,
}

impl Feed {
    /// A feed that nobody is attached to.
    pub(super) fn new(limit: usize, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), notify: Notify::new(), budget, limit: limit.max(1) })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bytes of the Trigger.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// From `from` on the router queues what matches. Only [`super::hub::Hub::attach`] knows a safe offset.
    pub(super) fn attach(&self, from: Offset) {
        self.with(|inner| *inner = Inner { attached_from: Some(from), nudged: inner.nudged, ..Inner::default() });
    }

    /// The worker goes its own way; what is queued is forgotten.
    pub(super) fn detach(&self) {
        self.with(|inner| *inner = Inner { nudged: inner.nudged, ..Inner::default() });
    }

    /// Queues matches in order of offset. If one does not fit, it and all later ones are left to the worker.
    pub(super) fn push(&self, batch: impl Iterator<Item = Matched>) {
        self.with(|inner| {
            for Matched { offset, appended, event } in batch {
                if inner.attached_from.is_none_or(|from| offset < from) {
                    continue;
                }
                let room = inner.queue.len() < self.limit;
                let Some(kept) = room.then(|| self.budget.keep(&event)).flatten() else {
                    inner.attached_from = None;
                    inner.detached_at = Some(offset);
                    break;
                };
                inner.queue.push_back(Fed { offset, appended, kept });
            }
        });
        self.notify.notify_one();
    }

    /// Asks the worker to report where it is.
    pub(super) fn nudge(&self) {
        self.with(|inner| inner.nudged = true);
        self.notify.notify_one();
    }

    /// Moves up to `room` events into `out`.
    pub(super) fn take(&self, room: usize, out: &mut Vec<Fed>) -> Taken {
        self.with(|inner| {
            let count = room.min(inner.queue.len());
            out.extend(inner.queue.drain(..count));
            let emptied = inner.queue.is_empty();
            let detached_at = if emptied { inner.detached_at.take() } else { None };
            Taken { emptied, detached_at, nudged: std::mem::take(&mut inner.nudged) }
        })
    }

    /// Waits until there may be something to take.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn changed(&self) {
        self.notify.notified().await;
    }
}
