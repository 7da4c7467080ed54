//! Attempts go out: as many at once as the limits allow, and only to a subscriber that is awake.

use tokio::time::Instant;

use super::Worker;
use crate::dispatch::attempt::{self, Job, Load};
use crate::dispatch::awake::AwakePass;
use crate::dispatch::budget::Kept;
use crate::dispatch::limits::BATCH_BYTES_MAX;
use crate::dispatch::window::{GroupMax, Taken};
use crate::log::Offset;
use crate::triggers::ContentMode;
use crate::wake::{AwakeGuard, WakeError};

/// The part of a Trigger's concurrency that its dead letter sink may use besides: a slow sink must not use up what
/// the subscriber could.
const SINK_PART: usize = 4;

impl Worker {
    /// Begins what may be begun.
    pub(super) fn launch(&mut self, now: Instant) {
        let for_sink = (self.settings.entry.concurrency / SINK_PART).max(1);
        while self.to_sink < for_sink && !self.settings.sink_waits() && self.window.has_ready_for_sink() {
            let Some(taken) = self.window.take_for_sink() else { break };
            let Some(letter) = taken.letter else {
                // Its dead letter is no longer in the dead-letter log: nothing is left to be sent.
                self.window.settle(taken.offset);
                continue;
            };
            self.to_sink += 1;
            self.spawn(vec![taken], Some(letter), AwakePass::default());
        }
        if self.settings.subscriber_waits().is_some() {
            return;
        }
        if self.window.has_ready() && !self.awake.is_up() {
            if self.awake.begin(now) {
                self.report.meters.wakes.inc();
                self.changed();
            }
            return;
        }
        while self.to_subscriber < self.congestion.limit() {
            let Some(pass) = self.awake.pass() else { break };
            let taken = self.take(now);
            if taken.is_empty() {
                break;
            }
            self.to_subscriber += 1;
            self.spawn(taken, None, pass);
        }
        if self.to_subscriber == 0 && !self.window.has_ready() {
            self.awake.release();
        }
    }

    /// The events of the next request: one, or of a batched Trigger all that are ready, within limits.
    fn take(&mut self, now: Instant) -> Vec<Taken<Kept>> {
        let entry = &self.settings.entry;
        if entry.content_mode != ContentMode::Batched {
            return self.window.take().into_iter().collect();
        }
        let most = GroupMax { events: self.batching.limit(), bytes: BATCH_BYTES_MAX, retries: entry.delivery.retry };
        self.window.take_group(most, now)
    }

    fn spawn(&mut self, taken: Vec<Taken<Kept>>, letter: Option<Offset>, pass: AwakePass) {
        let (number, jitter) = (self.congestion.begin(), self.rng.f64());
        let jobs = taken.into_iter().map(|taken| Job {
            offset: taken.offset,
            load: match (letter, taken.body) {
                (Some(letter), _) => Load::Letter(letter),
                (None, Some(kept)) => Load::Kept(kept),
                (None, None) => Load::Stored,
            },
            attempts: taken.attempts,
            strikes: taken.strikes,
            settings: self.settings.clone(),
            pass: pass.clone(),
            number,
            jitter,
        });
        let jobs = jobs.collect();
        self.report.meters.in_flight.inc();
        // A task of its own, so that attempts use all cores.
        self.attempts.spawn(attempt::run(self.means.clone(), jobs));
    }

    /// A wake ended.
    pub(super) fn woken(&mut self, result: Result<AwakeGuard, WakeError>) {
        match self.awake.settle(result, Instant::now()) {
            Ok(()) => {}
            Err(error) => {
                self.report.meters.wake_failures.inc();
                if self.report.stuck(error.to_string()) {
                    tracing::warn!(
                        broker = %self.means.logs.key, trigger = %self.means.key, %error,
                        "the subscriber could not be woken; its events wait"
                    );
                }
            }
        }
        self.changed();
    }
}
