//! Where Brokers and Triggers come from, and the immutable table of them that everybody else reads.
//!
//! [`manifests`] reads a directory of YAML files ([`load`], [`document`]) and follows its changes; [`convert`] makes
//! the [`table`] of what was read. *Not here*: looking at events, delivering them.

mod clauses;
pub mod convert;
pub mod document;
pub mod kube;
pub mod load;
pub mod manifests;
pub mod recipient;
mod scan;
mod seen;
pub mod table;

pub use table::{
    Backoff, BrokerEntry, ContentMode, DeliveryPolicy, ExecSpec, Knowledge, Order, Pods, Recipient, ReplyMode,
    ScaleSpec, ServicePort, StartPosition, Table, TableSource, TableWriter, Target, TriggerEntry, WakeTarget,
};
