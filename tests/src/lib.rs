//! What the tests on real parts share: the tidy checks and the harness of processes, publishers and subscribers.
//!
//! The tests themselves lie in `tests/`, one binary per kind; the benchmark in `bench/`.

pub mod cluster;
pub mod fuzz_bodies;
pub mod harness;
pub mod sim;
pub mod tidy;
