//! On a real Kubernetes with a node: Reveille in pods, from its own image, as `deploy/` installs it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assertion is what a test is for"
)]

#[path = "../node/deliver.rs"]
mod deliver;
#[path = "../node/disrupt.rs"]
mod disrupt;
#[path = "../cluster/kubectl.rs"]
mod kubectl;
#[path = "../node/load.rs"]
mod load;
#[path = "../node/playground.rs"]
mod playground;
#[path = "../node/pods.rs"]
mod pods;
#[path = "../node/record.rs"]
mod record;
#[path = "../node/setup.rs"]
mod setup;
#[path = "../node/uninstall.rs"]
mod uninstall;
