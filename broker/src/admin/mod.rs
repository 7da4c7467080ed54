//! The admin API: what the CLI and the console see of a running broker.
//!
//! *Responsibility*: HTTP routes below `/api/v1` that read logs, the table of Triggers and the status board, and
//! `/openapi.json` that describes them. *Inputs*: [`AdminParts`]. *Outputs*: the JSON shapes of `schemas::admin`;
//! lists of events as one JSON object a line, streamed, so that no list is held in memory. *Invariants*: nothing
//! here changes anything; every error is a problem document; a route without a token is refused where one is
//! configured. *Not here*: publishing, health, metrics.

mod auth;
mod deliveries;
mod extract;
mod overview;
mod range;
mod refusal;
mod select;
mod stream;

pub use auth::{Token, TokenError};
pub use range::{Bound, BoundError};

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use schemas::admin::Problem;
use schemas::error_code::ErrorCode;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dispatch::status::StatusBoard;
use crate::log::{LogSet, Orphans};
use crate::state::StateStore;
use crate::triggers::TableSource;
use refusal::Refusal;

/// What the admin API reads.
#[derive(Clone)]
pub struct AdminParts {
    /// The open logs.
    pub logs: LogSet,
    /// Those of Brokers that are gone.
    pub orphans: Orphans,
    /// How dispatch stands.
    pub board: StatusBoard,
    /// The Brokers and Triggers that are configured.
    pub table: TableSource,
    /// The cursors.
    pub state: Arc<dyn StateStore>,
    /// The time, for ranges such as `-2h`.
    pub clock: Clock,
    /// What a request must carry as its bearer token; `None` where the address is protected otherwise.
    pub token: Option<Token>,
    /// Manifests that could not be used, each with file, line and field.
    pub faults: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Ends the streams that would go on for ever.
    pub stop: CancellationToken,
}

impl fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminParts").field("logs", &self.logs).field("token", &self.token).finish_non_exhaustive()
    }
}

type Route = (&'static str, fn() -> MethodRouter<Arc<AdminParts>>);

/// Every route below `/api/v1`.
const ROUTES: [Route; 9] = [
    ("/api/v1/brokers", || get(overview::brokers)),
    ("/api/v1/brokers/{namespace}/{name}", || get(overview::broker)),
    ("/api/v1/brokers/{namespace}/{name}/events", || get(stream::events)),
    ("/api/v1/brokers/{namespace}/{name}/events/{which}", || get(deliveries::event)),
    ("/api/v1/brokers/{namespace}/{name}/tail", || get(stream::tail)),
    ("/api/v1/brokers/{namespace}/{name}/dead-letters", || get(stream::dead_letters)),
    ("/api/v1/triggers", || get(overview::triggers)),
    ("/api/v1/triggers/{namespace}/{name}", || get(overview::trigger)),
    ("/api/v1/faults", || get(overview::faults)),
];

/// The description of [`ROUTES`].
const OPENAPI: &str = include_str!("openapi.json");

/// The admin API as a service.
pub fn router(parts: AdminParts) -> Router {
    let parts = Arc::new(parts);
    let guarded = ROUTES.iter().fold(Router::new(), |router, (path, make)| router.route(path, make()));
    guarded
        .layer(from_fn_with_state(parts.clone(), auth::check))
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
        .fallback(async |uri: axum::http::Uri| {
            let detail = format!("there is nothing at {}; /openapi.json lists what there is", uri.path());
            Refusal(Problem::new(ErrorCode::BadPath, detail)).into_response()
        })
        .method_not_allowed_fallback(async || {
            let detail = "this path answers GET and HEAD only";
            Refusal(Problem::new(ErrorCode::MethodNotAllowed, detail)).into_response()
        })
        .with_state(parts)
}

#[cfg(test)]
pub(crate) mod tests;
