//! One attempt from beginning to end: read the events that are not in memory, deliver them, and make durable whatever
//! has to be before an event may be settled (a reply, a dead letter). An attempt is one request. It carries one event,
//! or several in batched content mode.
//!
//! *Inputs*: a [`Job`] for each event. *Outputs*: a [`Done`] for each, which the worker applies to its window.
//! *Invariants*: `Settled` comes only after the reply's ticket, `DeadLettered` only after the letter's. *Not here*:
//! when to attempt, the window, retries ([`super::retry`] decides, the worker schedules).

mod sink;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use super::awake::AwakePass;
use super::budget::Kept;
use crate::clock::Clock;
use crate::dead_letter::{DeadLetter, Reason};
use crate::deliver::{Attempt, Failure, Outcome, Transport};
use crate::event::Event;
use crate::log::{BrokerLogs, EventLog, Offset, ReadError, ReadLimit};
use crate::names::TriggerKey;
use crate::triggers::{Recipient, Target, TriggerEntry};

/// Attempts in a row that may find nobody at a subscriber that the broker wakes before one counts: the subscriber was
/// stopped or fell over, which is not the event's fault, but may not go on for ever.
const STRIKES_MAX: u8 = 3;

/// A Trigger's settings in the form that attempts share.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) entry: Arc<TriggerEntry>,
    pub(super) endpoint: Arc<str>,
    /// `None` while its address is not known.
    subscriber: Option<Arc<Target>>,
    sink: Option<Arc<Target>>,
}

impl Settings {
    pub(super) fn new(entry: Arc<TriggerEntry>) -> Arc<Self> {
        Arc::new(Self {
            endpoint: entry.subscriber.shown().into(),
            subscriber: entry.subscriber.target().cloned().map(Arc::new),
            sink: entry.delivery.dead_letter_sink.as_ref().and_then(Recipient::target).cloned().map(Arc::new),
            entry,
        })
    }

    pub(super) fn has_sink(&self) -> bool {
        self.entry.delivery.dead_letter_sink.is_some()
    }

    /// Dead letters have to wait until the sink's address is known.
    pub(super) fn sink_waits(&self) -> bool {
        self.has_sink() && self.sink.is_none()
    }

    /// Events have to wait until the subscriber's address is known: why.
    pub(super) fn subscriber_waits(&self) -> Option<String> {
        match &self.entry.subscriber {
            Recipient::At(_) => None,
            Recipient::Unresolved { what, why } => Some(format!("{what} is not resolved: {why}")),
        }
    }
}

/// What all attempts of a Trigger use.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) key: TriggerKey,
    pub(super) logs: Arc<BrokerLogs>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Clock,
}

/// What is attempted.
#[derive(Debug)]
pub(super) enum Load {
    /// An event in memory, for the subscriber.
    Kept(Kept),
    /// An event that has to be read from the log first.
    Stored,
    /// A dead letter, by its offset in the dead-letter log, for the sink.
    Letter(Offset),
}

/// One event of an attempt to be made.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) offset: Offset,
    pub(super) load: Load,
    /// Attempts made before.
    pub(super) attempts: u32,
    /// Attempts in a row that found nobody.
    pub(super) strikes: u8,
    pub(super) settings: Arc<Settings>,
    /// Keeps the subscriber awake.
    pub(super) pass: AwakePass,
    /// Number of the attempt, for the adaptive limit.
    pub(super) number: u64,
    /// In 0..1.
    pub(super) jitter: f64,
}

/// What became of an attempt for one of its events.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) offset: Offset,
    pub(super) to_sink: bool,
    /// Events that the request carried.
    pub(super) company: usize,
    /// Attempts made before this one.
    pub(super) attempts: u32,
    pub(super) number: u64,
    /// Of the wake that the attempt relied on.
    pub(super) generation: u64,
    /// The HTTP part, if one was made.
    pub(super) tried: Option<Tried>,
    pub(super) end: End,
}

/// The HTTP part of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub(super) took: Duration,
    pub(super) code: Option<u16>,
    pub(super) error: Option<String>,
    /// It worked, reply included.
    pub(super) delivered: bool,
    /// It failed in a way that may pass.
    pub(super) retryable: bool,
    pub(super) odd_body: bool,
}

/// How an attempt ended for its event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// Delivered, and the reply, if any, is stored.
    Settled {
        replied: bool,
        /// The reply had no hops left and is a dead letter.
        hop_limit: bool,
    },
    /// To be tried again.
    Retry { wait: Duration },
    /// The batch was refused: to be sent at once with so many others at the most. No attempt is used, for nobody
    /// knows yet which event is at fault.
    Apart { most: usize },
    /// A stored dead letter, at this offset of the dead-letter log.
    DeadLettered { letter: Offset },
    /// The sink did not take it either; it stays in the dead-letter log.
    SinkGaveUp,
    /// Nobody there although it had been woken; no attempt is used.
    Nobody,
    /// The record is gone or damaged: there is nothing to deliver.
    Missing { why: String },
    /// The log could not be read or written; no attempt is used.
    Deferred { why: String },
}

