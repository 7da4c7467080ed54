//! Looks at a log's files without opening the log: `reveille log verify` and `reveille log dump`.
//!
//! *Responsibility*: read every byte of every segment, check every checksum, and say what was found where. Takes no
//! lock and writes nothing, so it also runs beside a broker; what that one is writing at the moment can then show as
//! an unfinished write at the end. *Not here*: how it is printed, beyond [`VerifyReport`]'s plain text.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::RealFs;
use super::footer::FOOTER_MAGIC;
use super::format::{FILE_HEADER_BYTES, SegmentId};
use super::fs::{File, FileSystem, Open};
use super::gather::{Identity, end_of, from_footer, from_frames, identify};
use super::recover::base_of_name;
use super::scan::{End, Scanner, Start, Step, Tail, read_up_to};
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::{Offset, Record};

/// Directories below the one asked for are searched this deep for logs: a data directory holds them at depth four.
const DEPTH_MAX: usize = 6;

/// Why files could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file operation failed.
    #[error("cannot read {}: {error}", file.display())]
    Io {
        /// Which file or directory.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The directory holds no segments.
    #[error("{} holds no log: there are no .seg files in it", dir.display())]
    NoLog {
        /// Which directory.
        dir: PathBuf,
    },
    /// The receiver of the records refused one.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The log's directory.
    pub dir: PathBuf,
    /// Its segments, lowest first.
    pub segments: Vec<SegmentReport>,
    /// Offsets between two segments that no file holds.
    pub gaps: Vec<Range<Offset>>,
}

/// What was found in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// First offset, by its name.
    pub base: Offset,
    /// One past its last offset.
    pub next: Offset,
    /// Sound frames.
    pub frames: u64,
    /// Readable records.
    pub records: u64,
    /// Append time of the first record.
    pub oldest: Option<UnixMicros>,
    /// Append time of the last record.
    pub newest: Option<UnixMicros>,
    /// Whether it has a sound footer.
    pub sealed: bool,
    /// Damaged stretches.
    pub damage: Vec<DamageReport>,
    /// An unfinished write at the end; the next start cuts it off.
    pub torn: Option<Range<u64>>,
    /// What is wrong with the file as a whole.
    pub fault: Option<String>,
}

/// A damaged stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamageReport {
    /// The file.
    pub file: PathBuf,
    /// Positions in it.
    pub position: Range<u64>,
    /// Offsets that cannot be read; empty when every record in it is intact.
    pub lost: Vec<Range<Offset>>,
    /// What is wrong at its beginning.
    pub reason: String,
}

impl VerifyReport {
    /// Whether nothing is damaged or missing. An unfinished write at the end is no damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.gaps.is_empty() && self.segments.iter().all(|one| one.damage.is_empty() && one.fault.is_none())
    }

    /// Records that can be read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }

    /// Offsets that cannot be read, lowest first.
    #[must_use]
    pub fn lost(&self) -> Vec<Range<Offset>> {
        let damaged = self.segments.iter().flat_map(|segment| &segment.damage).flat_map(|damage| &damage.lost);
        let mut lost: Vec<Range<Offset>> = damaged.chain(&self.gaps).cloned().collect();
        lost.sort_by_key(|range| range.start);
        lost
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            let SegmentReport { file, base, next, frames, records, bytes, .. } = segment;
            let state = if segment.sealed { "sealed" } else { "open" };
            writeln!(
                f,
                "{}: {base} up to {next}, {records} records in {frames} frames, {bytes} bytes, {state}",
                file.display()
            )?;
            for damage in &segment.damage {
                let Range { start, end } = damage.position;
                writeln!(f, "  damaged at byte {start} up to {end}: {}", damage.reason)?;
                for lost in &damage.lost {
                    writeln!(f, "  lost: {} up to {}", lost.start, lost.end)?;
                }
            }
            if let Some(Range { start, end }) = &segment.torn {
                writeln!(f, "  unfinished write at byte {start} up to {end}, cut off at the next start")?;
            }
            if let Some(fault) = &segment.fault {
                writeln!(f, "  {fault}")?;
            }
        }
        for gap in &self.gaps {
            writeln!(f, "missing: {} up to {}, no file holds them", gap.start, gap.end)?;
        }
        Ok(())
    }
}

