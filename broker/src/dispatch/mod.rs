//! Who gets what, when: from the log's durable tail to settled cursors.
//!
//! ```text
//!   log ──▶ router (one per Broker) ──▶ feed ──▶ worker (one per Trigger) ──▶ attempts ──▶ subscriber
//!    └───────────────────────────────────────────▶ reads by itself when it lags      └──▶ replies, dead letters
//! ```
//! One router per Broker reads each record once and hands matches to the workers of its Triggers; a worker owns its
//! Trigger's window of unsettled events, their order, concurrency and retries. [`Dispatcher`] follows the table of
//! Triggers. [`status`] is what others may see.
//!
//! *Invariants*: a saved cursor is never ahead of an unsettled event; an event is settled only after its reply, or
//! its dead letter, is durable; one Trigger's trouble neither delays another nor grows memory. *Not here*: HTTP
//! ([`crate::deliver`]), waking ([`crate::wake`]), where Triggers come from ([`crate::triggers`]).

mod attempt;
mod awake;
mod budget;
mod congestion;
mod dispatcher;
mod feed;
mod hub;
pub mod limits;
mod meters;
mod order;
pub mod retention;
pub mod retry;
mod router;
pub mod schedule;
pub mod status;
mod supervisor;
mod window;
mod worker;

pub use dispatcher::{DispatchParts, Dispatcher, FLUSH_GRACE, flush_by};
pub use limits::DispatchLimits;
pub use retention::TrimResult;

#[cfg(test)]
mod tests;
