//! The publish endpoint's metrics with their label look-ups done once per Broker, not once per request.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use schemas::error_code::ErrorCode;
use tokio::time::Instant;

use crate::metrics::{AnswerLabels, BrokerLabels, Metrics};
use crate::names::BrokerKey;

/// Most Brokers whose handles are kept; above it (names come and go) all are looked up again.
const BROKERS_MAX: usize = 4096;

/// Counters of one Broker.
#[derive(Debug)]
struct BrokerMeters {
    events: Counter,
    bytes: Counter,
}

type ByName = HashMap<BrokerKey, Arc<BrokerMeters>>;

#[derive(Debug)]
pub(super) struct Meters {
    metrics: Metrics,
    accepted: Counter,
    brokers: ArcSwap<ByName>,
}

impl Meters {
    pub(super) fn new(metrics: Metrics) -> Self {
        let accepted = metrics.ingest_answers.get_or_create(&AnswerLabels { code: "accepted" }).clone();
        Self { metrics, accepted, brokers: ArcSwap::default() }
    }

    /// Counts a request that was answered with 202.
    pub(super) fn accept(&self, key: &BrokerKey, events: u64, bytes: u64, since: Instant) {
        let count = |broker: &BrokerMeters| {
            broker.events.inc_by(events);
            broker.bytes.inc_by(bytes);
        };
        if let Some(broker) = self.brokers.load().get(key) {
            count(broker);
        } else {
            count(&self.remember(key));
        }
        self.accepted.inc();
        self.metrics.ingest_seconds.observe(since.elapsed().as_secs_f64());
    }

    /// Counts a request that was refused.
    pub(super) fn refuse(&self, code: ErrorCode, since: Instant) {
        self.metrics.ingest_answers.get_or_create(&AnswerLabels { code: code.as_str() }).inc();
        self.metrics.ingest_seconds.observe(since.elapsed().as_secs_f64());
    }

    fn remember(&self, key: &BrokerKey) -> Arc<BrokerMeters> {
        let labels = BrokerLabels::from(key);
        let broker = Arc::new(BrokerMeters {
            events: self.metrics.ingest_events.get_or_create(&labels).clone(),
            bytes: self.metrics.ingest_bytes.get_or_create(&labels).clone(),
        });
        self.brokers.rcu(|brokers| {
            let mut brokers = if brokers.len() < BROKERS_MAX { ByName::clone(brokers) } else { ByName::new() };
            brokers.insert(key.clone(), broker.clone());
            brokers
        });
        broker
    }
}
