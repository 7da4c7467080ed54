//! The engine: takes a group of batches, makes them durable, and only then says so. Synchronous; one owner drives
//! it, a thread in the broker, the simulation in its tests.
//!
//! *Invariants*: one frame is unsynced at a time; a frame is shown to readers and acknowledged only after its sync,
//! and the first of a file only after the sync of its directory; a failed sync is never retried, the engine is
//! poisoned; running out of space leaves nothing behind that could be read later, and keeps the position.
//! *Not here*: queueing and answering (`owner`), opening (`recover`).
//!
//! **Space is reserved with `fallocate`.** Measured alone on ext4 on a virtual disk, fdatasync p50 after one write of
//! 1 KiB, 64 KiB, 1 MiB: reserved 126, 235, 516 µs; filled with zeros and synced before 107, 126, 280 µs; growing file
//! 156, 190, 533 µs. Filling would halve the sync of a large group, and writes every byte twice, which nobody has
//! measured end to end yet (`tests/bench` compares both); reserving costs 0.3 ms per 64 MiB against 31 to 178 ms.
//! It is chosen because it also promises the space before a frame is begun, without a second writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::bloom::{Distinct, Field};
use super::format::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES};
use super::format::{FileHeader, NewFrame, SegmentId, encode_file_header, encode_frame};
use super::fs::{Claim, File, Open};
use super::gather::write_footer;
use super::index::Entry;
use super::options::{SEGMENT_BYTES_MAX, SegmentOptions};
use super::record::record_bytes;
use super::room::Room;
use super::spans::{CachedFrame, Segment};
use super::view::View;
use crate::clock::{Clock, UnixMicros};
use crate::event::Event;
use crate::log::{AppendError, Appended, Bounds, Health, Offset};

/// The file being written.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) id: SegmentId,
    pub(super) base: Offset,
    /// Where the next frame goes.
    pub(super) at: u64,
    /// Up to where disk space is reserved.
    pub(super) allocated: u64,
    pub(super) distinct: Distinct,
}

/// Whether appends work; see [`Health`].
#[derive(Debug)]
enum State {
    Writable,
    Full { since: UnixMicros, reason: String },
    Poisoned(String),
}

/// Writes one log.
#[derive(Debug)]
pub struct Engine {
    pub(super) view: Arc<View>,
    pub(super) options: SegmentOptions,
    pub(super) clock: Clock,
    pub(super) end: watch::Sender<Offset>,
    pub(super) current: Option<Current>,
    pub(super) next: Offset,
    pub(super) newest: UnixMicros,
    pub(super) marked: bool,
    pub(super) room: Room,
    state: State,
    _claim: Box<dyn Claim>,
}

/// What a start found, for [`Engine::new`].
#[derive(Debug)]
pub(super) struct Resume {
    pub(super) current: Option<Current>,
    pub(super) next: Offset,
    pub(super) newest: UnixMicros,
    pub(super) marked: bool,
}

/// The error kinds that mean: no room now, perhaps later.
fn is_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The path of the segment that begins at `base`.
#[must_use]
pub(super) fn segment_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.seg", base.0))
}

impl Engine {
    pub(super) fn new(
        view: Arc<View>,
        options: SegmentOptions,
        clock: Clock,
        end: watch::Sender<Offset>,
        resume: Resume,
        claim: Box<dyn Claim>,
    ) -> Self {
        let Resume { current, next, newest, marked } = resume;
        let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let options = SegmentOptions { segment_bytes, ..options };
        let (room, state) = (Room::default(), State::Writable);
        Self { view, options, clock, end, current, next, newest, marked, room, state, _claim: claim }
    }

