//! Every metric of the broker: name with unit, help, closed label sets. Nothing here is global; the composition
//! root makes one [`Metrics`] and hands it on. Event ids and sources are never labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::names::{BrokerKey, TriggerKey};

/// Labels of a Broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BrokerLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub broker: String,
}

/// Labels of a Trigger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TriggerLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub trigger: String,
}

/// Labels of a delivery attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// Namespace of the Trigger.
    pub namespace: String,
    /// Name of the Trigger.
    pub trigger: String,
    /// `delivered`, `retryable` or `refused`.
    pub outcome: &'static str,
}

/// Labels of an answer to a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// Public error code, or `accepted`.
    pub code: &'static str,
}

impl From<&BrokerKey> for BrokerLabels {
    fn from(key: &BrokerKey) -> Self {
        Self { namespace: key.namespace.to_string(), broker: key.name.to_string() }
    }
}

impl From<&TriggerKey> for TriggerLabels {
    fn from(key: &TriggerKey) -> Self {
        Self { namespace: key.namespace.to_string(), trigger: key.name.to_string() }
    }
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

/// 50 µs to 26 s, doubling: from one fsync on fast flash to a hung subscriber.
fn seconds_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

/// 1 to 32,768 events in a group commit.
fn group_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal, $unit:expr, $help:literal, $make:expr;)*) => {
        /// All metrics and the registry that encodes them. Clones share the same counters.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: std::sync::Arc<Registry>,
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl Metrics {
            /// Registers every metric, all at zero.
            #[must_use]
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix("reveille");
                $(
                    let $field: $kind = $make;
                    match $unit {
                        Some(unit) => registry.register_with_unit($name, $help, unit, $field.clone()),
                        None => registry.register($name, $help, $field.clone()),
                    }
                )*
                Self { registry: std::sync::Arc::new(registry), $($field,)* }
            }
        }
    };
}

