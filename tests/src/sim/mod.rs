//! The log on a simulated disk: every crash point of random workloads, and every fault that a disk can have.

pub mod disk;
pub mod fs;
pub mod walk;
