//! The durable log: one per Broker (and one for its dead letters).
//!
//! [`contract`] is the seam: [`contract::EventLog`] and the values that cross it. [`segment`] keeps it on disk,
//! [`memory`] keeps it in memory for tests. Ingress and dispatch meet only here.

pub mod contract;
#[cfg(test)]
pub(crate) mod contract_suite;
pub mod memory;
pub mod orphan;
pub mod segment;
pub mod set;

pub use contract::{
    AppendError, Appended, Bounds, EventLog, Health, Offset, Page, ReadError, ReadLimit, Record, Retention, Tail,
    Ticket, TrimError, Trimmed,
};
pub use orphan::{Orphan, Orphans};
pub use set::{BrokerLogs, LogId, LogSet};
