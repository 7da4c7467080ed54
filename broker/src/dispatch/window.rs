//! The window of one Trigger: which matched events are not settled, and which of them may be attempted now. Pure:
//! moments are handed in.
//!
//! ```text
//!              admit                     take                    settle
//!   (matched) ──────▶ blocked ─▶ ready ───────▶ under way ───────────────▶ gone
//!                     (in lane)    ▲               │ retry / defer
//!                                  └── waiting ◀───┘        turn_to_sink: leaves its lane, ready for the sink
//! ```
//! *Invariants*: an offset below [`Window::scanned`] that has no entry is settled or did not match; of a lane only
//! the lowest offset is ever ready or waiting, and under way only with those directly behind it, in one request; what
//! came of a group is applied from its last event to its first, so that none overtakes; the cursor lists every entry that was tried, and stops
//! its `scanned` below the first one that was not, so that it stays small and nothing is missed after a restart.
//! *Not here*: limits on what is admitted ([`super::worker`] asks [`Window::len`]), time, I/O.

mod group;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::UnixMicros;
use crate::log::{LogId, Offset};
use crate::names::BrokerKey;
use crate::state::{Cursor, Phase, Unsettled};

pub(super) use self::group::GroupMax;

/// `B` is what is kept in memory of an event; an entry without it has to be read from the log again.
#[derive(Debug)]
pub(super) struct Window<B> {
    began: Offset,
    scanned: Offset,
    entries: BTreeMap<Offset, Entry<B>>,
    ready: VecDeque<Offset>,
    ready_for_sink: VecDeque<Offset>,
    waiting: BTreeSet<(Instant, Offset)>,
    lanes: HashMap<u64, VecDeque<Offset>>,
    /// One past the highest offset that was tried or settled: below it, order of settling is not order of offsets.
    tried: Offset,
}

#[derive(Debug)]
struct Entry<B> {
    attempts: u32,
    /// Attempts in a row that found nobody and were not counted.
    strikes: u8,
    phase: Phase,
    lane: Option<u64>,
    appended: Option<UnixMicros>,
    due: UnixMicros,
    /// When `due` is, on the clock that timers use.
    due_at: Option<Instant>,
    letter: Option<Offset>,
    /// Of the event, whether it is in memory or not.
    bytes: usize,
    /// Events that a request with this one may carry at the most.
    company_max: usize,
    body: Option<B>,
}

/// An event that was taken out for an attempt; it stays in the window until it is settled or put back.
#[derive(Debug)]
pub(super) struct Taken<B> {
    /// Which.
    pub(super) offset: Offset,
    /// Attempts made before in this phase.
    pub(super) attempts: u32,
    /// Attempts in a row that found nobody.
    pub(super) strikes: u8,
    /// Its dead letter, where it waits for the sink.
    pub(super) letter: Option<Offset>,
    /// The event, if it is in memory.
    pub(super) body: Option<B>,
}

/// An entry as a restart finds it.
#[derive(Debug)]
pub(super) struct Restored {
    /// As the cursor had it.
    pub(super) unsettled: Unsettled,
    /// Its lane.
    pub(super) lane: Option<u64>,
    /// Append time.
    pub(super) appended: UnixMicros,
    /// Size of the event in bytes.
    pub(super) bytes: usize,
    /// When the next attempt is due; `None` for at once.
    pub(super) due_at: Option<Instant>,
    /// Its dead letter, where it waits for the sink.
    pub(super) letter: Option<Offset>,
}

impl<B> Window<B> {
    /// An empty window of a Trigger that begins at `scanned`.
    pub(super) fn new(scanned: Offset) -> Self {
        Self::resumed(scanned, scanned)
    }

    /// An empty window at `scanned`, of a Trigger that began at `began`.
    pub(super) fn resumed(began: Offset, scanned: Offset) -> Self {
        Self {
            began,
            scanned,
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            ready_for_sink: VecDeque::new(),
            waiting: BTreeSet::new(),
            lanes: HashMap::new(),
            tried: scanned,
        }
    }

