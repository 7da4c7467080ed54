//! The health port: is the process alive, may it have traffic, how does it do.
//!
//! *Responsibility*: `/live`, `/ready`, `/metrics` and `/log-level`, apart from the ports that carry events. *Inputs*:
//! [`Readiness`] (set by the composition root), the logs' and the state store's own health, dispatch's board.
//! *Outputs*: HTTP answers for kubelet, Prometheus and people. *Invariants*: `/live` depends on nothing but the
//! runtime; a draining broker is not ready before anything else stops. *Not here*: binding the port, admin data.

mod lag;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

pub use lag::LagReporter;

use crate::log::{Health, LogSet};
use crate::metrics::Metrics;
use crate::names::BrokerKey;
use crate::state::{StateStore, StoreHealth};
use crate::telemetry::{FILTER_BYTES_MAX, TelemetryHandle};

/// What Prometheus is told about the text of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long state may wait for the disk before `/ready` tells; the usual is the flush interval, a second.
const UNFLUSHED_LONG: Duration = Duration::from_secs(5);

/// What only the composition root knows about being ready. Clones share it; it begins as not ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    listening: AtomicBool,
    triggers_loaded: watch::Sender<bool>,
    draining: AtomicBool,
    unopened: Mutex<Vec<BrokerKey>>,
    source: Mutex<Option<String>>,
}

impl Readiness {
    /// Nothing is ready yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishers can connect.
    pub fn listening(&self) {
        self.0.listening.store(true, Ordering::Release);
    }

    /// Brokers and Triggers have been read, and their logs are open.
    pub fn triggers_loaded(&self) {
        self.0.triggers_loaded.send_replace(true);
    }

    /// Waits for [`Readiness::triggers_loaded`].
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn until_triggers_loaded(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.triggers_loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// These Brokers are configured, but their logs could not be opened; publishers get 404 for them.
    pub fn unopened(&self, brokers: &[BrokerKey]) {
        brokers.clone_into(&mut self.0.unopened.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is wrong with the source of Brokers and Triggers while the last known ones are served.
    pub fn source(&self, trouble: Option<String>) {
        *self.0.source.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The broker is going to stop. Call this before anything is stopped.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }
}

/// What the health port looks at.
#[derive(Debug, Clone)]
pub struct HealthParts {
    /// Set by the composition root.
    pub readiness: Readiness,
    /// All open logs.
    pub logs: LogSet,
    /// Where cursors are kept.
    pub state: Arc<dyn StateStore>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Fills the gauges of `metrics` that are read, not counted.
    pub lag: Arc<LagReporter>,
    /// The log filter.
    pub telemetry: TelemetryHandle,
}

/// How one part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// As it should.
    Ok,
    /// It has trouble that does not keep the broker from its work.
    Degraded,
    /// The broker must not have traffic.
    Failed,
}

/// One part of the answer of `/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `draining`, `ingress`, `triggers`, `state`; with trouble also `kubernetes` and `log NAMESPACE/NAME`.
    pub name: String,
    /// How it does.
    pub state: PartState,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The answer of `/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether no part has failed.
    pub ready: bool,
    /// The parts; logs only where they have trouble.
    pub parts: Vec<Part>,
}

impl HealthParts {
    /// Looks at every part.
    #[must_use]
    pub fn report(&self) -> Report {
        let flags = &self.readiness.0;
        let flag = |name: &str, ok: bool, detail: &str| Part {
            name: name.to_owned(),
            state: if ok { PartState::Ok } else { PartState::Failed },
            detail: (!ok).then(|| detail.to_owned()),
        };
        let mut parts = vec![
            flag("draining", !flags.draining.load(Ordering::Acquire), "the broker is stopping"),
            flag("ingress", flags.listening.load(Ordering::Acquire), "not listening yet"),
            flag("triggers", *flags.triggers_loaded.borrow(), "not read yet"),
            state_part(self.state.health(), self.state.unflushed()),
        ];
        let source = flags.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        parts.extend(source.map(|detail| Part {
            name: "kubernetes".to_owned(),
            state: PartState::Degraded,
            detail: Some(detail),
        }));
        let unopened = flags.unopened.lock().unwrap_or_else(PoisonError::into_inner);
        parts.extend(unopened.iter().map(|key| {
            let detail = "cannot be opened, the log of this broker says why; it is tried again".to_owned();
            Part { name: format!("log {key}"), state: PartState::Failed, detail: Some(detail) }
        }));
        for logs in self.logs.all() {
            let of = [("log", &logs.events), ("dead letters", &logs.dead_letters)];
            parts.extend(of.iter().filter_map(|(what, log)| log_part(format!("{what} {}", logs.key), log.health())));
        }
        Report { ready: parts.iter().all(|part| part.state != PartState::Failed), parts }
    }
}

fn state_part(health: StoreHealth, unflushed: Duration) -> Part {
    let (state, detail) = match health {
        StoreHealth::Sound if unflushed > UNFLUSHED_LONG => {
            let seconds = unflushed.as_secs();
            let detail =
                format!("nothing was made durable for {seconds} s: a crash would repeat deliveries made since");
            (PartState::Degraded, Some(detail))
        }
        StoreHealth::Sound => (PartState::Ok, None),
        StoreHealth::Degraded(detail) => (PartState::Degraded, Some(detail)),
        StoreHealth::Failed(detail) => (PartState::Failed, Some(detail)),
    };
    Part { name: "state".to_owned(), state, detail }
}

/// A full log answers its publishers by itself and recovers: taking the other Brokers' traffic away would help nobody.
fn log_part(name: String, health: Health) -> Option<Part> {
    let (state, detail) = match health {
        Health::Writable => return None,
        Health::Full(detail) => (PartState::Degraded, detail),
        Health::Poisoned(detail) => (PartState::Failed, detail),
    };
    Some(Part { name, state, detail: Some(detail) })
}

/// The health port's routes.
pub fn router(parts: HealthParts) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/log-level", get(log_level).put(set_log_level))
        .layer(DefaultBodyLimit::max(FILTER_BYTES_MAX))
        .with_state(parts)
}

async fn ready(State(parts): State<HealthParts>) -> Response {
    let report = parts.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics(State(parts): State<HealthParts>) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    parts.lag.report();
    parts.metrics.state_unflushed.set(parts.state.unflushed().as_secs_f64());
    match parts.metrics.encode() {
        Ok(text) => Ok(([(CONTENT_TYPE, OPENMETRICS)], text)),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

async fn log_level(State(parts): State<HealthParts>) -> String {
    format!("{}\n", parts.telemetry.filter())
}

async fn set_log_level(State(parts): State<HealthParts>, filter: String) -> (StatusCode, String) {
    match parts.telemetry.set_filter(&filter) {
        Ok(()) => {
            let filter = parts.telemetry.filter();
            tracing::info!(filter, "log filter changed");
            (StatusCode::OK, format!("{filter}\n"))
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests;
