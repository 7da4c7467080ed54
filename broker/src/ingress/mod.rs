//! HTTP in: publishers' requests become events in a Broker's log.
//!
//! *Responsibility*: the publish endpoint `POST /{namespace}/{broker}`, its limits and its answers, and the HTTP
//! server that the other listeners use too. *Inputs*: HTTP requests. *Outputs*: appended events; `202` once the log
//! says that they are durable. *Invariants*: no answer of success before the append's ticket resolved; a batch is
//! appended whole or not at all; memory for requests stays within [`IngressLimits::in_flight_bytes`]. *Not here*:
//! what is a legal event ([`crate::event::decode`]), storage ([`crate::log`]); delivery never appears here.
//!
//! ```text
//! server (connections) ─▶ publish (method, path, Broker) ─▶ admit (size, budget, time) ─▶ decode ─▶ log ─▶ 202
//! ```

mod admit;
mod connection;
pub mod error;
mod meters;
mod publish;
pub mod server;
mod trace_context;

use std::sync::Arc;
use std::time::Duration;

pub use error::PublishError;
pub use publish::router;

use tokio::sync::Semaphore;

use crate::log::LogSet;
use crate::metrics::Metrics;

/// How much one publisher, and all of them together, may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngressLimits {
    /// Largest event, in bytes: the body of a request with one event, or attributes and data of one in a batch.
    pub event_bytes: usize,
    /// Largest body of a batch, in bytes.
    pub request_bytes: usize,
    /// Bodies held in memory at once over all requests, in bytes.
    pub in_flight_bytes: usize,
    /// Longest time that a request's body may take to arrive.
    pub body_timeout: Duration,
    /// How long a publisher to a Broker that is not known waits for it to become so, before it gets a 404. With
    /// Kubernetes a Broker may be ready a moment before this broker has heard of it; with manifests there is no need.
    pub unknown_wait: Duration,
}

impl Default for IngressLimits {
    /// 1 MiB an event, 16 MiB a batch, 64 MiB in all (so that the process stays below 100 MiB), and 30 s: what 16 MiB
    /// take over a line of 5 Mbit/s.
    fn default() -> Self {
        Self {
            event_bytes: 1 << 20,
            request_bytes: 16 << 20,
            in_flight_bytes: 64 << 20,
            body_timeout: Duration::from_secs(30),
            unknown_wait: Duration::ZERO,
        }
    }
}

/// What the publish endpoint works with. Clones share everything.
#[derive(Debug, Clone)]
pub struct IngressState(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    logs: LogSet,
    limits: IngressLimits,
    budget: admit::Budget,
    meters: meters::Meters,
    waiting: Semaphore,
}

/// Publishers that may wait at once for a Broker that is not known; more get their 404 at once. They hold a connection
/// and nothing else.
const WAITING_MAX: usize = 256;

impl IngressState {
    /// Publishers' requests go into `logs`, within `limits`, counted in `metrics`.
    #[must_use]
    pub fn new(logs: LogSet, metrics: Metrics, limits: IngressLimits) -> Self {
        let budget = admit::Budget::new(limits.in_flight_bytes, metrics.ingest_in_flight_bytes.clone());
        Self(Arc::new(Parts {
            logs,
            limits,
            budget,
            meters: meters::Meters::new(metrics),
            waiting: Semaphore::new(WAITING_MAX),
        }))
    }
}

#[cfg(test)]
mod tests;
