//! The health port: is the process alive, has it read what it needs, how does it do.
//!
//! *Responsibility*: `/live`, `/ready` and `/metrics`. *Invariants*: `/live` depends on nothing but the runtime; a
//! controller that waits for the lead is as ready as the leader. *Not here*: binding the port.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;

use crate::metrics::Metrics;

/// What Prometheus is told about the text of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What keeps the controller from its work. Clones share it; it begins with a reason.
#[derive(Debug, Clone)]
pub(crate) struct Readiness(Arc<Mutex<Vec<String>>>);

impl Readiness {
    /// Nothing is read yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(vec!["nothing is read yet".to_owned()])))
    }

    /// What has not been read; nothing where all is well.
    pub(crate) fn unread(&self, reasons: Vec<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != reasons {
            for reason in reasons.iter().filter(|reason| !known.contains(reason)) {
                tracing::info!(reason, "not ready");
            }
            if reasons.is_empty() {
                tracing::info!("ready");
            }
            *known = reasons;
        }
    }

    /// The controller is going to stop.
    pub(crate) fn stop(&self) {
        self.unread(vec!["the controller is stopping".to_owned()]);
    }
}

/// The health port's routes.
pub(crate) fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(encode))
        .with_state((readiness, metrics))
}

async fn ready(State((readiness, _)): State<(Readiness, Metrics)>) -> (StatusCode, String) {
    let reasons = readiness.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n")))
    }
}

async fn encode(
    State((_, metrics)): State<(Readiness, Metrics)>,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    match metrics.encode() {
        Ok(text) => Ok(([(CONTENT_TYPE, OPENMETRICS)], text)),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
