//! A Trigger's cursor: what it has scanned, and which of that is not settled yet.
//!
//! ```text
//!   settled or not matching │ u │ settled │ u u │ settled      │ not looked at
//!  ─────────────────────────┴───┴─────────┴─────┴──────────────┼──────────────▶ offsets
//!                         floor                              scanned
//! ```
//! Every offset below `scanned` that is not in `unsettled` is settled or did not match. This is the floor and the
//! settled set above it in a form whose size is bound by the window of unsettled events, not by how far the
//! fastest event has run ahead of the slowest.

use std::sync::Arc;

use crate::clock::UnixMicros;
use crate::log::{LogId, Offset};
use crate::names::BrokerKey;

/// What an unsettled event is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Delivery to the subscriber.
    Subscriber,
    /// It is a dead letter already (stored); delivery to the dead letter sink.
    DeadLetterSink,
}

/// One event that matched and is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Which.
    pub offset: Offset,
    /// Attempts made in this phase.
    pub attempts: u32,
    /// When the next attempt is due; the epoch means at once.
    pub due: UnixMicros,
    /// What it waits for.
    pub phase: Phase,
}

/// A Trigger's place in its Broker's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Of which Trigger among those of one name: its UID on Kubernetes, nothing for manifests.
    pub incarnation: Option<Arc<str>>,
    /// Whose log the offsets are of.
    pub broker: BrokerKey,
    /// Which log of that Broker's name.
    pub log: LogId,
    /// Where the Trigger began: what lies below was never for it. 0 in cursors of releases that did not keep it.
    pub began: Offset,
    /// Everything below has been matched against the Trigger's filter.
    pub scanned: Offset,
    /// What matched and is not settled, lowest offset first.
    pub unsettled: Vec<Unsettled>,
    /// When the Trigger was deleted; its cursor is kept 24 h for `reveille.dev/start: resume`.
    pub retired: Option<UnixMicros>,
}

impl Cursor {
    /// The lowest offset that is not settled: nothing at or above it may be removed from the log.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.unsettled.first().map_or(self.scanned, |event| event.offset.min(self.scanned))
    }
}
