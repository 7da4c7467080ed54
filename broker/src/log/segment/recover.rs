//! Opens a log: learns its segments, cuts a torn tail, reports damage, and makes sure of the last frame.
//!
//! *Invariants*: sealed segments are trusted by their footer and never written, but for a footer that was missing;
//! a damaged segment is left as it is and takes no more frames; what is served afterwards is on disk: after a sync
//! that failed, the page cache shows data that the disk lacks and no later sync would write, so the last frame,
//! the only one that can have met this, is written again and synced before anybody may read it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::bloom::Distinct;
use super::format::{FILE_HEADER_BYTES, FormatError, SegmentId};
use super::fs::{File, FileSystem, Open};
use super::gather::{Gathered, Identity, end_of, from_footer, from_frames, identify, write_footer};
use super::options::{LogMetrics, OpenError, SegmentOptions};
use super::scan::{FrameAt, Tail, read_up_to};
use super::spans::Segment;
use super::view::{Found, View};
use super::writer::{Current, Engine, Resume};
use crate::clock::Clock;
use crate::log::Offset;

/// The base offset that a file's name tells; `None` when it is no segment's name.
#[must_use]
pub(super) fn base_of_name(name: &Path) -> Option<Offset> {
    let digits = name.to_str()?.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Offset))?
}

/// Offsets that cannot be served, and where they should be.
struct Lost {
    path: PathBuf,
    position: u64,
    offsets: Vec<Range<Offset>>,
    what: String,
}

struct Opener<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    labels: &'a str,
    sealed: Vec<Arc<Segment>>,
    lost: Vec<Lost>,
}

/// The last segment when it can go on.
struct Unfinished {
    segment: Segment,
    file: Arc<dyn File>,
    distinct: Distinct,
    marked: bool,
}

fn failed(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let file = file.to_owned();
    move |error| OpenError::Io { action, file, error }
}

impl Engine {
    /// Opens the log in `dir`, or begins one. Blocking.
    ///
    /// # Errors
    /// [`OpenError`] says which file, and what to do next.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        options: SegmentOptions,
        clock: Clock,
        metrics: LogMetrics,
    ) -> Result<Self, OpenError> {
        fs.create_dir_all(dir).map_err(failed("make directory", dir))?;
        let claim = fs.claim(dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { dir: dir.to_owned() },
            _ => failed("lock", dir)(error),
        })?;
        let mut opener = Opener { fs: fs.as_ref(), dir, labels: &metrics.labels, sealed: Vec::new(), lost: Vec::new() };
        let unfinished = opener.segments()?;
        let Opener { sealed, lost, .. } = opener;
        let last = unfinished.as_ref().map(|unfinished| &unfinished.segment);
        let next = last.or_else(|| sealed.last().map(Arc::as_ref)).map_or(Offset(0), |segment| segment.next);
        let newest = sealed.iter().map(Arc::as_ref).chain(last).filter_map(|segment| segment.newest).max();
        let (end, receiver) = watch::channel(next);
        let marked = unfinished.as_ref().is_some_and(|unfinished| unfinished.marked);
        let (active, current) = match unfinished {
            Some(unfinished) => {
                let (active, current) = unfinished.split();
                (Some(active), Some(current))
            }
            None => (None, None),
        };
        let found = Found { sealed, active, next };
        let view = Arc::new(View::new(fs.clone(), dir, metrics, options.memory_bytes, receiver, found));
        for lost in lost {
            view.report_lost(&lost.path, lost.position, &lost.offsets, &lost.what);
        }
        let resume = Resume { current, next, newest: newest.unwrap_or_default(), marked };
        Ok(Self::new(view, options, clock, end, resume, claim))
    }
}

impl Unfinished {
    fn split(self) -> ((Segment, Arc<dyn File>), Current) {
        let current = Current {
            file: self.file.clone(),
            path: self.segment.path.clone(),
            id: self.segment.id,
            base: self.segment.base,
            at: self.segment.frames_end,
            // What is reserved behind the frames is not known for sure; reserving it twice does no harm.
            allocated: self.segment.frames_end,
            distinct: self.distinct,
        };
        let mut segment = self.segment;
        // It says yes to everything until the segment is sealed.
        segment.bloom = super::bloom::Bloom::default();
        ((segment, self.file), current)
    }
}