fn failed(file: &Path) -> impl FnOnce(io::Error) -> InspectError {
    let file = file.to_owned();
    move |error| InspectError::Io { file, error }
}

/// The directories at and below `dir` that hold a log, in order of name.
///
/// # Errors
/// [`InspectError::Io`] when a directory cannot be listed, [`InspectError::NoLog`] when there is none.
pub fn log_dirs(dir: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let mut found = Vec::new();
    let mut ahead = vec![(dir.to_owned(), 0)];
    while let Some((at, depth)) = ahead.pop() {
        let mut holds_segments = false;
        for entry in std::fs::read_dir(&at).map_err(failed(&at))? {
            let entry = entry.map_err(failed(&at))?;
            holds_segments |= base_of_name(Path::new(&entry.file_name())).is_some();
            if depth < DEPTH_MAX && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ahead.push((entry.path(), depth + 1));
            }
        }
        if holds_segments {
            found.push(at);
        }
    }
    found.sort();
    if found.is_empty() { Err(InspectError::NoLog { dir: dir.to_owned() }) } else { Ok(found) }
}

/// Segment files of a log with the base of the one that follows each.
fn segment_files(dir: &Path) -> Result<Vec<(Offset, PathBuf, Option<Offset>)>, InspectError> {
    let names = RealFs.list(dir).map_err(failed(dir))?;
    let mut files: Vec<(Offset, PathBuf)> =
        names.iter().filter_map(|name| Some((base_of_name(name)?, dir.join(name)))).collect();
    if files.is_empty() {
        return Err(InspectError::NoLog { dir: dir.to_owned() });
    }
    files.sort();
    let following: Vec<Option<Offset>> =
        files.iter().skip(1).map(|(base, _)| Some(*base)).chain(std::iter::once(None)).collect();
    Ok(files.into_iter().zip(following).map(|((base, path), next)| (base, path, next)).collect())
}

/// Reads the whole log in `dir` and checks every checksum.
///
/// # Errors
/// [`InspectError`]; damage is no error, it is in the report.
pub fn verify(dir: &Path) -> Result<VerifyReport, InspectError> {
    let mut report = VerifyReport { dir: dir.to_owned(), segments: Vec::new(), gaps: Vec::new() };
    for (base, path, following) in segment_files(dir)? {
        let segment = verify_segment(base, &path, following).map_err(failed(&path))?;
        if let Some(following) = following.filter(|following| segment.next < *following) {
            report.gaps.push(segment.next..following);
        }
        report.segments.push(segment);
    }
    Ok(report)
}

/// Where to walk a file: its identity, where its frames end, and whether a footer says so.
struct Course {
    id: SegmentId,
    end: End,
    sealed: bool,
    fault: Option<String>,
}

fn course(file: &dyn File, base: Offset, following: Option<Offset>) -> io::Result<Result<Course, String>> {
    let (id, fault) = match identify(file)? {
        Identity::Header(header) if header.base == base => (header.segment, None),
        Identity::Header(header) => {
            return Ok(Err(format!("it is named for offset {base} and begins with {}", header.base)));
        }
        Identity::Frame(id, reason) => (id, Some(format!("file header: {reason}"))),
        Identity::Unfinished => return Ok(Err("it was never finished and holds nothing".to_owned())),
        Identity::Unknown(reason) => return Ok(Err(format!("neither header nor frames can be read: {reason}"))),
    };
    if let Some(footer) = from_footer(file, id, base, PathBuf::new())? {
        let end = End::Known { at: footer.frames_end, next: footer.next };
        return Ok(Ok(Course { id, end, sealed: true, fault }));
    }
    Ok(Ok(Course { id, end: end_of(file, following)?, sealed: false, fault }))
}

