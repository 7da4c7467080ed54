//! What readers see of a log: its segments, its durable end, and the latest frames in memory.
//!
//! *Responsibility*: hand a reader what it needs and let go; the lock is held for look-ups only, never over I/O.
//! *Inputs*: the engine publishes each committed frame and each sealed segment. *Invariants*: nothing that is not
//! durable is ever here. *Not here*: reading files (`reader`).

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::bloom::{Bloom, Field};
use super::fs::{File, FileSystem};
use super::index::Entry;
use super::options::LogMetrics;
use super::spans::{CachedFrame, Ring, Segment, Span};
use crate::clock::UnixMicros;
use crate::log::{Bounds, Health, Offset};

/// Damaged stretches remembered so that each is reported once; a log with more reports some again.
const REPORTED_MAX: usize = 1024;

/// How to answer a read.
#[derive(Debug)]
pub(super) enum Plan {
    /// Below the first offset kept.
    Trimmed(Offset),
    /// Nothing there yet.
    Nothing,
    /// These offsets have no file.
    Gap(Range<Offset>),
    /// From these frames.
    Memory(Vec<CachedFrame>),
    /// From this file.
    File(Span),
}

#[derive(Debug)]
struct Active {
    segment: Segment,
    file: Arc<dyn File>,
}

#[derive(Debug)]
struct Shared {
    sealed: Vec<Arc<Segment>>,
    active: Option<Active>,
    ring: Ring,
    next: Offset,
    health: Health,
    reported: BTreeSet<Offset>,
    gauge: i64,
}

/// The readers' side of a log.
#[derive(Debug)]
pub(super) struct View {
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) dir: PathBuf,
    pub(super) metrics: LogMetrics,
    memory_bytes: usize,
    end: watch::Receiver<Offset>,
    shared: Mutex<Shared>,
    room: AtomicBool,
    trimming: Mutex<()>,
}

/// What a new view begins with.
#[derive(Debug)]
pub(super) struct Found {
    /// Segments that take no more frames, lowest first.
    pub(super) sealed: Vec<Arc<Segment>>,
    /// The one that does, and its file.
    pub(super) active: Option<(Segment, Arc<dyn File>)>,
    /// The durable end.
    pub(super) next: Offset,
}

