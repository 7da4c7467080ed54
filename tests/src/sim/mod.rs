//! The log, and the cursor checkpoint, on a simulated disk: every crash point of random workloads, and every fault that a disk can have.

#![allow(clippy::indexing_slicing, reason = "a simulation may stop where it is wrong")]

pub mod cursors;
pub mod disk;
pub mod fs;
pub mod walk;
