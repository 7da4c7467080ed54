//! On a real Kubernetes: what needs an API server.
#![allow(clippy::unwrap_used, reason = "a failed assertion is what a test is for")]

#[path = "../cluster/control_plane.rs"]
mod control_plane;
