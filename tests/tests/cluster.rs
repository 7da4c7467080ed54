//! On a real Kubernetes: what needs an API server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assertion is what a test is for"
)]

#[path = "../cluster/api_proxy.rs"]
mod api_proxy;
#[path = "../cluster/broker_deliver.rs"]
mod broker_deliver;
#[path = "../cluster/broker_outage.rs"]
mod broker_outage;
#[path = "../cluster/broker_setup.rs"]
mod broker_setup;
#[path = "../cluster/control_plane.rs"]
mod control_plane;
#[path = "../cluster/killed.rs"]
mod killed;
