//! One attempt from beginning to end: read the event if it is not in memory, deliver it, and make durable whatever
//! has to be before the event may be settled (a reply, a dead letter). Every attempt carries one event, in batched
//! content mode too: the transport makes a batch of one of it.
//!
//! *Inputs*: a [`Job`]. *Outputs*: a [`Done`], which the worker applies to its window. *Invariants*: `Settled`
//! comes only after the reply's ticket, `DeadLettered` only after the letter's. *Not here*: when to attempt, the
//! window, retries ([`super::retry`] decides, the worker schedules).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Instrument;

use super::awake::AwakePass;
use super::budget::Kept;
use super::retry::{self, Next};
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

/// One attempt to be made.
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

/// What became of an attempt.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) offset: Offset,
    pub(super) to_sink: bool,
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
#[derive(Debug)]
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
#[derive(Debug, PartialEq)]
pub(super) enum End {
    /// Delivered, and the reply, if any, is stored.
    Settled {
        replied: bool,
        /// The reply had no hops left and is a dead letter.
        hop_limit: bool,
    },
    /// To be tried again.
    Retry { wait: Duration },
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
            attempts: job.attempts,
            number: job.number,
            generation: job.pass.generation,
            tried,
            end,
        }
    }
}

/// Makes the attempt.
pub(super) async fn run(means: Arc<Means>, job: Job) -> Done {
    let span = tracing::debug_span!(
        "attempt",
        broker = %means.logs.key,
        trigger = %means.key,
        offset = %job.offset,
        attempt = job.attempts.saturating_add(1),
        event_id = tracing::field::Empty,
        event_source = tracing::field::Empty,
    );
    async move {
        let done = match job.load {
            Load::Letter(letter) => to_sink(&means, job, letter).await,
            Load::Kept(_) | Load::Stored => to_subscriber(&means, job).await,
        };
        let tried = done.tried.as_ref();
        tracing::debug!(
            outcome = ?done.end,
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

async fn send(means: &Means, job: &Job, target: Arc<Target>, event: Event, to_sink: bool) -> (Outcome, Tried) {
    let entry = &job.settings.entry;
    let attempt = Attempt {
        target,
        event,
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

async fn to_subscriber(means: &Means, mut job: Job) -> Done {
    let read;
    // The permit lives until the attempt is over.
    let _kept;
    let event = match std::mem::replace(&mut job.load, Load::Stored) {
        Load::Kept(kept) => {
            _kept = kept;
            &_kept.event
        }
        Load::Stored | Load::Letter(_) => match read_one(&*means.logs.events, job.offset).await {
            Ok(event) => {
                read = event;
                &read
            }
            Err(unread) => return Done::of(&job, None, unread.into()),
        },
    };
    note_event(event);
    let Some(target) = job.settings.subscriber.clone() else {
        let why = job.settings.subscriber_waits().unwrap_or_default();
        return Done::of(&job, None, End::Deferred { why });
    };
    let (outcome, mut tried) = send(means, &job, target, event.clone(), false).await;
    // No answer although there was time for one: it died, or a connection was left over from its former life.
    let cut_off = |failure: &Failure| {
        failure.unreachable || (failure.code.is_none() && tried.took < job.settings.entry.delivery.timeout)
    };
    if let Outcome::Retryable(failure) = &outcome
        && job.settings.entry.exec.is_some()
        && job.strikes < STRIKES_MAX
        && cut_off(failure)
    {
        return Done::of(&job, Some(tried), End::Nobody);
    }
    let attempts = job.attempts.saturating_add(1);
    let policy = &job.settings.entry.delivery;
    let mut next = retry::decide(outcome, attempts, policy, job.jitter);
    if let Next::SettleAfterReply(reply) = next {
        match store_reply(means, &job, event, &reply, tried.code).await {
            Ok(end) => return Done::of(&job, Some(tried), end),
            Err(failure) => {
                // As if the subscriber had never seen it: the whole delivery is retried.
                tried.delivered = false;
                tried.retryable = true;
                tried.error = Some(failure.error.clone());
                next = retry::decide(Outcome::Retryable(failure), attempts, policy, job.jitter);
            }
        }
    }
    let end = match next {
        Next::Settle | Next::SettleAfterReply(_) => End::Settled { replied: false, hop_limit: false },
        Next::Retry { wait } => End::Retry { wait },
        Next::DeadLetter { reason, failure } => give_up(means, &job, event, reason, &failure).await,
    };
    Done::of(&job, Some(tried), end)
}

/// Makes a reply durable; only then may the event that it answers be settled.
async fn store_reply(
    means: &Means,
    job: &Job,
    original: &Event,
    reply: &Event,
    code: Option<u16>,
) -> Result<End, Failure> {
    let refused = |error: String| Failure {
        code: None,
        error: format!("the reply could not be stored: {error}"),
        body: Bytes::new(),
        retry_after: None,
        unreachable: false,
    };
    if let Some(reply) = retry::with_hops(reply, original) {
        means.logs.events.append(vec![reply]).await.map_err(|error| refused(error.to_string()))?;
        return Ok(End::Settled { replied: true, hop_limit: false });
    }
    tracing::warn!(
        broker = %means.logs.key, trigger = %means.key, offset = %job.offset, event_id = reply.id(),
        "a reply has no hops left: do its subscribers answer each other? it is kept as a dead letter"
    );
    let failure = Failure { code, ..refused("it has no hops left (knativebrokerttl)".to_owned()) };
    match give_up(means, job, reply, Reason::HopLimit, &failure).await {
        End::Deferred { why } => Err(refused(why)),
        _ => Ok(End::Settled { replied: false, hop_limit: true }),
    }
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

async fn to_sink(means: &Means, job: Job, letter: Offset) -> Done {
    let Some(sink) = job.settings.sink.clone() else {
        // The sink was taken away while the letter waited; the dead-letter log has it.
        return Done::of(&job, None, End::SinkGaveUp);
    };
    let stored = match read_one(&*means.logs.dead_letters, letter).await {
        Ok(stored) => stored,
        Err(unread) => return Done::of(&job, None, unread.into()),
    };
    let letter = match DeadLetter::from_event(&stored) {
        Ok(letter) => letter,
        Err(error) => return Done::of(&job, None, End::Missing { why: error.to_string() }),
    };
    note_event(&letter.event);
    let (outcome, tried) = send(means, &job, sink, letter.for_sink(), true).await;
    let attempts = job.attempts.saturating_add(1);
    let end = match retry::decide(outcome, attempts, &job.settings.entry.delivery, job.jitter) {
        Next::Settle | Next::SettleAfterReply(_) => End::Settled { replied: false, hop_limit: false },
        Next::Retry { wait } => End::Retry { wait },
        Next::DeadLetter { .. } => End::SinkGaveUp,
    };
    Done::of(&job, Some(tried), end)
}