    /// Where the Trigger began.
    pub(super) fn began(&self) -> Offset {
        self.began
    }

    /// Everything below is matched.
    pub(super) fn scanned(&self) -> Offset {
        self.scanned
    }

    /// Unsettled events.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Events that wait for a moment.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether an event is ready for the subscriber.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether an event is ready for the dead letter sink.
    pub(super) fn has_ready_for_sink(&self) -> bool {
        !self.ready_for_sink.is_empty()
    }

    /// The next moment at which a waiting event is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Append time of the lowest unsettled event.
    pub(super) fn oldest(&self) -> Option<UnixMicros> {
        self.entries.values().next().and_then(|entry| entry.appended)
    }

    /// The lowest dead letter that waits for the sink.
    pub(super) fn letters_floor(&self) -> Option<Offset> {
        self.entries.values().filter_map(|entry| entry.letter).min()
    }

    /// Notes that everything below `offset` was matched, and what matched was admitted.
    pub(super) fn scan_to(&mut self, offset: Offset) {
        self.scanned = self.scanned.max(offset);
    }

    /// Takes in the next event that matched. One that lies below what was scanned is there already.
    pub(super) fn admit(
        &mut self,
        offset: Offset,
        appended: UnixMicros,
        bytes: usize,
        lane: Option<u64>,
        body: Option<B>,
    ) {
        if offset < self.scanned {
            return;
        }
        self.scanned = offset.next();
        let entry = Entry {
            attempts: 0,
            strikes: 0,
            phase: Phase::Subscriber,
            lane,
            appended: Some(appended),
            due: UnixMicros(0),
            due_at: None,
            letter: None,
            bytes,
            company_max: usize::MAX,
            body,
        };
        self.insert(offset, entry);
    }

    /// Takes in an entry of a saved cursor; lowest offset first.
    pub(super) fn restore(&mut self, restored: Restored) {
        let Restored { unsettled, lane, appended, bytes, due_at, letter } = restored;
        let entry = Entry {
            attempts: unsettled.attempts,
            strikes: 0,
            phase: unsettled.phase,
            lane: lane.filter(|_| unsettled.phase == Phase::Subscriber),
            appended: Some(appended),
            due: unsettled.due,
            due_at,
            letter,
            bytes,
            company_max: usize::MAX,
            body: None,
        };
        self.insert(unsettled.offset, entry);
    }

    fn insert(&mut self, offset: Offset, entry: Entry<B>) {
        let heads = entry.lane.is_none_or(|lane| {
            let lane = self.lanes.entry(lane).or_default();
            lane.push_back(offset);
            lane.len() == 1
        });
        self.entries.insert(offset, entry);
        if heads {
            self.activate(offset);
        }
    }

    /// Makes an event ready, or lets it wait for its moment.
    fn activate(&mut self, offset: Offset) {
        let Some(entry) = self.entries.get(&offset) else { return };
        match (entry.due_at, entry.phase) {
            (Some(at), _) => {
                self.waiting.insert((at, offset));
            }
            (None, Phase::Subscriber) => self.ready.push_back(offset),
            (None, Phase::DeadLetterSink) => self.ready_for_sink.push_back(offset),
        }
    }