    /// The readers' side.
    #[must_use]
    pub(super) fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// The extent of the log.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.view.bounds()
    }

    /// Whether appends work.
    #[must_use]
    pub fn health(&self) -> Health {
        self.view.health()
    }

    /// Makes a group of batches durable as one frame: all of them, or none. Their offsets follow each other.
    ///
    /// # Errors
    /// [`AppendError::Full`] leaves everything as it was; [`AppendError::Poisoned`] is final.
    pub fn commit(&mut self, group: &[Vec<Event>]) -> Result<Appended, AppendError> {
        self.check_state()?;
        let events = || group.iter().flatten();
        let length = FRAME_HEADER_BYTES + events().map(record_bytes).sum::<usize>();
        self.make_room(length as u64)?;
        let appended = self.clock.now().max(self.newest);
        let Some(current) = &mut self.current else { return Err(AppendError::Closed) };
        let frame = NewFrame { segment: current.id, base: self.next, appended, durable_up_to: self.next };
        let bytes = encode_frame(&frame, events(), length)
            .map_err(|_| AppendError::TooLarge { bytes: length, limit_bytes: self.options.batch_bytes_max })?;
        let entries = entries(current, &frame, events());
        let count = u64::try_from(events().count()).unwrap_or(u64::MAX);
        self.write_synced(&bytes)?;
        self.newest = appended;
        let first = self.next;
        self.next = first.plus(count);
        self.marked = false;
        let frames_end = self.current.as_ref().map_or(0, |current| current.at);
        let cached = CachedFrame { base: first, next: self.next, appended, bytes: bytes.into() };
        self.view.publish(cached, frames_end, entries);
        self.end.send_replace(self.next);
        if let Some(histogram) = &self.view.metrics.group_records {
            // Counts of records in a group are far below 2^52.
            histogram.observe(u32::try_from(count).map_or(f64::MAX, f64::from));
        }
        Ok(Appended { first, count, appended })
    }

    /// Refuses while the log is poisoned, or full and just tried.
    fn check_state(&mut self) -> Result<(), AppendError> {
        match &self.state {
            State::Writable => Ok(()),
            State::Poisoned(reason) => Err(AppendError::Poisoned(reason.clone())),
            State::Full { since, reason } => {
                let now = self.clock.now();
                // A clock that was set back must not keep the log shut.
                let due = now < *since || now.since(*since) >= self.options.full_retry;
                if due || self.view.take_room_made() { Ok(()) } else { Err(AppendError::Full(reason.clone())) }
            }
        }
    }

    fn full(&mut self, what: &str, error: &io::Error) -> AppendError {
        let reason = format!("{what}: {error}");
        if !matches!(self.state, State::Full { .. }) {
            tracing::warn!(broker = %self.view.metrics.labels, dir = %self.view.dir.display(), error = reason,
                "the log is out of space and goes on when there is some");
        }
        self.state = State::Full { since: self.clock.now(), reason: reason.clone() };
        self.view.set_health(Health::Full(reason.clone()));
        AppendError::Full(reason)
    }

    fn poison(&mut self, what: &str, path: &Path, error: &io::Error) -> AppendError {
        let reason = format!("{what} {}: {error}", path.display());
        tracing::error!(broker = %self.view.metrics.labels, file = %path.display(), error = reason,
            "the log takes no more appends, start the broker again once the disk is sound");
        self.state = State::Poisoned(reason.clone());
        self.view.set_health(Health::Poisoned(reason.clone()));
        AppendError::Poisoned(reason)
    }

    fn writable(&mut self) {
        if matches!(self.state, State::Full { .. }) {
            tracing::info!(broker = %self.view.metrics.labels, "the log has space again");
            self.view.set_health(Health::Writable);
        }
        self.state = State::Writable;
    }

    /// Sees to it that the current file has `length` bytes reserved at its end.
    fn make_room(&mut self, length: u64) -> Result<(), AppendError> {
        let limit = self.options.segment_bytes;
        let fits = |current: &Current| {
            // A frame larger than a segment gets a segment of its own.
            current.at + length <= limit || current.at <= FILE_HEADER_BYTES as u64
        };
        if !self.current.as_ref().is_some_and(fits) {
            self.roll()?;
        }
        self.look_ahead();
        let lacks = |current: &Current| current.at + length > current.allocated;
        if self.current.as_ref().is_some_and(lacks) {
            // What is being zeroed may be enough.
            self.settle_room();
        }
        let Some(current) = &mut self.current else { return Err(AppendError::Closed) };
        if !lacks(current) {
            return Ok(());
        }
        let needed = current.at + length;
        let step = self.options.allocate_bytes.max(1);
        let length = needed.div_ceil(step).saturating_mul(step).min(limit.max(needed));
        match current.file.allocate(length) {
            Ok(()) => current.allocated = length,
            Err(error) if is_no_room(&error) => return Err(self.full("cannot reserve disk space", &error)),
            Err(error) => {
                let path = current.path.clone();
                return Err(self.poison("cannot reserve space in", &path, &error));
            }
        }
        Ok(())
    }

    /// Writes a frame at the end of the current file and syncs it.
    fn write_synced(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let Some(current) = &self.current else { return Err(AppendError::Closed) };
        let (file, path, at) = (current.file.clone(), current.path.clone(), current.at);
        if let Err(error) = file.write_all_at(bytes, at) {
            // Part of the frame may be there. It must be gone for good before anything else is written here; where
            // nothing will be, taking it back only spares the next start from reporting it as damage.
            self.settle_room();
            let taken_back = file.set_len(at);
            if !is_no_room(&error) {
                return Err(self.poison("cannot write", &path, &error));
            }
            if let Err(error) = taken_back.and_then(|()| file.sync_data()) {
                return Err(self.poison("cannot take back part of a frame in", &path, &error));
            }
            if let Some(current) = &mut self.current {
                current.allocated = at;
            }
            return Err(self.full("cannot write", &error));
        }
        let begun = tokio::time::Instant::now();
        if let Err(error) = file.sync_data() {
            return Err(self.poison("cannot sync", &path, &error));
        }
        if let Some(histogram) = &self.view.metrics.fsync_seconds {
            histogram.observe(begun.elapsed().as_secs_f64());
        }
        let Some(current) = &mut self.current else { return Err(AppendError::Closed) };
        current.at = at + bytes.len() as u64;
        current.allocated = current.allocated.max(current.at);
        self.writable();
        Ok(())
    }

    /// Begins a new segment and seals the one before it.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub fn roll(&mut self) -> Result<(), AppendError> {
        self.check_state()?;
        if self.current.as_ref().is_some_and(|current| current.base == self.next) {
            return Ok(());
        }
        self.settle_room();
        let path = segment_path(&self.view.dir, self.next);
        let id = SegmentId::derive(self.next, self.clock.now());
        let fresh = match self.create(&path, id) {
            Ok(file) => Current {
                file,
                path: path.clone(),
                id,
                base: self.next,
                at: FILE_HEADER_BYTES as u64,
                allocated: FILE_HEADER_BYTES as u64,
                distinct: Distinct::default(),
            },
            Err(Unmade::Sync(error)) => return Err(self.poison("cannot sync", &path, &error)),
            // Nothing was acknowledged from the file, so whatever kept it from being made may pass.
            Err(Unmade::Create(error)) => {
                let _ = self.view.fs.remove(&path);
                return Err(self.full("cannot make a new segment", &error));
            }
        };
        let segment = Segment::empty(id, self.next, path);
        let old = self.current.replace(fresh);
        let bloom = old.as_ref().map(|old| old.distinct.filter()).unwrap_or_default();
        let file = self.current.as_ref().map(|current| current.file.clone());
        let sealed = file.and_then(|file| self.view.replace_active((segment, file), bloom));
        match (old, sealed) {
            (Some(old), Some(sealed)) => self.seal(&old, &sealed),
            _ => Ok(()),
        }
    }

    /// Makes an empty segment, durable with its name.
    fn create(&self, path: &Path, id: SegmentId) -> Result<Arc<dyn File>, Unmade> {
        let fs = &self.view.fs;
        let opened = match fs.open(path, Open::CreateNew) {
            // Left over from a try that failed half-way; nothing in it was acknowledged.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs.remove(path).and_then(|()| fs.open(path, Open::CreateNew))
            }
            other => other,
        };
        let file = opened.map_err(Unmade::Create)?;
        let header = FileHeader { segment: id, base: self.next, created: self.clock.now() };
        file.write_all_at(&encode_file_header(&header), 0).map_err(Unmade::Create)?;
        file.sync_data().and_then(|()| fs.sync_dir(&self.view.dir)).map_err(Unmade::Sync)?;
        Ok(file)
    }

    /// Writes the footer and gives back what was reserved in vain. Only a failed sync matters: a footer can be made
    /// again.
    fn seal(&mut self, old: &Current, segment: &Segment) -> Result<(), AppendError> {
        if let Err(error) = write_footer(old.file.as_ref(), segment) {
            tracing::warn!(broker = %self.view.metrics.labels, file = %old.path.display(), %error,
                "a finished segment has no footer and is read whole at the next start");
        }
        old.file.sync_data().map_err(|error| self.poison("cannot sync", &old.path, &error))
    }

    /// Leaves a mark that everything before it was synced, so that the next start need not suspect the last frame,
    /// and gives back reserved space.
    pub fn finish(&mut self) {
        let used = self.current.as_ref().is_some_and(|current| current.at > FILE_HEADER_BYTES as u64);
        if !matches!(self.state, State::Writable) || self.marked || !used {
            return;
        }
        if self.make_room(FRAME_HEADER_BYTES as u64).is_err() {
            return;
        }
        let Some(current) = &self.current else { return };
        let frame = NewFrame { segment: current.id, base: self.next, appended: self.newest, durable_up_to: self.next };
        let Ok(bytes) = encode_frame(&frame, std::iter::empty(), FRAME_HEADER_BYTES) else { return };
        self.settle_room();
        if self.write_synced(&bytes).is_ok() {
            self.marked = true;
            if let Some(current) = &self.current {
                let _ = current.file.set_len(current.at).and_then(|()| current.file.sync_data());
            }
        }
    }
}

/// Why a segment was not made.
enum Unmade {
    Create(io::Error),
    Sync(io::Error),
}

/// Index entries for the records of a frame about to be written; takes their types and sources in.
fn entries<'a>(current: &mut Current, frame: &NewFrame, events: impl Iterator<Item = &'a Event>) -> Vec<Entry> {
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let mut entries = super::index::SparseIndex::default();
    let mut record_at = current.at + FRAME_HEADER_BYTES as u64;
    let first = frame.base.0.saturating_sub(current.base.0);
    for (record, event) in (first..).zip(events) {
        current.distinct.add(Field::Type, event.ty());
        current.distinct.add(Field::Source, event.source());
        entries.offer(Entry {
            record: narrow(record),
            record_at: narrow(record_at),
            frame: narrow(first),
            frame_at: narrow(current.at),
            appended: frame.appended,
        });
        record_at += record_bytes(event) as u64;
    }
    entries.entries().to_vec()
}
