//! The gauges that are not counted as things happen but read when somebody asks: lag, windows, log sizes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::dispatch::status::{StatusBoard, TriggerStatus};
use crate::log::{Bounds, LogSet};
use crate::metrics::{Metrics, TriggerLabels};
use crate::names::{BrokerKey, TriggerKey};

/// Fills the gauges from dispatch's board and the logs, and takes those of removed Triggers and Brokers out.
#[derive(Debug)]
pub struct LagReporter {
    metrics: Metrics,
    board: StatusBoard,
    logs: LogSet,
    clock: Clock,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    triggers: BTreeSet<TriggerKey>,
    brokers: BTreeSet<BrokerKey>,
}

/// How far a Trigger is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lag {
    events: u64,
    bytes: u64,
}

impl LagReporter {
    /// A reporter that has not reported yet.
    #[must_use]
    pub fn new(metrics: Metrics, board: StatusBoard, logs: LogSet, clock: Clock) -> Self {
        Self { metrics, board, logs, clock, shown: Mutex::default() }
    }

    /// Brings the gauges up to date.
    pub fn report(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let statuses = self.board.all();
        let triggers: BTreeSet<TriggerKey> = statuses.iter().map(|(key, _)| key.clone()).collect();
        for gone in shown.triggers.difference(&triggers) {
            self.remove_trigger(&gone.into());
        }
        for (key, status) in &statuses {
            self.report_trigger(&key.into(), status);
        }
        let logs = self.logs.all();
        let brokers: BTreeSet<BrokerKey> = logs.iter().map(|logs| logs.key.clone()).collect();
        for gone in shown.brokers.difference(&brokers) {
            self.metrics.log_bytes.remove(&gone.into());
        }
        for logs in &logs {
            self.metrics.log_bytes.get_or_create(&(&logs.key).into()).set(gauge(logs.events.bounds().bytes));
        }
        *shown = Shown { triggers, brokers };
    }

    fn report_trigger(&self, labels: &TriggerLabels, status: &TriggerStatus) {
        let metrics = &self.metrics;
        let logs = self.logs.get(status.broker.namespace.as_str(), status.broker.name.as_str());
        let lag = logs.map_or_else(Lag::default, |logs| lag_of(status, logs.events.bounds()));
        let oldest = status.oldest_unsettled.map_or(0.0, |oldest| self.clock.now().since(oldest).as_secs_f64());
        metrics.lag_events.get_or_create(labels).set(gauge(lag.events));
        metrics.lag_bytes.get_or_create(labels).set(gauge(lag.bytes));
        metrics.oldest_undelivered_seconds.get_or_create(labels).set(oldest);
        metrics.window_events.get_or_create(labels).set(gauge(status.unsettled));
        metrics.in_flight.get_or_create(labels).set(gauge(status.in_flight));
    }

    fn remove_trigger(&self, labels: &TriggerLabels) {
        let metrics = &self.metrics;
        metrics.lag_events.remove(labels);
        metrics.lag_bytes.remove(labels);
        metrics.oldest_undelivered_seconds.remove(labels);
        metrics.window_events.remove(labels);
        metrics.in_flight.remove(labels);
    }
}

/// From the floor, or where retention has gone past it, from the first record kept, to the durable end. Bytes by the
/// mean size of the records kept.
fn lag_of(status: &TriggerStatus, bounds: Bounds) -> Lag {
    let kept = bounds.next.0.saturating_sub(bounds.first.0);
    let events = bounds.next.0.saturating_sub(status.floor.max(bounds.first).0);
    let bytes = (u128::from(bounds.bytes) * u128::from(events)).checked_div(u128::from(kept)).unwrap_or(0);
    Lag { events, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Offset;

    #[test]
    fn lag_is_what_lies_between_floor_and_end() {
        let bounds =
            |first, next, bytes| Bounds { first: Offset(first), next: Offset(next), bytes, ..Bounds::default() };
        let rows = [
            ("empty log", 0, bounds(0, 0, 0), (0, 0)),
            ("caught up", 100, bounds(0, 100, 5000), (0, 0)),
            ("half behind", 50, bounds(0, 100, 5000), (50, 2500)),
            ("trimmed past the floor", 10, bounds(60, 100, 4000), (40, 4000)),
            ("floor ahead of what was looked at", 101, bounds(0, 100, 5000), (0, 0)),
        ];
        for (row, floor, bounds, (events, bytes)) in rows {
            let status = super::super::tests::status(floor);
            assert_eq!(lag_of(&status, bounds), Lag { events, bytes }, "{row}");
        }
    }
}
