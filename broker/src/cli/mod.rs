//! The command line: every sub-command of `reveille`.
//!
//! *Responsibility*: reading arguments, asking a broker's admin API (or publishing to its ingress), and printing.
//! *Inputs*: arguments and their environment twins. *Outputs*: tables for people, stable JSON for programs, and an
//! exit code: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 unreachable. *Invariants*: what is asked for goes
//! to stdout and nothing else does; complaints go to stderr and say the next step. *Not here*: anything that reads a
//! broker's parts other than over HTTP, apart from `serve` and `demo`, which start one.

pub mod bench;
mod brokers;
mod command;
mod completion;
mod connect;
mod demo;
mod dlq;
mod events;
mod fault;
mod lines;
pub mod listen;
mod log;
mod output;
mod select;
mod send;
mod serve;
mod show;
mod tail;
mod triggers;
mod view;

pub use command::Cli;
pub use fault::{Exit, Fault};

#[cfg(test)]
mod tests;