fn verify_segment(base: Offset, path: &Path, following: Option<Offset>) -> io::Result<SegmentReport> {
    let file = RealFs.open(path, Open::Read)?;
    let mut report = SegmentReport {
        file: path.to_owned(),
        bytes: file.size()?,
        base,
        next: base,
        frames: 0,
        records: 0,
        oldest: None,
        newest: None,
        sealed: false,
        damage: Vec::new(),
        torn: None,
        fault: None,
    };
    let course = match course(file.as_ref(), base, following)? {
        Ok(course) => course,
        Err(fault) => return Ok(SegmentReport { fault: Some(fault), ..report }),
    };
    let found = from_frames(file.as_ref(), course.id, base, path.to_owned(), course.end)?;
    let end = found.segment.frames_end;
    report.fault = course.fault;
    report.sealed = course.sealed;
    report.next = found.segment.next;
    report.frames = found.frames;
    (report.oldest, report.newest) = (found.segment.oldest, found.segment.newest);
    let lost: u64 = found.damage.iter().flat_map(|damage| damage.lost()).map(|lost| lost.end.0 - lost.start.0).sum();
    report.records = report.next.0.saturating_sub(base.0).saturating_sub(lost);
    report.torn = match found.tail {
        Tail::Torn { until, .. } => Some(end..until),
        Tail::Clean => None,
    };
    // A footer that was begun and is not whole is made again at the next start.
    if !course.sealed && read_up_to(file.as_ref(), end, FOOTER_MAGIC.len())? == FOOTER_MAGIC.as_slice() {
        report.fault =
            report.fault.or_else(|| Some("its footer is damaged and is made again at the next start".into()));
    }
    report.damage = found
        .damage
        .iter()
        .map(|damage| DamageReport {
            file: path.to_owned(),
            position: damage.at.clone(),
            lost: damage.lost(),
            reason: damage.reason.to_string(),
        })
        .collect();
    Ok(report)
}

/// Hands every readable record of `range` to `each`, in order. Returns the offsets of `range` that are damaged.
///
/// # Errors
/// [`InspectError`]; [`InspectError::Output`] when `each` fails.
pub fn dump(
    dir: &Path,
    range: Range<Offset>,
    each: &mut dyn FnMut(Record) -> io::Result<()>,
) -> Result<Vec<Range<Offset>>, InspectError> {
    let mut lost = Vec::new();
    for (base, path, following) in segment_files(dir)? {
        if base >= range.end || following.is_some_and(|following| following <= range.start) {
            continue;
        }
        let mut sink = Sink { range: range.clone(), each, lost: &mut lost };
        dump_segment(base, &path, following, &mut sink)?;
    }
    Ok(lost)
}

struct Sink<'a> {
    range: Range<Offset>,
    each: &'a mut dyn FnMut(Record) -> io::Result<()>,
    lost: &'a mut Vec<Range<Offset>>,
}

impl Sink<'_> {
    fn record(&mut self, offset: Offset, appended: UnixMicros, event: Event) -> Result<(), InspectError> {
        if !self.range.contains(&offset) {
            return Ok(());
        }
        (self.each)(Record { offset, appended, event }).map_err(InspectError::Output)
    }

    fn lose(&mut self, lost: Range<Offset>) {
        let lost = lost.start.max(self.range.start)..lost.end.min(self.range.end);
        if !lost.is_empty() {
            self.lost.push(lost);
        }
    }
}

fn dump_segment(base: Offset, path: &Path, following: Option<Offset>, sink: &mut Sink<'_>) -> Result<(), InspectError> {
    let file = RealFs.open(path, Open::Read).map_err(failed(path))?;
    let Ok(course) = course(file.as_ref(), base, following).map_err(failed(path))? else {
        following.into_iter().for_each(|following| sink.lose(base..following));
        return Ok(());
    };
    let start =
        Start { segment: course.id, at: FILE_HEADER_BYTES as u64, expect: base, appended: UnixMicros::default() };
    let mut scanner = Scanner::new(file.as_ref(), start, course.end);
    while scanner.here().expect < sink.range.end {
        match scanner.step().map_err(failed(path))? {
            Step::Frame(frame) => {
                for (offset, event) in frame.events() {
                    match event {
                        Ok(event) => sink.record(offset, frame.header.appended, event)?,
                        Err(_) => sink.lose(offset..offset.next()),
                    }
                }
            }
            Step::Damage(damage) => {
                damage.lost().into_iter().for_each(|lost| sink.lose(lost));
                for intact in damage.intact {
                    sink.record(intact.offset, damage.appended, intact.event)?;
                }
            }
            Step::End(_) => break,
        }
    }
    let reached = scanner.here().expect;
    following.filter(|following| reached < *following).into_iter().for_each(|following| sink.lose(reached..following));
    Ok(())
}

#[cfg(test)]
mod tests;
