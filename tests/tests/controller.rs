//! `reveille-controller` on a real Kubernetes, alone and with the broker, with the rights that `deploy/base` gives them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assertion is what a test is for"
)]

#[path = "../cluster/controller_broker.rs"]
mod controller_broker;
#[path = "../cluster/controller_faults.rs"]
mod controller_faults;
#[path = "../cluster/controller_ingress.rs"]
mod controller_ingress;
#[path = "../cluster/controller_setup.rs"]
mod controller_setup;
#[path = "../cluster/controller_trigger.rs"]
mod controller_trigger;
#[path = "../cluster/controller_writes.rs"]
mod controller_writes;
#[path = "../cluster/outage.rs"]
mod outage;
#[path = "../cluster/outage_faults.rs"]
mod outage_faults;
#[path = "../cluster/outage_setup.rs"]
mod outage_setup;
