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
        // A segment may be removed between the look-up and the opening; then the second look-up knows.
        let mut plan = self.view.plan(from, limit.bytes);
        for _ in 0..2 {
            let span = match plan {
                Plan::Trimmed(first) => return Err(ReadError::Trimmed { asked: from, first }),
                Plan::Nothing => return Ok(Page { records: Vec::new(), next: from, lost: Vec::new() }),
                Plan::Gap(gap) => return Ok(Page { records: Vec::new(), next: gap.end, lost: vec![gap] }),
                Plan::Memory(frames) => return Ok(read_memory(&frames, from, limit)),
                Plan::File(span) => span,
            };
            let view = self.view.clone();
            let path = span.path.clone();
            match blocking(move || read_span(&view, &span, from, limit)).await? {
                Ok(page) => return Ok(page),
                Err((error, again)) => match again.filter(|_| error.kind() == io::ErrorKind::NotFound) {
                    Some(again) => plan = again,
                    None => return Err(ReadError::Io { file: path, error: error.to_string() }),
                },
            }
        }
        Err(ReadError::Io { file: self.view.dir.clone(), error: "the segment file is missing".to_owned() })
    }
}

/// Reads and reports damage; on failure also looks again, after any removal under way is through.
fn read_span(view: &View, span: &Span, from: Offset, limit: ReadLimit) -> Result<Page, (io::Error, Option<Plan>)> {
    match read_file(view.fs.as_ref(), span, from, limit) {
        Ok((page, damage)) => {
            for lost in damage {
                view.report_lost(&span.path, lost.position, &lost.offsets, &lost.reason.to_string());
            }
            Ok(page)
        }
        Err(error) => {
            drop(view.trimming());
            Err((error, Some(view.plan(from, limit.bytes))))
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
            let active = self.view.active().map(|segment| Extent::from(&segment));
            if active.is_some_and(|active| should_roll(&active, &retention, now)) {
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