impl Opener<'_> {
    /// Learns all segments; returns the last one if it can take more frames.
    fn segments(&mut self) -> Result<Option<Unfinished>, OpenError> {
        let names = self.fs.list(self.dir).map_err(failed("list", self.dir))?;
        let mut files: Vec<(Offset, PathBuf)> =
            names.iter().filter_map(|name| Some((base_of_name(name)?, self.dir.join(name)))).collect();
        files.sort();
        while let Some((base, path)) = files.last() {
            if self.identity(*base, path)?.is_some() {
                break;
            }
            self.fs.remove(path).map_err(failed("remove unfinished", path))?;
            files.pop();
        }
        // Names made just before a failed sync may be in memory only.
        self.fs.sync_dir(self.dir).map_err(failed("sync", self.dir))?;
        let Some((last, below)) = files.split_last() else { return Ok(None) };
        for ((base, path), (next, _)) in below.iter().zip(files.iter().skip(1)) {
            let segment = self.sealed_segment(*base, path, *next)?;
            self.sealed.push(Arc::new(segment));
        }
        self.last_segment(last.0, &last.1)
    }

    /// Whose file it is; `None` for one that was never finished.
    fn identity(&self, base: Offset, path: &Path) -> Result<Option<SegmentId>, OpenError> {
        let file = self.fs.open(path, Open::Read).map_err(failed("open", path))?;
        let damaged = |what: String| OpenError::Damaged { file: path.to_owned(), position: 0, what };
        match identify(file.as_ref()).map_err(failed("read", path))? {
            Identity::Header(header) if header.base == base => Ok(Some(header.segment)),
            Identity::Header(header) => {
                Err(damaged(format!("it is named for offset {base} and begins with {}", header.base)))
            }
            Identity::Frame(id, error) => {
                tracing::error!(broker = self.labels, file = %path.display(), position = 0, %error,
                    "the header of a segment is damaged, its frames are read nevertheless");
                Ok(Some(id))
            }
            Identity::Unfinished => Ok(None),
            Identity::Unknown(error @ FormatError::Version(_)) => {
                Err(OpenError::Version { file: path.to_owned(), error })
            }
            Identity::Unknown(error) => Err(damaged(format!("neither its header nor any frame can be read ({error})"))),
        }
    }

    /// A segment that another one follows.
    fn sealed_segment(&mut self, base: Offset, path: &Path, next: Offset) -> Result<Segment, OpenError> {
        let file = self.fs.open(path, Open::Read).map_err(failed("open", path))?;
        let read = failed("read", path);
        let Some(id) = self.identity(base, path)? else {
            self.lose(path, 0, vec![base..next], "the file holds nothing");
            let mut segment = Segment::empty(SegmentId(0), base, path.to_owned());
            segment.next = next;
            return Ok(segment);
        };
        if let Some(segment) = from_footer(file.as_ref(), id, base, path.to_owned()).map_err(read)? {
            if segment.next > next {
                let what = format!("it ends with offset {}, and the next file begins with {next}", segment.next);
                return Err(OpenError::Damaged { file: path.to_owned(), position: segment.frames_end, what });
            }
            if segment.next < next {
                self.lose(path, segment.frames_end, vec![segment.next..next], "a segment file is missing");
            }
            return Ok(segment);
        }
        let gathered = end_of(file.as_ref(), Some(next))
            .and_then(|end| from_frames(file.as_ref(), id, base, path.to_owned(), end))
            .map_err(failed("read", path))?;
        self.lose_damage(path, &gathered);
        if gathered.damage.is_empty() {
            let made = self.fs.open(path, Open::Write).and_then(|file| {
                write_footer(file.as_ref(), &gathered.segment)?;
                file.sync_data()
            });
            if let Err(error) = made {
                tracing::warn!(broker = self.labels, file = %path.display(), %error,
                    "a finished segment has no footer and is read whole at each start");
            }
        }
        Ok(gathered.segment)
    }

    fn last_segment(&mut self, base: Offset, path: &Path) -> Result<Option<Unfinished>, OpenError> {
        let file = self.fs.open(path, Open::Write).map_err(failed("open", path))?;
        let Some(id) = self.identity(base, path)? else { return Ok(None) };
        if let Some(segment) = from_footer(file.as_ref(), id, base, path.to_owned()).map_err(failed("read", path))? {
            self.sealed.push(Arc::new(segment));
            return Ok(None);
        }
        let gathered = end_of(file.as_ref(), None)
            .and_then(|end| from_frames(file.as_ref(), id, base, path.to_owned(), end))
            .map_err(failed("read", path))?;
        let end = gathered.segment.frames_end;
        if let Tail::Torn { until, records } = gathered.tail {
            tracing::warn!(broker = self.labels, file = %path.display(), position = end, bytes = until - end,
                offset = gathered.segment.next.0, records = ?records,
                "an unfinished write at the end of the log is cut off; it was never acknowledged");
        }
        if !gathered.damage.is_empty() {
            self.lose_damage(path, &gathered);
            if gathered.segment.next == base {
                let what = "no event in it can be read".to_owned();
                return Err(OpenError::Damaged { file: path.to_owned(), position: FILE_HEADER_BYTES as u64, what });
            }
            self.sealed.push(Arc::new(gathered.segment));
            return Ok(None);
        }
        self.make_sure(file.as_ref(), path, &gathered)?;
        let marked = gathered.last.as_ref().is_some_and(|frame| frame.header.count == 0);
        let Gathered { segment, distinct, .. } = gathered;
        Ok(Some(Unfinished { segment, file, distinct, marked }))
    }

    /// Cuts off what lies behind the frames, writes the last frame (or the header) again, and syncs.
    fn make_sure(&self, file: &dyn File, path: &Path, gathered: &Gathered) -> Result<(), OpenError> {
        let end = gathered.segment.frames_end;
        let mut written = file.size().and_then(|size| if size > end { file.set_len(end) } else { Ok(()) });
        written = written.and_then(|()| match &gathered.last {
            Some(FrameAt { at, bytes, .. }) => file.write_all_at(bytes, *at),
            None => file.write_all_at(&read_up_to(file, 0, FILE_HEADER_BYTES)?, 0),
        });
        written.and_then(|()| file.sync_data()).map_err(failed("write", path))
    }

    fn lose(&mut self, path: &Path, position: u64, offsets: Vec<Range<Offset>>, what: &str) {
        self.lost.push(Lost { path: path.to_owned(), position, offsets, what: what.to_owned() });
    }

    fn lose_damage(&mut self, path: &Path, gathered: &Gathered) {
        for damage in &gathered.damage {
            self.lose(path, damage.at.start, damage.lost(), &damage.reason.to_string());
        }
    }
}
