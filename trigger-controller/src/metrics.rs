//! Every metric of the controller: name with unit, help, closed label sets. Nothing here is global; the composition
//! root makes one [`Metrics`] and hands it on. Names of objects are never labels.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::world::Kind;

/// A kind of objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: String,
}

/// What came of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    /// `Broker` or `Trigger`.
    pub(crate) kind: &'static str,
    /// See the metric.
    pub(crate) outcome: &'static str,
}

type Histograms = Family<KindLabel, Histogram, fn() -> Histogram>;

/// 10 µs to 5 s, doubling: from a plan that changes nothing to a write that times out.
fn seconds_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 20))
}

/// All metrics and the registry that encodes them. Clones share the same counters.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    /// Objects looked at: `unchanged`, `written`, `pending`, `ignored`, or why a write failed.
    pub(crate) reconcile: Family<OutcomeLabels, Counter>,
    /// From the look at an object to the answer to its write.
    pub(crate) reconcile_seconds: Histograms,
    /// Requests that write a status: `ok`, or why not.
    pub(crate) writes: Family<OutcomeLabels, Counter>,
    /// 1 where this process is the leader.
    pub(crate) leader: Gauge,
    /// Objects that could not be read, by kind.
    pub(crate) unreadable_objects: Family<KindLabel, Counter>,
    /// Objects looked at whose manifest has faults, by kind.
    pub(crate) faulty_objects: Family<KindLabel, Counter>,
    /// Failed lists and watches, by kind.
    pub(crate) watch_errors: Family<KindLabel, Counter>,
    /// Kinds watched at the moment.
    pub(crate) watched_kinds: Gauge,
    /// Objects that wait for their turn.
    pub(crate) queue_depth: Gauge,
    /// Kubernetes Events that were not written because too many waited.
    pub(crate) events_dropped: Counter,
}

impl Metrics {
    /// Registers every metric, all at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("reveille_controller");
        let reconcile = Family::default();
        registry.register("reconcile", "Objects looked at, by outcome", reconcile.clone());
        let reconcile_seconds: Histograms = Family::new_with_constructor(seconds_histogram);
        let help = "Time from the look at an object to the answer to its write";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, reconcile_seconds.clone());
        let writes = Family::default();
        registry.register("writes", "Writes of a status, by outcome", writes.clone());
        let leader = Gauge::default();
        registry.register("leader", "1 where this process is the leader", leader.clone());
        let unreadable_objects = Family::default();
        registry.register("unreadable_objects", "Objects that could not be read", unreadable_objects.clone());
        let faulty_objects = Family::default();
        registry.register("faulty_objects", "Looks at objects whose manifest has faults", faulty_objects.clone());
        let watch_errors = Family::default();
        registry.register("watch_errors", "Failed lists and watches", watch_errors.clone());
        let watched_kinds = Gauge::default();
        registry.register("watched_kinds", "Kinds watched at the moment", watched_kinds.clone());
        let queue_depth = Gauge::default();
        registry.register("queue_depth", "Objects that wait for their turn", queue_depth.clone());
        let events_dropped = Counter::default();
        registry.register("events_dropped", "Kubernetes Events left out, as too many waited", events_dropped.clone());
        Self {
            registry: Arc::new(registry),
            reconcile,
            reconcile_seconds,
            writes,
            leader,
            unreadable_objects,
            faulty_objects,
            watch_errors,
            watched_kinds,
            queue_depth,
            events_dropped,
        }
    }

    /// Counts a look at an object.
    pub(crate) fn looked(&self, kind: Kind, outcome: &'static str, took: Duration) {
        self.reconcile.get_or_create(&OutcomeLabels { kind: kind.as_str(), outcome }).inc();
        let label = KindLabel { kind: kind.as_str().to_owned() };
        self.reconcile_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// Counts a write.
    pub(crate) fn wrote(&self, kind: Kind, outcome: &'static str) {
        self.writes.get_or_create(&OutcomeLabels { kind: kind.as_str(), outcome }).inc();
    }

    /// Counts an object that could not be read.
    pub(crate) fn unreadable(&self, kind: &str) {
        self.unreadable_objects.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// Only when a label cannot be written.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_unit_and_total() {
        let metrics = Metrics::new();
        metrics.looked(Kind::Trigger, "written", Duration::from_millis(3));
        metrics.wrote(Kind::Broker, "ok");
        metrics.unreadable("Service");
        let text = metrics.encode().unwrap();
        for line in [
            "reveille_controller_reconcile_total{kind=\"Trigger\",outcome=\"written\"} 1",
            "reveille_controller_reconcile_duration_seconds_count{kind=\"Trigger\"} 1",
            "reveille_controller_writes_total{kind=\"Broker\",outcome=\"ok\"} 1",
            "reveille_controller_unreadable_objects_total{kind=\"Service\"} 1",
            "reveille_controller_leader 0",
            "reveille_controller_queue_depth 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
