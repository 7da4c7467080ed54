//! Random workloads on the log, and the walk over every point at which the power may go.
//!
//! *Responsibility*: after each single operation of a workload, build images of the disk, open the log on each, and
//! hold it against what the workload knows. *Inputs*: a seed. *Not here*: the disk's behaviour (`disk`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use broker::clock::{Clock, UnixMicros};
use broker::event::{BodyKind, Event, SpecVersion};
use broker::log::segment::{Engine, LogMetrics, SegmentOptions};
use broker::log::{AppendError, Offset, ReadError, ReadLimit, Retention};
use bytes::Bytes;

use super::disk::{Disk, Survivors};
use super::fs::{Entry, Note, SimFs};

/// Where the simulated log lies.
pub const DIR: &str = "/log";

/// How large a walk is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Operations on the disk, at the least.
    pub ops: usize,
    /// Random images at each of them, besides the three fixed ones.
    pub random_images: usize,
}

/// What a walk did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Points at which the power went.
    pub points: usize,
    /// Images recovered.
    pub images: usize,
    /// Most records seen in an image.
    pub records_max: u64,
}

/// Tiny segments, so that rolls, footers and trims happen all the time.
#[must_use]
pub fn tiny() -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 6 << 10,
        allocate_bytes: 2 << 10,
        // A thread would make the order of operations a matter of chance.
        zero_ahead_bytes: 0,
        memory_bytes: 4 << 10,
        ..SegmentOptions::default()
    }
}

/// The events of a workload, made once each.
#[derive(Debug)]
pub struct Events {
    salt: u64,
    made: Vec<Event>,
}

impl Events {
    /// Those of this salt.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { salt, made: Vec::new() }
    }

    /// The one that belongs at `offset`.
    pub fn at(&mut self, offset: u64) -> &Event {
        let place = usize::try_from(offset).expect("workloads are short");
        for offset in self.made.len()..=place {
            self.made.push(event(self.salt, offset as u64));
        }
        &self.made[place]
    }
}

/// The event that belongs at this offset in this workload: everything in it follows from the two numbers.
#[must_use]
pub fn event(salt: u64, offset: u64) -> Event {
    let mut rng = fastrand::Rng::with_seed(salt ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // Runs of zeros lie on purpose: they look like sectors that never arrived.
    let length = rng.usize(0..900);
    let mut body = vec![0; length];
    if rng.u8(0..4) > 0 {
        rng.fill(&mut body);
    }
    Event::builder(SpecVersion::V1)
        .attribute("id", &format!("{salt}-{offset}"))
        .attribute("source", "/sim")
        .attribute("type", &format!("t{}", offset % 5))
        .body(BodyKind::Binary, Bytes::from(body))
        .build()
        .expect("it has all required attributes")
}

/// A clock that moves on a little whenever somebody looks after the workload did something.
fn clock(micros: u64) -> (Arc<AtomicU64>, Clock) {
    let time = Arc::new(AtomicU64::new(micros));
    (time.clone(), Clock::manual(time))
}

/// Opens the log on a simulated file system.
///
/// # Errors
/// What the log said.
pub fn open(fs: &SimFs, options: SegmentOptions, clock: Clock) -> Result<Engine> {
    Ok(Engine::open(Arc::new(fs.clone()), Path::new(DIR), options, clock, LogMetrics::default())?)
}

/// A workload: appends in groups of batches, retention, clean and unclean restarts.
struct Workload {
    fs: SimFs,
    rng: fastrand::Rng,
    salt: u64,
    next: u64,
    trimmed: u64,
    time: Arc<AtomicU64>,
    clock: Clock,
}

impl Workload {
    fn run(&mut self, ops: usize) -> Result<()> {
        let mut engine = open(&self.fs, tiny(), self.clock.clone())?;
        while self.fs.journal().len() < ops {
            for _ in 0..self.rng.usize(1..40) {
                self.time.fetch_add(self.rng.u64(0..1000), Ordering::AcqRel);
                match self.rng.u8(0..20) {
                    0 => self.trim(&mut engine)?,
                    _ => self.append(&mut engine)?,
                }
            }
            // Sometimes the process ends without a word, which is no power cut: the system keeps what was written.
            if self.rng.bool() {
                engine.finish();
            }
            drop(engine);
            engine = open(&self.fs, tiny(), self.clock.clone())?;
            ensure!(engine.bounds().next == Offset(self.next), "a restart without a power cut lost something");
        }
        Ok(())
    }

    fn append(&mut self, engine: &mut Engine) -> Result<()> {
        let mut at = self.next;
        let group: Vec<Vec<Event>> = (0..self.rng.usize(1..4))
            .map(|_| {
                let count = self.rng.u64(1..4);
                at += count;
                (at - count..at).map(|offset| event(self.salt, offset)).collect()
            })
            .collect();
        self.fs.note(Note::Submitted(at));
        let appended = engine.commit(&group)?;
        ensure!(appended.first == Offset(self.next), "offsets are not dense");
        self.next = at;
        self.fs.note(Note::Acknowledged(at));
        Ok(())
    }

    fn trim(&mut self, engine: &mut Engine) -> Result<()> {
        let settled = self.rng.u64(self.trimmed..=self.next);
        self.fs.note(Note::Trimming(settled));
        let retention = Retention { bytes: Some(self.rng.u64(0..16 << 10)), ..Retention::default() };
        let now = UnixMicros(self.time.load(Ordering::Acquire));
        let trimmed = engine.trim(Offset(settled), retention, now)?;
        ensure!(trimmed.first <= Offset(settled), "retention went past the settled offset");
        self.trimmed = trimmed.first.0;
        Ok(())
    }
}

/// What must hold of every image at a point of the workload.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    submitted: u64,
    acknowledged: u64,
    trimming: u64,
}

