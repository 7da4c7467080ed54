//! What attempts came to is applied to the window, the limits and the metrics.

use tokio::task::JoinError;
use tokio::time::Instant;

use super::Worker;
use crate::dispatch::attempt::{Done, End, Tried};
use crate::dispatch::limits::STORE_PAUSE;
use crate::dispatch::status::AttemptRecord;

/// The status by which a subscriber says that a request was too large.
const PAYLOAD_TOO_LARGE: u16 = 413;

impl Worker {
    /// Applies an attempt that ended, and all others that have ended meanwhile.
    pub(super) fn apply_all(&mut self, first: Option<Result<Vec<Done>, JoinError>>) {
        let now = Instant::now();
        let mut next = first;
        while let Some(ended) = next {
            match ended {
                Ok(done) => self.apply_attempt(done, now),
                // A fault of the program, not of an event: going on would leave the event unsettled for ever.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
            next = self.attempts.try_join_next();
        }
        self.touched();
    }

    /// The request counts once, what it came to counts for each of its events.
    fn apply_attempt(&mut self, mut all: Vec<Done>, now: Instant) {
        let Some(to_sink) = all.first().map(|done| done.to_sink) else { return };
        let slots = if to_sink { &mut self.to_sink } else { &mut self.to_subscriber };
        *slots = slots.saturating_sub(1);
        self.report.meters.in_flight.dec();
        let http = all.iter().find(|done| done.tried.is_some() && done.end != End::Nobody);
        if let Some((done, tried)) = http.and_then(|done| Some((done, done.tried.as_ref()?))) {
            self.count(done, tried, now);
        }
        // From the last to the first: the next of a lane may go only once all of the lane that went together have left.
        all.sort_unstable_by_key(|done| std::cmp::Reverse(done.offset));
        for done in all {
            self.apply(done, now);
        }
    }

    fn apply(&mut self, done: Done, now: Instant) {
        let offset = done.offset;
        if let Some(tried) = done.tried.as_ref().filter(|tried| !tried.delivered || done.attempts > 0)
            && done.end != End::Nobody
        {
            self.remember(&done, tried);
        }
        match &done.end {
            End::Settled { replied, hop_limit } => {
                let meters = &self.report.meters;
                if *replied {
                    meters.replies.inc();
                }
                if *hop_limit {
                    self.report.dead_letter();
                }
                self.settle(offset);
            }
            End::Retry { wait } => {
                self.report.meters.retries.inc();
                // It may be this event that the subscriber cannot take; smaller companies will tell.
                if done.company > 1 {
                    self.window.narrow(offset, done.company / 2);
                }
                self.window.retry(offset, self.means.clock.now().after(*wait), now + *wait);
            }
            End::Apart { most } => self.window.part(offset, *most),
            End::DeadLettered { letter } => {
                self.report.dead_letter();
                self.warn_of(&done, "gave up; the event is a dead letter");
                if self.settings.has_sink() {
                    self.window.turn_to_sink(offset, *letter);
                } else {
                    self.settle(offset);
                }
            }
            End::SinkGaveUp => {
                self.report.meters.sink_failures.inc();
                self.warn_of(&done, "the dead letter sink did not take it; it stays in the dead-letter log");
                self.settle(offset);
            }
            End::Nobody => {
                self.awake.lost(done.generation);
                self.window.strike(offset);
            }
            End::Missing { why } => {
                tracing::error!(
                    broker = %self.means.logs.key, trigger = %self.means.key, %offset, error = why,
                    "the event cannot be read any more and is left out"
                );
                self.report.meters.discarded_records.inc();
                self.settle(offset);
            }
            End::Deferred { why } => {
                if self.report.stuck(why.clone()) {
                    tracing::error!(
                        broker = %self.means.logs.key, trigger = %self.means.key, %offset,
                        error = self.report.last_error(), "an event has to wait for the broker's own log"
                    );
                }
                self.changed();
                self.window.defer(offset, now + STORE_PAUSE);
            }
        }
    }

    /// Warns of an event that was given up; once per report, for a subscriber that refuses all would flood the log.
    fn warn_of(&mut self, done: &Done, what: &'static str) {
        if self.report.may_warn() {
            tracing::warn!(
                broker = %self.means.logs.key, trigger = %self.means.key, offset = %done.offset,
                attempt = done.attempts.saturating_add(1),
                error = done.tried.as_ref().and_then(|tried| tried.error.as_deref()),
                "{what}"
            );
        }
    }

    fn settle(&mut self, offset: crate::log::Offset) {
        self.report.meters.settled_events.inc();
        self.window.settle(offset);
    }

    /// Counts the HTTP part of an attempt, and draws conclusions about the subscriber.
    fn count(&mut self, done: &Done, tried: &Tried, now: Instant) {
        let meters = &self.report.meters;
        meters.attempt_seconds.observe(tried.took.as_secs_f64());
        let outcome = match (tried.delivered, tried.retryable) {
            (true, _) => &meters.delivered,
            (false, true) => &meters.retryable,
            (false, false) => &meters.refused,
        };
        outcome.inc();
        if tried.odd_body {
            if meters.odd_replies.get() == 0 {
                tracing::warn!(
                    broker = %self.means.logs.key, trigger = %self.means.key, offset = %done.offset,
                    "a 2xx answer has a body that is no CloudEvent; it counts as delivered (reveille.dev/reply)"
                );
            }
            meters.odd_replies.inc();
        }
        if done.to_sink {
            return;
        }
        if tried.code == Some(PAYLOAD_TOO_LARGE) && done.company > 1 {
            self.batching.failure(done.number);
        }
        if tried.delivered {
            self.congestion.success();
            self.batching.success();
            if self.report.worked(now) {
                self.changed();
            }
        } else {
            if tried.retryable {
                self.congestion.failure(done.number);
            }
            let first = self.report.failed(tried.error.clone().unwrap_or_default(), now);
            if first {
                self.changed();
                tracing::info!(
                    broker = %self.means.logs.key, trigger = %self.means.key, offset = %done.offset,
                    error = self.report.last_error(), "deliveries fail"
                );
            }
        }
    }

    fn remember(&mut self, done: &Done, tried: &Tried) {
        let endpoint = if done.to_sink {
            let sink = self.settings.entry.delivery.dead_letter_sink.as_ref();
            sink.map_or_else(|| "".into(), |sink| sink.shown().into())
        } else {
            self.settings.endpoint.clone()
        };
        let record = AttemptRecord {
            offset: done.offset,
            at: self.means.clock.now().before(tried.took),
            endpoint,
            code: tried.code,
            seconds: tried.took.as_secs_f64(),
            error: tried.error.clone(),
        };
        self.report.board.record(&self.means.key, record);
    }
}