impl View {
    /// A view of what a start found.
    #[must_use]
    pub(super) fn new(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        metrics: LogMetrics,
        memory_bytes: usize,
        end: watch::Receiver<Offset>,
        found: Found,
    ) -> Self {
        let active = found.active.map(|(segment, file)| Active { segment, file });
        let shared = Shared {
            sealed: found.sealed,
            active,
            ring: Ring::default(),
            next: found.next,
            health: Health::Writable,
            reported: BTreeSet::new(),
            gauge: 0,
        };
        let view = Self {
            fs,
            dir: dir.to_owned(),
            metrics,
            memory_bytes,
            end,
            shared: Mutex::new(shared),
            room: AtomicBool::new(false),
            trimming: Mutex::new(()),
        };
        view.update_gauge(&mut view.lock());
        view
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every critical section leaves the value whole, so a panic elsewhere does not spoil it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while files are removed.
    pub(super) fn trimming(&self) -> MutexGuard<'_, ()> {
        self.trimming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receiving end of the durable end.
    #[must_use]
    pub(super) fn end(&self) -> watch::Receiver<Offset> {
        self.end.clone()
    }

    /// The extent of the log.
    #[must_use]
    pub(super) fn bounds(&self) -> Bounds {
        let shared = self.lock();
        let active = shared.active.as_ref().map(|active| &active.segment);
        let segments = || shared.sealed.iter().map(Arc::as_ref).chain(active);
        Bounds {
            first: segments().next().map_or(shared.next, |segment| segment.base),
            next: shared.next,
            bytes: segments().map(Segment::frame_bytes).sum(),
            oldest: segments().find_map(|segment| segment.oldest),
            newest: active
                .and_then(|segment| segment.newest)
                .or_else(|| shared.sealed.iter().rev().find_map(|segment| segment.newest)),
        }
    }

    /// How to answer a read from `from` on that wants about `bytes`.
    #[must_use]
    pub(super) fn plan(&self, from: Offset, bytes: usize) -> Plan {
        let shared = self.lock();
        if from >= shared.next {
            return Plan::Nothing;
        }
        let frames = &shared.ring.frames;
        if frames.front().is_some_and(|frame| frame.base <= from) {
            let mut wanted = bytes;
            let mut picked = Vec::new();
            for frame in frames.range(frames.partition_point(|frame| frame.next <= from)..) {
                picked.push(frame.clone());
                wanted = wanted.saturating_sub(frame.bytes.len());
                // The first frame may lie mostly before `from`, so it alone never satisfies the wish.
                if wanted == 0 && picked.len() > 1 {
                    break;
                }
            }
            return Plan::Memory(picked);
        }
        plan_file(&shared, from)
    }

    /// Where to look for the first record appended at or after `time`; `None` when every record is older.
    #[must_use]
    pub(super) fn plan_time(&self, time: UnixMicros) -> Option<Span> {
        let shared = self.lock();
        let late = |segment: &Segment| segment.newest.is_some_and(|newest| newest >= time);
        let entry = |segment: &Segment| segment.index.before_time(time).unwrap_or_else(|| segment.first_entry());
        // Segments without records have no times, so this is a walk and not a bisection.
        if let Some(segment) = shared.sealed.iter().find(|segment| late(segment)) {
            return Some(Span::new(segment, entry(segment), None));
        }
        let active = shared.active.as_ref().filter(|active| late(&active.segment))?;
        Some(Span::new(&active.segment, entry(&active.segment), Some(active.file.clone())))
    }

    /// The first offset at or after `from` whose segment may hold an event with this value.
    #[must_use]
    pub(super) fn skip_to(&self, from: Offset, field: Field, value: &str) -> Offset {
        let shared = self.lock();
        let active = shared.active.as_ref().map(|active| &active.segment);
        let mut segments = shared.sealed.iter().map(Arc::as_ref).chain(active).filter(|segment| segment.next > from);
        let found = segments.find(|segment| segment.bloom.may_hold(field, value));
        found.map_or(shared.next, |segment| segment.base.max(from)).max(from)
    }

    /// Whether appends work.
    #[must_use]
    pub(super) fn health(&self) -> Health {
        self.lock().health.clone()
    }

    pub(super) fn set_health(&self, health: Health) {
        self.lock().health = health;
    }

    /// Tells the engine that space was freed.
    pub(super) fn room_made(&self) {
        self.room.store(true, Ordering::Release);
    }

    /// Whether space was freed since the last call.
    pub(super) fn take_room_made(&self) -> bool {
        self.room.swap(false, Ordering::AcqRel)
    }

    /// Shows a committed frame to readers.
    pub(super) fn publish(&self, frame: CachedFrame, frames_end: u64, entries: Vec<Entry>) {
        let mut shared = self.lock();
        shared.next = frame.next;
        if let Some(active) = &mut shared.active {
            active.segment.extend(frame.next, frames_end, frame.appended);
            entries.into_iter().for_each(|entry| active.segment.index.offer(entry));
        }
        shared.ring.push(frame, self.memory_bytes);
        self.update_gauge(&mut shared);
    }

    /// Moves the segment being written to the sealed ones and puts `next` into its place. Returns what was sealed.
    pub(super) fn replace_active(&self, next: (Segment, Arc<dyn File>), bloom: Bloom) -> Option<Arc<Segment>> {
        let mut shared = self.lock();
        let old = shared.active.replace(Active { segment: next.0, file: next.1 });
        let sealed = old.map(|old| {
            let mut segment = old.segment;
            segment.bloom = bloom;
            segment.index.shrink();
            Arc::new(segment)
        });
        shared.sealed.extend(sealed.clone());
        sealed
    }

    /// The segment being written, as it is now.
    #[must_use]
    pub(super) fn active(&self) -> Option<Segment> {
        self.lock().active.as_ref().map(|active| active.segment.clone())
    }

    /// The sealed segments, lowest first.
    #[must_use]
    pub(super) fn sealed(&self) -> Vec<Arc<Segment>> {
        self.lock().sealed.clone()
    }

    /// Takes the lowest sealed segment out, if it is the one that begins at `base`.
    pub(super) fn drop_first(&self, base: Offset) {
        let mut shared = self.lock();
        if shared.sealed.first().is_some_and(|segment| segment.base == base) {
            shared.sealed.remove(0);
        }
        let first = shared.sealed.first().map(|segment| segment.base);
        let first = first.or_else(|| shared.active.as_ref().map(|active| active.segment.base));
        let first = first.unwrap_or(shared.next);
        shared.ring.forget(|frame| frame.base < first);
        self.update_gauge(&mut shared);
    }

    /// Lets go of frames in memory that were appended before `time`.
    pub(super) fn forget_before(&self, time: UnixMicros) {
        self.lock().ring.forget(|frame| frame.appended < time);
    }

    /// Reports damaged offsets, once per stretch.
    pub(super) fn report_lost(&self, path: &Path, position: u64, lost: &[Range<Offset>], what: &str) {
        for range in lost {
            let mut shared = self.lock();
            if shared.reported.len() >= REPORTED_MAX {
                shared.reported.clear();
            }
            if !shared.reported.insert(range.start) {
                continue;
            }
            drop(shared);
            self.metrics.damaged.inc_by(range.end.0.saturating_sub(range.start.0));
            tracing::error!(
                broker = %self.metrics.labels,
                file = %path.display(),
                position,
                first = range.start.0,
                end = range.end.0,
                error = what,
                "events in the log are damaged and left out, `reveille log verify` shows the extent"
            );
        }
    }

    /// The gauge is shared by the logs of a Broker, so each adds its difference.
    fn update_gauge(&self, shared: &mut Shared) {
        let active = shared.active.as_ref().map_or(0, |active| active.segment.frame_bytes());
        let sealed: u64 = shared.sealed.iter().map(|segment| segment.frame_bytes()).sum();
        let now = i64::try_from(active + sealed).unwrap_or(i64::MAX);
        self.metrics.bytes.inc_by(now - shared.gauge);
        shared.gauge = now;
    }
}

fn plan_file(shared: &Shared, from: Offset) -> Plan {
    let place = shared.sealed.partition_point(|segment| segment.next <= from);
    if let Some(segment) = shared.sealed.get(place) {
        if segment.base <= from {
            return Plan::File(Span::new(segment, segment.entry(from), None));
        }
        return missing(place, from, segment.base);
    }
    match &shared.active {
        Some(active) if active.segment.base <= from => {
            Plan::File(Span::new(&active.segment, active.segment.entry(from), Some(active.file.clone())))
        }
        Some(active) => missing(place, from, active.segment.base),
        None => missing(place, from, shared.next),
    }
}

/// No segment holds `from`: it lies below all of them, or a file between two is gone.
fn missing(segments_below: usize, from: Offset, next_base: Offset) -> Plan {
    if segments_below == 0 { Plan::Trimmed(next_base) } else { Plan::Gap(from..next_base) }
}