/// Runs the workload of a seed and recovers from every crash point of it.
///
/// # Errors
/// The first image that breaks a promise, with its place.
pub fn walk(seed: u64, size: Size) -> Result<Walked> {
    walk_with(seed, size, |_| {})
}

/// [`walk`] on a file system that `prepare` has been at.
///
/// # Errors
/// As [`walk`].
pub fn walk_with(seed: u64, size: Size, prepare: impl FnOnce(&SimFs)) -> Result<Walked> {
    let fs = SimFs::default();
    prepare(&fs);
    let (time, clock) = clock(1_700_000_000_000_000);
    let rng = fastrand::Rng::with_seed(seed);
    let mut workload = Workload { fs: fs.clone(), rng, salt: seed, next: 0, trimmed: 0, time, clock };
    workload.run(size.ops)?;
    let mut rng = fastrand::Rng::with_seed(!seed);
    let mut disk = Disk::default();
    let mut known = Known::default();
    let mut events = Events::new(seed);
    let mut walked = Walked::default();
    for (place, entry) in fs.journal().into_iter().enumerate() {
        match entry {
            Entry::Note(Note::Submitted(next)) => known.submitted = next,
            Entry::Note(Note::Acknowledged(next)) => known.acknowledged = next,
            Entry::Note(Note::Trimming(settled)) => known.trimming = settled.max(known.trimming),
            Entry::Op(op) => {
                disk.apply(&op);
                walked.points += 1;
                let fixed = [Survivors::Nothing, Survivors::Everything, Survivors::LastWriteTorn];
                let random = std::iter::repeat_n(Survivors::Some, size.random_images);
                for survivors in fixed.into_iter().chain(random) {
                    let image = disk.image(survivors, &mut rng);
                    let records = recover(image, &mut events, known, &mut rng)
                        .with_context(|| format!("seed {seed}, after entry {place} ({op:?}), {survivors:?}"))?;
                    walked.images += 1;
                    walked.records_max = walked.records_max.max(records);
                }
            }
        }
    }
    Ok(walked)
}

/// Opens the log on an image and checks every promise. Returns how many records it holds.
fn recover(image: Disk, events: &mut Events, known: Known, rng: &mut fastrand::Rng) -> Result<u64> {
    let fs = SimFs::on(image);
    let (_, clock) = clock(1_800_000_000_000_000);
    let mut engine = open(&fs, tiny(), clock.clone())?;
    let bounds = engine.bounds();
    let (first, next) = (bounds.first.0, bounds.next.0);
    ensure!(next >= known.acknowledged, "acknowledged up to {}, recovered up to {next}", known.acknowledged);
    ensure!(next <= known.submitted, "submitted up to {}, recovered up to {next}", known.submitted);
    ensure!(first <= known.trimming, "settled up to {}, recovered from {first}", known.trimming);
    check_records(&engine, events, first..next)?;
    // One time in four, the second start is after another power cut in the middle of things.
    drop(engine);
    let again = if rng.u8(0..4) == 0 { SimFs::on(fs.disk().image(Survivors::Nothing, rng)) } else { fs };
    engine = open(&again, tiny(), clock)?;
    ensure!(engine.bounds().next == Offset(next), "the second start found another end: {:?}", engine.bounds());
    ensure!(engine.bounds().first == Offset(first), "the second start found another beginning");
    let more = [vec![events.at(next).clone(), events.at(next + 1).clone()]];
    let appended = engine.commit(&more).context("appending after the recovery")?;
    ensure!(appended.first == Offset(next), "appended at {} instead of {next}", appended.first);
    check_records(&engine, events, next.saturating_sub(3).max(first)..next + 2)?;
    Ok(next - first)
}

/// Reads offsets from the log and compares each byte.
///
/// # Errors
/// What differs.
pub fn check_records(engine: &Engine, events: &mut Events, offsets: std::ops::Range<u64>) -> Result<()> {
    let mut at = offsets.start;
    let limit = ReadLimit { records: 7, bytes: 3000 };
    while at < offsets.end {
        let page = engine.read(Offset(at), limit)?;
        ensure!(page.lost.is_empty(), "reported as damaged: {:?}", page.lost);
        ensure!(page.next > Offset(at), "reading makes no progress at {at}");
        for record in page.records {
            ensure!(record.offset == Offset(at), "offset {} instead of {at}", record.offset);
            ensure!(record.event == *events.at(at), "another event than the one appended at {at}");
            at += 1;
        }
    }
    ensure!(at == offsets.end, "more records than there should be");
    ensure!(engine.read(Offset(at), limit)?.records.is_empty(), "records behind the end");
    if let Some(below) = engine.bounds().first.0.checked_sub(1) {
        let answer = engine.read(Offset(below), limit);
        ensure!(matches!(answer, Err(ReadError::Trimmed { .. })), "an offset below the first: {answer:?}");
    }
    Ok(())
}

/// Appends one event and says how it went.
///
/// # Errors
/// What the log said.
pub fn append_one(engine: &mut Engine, salt: u64, offset: u64) -> std::result::Result<(), AppendError> {
    engine.commit(&[vec![event(salt, offset)]]).map(|_| ())
}

/// The seed to use: `REVEILLE_SIM_SEED`, else the one given.
///
/// # Errors
/// When the variable is no number.
pub fn seed_or(default: u64) -> Result<u64> {
    match std::env::var("REVEILLE_SIM_SEED") {
        Ok(text) => text.parse().with_context(|| format!("REVEILLE_SIM_SEED is `{text}`, not a number")),
        Err(std::env::VarError::NotPresent) => Ok(default),
        Err(error) => bail!("REVEILLE_SIM_SEED: {error}"),
    }
}
