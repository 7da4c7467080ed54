//! [`SegmentLog`]: the handle that the broker holds.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::bloom::Field;
use super::fs::FileSystem;
use super::options::{LogMetrics, OpenError, SegmentOptions};
use super::owner::Queue;
use super::reader::{read_file, read_memory, seek_time};
use super::retain::{self, Extent, should_roll};
use super::spans::Span;
use super::view::{Plan, View};
use super::writer::Engine;
use crate::clock::{Clock, UnixMicros};
use crate::event::Event;
use crate::log::{
    AppendError, Appended, Bounds, EventLog, Health, Offset, Page, ReadError, ReadLimit, Retention, Tail, Ticket,
    TrimError, Trimmed,
};

/// Frames older than this leave memory at the next retention run: whoever keeps up has read them.
const MEMORY_AGE: std::time::Duration = std::time::Duration::from_secs(30);

/// A log in segment files. See the parent module.
#[derive(Debug)]
pub struct SegmentLog {
    queue: Arc<Queue>,
    view: Arc<View>,
    clock: Clock,
}

impl SegmentLog {
    /// Opens the log in `dir`, or begins one. Blocking: a start reads the last segment.
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
        let engine = Engine::open(fs, dir, options.clone(), clock.clone(), metrics)?;
        let view = engine.view();
        Ok(Self { queue: Queue::new(engine, &options), view, clock })
    }

    /// The first offset at or after `from` that lies in a segment which may hold an event whose `type` or `source`
    /// has this value, so that a filtered read can pass others over.
    #[must_use]
    pub fn skip_to(&self, from: Offset, field: Field, value: &str) -> Offset {
        self.view.skip_to(from, field, value)
    }

    async fn read_page(&self, from: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        match answer_from_memory(self.view.plan(from, limit.bytes), from, limit) {
            Ok(answer) => answer,
            Err(span) => {
                let view = self.view.clone();
                blocking(move || read_files(&view, span, from, limit)).await?
            }
        }
    }
}

impl Engine {
    /// Reads durable records from `from` on. Blocking.
    ///
    /// # Errors
    /// As [`EventLog::read`].
    pub fn read(&self, from: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        answer_from_memory(self.view.plan(from, limit.bytes), from, limit)
            .unwrap_or_else(|span| read_files(&self.view, span, from, limit))
    }

    /// Removes what retention lets go. Blocking.
    ///
    /// # Errors
    /// As [`EventLog::trim`].
    pub fn trim(&mut self, settled: Offset, retention: Retention, now: UnixMicros) -> Result<Trimmed, TrimError> {
        self.view.forget_before(now.before(MEMORY_AGE));
        if wants_roll(&self.view, &retention, now) {
            // A roll that fails shows as the log's health; what is sealed can still go.
            let _ = self.roll();
        }
        retain::trim(&self.view, settled, &retention, now)
    }
}

fn wants_roll(view: &View, retention: &Retention, now: UnixMicros) -> bool {
    view.active().is_some_and(|active| should_roll(&Extent::from(&active), retention, now))
}

/// The answer to a read, or the part of a file that holds it.
fn answer_from_memory(plan: Plan, from: Offset, limit: ReadLimit) -> Result<Result<Page, ReadError>, Span> {
    Ok(match plan {
        Plan::Trimmed(first) => Err(ReadError::Trimmed { asked: from, first }),
        Plan::Nothing => Ok(Page { records: Vec::new(), next: from, lost: Vec::new() }),
        Plan::Gap(gap) => Ok(Page { records: Vec::new(), next: gap.end, lost: vec![gap] }),
        Plan::Memory(frames) => Ok(read_memory(&frames, from, limit)),
        Plan::File(span) => return Err(span),
    })
}

/// Reads from the file and reports damage met there.
fn read_files(view: &View, span: Span, from: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
    let mut span = span;
    let mut looked_again = false;
    loop {
        match read_file(view.fs.as_ref(), &span, from, limit) {
            Ok((page, damage)) => {
                for lost in damage {
                    view.report_lost(&span.path, lost.position, &lost.offsets, &lost.reason.to_string());
                }
                return Ok(page);
            }
            // The segment may have been removed since the look-up; once that is through, another look knows.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !looked_again => {
                drop(view.trimming());
                looked_again = true;
                match answer_from_memory(view.plan(from, limit.bytes), from, limit) {
                    Ok(answer) => return answer,
                    Err(again) => span = again,
                }
            }
            Err(error) => return Err(ReadError::Io { file: span.path, error: error.to_string() }),
        }
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ReadError> {
    // It fails only when the runtime is going away.
    tokio::task::spawn_blocking(work).await.map_err(|_| ReadError::Closed)
}

impl EventLog for SegmentLog {
    fn append(&self, events: Vec<Event>) -> Ticket {
        if events.is_empty() {
            let first = self.view.bounds().next;
            return Ticket::ready(Ok(Appended { first, count: 0, appended: self.clock.now() }));
        }
        self.queue.push(events).unwrap_or_else(|error| {
            if !matches!(error, AppendError::Closed) {
                self.view.metrics.refusals.inc();
            }
            Ticket::ready(Err(error))
        })
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>> {
        self.read_page(from, limit).boxed()
    }

    fn seek_time(&self, time: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        async move {
            let Some(span) = self.view.plan_time(time) else { return Ok(self.view.bounds().next) };
            let view = self.view.clone();
            let path = span.path.clone();
            let found = blocking(move || seek_time(view.fs.as_ref(), &span, time)).await?;
            match found {
                // What was removed meanwhile was older than all that is left.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.view.bounds().first),
                other => other.map_err(|error| ReadError::Io { file: path, error: error.to_string() }),
            }
        }
        .boxed()
    }

    fn bounds(&self) -> Bounds {
        self.view.bounds()
    }

    fn tail(&self) -> Tail {
        Tail::new(self.view.end())
    }

    fn trim(
        &self,
        settled: Offset,
        retention: Retention,
        now: UnixMicros,
    ) -> BoxFuture<'_, Result<Trimmed, TrimError>> {
        async move {
            self.view.forget_before(now.before(MEMORY_AGE));
            let failed = |error: String| TrimError { file: self.view.dir.clone(), error };
            if wants_roll(&self.view, &retention, now) {
                let rolled = self.queue.roll().map_err(|error| failed(error.to_string()))?;
                // A log that is closing rolls no more; what is sealed can still go.
                let _ = rolled.await;
            }
            let view = self.view.clone();
            let work = move || retain::trim(&view, settled, &retention, now);
            tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.view.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let (engine, done) = self.queue.close();
            match engine {
                Some(mut engine) => {
                    let ended = tokio::task::spawn_blocking(move || engine.finish());
                    let _ = ended.await;
                }
                None => {
                    let _ = done.await;
                }
            }
        }
        .boxed()
    }
}

impl Drop for SegmentLog {
    /// Lets the thread finish what is queued and end; [`EventLog::close`] also waits for it.
    fn drop(&mut self) {
        if let (Some(mut engine), _) = self.queue.close() {
            engine.finish();
        }
    }
}
