//! Lists of events, one JSON object a line, produced as fast as the reader takes them.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use schemas::admin::{DeadLetterItem, EventItem, Problem, StreamProblem};
use schemas::error_code::ErrorCode;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::AdminParts;
use super::extract::{Parameters, Segments, logs_of};
use super::range::Bound;
use super::refusal::Refusal;
use super::select::{self, EVENT_PARAMETERS, Selection};
use crate::dead_letter::DeadLetter;
use crate::event::json::to_raw_json;
use crate::log::{EventLog, Offset, Page, ReadError, ReadLimit, Record};

/// Media type of the streams.
const NDJSON: &str = "application/x-ndjson";
/// How often a blank line shows that a quiet stream lives: below the idle limits of common proxies (60 s).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Text sent at once: large enough to spread the cost of a write, small enough to hold for many readers.
const CHUNK_BYTES: usize = 64 * 1024;

type Render = Box<dyn Fn(&Record) -> Option<Vec<u8>> + Send + Sync>;

/// `GET …/events`
pub(super) async fn events(
    State(parts): State<Arc<AdminParts>>,
    Segments((namespace, name)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    parameters.only(&EVENT_PARAMETERS)?;
    let logs = logs_of(&parts, &namespace, &name)?;
    let start = Bound::Offset(Offset(0));
    let Selection { from, to, filter, limit } =
        Selection::read(&parameters, &*logs.events, parts.clock.now(), start).await?;
    let render: Render = Box::new(move |record| filter.matches(&record.event).then(|| event_line(record)));
    Ok(respond(Scan { log: logs.events.clone(), next: from, end: End::At(to), left: limit, render, ready: Vec::new() }))
}

/// `GET …/tail`
pub(super) async fn tail(
    State(parts): State<Arc<AdminParts>>,
    Segments((namespace, name)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    parameters.only(&["from", "limit", "filter", "filters", "cesql"])?;
    let logs = logs_of(&parts, &namespace, &name)?;
    let Selection { from, filter, limit, .. } =
        Selection::read(&parameters, &*logs.events, parts.clock.now(), Bound::Now).await?;
    let render: Render = Box::new(move |record| filter.matches(&record.event).then(|| event_line(record)));
    let end = End::Never(parts.stop.clone());
    Ok(respond(Scan { log: logs.events.clone(), next: from, end, left: limit, render, ready: Vec::new() }))
}

/// `GET …/dead-letters`
pub(super) async fn dead_letters(
    State(parts): State<Arc<AdminParts>>,
    Segments((namespace, name)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    parameters.only(&["trigger", "reason", "limit"])?;
    let logs = logs_of(&parts, &namespace, &name)?;
    let reason = parameters.get("reason").map(str::to_owned);
    let trigger = parameters.get("trigger").map(|trigger| match trigger.contains('/') {
        true => trigger.to_owned(),
        false => format!("{namespace}/{trigger}"),
    });
    let limit = select::limit(&parameters)?;
    let render: Render = Box::new(move |record| {
        let item = dead_letter_item(record);
        let passes = trigger.as_deref().is_none_or(|trigger| item.trigger == trigger)
            && reason.as_deref().is_none_or(|reason| item.reason.eq_ignore_ascii_case(reason));
        passes.then(|| line(&item))
    });
    let bounds = logs.dead_letters.bounds();
    let end = End::At(bounds.next);
    let log = logs.dead_letters.clone();
    Ok(respond(Scan { log, next: bounds.first, end, left: limit, render, ready: Vec::new() }))
}

fn event_line(record: &Record) -> Vec<u8> {
    line(&event_item(record))
}

/// A record as the API shows it.
pub(super) fn event_item(record: &Record) -> EventItem {
    EventItem { offset: record.offset.0, appended: record.appended.to_rfc3339(), event: to_raw_json(&record.event) }
}

/// A dead letter as the API shows it. One that cannot be read is shown all the same, with the fault as its error,
/// for nothing is dropped in silence.
fn dead_letter_item(record: &Record) -> DeadLetterItem {
    match DeadLetter::from_event(&record.event) {
        Ok(letter) => DeadLetterItem {
            id: record.offset.0,
            offset: letter.offset.0,
            trigger: letter.trigger.to_string(),
            reason: letter.reason.as_str().to_owned(),
            code: letter.code,
            error: Some(letter.error),
            attempts: u64::from(letter.attempts),
            failed_at: letter.failed_at.to_rfc3339(),
            event: to_raw_json(&letter.event),
        },
        Err(error) => DeadLetterItem {
            id: record.offset.0,
            offset: 0,
            trigger: String::new(),
            reason: "Unreadable".to_owned(),
            code: None,
            error: Some(error.to_string()),
            attempts: 0,
            failed_at: record.appended.to_rfc3339(),
            event: to_raw_json(&record.event),
        },
    }
}

fn line<T: serde::Serialize>(item: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(item).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Where a scan ends.
enum End {
    /// Before this offset.
    At(Offset),
    /// When the reader goes, or the broker stops.
    Never(CancellationToken),
}

/// A walk over a log that produces lines.
struct Scan {
    log: Arc<dyn EventLog>,
    next: Offset,
    end: End,
    /// Items that may still be sent.
    left: u64,
    render: Render,
    /// Records that were read and not yet looked at, last one first.
    ready: Vec<Record>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("next", &self.next).finish_non_exhaustive()
    }
}

fn respond(scan: Scan) -> Response {
    let stream = futures_util::stream::unfold(Some(scan), async |scan| {
        let (chunk, scan) = scan?.chunk().await?;
        Some((Ok::<_, Infallible>(chunk), scan))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

impl Scan {
    /// The next piece of text, and what goes on from there; `None` at the end.
    async fn chunk(mut self) -> Option<(Bytes, Option<Self>)> {
        let mut text = Vec::new();
        loop {
            self.take_ready(&mut text);
            if self.left == 0 {
                return (!text.is_empty()).then(|| (text.into(), None));
            }
            if text.len() >= CHUNK_BYTES || (!text.is_empty() && self.caught_up()) {
                return Some((text.into(), Some(self)));
            }
            match self.advance(&mut text).await {
                Ok(true) => {}
                Ok(false) => return (!text.is_empty()).then(|| (text.into(), None)),
                Err(problem) => {
                    text.extend(line(&StreamProblem { problem: problem.0 }));
                    return Some((text.into(), None));
                }
            }
        }
    }

    /// Moves lines of what was read into `text`.
    fn take_ready(&mut self, text: &mut Vec<u8>) {
        while self.left > 0 && text.len() < CHUNK_BYTES {
            let Some(record) = self.ready.pop() else { return };
            if let Some(line) = (self.render)(&record) {
                text.extend(line);
                self.left -= 1;
            }
        }
    }

    /// Nothing more can be read without waiting.
    fn caught_up(&self) -> bool {
        matches!(self.end, End::Never(_)) && self.ready.is_empty() && self.next >= self.log.bounds().next
    }

    /// Reads on, or waits for more, and then writes a sign of life if there is none; `false` at the end.
    async fn advance(&mut self, text: &mut Vec<u8>) -> Result<bool, Refusal> {
        match &self.end {
            End::At(end) if self.next >= *end => return Ok(!self.ready.is_empty()),
            End::Never(stop) if self.next >= self.log.bounds().next => {
                let mut tail = self.log.tail();
                let past = tokio::select! {
                    () = stop.cancelled() => return Ok(false),
                    past = timeout(HEARTBEAT, tail.past(self.next)) => past,
                };
                if let Ok(None) = past {
                    return Ok(false);
                }
                if past.is_err() {
                    text.push(b'\n');
                }
                return Ok(true);
            }
            End::At(_) | End::Never(_) => {}
        }
        let page = match self.log.read(self.next, ReadLimit::default()).await {
            // Retention has passed us by since the range was resolved.
            Err(ReadError::Trimmed { first, .. }) if first > self.next => {
                self.next = first;
                return Ok(true);
            }
            other => other?,
        };
        if page.next <= self.next {
            let detail = format!("the log has nothing at {}, below its end; the list stops here", self.next);
            return Err(Refusal(Problem::new(ErrorCode::Internal, detail)));
        }
        self.accept(page, text);
        Ok(true)
    }

    fn accept(&mut self, page: Page, text: &mut Vec<u8>) {
        for lost in &page.lost {
            let detail = format!(
                "events from {} up to {} are damaged on disk and left out; `reveille log verify` inspects the files",
                lost.start, lost.end
            );
            text.extend(line(&StreamProblem { problem: Problem::new(ErrorCode::Internal, detail) }));
        }
        self.next = page.next;
        self.ready = page.records;
        if let End::At(end) = self.end {
            self.ready.retain(|record| record.offset < end);
        }
        self.ready.reverse();
    }
}
