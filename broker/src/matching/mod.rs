//! Which events a Trigger wants. Pure: no clock, no I/O, never the body.
//!
//! A [`Filter`] is compiled once from a Trigger's spec; [`index::Index`] finds all matching ones of a Broker's
//! Triggers for an event without asking each.

pub mod filter;
pub mod index;

pub use filter::{Filter, Verdict};
