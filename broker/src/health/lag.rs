//! The gauges that are not counted as things happen but read when somebody asks: lag, windows, log sizes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::dispatch::status::{Lag, StatusBoard, TriggerStatus};
use crate::log::LogSet;
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
        let lag = logs.map_or_else(Lag::default, |logs| status.lag(&logs.events.bounds()));
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

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
