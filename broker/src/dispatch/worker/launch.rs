//! Attempts go out: as many at once as the limits allow, and only to a subscriber that is awake.

use tokio::time::Instant;

use super::Worker;
use crate::dispatch::attempt::{self, Job, Load};
use crate::dispatch::awake::AwakePass;
use crate::dispatch::budget::Kept;
use crate::dispatch::window::Taken;
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
            self.spawn(taken, Some(Load::Letter(letter)), AwakePass::default());
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
            let Some(taken) = self.window.take() else { break };
            self.to_subscriber += 1;
            self.spawn(taken, None, pass);
        }
        if self.to_subscriber == 0 && !self.window.has_ready() {
            self.awake.release();
        }
    }

    fn spawn(&mut self, mut taken: Taken<Kept>, load: Option<Load>, pass: AwakePass) {
        let kept = taken.body.take();
        let job = Job {
            offset: taken.offset,
            load: load.unwrap_or_else(|| kept.map_or(Load::Stored, Load::Kept)),
            attempts: taken.attempts,
            strikes: taken.strikes,
            settings: self.settings.clone(),
            pass,
            number: self.congestion.begin(),
            jitter: self.rng.f64(),
        };
        self.report.meters.in_flight.inc();
        // A task of its own, so that attempts use all cores.
        self.attempts.spawn(attempt::run(self.means.clone(), job));
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
