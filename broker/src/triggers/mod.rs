//! Where Brokers and Triggers come from, and the immutable table of them that everybody else reads.

pub mod manifests;
pub mod table;

pub use table::{
    Backoff, BrokerEntry, ContentMode, DeliveryPolicy, ExecSpec, Order, ReplyMode, StartPosition, Table, TableSource,
    TableWriter, Target, TriggerEntry,
};
