//! A log in memory, for tests: the whole contract but durability. It can be told to fail as a disk would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use super::contract::{
    AppendError, Appended, Bounds, EventLog, Health, Offset, Page, ReadError, ReadLimit, Record, Retention, Tail,
    Ticket, TrimError, Trimmed,
};
use crate::clock::{Clock, UnixMicros};
use crate::event::Event;

/// Records that retention removes together, standing in for a segment.
const SEGMENT_RECORDS: usize = 16;

/// A log in memory. Clones share the same records.
#[derive(Debug, Clone)]
pub struct MemoryLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    end: watch::Sender<Offset>,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    first: Offset,
    records: Vec<Record>,
    failure: Option<AppendError>,
    closed: bool,
}

impl MemoryLog {
    /// An empty log that takes its append times from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let state = State { first: Offset(0), records: Vec::new(), failure: None, closed: false };
        Self(Arc::new(Shared { state: Mutex::new(state), end: watch::Sender::new(Offset(0)), clock }))
    }

    /// Makes every append from now on fail with `failure`; `None` makes them work again.
    pub fn fail_appends(&self, failure: Option<AppendError>) {
        self.state().failure = failure;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self) -> Offset {
        self.first.plus(self.records.len() as u64)
    }

    fn append(&mut self, events: Vec<Event>, now: UnixMicros) -> Result<Appended, AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let first = self.next();
        let appended = self.records.last().map_or(now, |last| last.appended.max(now));
        let count = events.len() as u64;
        let numbered = (first.0..).map(Offset).zip(events);
        self.records.extend(numbered.map(|(offset, event)| Record { offset, appended, event }));
        Ok(Appended { first, count, appended })
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        if from < self.first {
            return Err(ReadError::Trimmed { asked: from, first: self.first });
        }
        let skip = usize::try_from(from.0 - self.first.0).unwrap_or(usize::MAX);
        let mut records = Vec::new();
        let mut bytes = 0;
        for record in self.records.iter().skip(skip).take(limit.records.max(1)) {
            bytes += record.event.size_bytes();
            if bytes > limit.bytes && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        let next = records.last().map_or(from, |last| last.offset.next());
        Ok(Page { records, next, lost: Vec::new() })
    }

    fn size_bytes(&self) -> u64 {
        self.records.iter().map(|record| record.event.size_bytes() as u64).sum()
    }

    /// Removes one stand-in segment; `false` when there is no whole one.
    fn drop_segment(&mut self, trimmed: &mut Trimmed, settled: Offset) -> bool {
        if self.records.len() < SEGMENT_RECORDS {
            return false;
        }
        let gone: Vec<Record> = self.records.drain(..SEGMENT_RECORDS).collect();
        self.first = self.first.plus(SEGMENT_RECORDS as u64);
        trimmed.segments += 1;
        trimmed.bytes += gone.iter().map(|record| record.event.size_bytes() as u64).sum::<u64>();
        trimmed.discarded_unsettled += gone.iter().filter(|record| record.offset >= settled).count() as u64;
        true
    }

    fn trim(&mut self, settled: Offset, retention: Retention, now: UnixMicros) -> Trimmed {
        let mut trimmed = Trimmed::default();
        while let Some(last) = self.records.get(SEGMENT_RECORDS - 1) {
            let size = self.size_bytes();
            let old = retention.age.is_some_and(|age| last.appended < now.before(age));
            let large = retention.bytes.is_some_and(|limit| size > limit);
            let forced = retention.discard_above_bytes.is_some_and(|limit| size > limit);
            let may_go = forced || ((old || large) && last.offset < settled);
            if !may_go || !self.drop_segment(&mut trimmed, settled) {
                break;
            }
        }
        trimmed.first = self.first;
        trimmed
    }
}

impl EventLog for MemoryLog {
    fn append(&self, events: Vec<Event>) -> Ticket {
        let mut state = self.state();
        let answer = state.append(events, self.0.clock.now());
        let next = state.next();
        drop(state);
        if answer.is_ok() {
            self.0.end.send_if_modified(|end| {
                let moved = *end < next;
                *end = next.max(*end);
                moved
            });
        }
        Ticket::ready(answer)
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>> {
        ready(self.state().read(from, limit)).boxed()
    }

    fn seek_time(&self, time: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        let state = self.state();
        let found = state.records.iter().find(|record| record.appended >= time);
        ready(Ok(found.map_or_else(|| state.next(), |record| record.offset))).boxed()
    }

    fn bounds(&self) -> Bounds {
        let state = self.state();
        Bounds {
            first: state.first,
            next: state.next(),
            bytes: state.size_bytes(),
            oldest: state.records.first().map(|record| record.appended),
            newest: state.records.last().map(|record| record.appended),
        }
    }

    fn tail(&self) -> Tail {
        Tail::new(self.0.end.subscribe())
    }

    fn trim(
        &self,
        settled: Offset,
        retention: Retention,
        now: UnixMicros,
    ) -> BoxFuture<'_, Result<Trimmed, TrimError>> {
        ready(Ok(self.state().trim(settled, retention, now))).boxed()
    }

    fn health(&self) -> Health {
        match &self.state().failure {
            None => Health::Writable,
            Some(AppendError::Full(why)) => Health::Full(why.clone()),
            Some(failure) => Health::Poisoned(failure.to_string()),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.state().closed = true;
        ready(()).boxed()
    }
}
