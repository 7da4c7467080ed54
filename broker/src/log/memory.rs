//! [`MemoryLog`]: a log that keeps its promises until the process ends; for tests of everything above the log.
//!
//! *Responsibility*: the contract of [`EventLog`], honestly, without files. *Invariants*: as the contract says;
//! "durable" means appended. A segment is one batch, so that retention has something to remove. *Not here*: limits
//! of memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{
    AppendError, Appended, Bounds, EventLog, Health, Offset, Page, ReadError, ReadLimit, Record, Retention, Tail,
    Ticket, TrimError, Trimmed,
};
use crate::clock::{Clock, UnixMicros};
use crate::event::Event;

#[derive(Debug)]
struct Batch {
    first: Offset,
    appended: UnixMicros,
    events: Vec<Event>,
}

#[derive(Debug)]
struct State {
    batches: VecDeque<Batch>,
    first: Offset,
    newest: Option<UnixMicros>,
    failure: Option<AppendError>,
    /// Gone once the log is closed.
    end: Option<watch::Sender<Offset>>,
}

/// A log in memory. Clones share the same records.
#[derive(Debug, Clone)]
pub struct MemoryLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    end: watch::Receiver<Offset>,
    clock: Clock,
}

impl Batch {
    fn next(&self) -> Offset {
        self.first.plus(self.events.len() as u64)
    }

    fn bytes(&self) -> u64 {
        self.events.iter().map(|event| event.size_bytes() as u64).sum()
    }
}

impl MemoryLog {
    /// An empty log that takes its append times from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let (sender, end) = watch::channel(Offset(0));
        let state =
            State { batches: VecDeque::new(), first: Offset(0), newest: None, failure: None, end: Some(sender) };
        Self(Arc::new(Shared { state: Mutex::new(state), end, clock }))
    }

    /// Makes every append from now on fail with `failure`; `None` makes them work again. Reads go on.
    pub fn fail_appends(&self, failure: Option<AppendError>) {
        self.lock().failure = failure;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the value whole, so a panic elsewhere does not spoil it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, events: Vec<Event>) -> Result<Appended, AppendError> {
        let mut state = self.lock();
        let Some(first) = state.end.as_ref().map(|end| *end.borrow()) else { return Err(AppendError::Closed) };
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let appended = self.0.clock.now().max(state.newest.unwrap_or_default());
        let count = events.len() as u64;
        if count > 0 {
            state.newest = Some(appended);
            state.batches.push_back(Batch { first, appended, events });
            if let Some(end) = &state.end {
                end.send_replace(first.plus(count));
            }
        }
        Ok(Appended { first, count, appended })
    }

    fn read_now(&self, from: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        let state = self.lock();
        if from < state.first {
            return Err(ReadError::Trimmed { asked: from, first: state.first });
        }
        let mut page = Page { records: Vec::new(), next: from, lost: Vec::new() };
        let mut bytes = 0_usize;
        let begin = state.batches.partition_point(|batch| batch.next() <= from);
        for batch in state.batches.range(begin..) {
            for (offset, event) in (batch.first.0..).map(Offset).zip(&batch.events) {
                if offset < from {
                    continue;
                }
                bytes = bytes.saturating_add(event.size_bytes());
                let fits = page.records.len() < limit.records && bytes <= limit.bytes;
                if !fits && !page.records.is_empty() {
                    return Ok(page);
                }
                page.records.push(Record { offset, appended: batch.appended, event: event.clone() });
                page.next = offset.next();
            }
        }
        Ok(page)
    }

    fn trim_now(&self, settled: Offset, retention: Retention, now: UnixMicros) -> Trimmed {
        let mut state = self.lock();
        let mut bytes: u64 = state.batches.iter().map(Batch::bytes).sum();
        let mut trimmed = Trimmed::default();
        while let Some(batch) = state.batches.front() {
            let above = |limit: Option<u64>| limit.is_some_and(|limit| bytes > limit);
            let old = retention.age.is_some_and(|age| batch.appended < now.before(age));
            let lets_go = batch.next() <= settled && (old || above(retention.bytes));
            if !lets_go && !above(retention.discard_above_bytes) {
                break;
            }
            let (next, size) = (batch.next(), batch.bytes());
            trimmed.discarded_unsettled += next.0.saturating_sub(batch.first.max(settled).0);
            trimmed.segments += 1;
            trimmed.bytes += size;
            bytes = bytes.saturating_sub(size);
            state.first = next;
            state.batches.pop_front();
        }
        trimmed.first = state.first;
        trimmed
    }
}

impl EventLog for MemoryLog {
    fn append(&self, events: Vec<Event>) -> Ticket {
        Ticket::ready(self.append_now(events))
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>> {
        std::future::ready(self.read_now(from, limit)).boxed()
    }

    fn seek_time(&self, time: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        let state = self.lock();
        let place = state.batches.partition_point(|batch| batch.appended < time);
        let found = state.batches.get(place).map_or_else(|| *self.0.end.borrow(), |batch| batch.first);
        std::future::ready(Ok(found)).boxed()
    }

    fn bounds(&self) -> Bounds {
        let state = self.lock();
        Bounds {
            first: state.first,
            next: *self.0.end.borrow(),
            bytes: state.batches.iter().map(Batch::bytes).sum(),
            oldest: state.batches.front().map(|batch| batch.appended),
            newest: state.batches.back().map(|batch| batch.appended),
        }
    }

    fn tail(&self) -> Tail {
        Tail::new(self.0.end.clone())
    }

    fn trim(
        &self,
        settled: Offset,
        retention: Retention,
        now: UnixMicros,
    ) -> BoxFuture<'_, Result<Trimmed, TrimError>> {
        std::future::ready(Ok(self.trim_now(settled, retention, now))).boxed()
    }

    fn health(&self) -> Health {
        match &self.lock().failure {
            None => Health::Writable,
            Some(AppendError::Full(reason)) => Health::Full(reason.clone()),
            Some(failure) => Health::Poisoned(failure.to_string()),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.lock().end = None;
        std::future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::log::contract_suite::{self, Fixture};

    #[tokio::test]
    async fn it_keeps_the_contract() {
        contract_suite::run(|| {
            let time = Arc::new(AtomicU64::new(1_000_000));
            Fixture { log: Arc::new(MemoryLog::new(Clock::manual(time.clone()))), time, held: Box::new(()) }
        })
        .await;
    }

    #[tokio::test]
    async fn it_can_be_made_to_refuse() {
        let log = MemoryLog::new(Clock::system());
        log.fail_appends(Some(AppendError::Full("test".to_owned())));
        let event = contract_suite::event(1, 10);
        assert!(matches!(log.append(vec![event.clone()]).await, Err(AppendError::Full(_))));
        log.fail_appends(None);
        assert_eq!(log.append(vec![event]).await.unwrap().first, Offset(0));
    }
}
