//! Who gets what, when: from the log's durable tail to settled cursors.
//!
//! One router per Broker reads each record once and hands matches to the workers of its Triggers; a worker owns its
//! Trigger's window of unsettled events, their order, concurrency and retries. [`status`] is what others may see.

pub mod status;
