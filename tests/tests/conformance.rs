//! Broker and controller together on a real API server, as `deploy/` installs them; what Knative demands of both, by
//! the ids of its conformance list (`tests/CONFORMANCE.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is what a test is for")]

#[path = "../cluster/installed.rs"]
mod installed;
#[path = "../cluster/together.rs"]
mod together;
#[path = "../cluster/together_setup.rs"]
mod together_setup;
