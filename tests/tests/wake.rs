//! Subscribers that sleep in a cluster: controller and broker on a real Kubernetes API server, with the rights that
//! `deploy/base` gives them. There are no pods here: the test writes EndpointSlices, so that each moment is its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assertion is what a test is for"
)]

#[path = "../cluster/controller_setup.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod controller_setup;
#[path = "../wake/endpoints.rs"]
mod endpoints;
#[path = "../wake/failures.rs"]
mod failures;
#[path = "../wake/idle.rs"]
mod idle;
#[path = "../wake/kinds.rs"]
mod kinds;
#[path = "../wake/paths.rs"]
mod paths;
#[path = "../wake/race.rs"]
mod race;
#[path = "../wake/raise.rs"]
mod raise;
#[path = "../wake/stage.rs"]
mod stage;
#[path = "../wake/unreliable.rs"]
mod unreliable;
