//! Lets the logs go of what is old enough and settled.
//!
//! *Responsibility*: per Broker, the lowest floor of its Triggers, and a call of the log's `trim`. *Invariants*: a
//! Broker with a Trigger whose floor is not known yet is left alone; cursors are durable before what they have
//! passed may go. Cursors of deleted Triggers hold nothing back. *Not here*: which segments go ([`crate::log`]).

use std::sync::Arc;

use super::status::StatusBoard;
use crate::clock::Clock;
use crate::log::{BrokerLogs, LogSet, Offset, Retention, TrimError, Trimmed};
use crate::metrics::{BrokerLabels, Metrics};
use crate::names::BrokerKey;
use crate::state::StateStore;
use crate::triggers::{BrokerEntry, TableSource};

/// What retention needs.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    pub(super) table: TableSource,
    pub(super) logs: LogSet,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) board: StatusBoard,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

/// What retention did with one Broker's log.
pub type TrimResult = (BrokerKey, Result<Trimmed, TrimError>);

impl Keeper {
    /// Looks at every Broker once.
    pub(super) async fn trim_all(&self) -> Vec<TrimResult> {
        let table = self.table.current();
        let limited = |broker: &&Arc<BrokerEntry>| broker.retention != Retention::default();
        let due: Vec<_> = table.brokers.values().filter(limited).filter_map(|broker| self.due(broker)).collect();
        if due.is_empty() {
            return Vec::new();
        }
        // The floors are in the state store's queue already; now they are on disk.
        if let Err(error) = self.state.flush().await {
            tracing::error!(%error, "retention waits: cursors cannot be saved");
            return Vec::new();
        }
        let mut results = Vec::with_capacity(due.len());
        for (logs, settled, retention) in due {
            let result = logs.events.trim(settled, retention, self.clock.now()).await;
            self.note(&logs.key, &result);
            results.push((logs.key.clone(), result));
        }
        results
    }

    /// A Broker's logs and what of them is settled; `None` while that is not known.
    fn due(&self, broker: &BrokerEntry) -> Option<(Arc<BrokerLogs>, Offset, Retention)> {
        let logs = self.logs.get(broker.key.namespace.as_str(), broker.key.name.as_str())?;
        let mut settled = logs.events.bounds().next;
        for key in broker.triggers.keys() {
            let status = self.board.get(key).filter(|status| status.broker == broker.key)?;
            settled = settled.min(status.floor);
        }
        Some((logs, settled, broker.retention))
    }

    fn note(&self, broker: &BrokerKey, result: &Result<Trimmed, TrimError>) {
        match result {
            Ok(trimmed) if trimmed.segments == 0 => {}
            Ok(trimmed) => {
                tracing::info!(
                    %broker, next = %trimmed.first, segments = trimmed.segments, bytes = trimmed.bytes,
                    "retention removed old segments"
                );
                if trimmed.discarded_unsettled > 0 {
                    tracing::warn!(
                        %broker, discarded = trimmed.discarded_unsettled,
                        "the log's hard byte limit removed events before they were delivered"
                    );
                    let discarded = self.metrics.discarded_records.get_or_create(&BrokerLabels::from(broker)).clone();
                    discarded.inc_by(trimmed.discarded_unsettled);
                }
            }
            Err(error) => tracing::error!(%broker, %error, "retention failed"),
        }
    }
}
