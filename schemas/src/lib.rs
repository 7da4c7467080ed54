//! Every contract of Reveille that crosses a process or disk boundary, and no I/O.
//!
//! The Kubernetes kinds are in [`broker`] and [`trigger`], made of [`delivery`], [`destination`], [`filter`] and
//! [`conditions`]; [`annotations`] holds what has no field there. [`validate`] checks manifests of both kinds, whole
//! and with field paths; [`crd`] makes their CustomResourceDefinitions. [`admin`] and [`error_code`] are the HTTP
//! contracts. *Not here*: reading files, talking to Kubernetes, deciding anything about events.

pub mod admin;
pub mod annotations;
pub mod broker;
pub mod cesql;
pub mod conditions;
pub mod crd;
pub mod delivery;
pub mod destination;
pub mod duration;
pub mod error_code;
pub mod filter;
pub mod quantity;
pub mod trigger;
pub mod validate;

pub use broker::{Broker, BrokerSpec, BrokerStatus};
pub use error_code::ErrorCode;
pub use trigger::{Trigger, TriggerSpec, TriggerStatus};
