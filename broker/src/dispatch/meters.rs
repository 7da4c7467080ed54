//! A Trigger's metrics, looked up once: a look-up per event would take a lock per event.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::{BrokerLabels, Metrics, OutcomeLabels, TriggerLabels};
use crate::names::{BrokerKey, TriggerKey};

/// See the module; fields are named as in [`Metrics`].
#[derive(Debug)]
pub(super) struct Meters {
    all: Metrics,
    labels: TriggerLabels,
    pub(super) delivered: Counter,
    pub(super) retryable: Counter,
    pub(super) refused: Counter,
    pub(super) attempt_seconds: Histogram,
    pub(super) retries: Counter,
    pub(super) settled_events: Counter,
    pub(super) dead_letters: Counter,
    pub(super) sink_failures: Counter,
    pub(super) odd_replies: Counter,
    pub(super) replies: Counter,
    pub(super) in_flight: Gauge,
    pub(super) window_events: Gauge,
    pub(super) lag_events: Gauge,
    pub(super) lag_bytes: Gauge,
    pub(super) oldest_undelivered_seconds: Gauge<f64, AtomicU64>,
    pub(super) wakes: Counter,
    pub(super) wake_failures: Counter,
    pub(super) discarded_records: Counter,
}

const OUTCOMES: [&str; 3] = ["delivered", "retryable", "refused"];

impl Meters {
    pub(super) fn new(all: &Metrics, trigger: &TriggerKey, broker: &BrokerKey) -> Self {
        let labels = TriggerLabels::from(trigger);
        let [delivered, retryable, refused] = OUTCOMES.map(|outcome| {
            let labels = outcome_labels(&labels, outcome);
            all.attempts.get_or_create(&labels).clone()
        });
        Self {
            delivered,
            retryable,
            refused,
            attempt_seconds: all.attempt_seconds.get_or_create(&labels).clone(),
            retries: all.retries.get_or_create(&labels).clone(),
            settled_events: all.settled_events.get_or_create(&labels).clone(),
            dead_letters: all.dead_letters.get_or_create(&labels).clone(),
            sink_failures: all.sink_failures.get_or_create(&labels).clone(),
            odd_replies: all.odd_replies.get_or_create(&labels).clone(),
            replies: all.replies.get_or_create(&labels).clone(),
            in_flight: all.in_flight.get_or_create(&labels).clone(),
            window_events: all.window_events.get_or_create(&labels).clone(),
            lag_events: all.lag_events.get_or_create(&labels).clone(),
            lag_bytes: all.lag_bytes.get_or_create(&labels).clone(),
            oldest_undelivered_seconds: all.oldest_undelivered_seconds.get_or_create(&labels).clone(),
            wakes: all.wakes.get_or_create(&labels).clone(),
            wake_failures: all.wake_failures.get_or_create(&labels).clone(),
            discarded_records: all.discarded_records.get_or_create(&BrokerLabels::from(broker)).clone(),
            all: all.clone(),
            labels,
        }
    }

    /// Forgets a Trigger that is gone, so that label sets do not pile up.
    pub(super) fn remove(&self) {
        let (all, labels) = (&self.all, &self.labels);
        for outcome in OUTCOMES {
            all.attempts.remove(&outcome_labels(labels, outcome));
        }
        all.attempt_seconds.remove(labels);
        for counters in [
            &all.retries,
            &all.settled_events,
            &all.dead_letters,
            &all.sink_failures,
            &all.odd_replies,
            &all.replies,
            &all.wakes,
            &all.wake_failures,
        ] {
            counters.remove(labels);
        }
        for gauges in [&all.in_flight, &all.window_events, &all.lag_events, &all.lag_bytes] {
            gauges.remove(labels);
        }
        all.oldest_undelivered_seconds.remove(labels);
    }
}

fn outcome_labels(labels: &TriggerLabels, outcome: &'static str) -> OutcomeLabels {
    OutcomeLabels { namespace: labels.namespace.clone(), trigger: labels.trigger.clone(), outcome }
}
