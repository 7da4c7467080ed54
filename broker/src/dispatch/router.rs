//! Reads a Broker's log once, at its durable end, and queues each event to the workers whose Triggers want it.
//!
//! *Inputs*: the log, the hub's routes. *Outputs*: the feeds, the hub's position. *Invariants*: never waits for a
//! worker; holds one page and at most [`BATCH_EVENTS_MAX`] queued matches. *Not here*: what workers do, cursors.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::Matched;
use super::hub::{Hub, Routes};
use super::limits::Pause;
use crate::log::{BrokerLogs, Offset, Page, ReadError, ReadLimit};
use crate::metrics::{BrokerLabels, Metrics};

/// Matches gathered before they are queued: enough to take each feed's lock once per page where few Triggers match,
/// small enough (about 1 MiB) where thousands do.
const BATCH_EVENTS_MAX: usize = 8192;

/// Time between two nudges for each worker: 1,000 reports per second cost about 1 % of a core.
const NUDGE_PER_WORKER: Duration = Duration::from_millis(1);

/// Wait when the log says there is something, and has nothing: only a faulty engine does, and it must not spin.
const EMPTY_READ_PAUSE: Duration = Duration::from_millis(100);

/// The router of one Broker.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) hub: Arc<Hub>,
    pub(super) logs: Arc<BrokerLogs>,
    pub(super) metrics: Metrics,
    /// Shortest time between two nudges.
    pub(super) nudge_interval: Duration,
}

/// Memory that is used again for every page.
#[derive(Debug, Default)]
struct Scratch {
    hits: Vec<usize>,
    touched: Vec<usize>,
    batches: Vec<Vec<Matched>>,
    gathered: usize,
}

impl Router {
    /// Routes until the log is closed.
    pub(super) async fn run(self) {
        let mut tail = self.logs.events.tail();
        let mut at = self.hub.position();
        let mut pause = Pause::default();
        let mut scratch = Scratch::default();
        let mut nudge_at: Option<Instant> = None;
        loop {
            tokio::select! {
                end = tail.past(at) => if end.is_none() { return },
                () = sleep_until(nudge_at) => {
                    nudge_at = None;
                    self.nudge();
                    continue;
                }
            }
            match self.logs.events.read(at, ReadLimit::default()).await {
                Ok(page) => {
                    pause.reset();
                    self.report_lost(&page);
                    let routes = self.hub.claim(page.next);
                    route(&routes, &page, &mut scratch);
                    self.hub.routed(page.next);
                    if page.next == at {
                        tokio::time::sleep(EMPTY_READ_PAUSE).await;
                    }
                    at = at.max(page.next);
                    nudge_at = nudge_at.or_else(|| Some(Instant::now() + self.nudge_wait(&routes)));
                    // Ready workers run before the next page, on a runtime of one thread too.
                    tokio::task::yield_now().await;
                }
                Err(ReadError::Trimmed { first, .. }) => {
                    // Workers that were attached here lose nothing that retention has not taken from all of them.
                    at = at.max(first);
                    self.hub.claim(at);
                    self.hub.routed(at);
                }
                Err(ReadError::Closed) => return,
                Err(error @ ReadError::Io { .. }) => {
                    if pause.is_first() {
                        tracing::error!(broker = %self.logs.key, offset = %at, %error, "cannot read the log");
                    }
                    tokio::time::sleep(pause.next()).await;
                }
            }
        }
    }

    fn nudge_wait(&self, routes: &Routes) -> Duration {
        let workers = u32::try_from(routes.feeds.len()).unwrap_or(u32::MAX);
        self.nudge_interval.max(NUDGE_PER_WORKER.saturating_mul(workers))
    }

    /// Workers with nothing to do move their cursors only when told: thousands of timers would cost more.
    fn nudge(&self) {
        for feed in &self.hub.routes().feeds {
            feed.nudge();
        }
    }

    fn report_lost(&self, page: &Page) {
        for range in &page.lost {
            tracing::error!(
                broker = %self.logs.key, offset = %range.start, end = %range.end,
                "records are damaged and cannot be delivered; `reveille log verify` inspects them"
            );
            let count = range.end.0.saturating_sub(range.start.0);
            self.metrics.damaged_records.get_or_create(&BrokerLabels::from(&self.logs.key)).inc_by(count);
        }
    }
}

/// Waits for a moment; for ever without one.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Queues a page's matches.
fn route(routes: &Routes, page: &Page, scratch: &mut Scratch) {
    scratch.batches.resize_with(routes.feeds.len(), Vec::new);
    for record in &page.records {
        scratch.hits.clear();
        routes.index.matching(&record.event, &mut scratch.hits);
        if scratch.hits.is_empty() {
            continue;
        }
        // Copied once, shared by all: the page's buffer must not live as long as its slowest event.
        let matched = Matched { offset: record.offset, appended: record.appended, event: record.event.detach() };
        for hit in &scratch.hits {
            let Some(batch) = scratch.batches.get_mut(*hit) else { continue };
            if batch.is_empty() {
                scratch.touched.push(*hit);
            }
            batch.push(matched.clone());
        }
        scratch.gathered += scratch.hits.len();
        if scratch.gathered >= BATCH_EVENTS_MAX {
            flush(routes, scratch);
        }
    }
    flush(routes, scratch);
}

fn flush(routes: &Routes, scratch: &mut Scratch) {
    for position in scratch.touched.drain(..) {
        if let (Some(batch), Some(feed)) = (scratch.batches.get_mut(position), routes.feeds.get(position)) {
            feed.push(batch.drain(..));
        }
    }
    scratch.gathered = 0;
}

/// The first offset of a router: where the most advanced part of its Triggers left off, but not further back than
/// `behind_max` from the end; those that are further behind read by themselves.
pub(super) fn start(cursors: impl Iterator<Item = Offset>, first: Offset, next: Offset, behind_max: u64) -> Offset {
    let earliest = Offset(next.0.saturating_sub(behind_max)).max(first);
    cursors.min().unwrap_or(next).clamp(earliest.min(next), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_starts_near_the_end() {
        let check = |cursors: &[u64], expected: u64| {
            let start = start(cursors.iter().copied().map(Offset), Offset(100), Offset(1000), 500);
            assert_eq!(start, Offset(expected), "{cursors:?}");
        };
        check(&[], 1000);
        check(&[900, 950], 900);
        check(&[900, 3], 500);
        check(&[2000], 1000);
        assert_eq!(super::start([Offset(0)].into_iter(), Offset(990), Offset(1000), 500), Offset(990));
    }
}
