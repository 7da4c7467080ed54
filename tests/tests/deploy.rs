//! What `deploy/` installs, on a real Kubernetes: definitions, policies, rights, image.
#![allow(clippy::unwrap_used, reason = "a failed assertion is what a test is for")]

#[path = "../cluster/crds.rs"]
mod crds;
#[path = "../cluster/image.rs"]
mod image;
#[path = "../cluster/install.rs"]
mod install;
#[path = "../cluster/installed.rs"]
mod installed;
#[path = "../cluster/kubectl.rs"]
mod kubectl;
