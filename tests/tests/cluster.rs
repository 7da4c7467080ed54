//! On a real Kubernetes: what needs an API server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assertion is what a test is for")]

#[path = "../cluster/api_proxy.rs"]
mod api_proxy;
#[path = "../cluster/control_plane.rs"]
mod control_plane;
#[path = "../cluster/killed.rs"]
mod killed;
