//! Lets the logs go of what is old enough and settled.
//!
//! *Responsibility*: per Broker, the lowest floor of its Triggers, and calls of `trim` on its log and its dead-letter
//! log. *Invariants*: a Broker with a Trigger whose floor is not known yet is left alone; cursors are durable before
//! what they have passed may go; a dead letter that a dead letter sink has still to get stays; those that go are
//! counted and warned of. Cursors of deleted Triggers hold nothing back. *Not here*: which segments go ([`crate::log`]).

use std::sync::Arc;
use std::time::Duration;

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

/// What retention did with one log of a Broker.
pub type TrimResult = (BrokerKey, Result<Trimmed, TrimError>);

/// Age below which a dead letter stays whatever the limits: by then its worker has shown that it waits for the dead
/// letter sink, if it does.
const LETTER_AGE_MIN: Duration = Duration::from_secs(60);

/// What may be trimmed of a Broker.
struct Due {
    logs: Arc<BrokerLogs>,
    broker: Arc<BrokerEntry>,
    /// All events below are settled.
    settled: Offset,
    /// No dead letter below has still to go to a sink.
    letters: Offset,
}

impl Keeper {
    /// Looks at every log once.
    pub(super) async fn trim_all(&self) -> Vec<TrimResult> {
        let table = self.table.current();
        let none = Retention::default();
        let limited = |broker: &&Arc<BrokerEntry>| broker.retention != none || broker.dead_letters != none;
        let due: Vec<_> = table.brokers.values().filter(limited).filter_map(|broker| self.due(broker)).collect();
        if due.is_empty() {
            return Vec::new();
        }
        // The floors are in the state store's queue already; now they are on disk.
        if let Err(error) = self.state.flush().await {
            tracing::error!(%error, "retention waits: cursors cannot be saved");
            return Vec::new();
        }
        let mut results = Vec::with_capacity(due.len() * 2);
        for due in due {
            let key = due.logs.key.clone();
            let result = due.logs.events.trim(due.settled, due.broker.retention, self.clock.now()).await;
            self.note(&key, &result);
            results.push((key.clone(), result));
            let result = self.trim_letters(&due).await;
            self.note_letters(&key, &result);
            results.push((key, result.map(|(trimmed, _)| trimmed)));
        }
        results
    }

    /// A Broker's logs and what of them is settled; `None` while that is not known.
    fn due(&self, broker: &Arc<BrokerEntry>) -> Option<Due> {
        let logs = self.logs.get(broker.key.namespace.as_str(), broker.key.name.as_str())?;
        let mut settled = logs.events.bounds().next;
        let mut letters = logs.dead_letters.bounds().next;
        for key in broker.triggers.keys() {
            let status = self.board.get(key).filter(|status| status.broker == broker.key)?;
            settled = settled.min(status.floor);
            letters = letters.min(status.letters_floor.unwrap_or(letters));
        }
        Some(Due { logs, broker: broker.clone(), settled, letters })
    }

    /// Removes old dead letters, and says how many.
    async fn trim_letters(&self, due: &Due) -> Result<(Trimmed, u64), TrimError> {
        let (log, now) = (&due.logs.dead_letters, self.clock.now());
        let before = log.bounds().first;
        let Ok(recent) = log.seek_time(now.before(LETTER_AGE_MIN)).await else {
            // The log is damaged or closed, which its readers and writers tell about.
            return Ok((Trimmed { first: before, ..Trimmed::default() }, 0));
        };
        let trimmed = log.trim(due.letters.min(recent), due.broker.dead_letters, now).await?;
        Ok((trimmed, trimmed.first.0.saturating_sub(before.0)))
    }

    fn note_letters(&self, broker: &BrokerKey, result: &Result<(Trimmed, u64), TrimError>) {
        match result {
            Ok((_, 0)) => {}
            Ok((trimmed, letters)) => {
                tracing::warn!(
                    %broker, letters, bytes = trimmed.bytes,
                    "dead letters that nobody had dealt with were older or more than what is kept, and are gone"
                );
                self.metrics.expired_letters.get_or_create(&BrokerLabels::from(broker)).inc_by(*letters);
            }
            Err(error) => tracing::error!(%broker, %error, "retention of dead letters failed"),
        }
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
