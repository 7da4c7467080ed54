//! Leader election by a Lease: of all controllers of a cluster only one writes.
//!
//! *Responsibility*: [`Elector`], which decides from what the Lease says and when it was seen to change (no clock of
//! another machine is trusted), and [`run()`], which reads and writes the Lease by it. *Outputs*: a [`Leadership`] that
//! every write asks first. *Invariants*: a leader stops by itself `deadline` after the beginning of its last renewal,
//! and others take over no sooner than `duration` after they saw that renewal; `duration` is longer by more than a
//! write may take, so two never write at once. *Not here*: what the leader does.

mod run;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use run::{Place, run};

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long a Lease holds after its renewal was seen.
    pub(crate) duration: Duration,
    /// How long its holder goes on without renewing it.
    pub(crate) deadline: Duration,
    /// How often the holder renews it.
    pub(crate) renew: Duration,
    /// How often others look, and how soon a failed renewal is tried again.
    pub(crate) retry: Duration,
    /// Longest that a look and the write after it may take together: as slow as it may be, a renewal that began on
    /// time ends before the deadline.
    pub(crate) round: Duration,
}

impl Timing {
    /// Times in the usual proportion: two thirds, a third and an eighth of the duration.
    pub(crate) fn of(duration: Duration) -> Self {
        let (deadline, renew) = (duration * 2 / 3, duration / 3);
        Self { duration, deadline, renew, retry: duration / 8, round: deadline - renew }
    }

    /// Longest that a write may take: what lies between a leader's last write and the next leader's first.
    pub(crate) fn write_limit(&self) -> Duration {
        (self.duration - self.deadline) / 2
    }
}

/// What the Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who holds it; empty when it was given up.
    pub(crate) holder: String,
    /// How long it says to hold.
    pub(crate) duration: Duration,
    /// Its `resourceVersion`: changes with every write.
    pub(crate) version: String,
}

/// What to do about the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is none: make it.
    Create,
    /// It is free: take it.
    Take,
    /// It is held by this process: renew it.
    Renew,
    /// Another holds it: look again later.
    Wait,
}

/// The decision, see the module.
#[derive(Debug)]
pub(crate) struct Elector {
    me: String,
    seen: Option<(Record, Instant)>,
    renewed: Option<Instant>,
    timing: Timing,
}

impl Elector {
    /// Knows nothing yet.
    pub(crate) fn new(me: &str, timing: Timing) -> Self {
        Self { me: me.to_owned(), seen: None, renewed: None, timing }
    }

    /// What to do, given what the Lease says now.
    pub(crate) fn decide(&mut self, record: Option<Record>, now: Instant) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        if record.holder == self.me {
            return Step::Renew;
        }
        self.renewed = None;
        let known = self.seen.as_ref().filter(|(known, _)| *known == record);
        let since = known.map_or(now, |(_, since)| *since);
        let expired = now.duration_since(since) >= record.duration.max(self.timing.duration);
        let free = record.holder.is_empty();
        self.seen = Some((record, since));
        if expired || free { Step::Take } else { Step::Wait }
    }

    /// A create, take or renewal that began at `started` went through.
    pub(crate) fn renewed(&mut self, started: Instant) {
        self.renewed = Some(started);
    }

    /// Until when this process may write; `None` when it may not.
    pub(crate) fn valid_until(&self, now: Instant) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.deadline).filter(|until| *until > now)
    }

    /// When to look again.
    pub(crate) fn next(&self, now: Instant, went_well: bool) -> Instant {
        if went_well && self.valid_until(now).is_some() { now + self.timing.renew } else { now + self.timing.retry }
    }
}

/// Whether this process is the leader. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether a write may begin now.
    pub(crate) fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns when it may have begun or ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn changed(&mut self) {
        let until = *self.0.borrow();
        let ends = async {
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.0.changed() => if changed.is_err() { ends_never().await },
            () = ends => {}
        }
    }
}

async fn ends_never() {
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests;