metrics! {
    /// Events accepted with 202, by Broker.
    ingest_events: Family<BrokerLabels, Counter> = "ingest_events", None::<Unit>, "Events accepted", Family::default();
    /// Bytes of accepted events, by Broker.
    ingest_bytes: Family<BrokerLabels, Counter> = "ingest", Some(Unit::Bytes), "Bytes of accepted events", Family::default();
    /// Answers to publish requests, by code.
    ingest_answers: Family<AnswerLabels, Counter> = "ingest_answers", None::<Unit>, "Answers to publish requests by error code", Family::default();
    /// Bytes of request bodies held at the moment.
    ingest_in_flight_bytes: Gauge = "ingest_in_flight", Some(Unit::Bytes), "Bytes of publish requests in memory", Gauge::default();
    /// From the first byte of a publish request to its answer.
    ingest_seconds: Histogram = "ingest_duration", Some(Unit::Seconds), "Time to answer a publish request", seconds_histogram();
    /// Records per group commit.
    append_group_records: Histogram = "log_append_group_records", None::<Unit>, "Records in one group commit", group_histogram();
    /// Duration of the log's fdatasync.
    fsync_seconds: Histogram = "log_fsync_duration", Some(Unit::Seconds), "Time of one fdatasync of the log", seconds_histogram();
    /// Bytes of frames on disk, by Broker.
    log_bytes: Family<BrokerLabels, Gauge> = "log_size", Some(Unit::Bytes), "Bytes of a Broker's log on disk", Family::default();
    /// Appends refused because the log was full or poisoned, by Broker.
    append_refusals: Family<BrokerLabels, Counter> = "log_append_refusals", None::<Unit>, "Appends refused by the log", Family::default();
    /// Records found damaged on disk, by Broker.
    damaged_records: Family<BrokerLabels, Counter> = "log_damaged_records", None::<Unit>, "Records left out because they are damaged on disk", Family::default();
    /// Records that retention removed before they were settled, by Broker.
    discarded_records: Family<BrokerLabels, Counter> = "log_discarded_records", None::<Unit>, "Unsettled records removed under a hard byte limit", Family::default();
    /// What the logs of Brokers that are gone take on disk, by Broker.
    orphan_bytes: Family<BrokerLabels, Gauge> = "orphaned_log_size", Some(Unit::Bytes), "Bytes on disk of the log of a Broker that is gone, until it is removed", Family::default();
    /// Logs of Brokers that are gone, removed.
    orphans_removed: Counter = "orphaned_logs_removed", None::<Unit>, "Logs of removed Brokers that were deleted after the grace period", Counter::default();
    /// Their bytes.
    orphan_bytes_removed: Counter = "orphaned_logs_removed", Some(Unit::Bytes), "Bytes of deleted logs of removed Brokers", Counter::default();
    /// Attempts, by Trigger and outcome.
    attempts: Family<OutcomeLabels, Counter> = "delivery_attempts", None::<Unit>, "Delivery attempts by outcome", Family::default();
    /// Duration of attempts, by Trigger.
    attempt_seconds: Histograms<TriggerLabels> = "delivery_duration", Some(Unit::Seconds), "Time of one delivery attempt", Family::new_with_constructor(seconds_histogram as fn() -> Histogram);
    /// Retries scheduled, by Trigger.
    retries: Family<TriggerLabels, Counter> = "delivery_retries", None::<Unit>, "Retries scheduled", Family::default();
    /// Events settled, by Trigger.
    settled_events: Family<TriggerLabels, Counter> = "settled_events", None::<Unit>, "Events settled", Family::default();
    /// Dead letters stored, by Trigger.
    dead_letters: Family<TriggerLabels, Counter> = "dead_letters", None::<Unit>, "Dead letters stored", Family::default();
    /// Dead letters that retention removed, by Broker.
    expired_letters: Family<BrokerLabels, Counter> = "dead_letters_expired", None::<Unit>, "Dead letters removed by retention", Family::default();
    /// Dead letters that the sink did not take, by Trigger; they stay in the dead-letter log.
    sink_failures: Family<TriggerLabels, Counter> = "dead_letter_sink_failures", None::<Unit>, "Dead letters that the sink did not take", Family::default();
    /// 2xx answers with a body that is no CloudEvent, by Trigger.
    odd_replies: Family<TriggerLabels, Counter> = "odd_replies", None::<Unit>, "2xx answers whose body is no CloudEvent", Family::default();
    /// Replies stored, by Trigger.
    replies: Family<TriggerLabels, Counter> = "replies", None::<Unit>, "Replies stored in the Broker's log", Family::default();
    /// Attempts under way, by Trigger.
    in_flight: Family<TriggerLabels, Gauge> = "delivery_in_flight", None::<Unit>, "Delivery attempts under way", Family::default();
    /// Unsettled events in the window, by Trigger.
    window_events: Family<TriggerLabels, Gauge> = "window_events", None::<Unit>, "Matched events that are not settled", Family::default();
    /// Events between a Trigger's floor and the durable end.
    lag_events: Family<TriggerLabels, Gauge> = "lag_events", None::<Unit>, "Events that matched and are not settled, and records not looked at yet", Family::default();
    /// Bytes between a Trigger's floor and the durable end (estimated from the mean record size).
    lag_bytes: Family<TriggerLabels, Gauge> = "lag", Some(Unit::Bytes), "Bytes of the lag, by the mean size of the records kept", Family::default();
    /// Age of the oldest undelivered event, by Trigger.
    oldest_undelivered_seconds: Family<TriggerLabels, Seconds> = "oldest_undelivered", Some(Unit::Seconds), "Age of the oldest undelivered event", Family::default();
    /// Wakes begun, by Trigger.
    wakes: Family<TriggerLabels, Counter> = "wakes", None::<Unit>, "Wakes begun", Family::default();
    /// Wakes that failed, by Trigger.
    wake_failures: Family<TriggerLabels, Counter> = "wake_failures", None::<Unit>, "Wakes that failed", Family::default();
    /// From the decision to wake to an accepted connection.
    wake_seconds: Histogram = "wake_duration", Some(Unit::Seconds), "Time from the decision to wake to readiness", seconds_histogram();
    /// Age of the oldest state that is not durable.
    state_unflushed: Seconds = "state_unflushed", Some(Unit::Seconds), "Age of the oldest cursor or other state that is not durable yet", Seconds::default();
    /// Manifests that could not be used, at the last look.
    manifest_faults: Gauge = "manifest_faults", None::<Unit>, "Faulty manifests at the last look", Gauge::default();
    /// Whether the Kubernetes API server answers: 1, or 0 while the last known table is served.
    kube_connected: Gauge = "kube_connected", None::<Unit>, "Whether the Kubernetes API server answers", Gauge::default();
    /// Objects seen that could not be used.
    kube_object_faults: Counter = "kube_object_faults", None::<Unit>, "Brokers and Triggers seen that could not be used", Counter::default();
    /// Faults of Brokers and Triggers now.
    kube_faulty_objects: Gauge = "kube_faults", None::<Unit>, "Faults of Brokers and Triggers at the moment", Gauge::default();
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// Only when formatting into memory fails.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
