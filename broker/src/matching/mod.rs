//! Which events a Trigger wants. Pure: no clock, no I/O, never the body.
//!
//! *Responsibility*: a [`Filter`] is compiled once from a Trigger's spec (as [`Clause`]s) and then asked about
//! events; [`Index`] finds all matching ones of a Broker's Triggers for an event without asking each.
//! *Inputs*: attribute names and values, and an [`crate::event::Event`]'s attribute block. *Outputs*: a yes or no,
//! or a [`Verdict`] that names the deciding clause. *Invariants*: asking allocates nothing; a filter that cannot be
//! understood is refused, never skipped; [`Index`] answers as asking every filter would. *Not here*: the Kubernetes
//! spelling of filters; what a CESQL expression means ([`schemas::cesql`]).

mod compile;
pub mod filter;
pub mod index;
mod lookup;

pub use compile::{Clause, FILTER_DEPTH_MAX, FILTER_TESTS_MAX, FilterFault, VALUE_BYTES_MAX};
pub use filter::{Filter, Verdict};
pub use index::Index;
