//! What a worker shows and saves: its cursor, its entry on the status board, its gauges.

use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::dispatch::meters::Meters;
use crate::dispatch::status::{StatusBoard, TriggerStatus};
use crate::metrics::Metrics;
use crate::names::TriggerKey;
use crate::state::Cursor;
use crate::triggers::TriggerEntry;
use crate::wake::WakeState;

/// Wait before a change of state is shown: gathers the many changes of a bad second, and nobody looks faster.
const SHOW_DELAY: Duration = Duration::from_millis(50);

/// How often the age and lag of a worker that is stuck are shown anew.
const STUCK_INTERVAL: Duration = Duration::from_secs(5);

/// How often a worker whose subscriber is up looks whether it still is.
const AWAKE_INTERVAL: Duration = Duration::from_secs(1);

/// A success so long ago says that a failure is not the rule.
const WORKS_FOR: Duration = Duration::from_secs(5);

/// So many failures in a row are the rule, whatever worked before.
const FAILING_ROW: u32 = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) meters: Meters,
    pub(super) board: StatusBoard,
    failing: bool,
    failed_in_a_row: u32,
    worked_at: Option<Instant>,
    last_error: Option<String>,
    dead_letters: u64,
    saved: Option<Cursor>,
    due: Option<Instant>,
    /// Something has changed since the last report.
    dirty: bool,
    asked: bool,
    /// It has warned since the last report.
    warned: bool,
}

impl Report {
    pub(super) fn new(board: StatusBoard, metrics: &Metrics, entry: &TriggerEntry) -> Self {
        Self {
            meters: Meters::new(metrics, &entry.key, &entry.broker),
            board,
            failing: false,
            failed_in_a_row: 0,
            worked_at: None,
            last_error: None,
            dead_letters: 0,
            saved: None,
            due: None,
            dirty: false,
            asked: false,
            warned: false,
        }
    }

    /// When the next report is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a report is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.asked || self.due.is_some_and(|due| due <= now)
    }

    /// A report is wanted now.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    fn due_by(&mut self, moment: Instant) {
        self.due = Some(self.due.map_or(moment, |due| due.min(moment)));
    }

    /// Something failed. Says whether the Trigger is failing from now on: not where other events go through.
    pub(super) fn failed(&mut self, error: String, now: Instant) -> bool {
        self.last_error = Some(error);
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        let works = self.worked_at.is_some_and(|at| now.duration_since(at) < WORKS_FOR);
        (!works || self.failed_in_a_row >= FAILING_ROW) && !std::mem::replace(&mut self.failing, true)
    }

    /// Nothing can be delivered at all. Says whether that is new.
    pub(super) fn stuck(&mut self, error: String) -> bool {
        self.last_error = Some(error);
        !std::mem::replace(&mut self.failing, true)
    }

    /// What kept everything from being delivered is over.
    pub(super) fn unstuck(&mut self) {
        self.failing = false;
        self.last_error = None;
    }

    /// Something worked. Says whether that is new.
    pub(super) fn worked(&mut self, now: Instant) -> bool {
        self.failed_in_a_row = 0;
        self.worked_at = Some(now);
        std::mem::take(&mut self.failing)
    }

    /// What went wrong last.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// A dead letter was stored.
    pub(super) fn dead_letter(&mut self) {
        self.dead_letters += 1;
        self.meters.dead_letters.inc();
    }

    /// Whether a warning about single events is due.
    pub(super) fn may_warn(&mut self) -> bool {
        !std::mem::replace(&mut self.warned, true)
    }

    /// The Trigger is gone.
    pub(super) fn remove(&self, key: &TriggerKey) {
        self.board.remove(key);
        self.meters.remove();
    }
}

impl Worker {
    /// The window has changed: save at the next tick.
    pub(super) fn touched(&mut self) {
        // Only the first call since the last report asks for the time.
        if !self.report.dirty {
            self.report.dirty = true;
            self.report.due_by(Instant::now() + self.limits.flush_interval);
        }
    }

    /// The state has changed in a way that people look for: show it soon.
    pub(super) fn changed(&mut self) {
        self.report.due_by(Instant::now() + SHOW_DELAY);
    }

    /// Says so while the subscriber's address is not known.
    pub(super) fn show_waiting(&mut self) {
        if let Some(why) = self.settings.subscriber_waits() {
            if self.report.stuck(why) {
                tracing::info!(
                    broker = %self.means.logs.key, trigger = %self.means.key, error = self.report.last_error(),
                    "events wait for the subscriber's address"
                );
            }
            self.changed();
        }
    }

    /// Saves the cursor if it has moved, and shows where the worker is.
    pub(super) fn report_now(&mut self, now: Instant) {
        let (key, logs) = (&self.means.key, &self.means.logs);
        let cursor = self.window.cursor((&logs.key, logs.id), self.settings.entry.incarnation.clone());
        let floor = cursor.floor();
        if self.report.saved.as_ref() != Some(&cursor) {
            self.state.save_cursor(key, cursor.clone());
            self.report.saved = Some(cursor);
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let status = TriggerStatus {
            broker: logs.key.clone(),
            began: self.window.began(),
            scanned: self.window.scanned(),
            floor,
            letters_floor: self.window.letters_floor(),
            unsettled: count(self.window.len()),
            retrying: count(self.window.waiting()),
            in_flight: count(self.to_subscriber + self.to_sink),
            dead_letters: self.report.dead_letters,
            wake: self.awake.shown(),
            failing: self.report.failing,
            last_error: self.report.last_error.clone(),
            oldest_unsettled: self.window.oldest(),
        };
        let meters = &self.report.meters;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        meters.window_events.set(gauge(status.unsettled));
        let lag = status.lag(&logs.events.bounds());
        meters.lag_events.set(gauge(lag.events));
        meters.lag_bytes.set(gauge(lag.bytes));
        let age = status.oldest_unsettled.map(|oldest| self.means.clock.now().since(oldest));
        meters.oldest_undelivered_seconds.set(age.unwrap_or_default().as_secs_f64());
        // A subscriber that the broker woke goes to sleep without telling its workers.
        let up = self.awake.has_to_be_looked_at() && status.wake.is_some_and(|wake| wake != WakeState::Asleep);
        self.turned = self.awake.turned();
        self.report.board.set(key, status);
        self.report.asked = false;
        self.report.dirty = false;
        self.report.warned = false;
        let again = match (up, self.window.len()) {
            (true, _) => Some(AWAKE_INTERVAL),
            (false, 0) => None,
            (false, _) => Some(STUCK_INTERVAL.max(self.limits.flush_interval)),
        };
        self.report.due = again.map(|wait| now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failing_is_the_rule_not_the_exception() {
        let entry = crate::dispatch::tests::rig::trigger("a");
        let mut report = Report::new(StatusBoard::new(), &Metrics::new(), &entry);
        let mut now = Instant::now();
        assert!(report.failed("x".to_owned(), now), "nothing has ever worked");
        assert!(!report.failed("y".to_owned(), now), "not new");
        assert!(report.worked(now));
        assert!(!report.failed("z".to_owned(), now), "one failure among successes");
        assert_eq!((report.failing, report.last_error()), (false, Some("z")));
        now += WORKS_FOR;
        assert!(report.failed("z".to_owned(), now), "the last success is long ago");
        assert!(report.worked(now));
        let turned: Vec<bool> = (0..FAILING_ROW).map(|_| report.failed("z".to_owned(), now)).collect();
        assert!(turned.iter().rev().skip(1).all(|turned| !turned) && turned.last() == Some(&true), "too many in a row");
    }
}