    /// Makes ready what is due at `now`.
    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some((at, offset)) = self.waiting.first().copied() {
            if at > now {
                break;
            }
            self.waiting.pop_first();
            if let Some(entry) = self.entries.get_mut(&offset) {
                entry.due_at = None;
            }
            self.activate(offset);
        }
    }

    /// Takes out the event that has been ready for the subscriber the longest.
    pub(super) fn take(&mut self) -> Option<Taken<B>> {
        let offset = self.ready.pop_front()?;
        self.taken(offset)
    }

    /// Takes out the event that has been ready for the dead letter sink the longest.
    pub(super) fn take_for_sink(&mut self) -> Option<Taken<B>> {
        let offset = self.ready_for_sink.pop_front()?;
        self.taken(offset)
    }

    fn taken(&mut self, offset: Offset) -> Option<Taken<B>> {
        let entry = self.entries.get_mut(&offset)?;
        entry.due_at = None;
        Some(Taken {
            offset,
            attempts: entry.attempts,
            strikes: entry.strikes,
            letter: entry.letter,
            body: entry.body.take(),
        })
    }

    /// An event that was taken is done.
    pub(super) fn settle(&mut self, offset: Offset) {
        self.tried = self.tried.max(offset.next());
        if let Some(entry) = self.entries.remove(&offset) {
            self.leave_lane(entry.lane, offset);
        }
    }

    /// An event that was taken has used an attempt and is due again.
    pub(super) fn retry(&mut self, offset: Offset, due: UnixMicros, at: Instant) {
        self.tried = self.tried.max(offset.next());
        if let Some(entry) = self.entries.get_mut(&offset) {
            entry.attempts = entry.attempts.saturating_add(1);
            entry.strikes = 0;
            entry.due = due;
            entry.due_at = Some(at);
        }
        self.resume(offset);
    }

    /// An event that was taken could not be attempted; it is tried again at `at`, and no attempt is used.
    pub(super) fn defer(&mut self, offset: Offset, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&offset) {
            entry.due_at = Some(at);
        }
        self.resume(offset);
    }

    /// An event that was taken found nobody: ready again, and no attempt is used.
    pub(super) fn strike(&mut self, offset: Offset) {
        if let Some(entry) = self.entries.get_mut(&offset) {
            entry.strikes = entry.strikes.saturating_add(1);
        }
        self.resume(offset);
    }

    /// An event that was taken goes on; one that came along behind another in its lane is blocked again.
    fn resume(&mut self, offset: Offset) {
        let lane = self.entries.get(&offset).and_then(|entry| entry.lane);
        let first = lane.and_then(|lane| self.lanes.get(&lane)).and_then(|queue| queue.front());
        if first.is_none_or(|first| *first == offset) {
            self.activate(offset);
        }
    }

    /// An event that was taken is a dead letter now and goes to the sink, with attempts of its own.
    pub(super) fn turn_to_sink(&mut self, offset: Offset, letter: Offset) {
        self.tried = self.tried.max(offset.next());
        let Some(entry) = self.entries.get_mut(&offset) else { return };
        entry.phase = Phase::DeadLetterSink;
        entry.attempts = 0;
        entry.due = UnixMicros(0);
        entry.due_at = None;
        entry.letter = Some(letter);
        let lane = entry.lane.take();
        self.leave_lane(lane, offset);
        self.activate(offset);
    }

    /// The first of a lane leaves, or one that was taken along with the first; the next one may go only once the first
    /// has left.
    fn leave_lane(&mut self, lane: Option<u64>, offset: Offset) {
        let Some(lane) = lane else { return };
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        if queue.front() != Some(&offset) {
            queue.retain(|other| *other != offset);
            return;
        }
        queue.pop_front();
        match queue.front().copied() {
            Some(next) => self.activate(next),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    /// What a restart has to know.
    pub(super) fn cursor(&self, (broker, log): (&BrokerKey, LogId), incarnation: Option<Arc<str>>) -> Cursor {
        let listed = self.entries.range(..self.tried).map(|(offset, entry)| Unsettled {
            offset: *offset,
            attempts: entry.attempts,
            due: entry.due,
            phase: entry.phase,
        });
        let untried = self.entries.range(self.tried..).next().map(|(offset, _)| *offset);
        Cursor {
            incarnation,
            broker: broker.clone(),
            log,
            began: self.began,
            scanned: untried.unwrap_or(self.scanned),
            unsettled: listed.collect(),
            retired: None,
        }
    }
}

#[cfg(test)]
mod tests;