impl Done {
    fn of(job: &Job, tried: Option<Tried>, end: End) -> Self {
        Self {
            offset: job.offset,
            to_sink: matches!(job.load, Load::Letter(_)),
            company: 1,
            attempts: job.attempts,
            number: job.number,
            generation: job.pass.generation,
            tried,
            end,
        }
    }
}

/// Makes the attempt: one request with the events of all jobs, which are of one Trigger.
pub(super) async fn run(means: Arc<Means>, mut jobs: Vec<Job>) -> Vec<Done> {
    let Some(first) = jobs.first() else { return Vec::new() };
    let span = tracing::debug_span!(
        "attempt",
        broker = %means.logs.key,
        trigger = %means.key,
        offset = %first.offset,
        attempt = first.attempts.saturating_add(1),
        events = jobs.len(),
        event_id = tracing::field::Empty,
        event_source = tracing::field::Empty,
    );
    async move {
        let letter = jobs.first().and_then(|job| match job.load {
            Load::Letter(letter) => Some(letter),
            Load::Kept(_) | Load::Stored => None,
        });
        let done = match letter {
            // A dead letter always goes alone.
            Some(letter) => vec![sink::run(&means, jobs.swap_remove(0), letter).await],
            None => subscriber::run(&means, jobs).await,
        };
        let first = done.first();
        let tried = first.and_then(|done| done.tried.as_ref());
        tracing::debug!(
            outcome = ?first.map(|done| &done.end),
            elapsed_ms = tried.map(|tried| u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX)),
            error = tried.and_then(|tried| tried.error.as_deref()),
            "attempt ended"
        );
        done
    }
    .instrument(span)
    .await
}

/// Why an event could not be read back.
enum Unread {
    Missing(String),
    Failed(String),
}

/// One record; retries do not keep their events in memory.
async fn read_one(log: &dyn EventLog, offset: Offset) -> Result<Event, Unread> {
    let limit = ReadLimit { records: 1, ..ReadLimit::default() };
    match log.read(offset, limit).await {
        Ok(page) => match page.records.into_iter().find(|record| record.offset == offset) {
            Some(record) => Ok(record.event.detach()),
            None => Err(Unread::Missing("the record is damaged on disk".to_owned())),
        },
        Err(error @ ReadError::Trimmed { .. }) => Err(Unread::Missing(error.to_string())),
        Err(error @ (ReadError::Io { .. } | ReadError::Closed)) => Err(Unread::Failed(error.to_string())),
    }
}

impl From<Unread> for End {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Missing(why) => Self::Missing { why },
            Unread::Failed(why) => Self::Deferred { why },
        }
    }
}

fn note_event(event: &Event) {
    let span = tracing::Span::current();
    if !span.is_disabled() {
        span.record("event_id", event.id());
        span.record("event_source", event.source());
    }
}

async fn send(
    means: &Means,
    entry: &TriggerEntry,
    target: Arc<Target>,
    (event, rest): (Event, Vec<Event>),
    to_sink: bool,
) -> (Outcome, Tried) {
    let attempt = Attempt {
        target,
        via: None,
        event,
        rest,
        namespace: means.key.namespace.clone(),
        content_mode: entry.content_mode,
        timeout: entry.delivery.timeout,
        reply: (!to_sink).then_some(entry.reply),
    };
    let began = Instant::now();
    let outcome = means.transport.deliver(attempt).await;
    let (code, failure, odd_body) = match &outcome {
        Outcome::Delivered { code, odd_body, .. } => (Some(*code), None, *odd_body),
        Outcome::Retryable(failure) | Outcome::Refused(failure) => (failure.code, Some(failure), false),
    };
    let tried = Tried {
        took: began.elapsed(),
        code,
        error: failure.map(|failure| failure.error.clone()),
        delivered: failure.is_none(),
        retryable: matches!(outcome, Outcome::Retryable(_)),
        odd_body,
    };
    (outcome, tried)
}

/// Makes a dead letter durable; only then may its event be settled.
async fn give_up(means: &Means, job: &Job, event: &Event, reason: Reason, failure: &Failure) -> End {
    let letter = DeadLetter {
        trigger: means.key.clone(),
        offset: job.offset,
        reason,
        code: failure.code,
        error: failure.error.clone(),
        attempts: job.attempts.saturating_add(1),
        failed_at: means.clock.now(),
        error_dest: job.settings.endpoint.to_string(),
        error_body: failure.body.clone(),
        event: event.clone(),
    };
    let why = match letter.to_event() {
        Ok(stored) => match means.logs.dead_letters.append(vec![stored]).await {
            Ok(appended) => return End::DeadLettered { letter: appended.first },
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    End::Deferred { why: format!("the dead letter could not be stored: {why}") }
}
