//! Broker and controller together on a real API server, as `deploy/` installs them; what Knative demands of both, by
//! the ids of its conformance list (`tests/CONFORMANCE.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is what a test is for")]

#[path = "../cluster/conformance_broker.rs"]
mod conformance_broker;
#[path = "../cluster/conformance_destination.rs"]
mod conformance_destination;
#[path = "../cluster/conformance_trigger.rs"]
mod conformance_trigger;
#[path = "../cluster/installed.rs"]
mod installed;
#[path = "../cluster/knative_definitions.rs"]
mod knative_definitions;
#[path = "../cluster/kubectl.rs"]
mod kubectl;
#[path = "../cluster/together.rs"]
mod together;
#[path = "../cluster/together_setup.rs"]
mod together_setup;
