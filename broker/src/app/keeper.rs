//! Opens and closes logs as Brokers come and go.
//!
//! It stands between the source of the table and its readers: a Broker's logs are open before dispatch hears of the
//! Broker, and closed after it has left the table. What a removed Broker stored stays for a while ([`super::orphans`]),
//! so that a Broker deleted by mistake comes back with its events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::engine::LogOpener;
use super::orphans::{OrphanKeeper, REVIEW_EVERY};
use crate::health::Readiness;
use crate::log::{BrokerLogs, LogSet};
use crate::names::BrokerKey;
use crate::triggers::{Knowledge, Table, TableSource, TableWriter};

/// How long to wait before a log that would not open is tried again: long enough not to fill the operator's screen.
const REOPEN_AFTER: Duration = Duration::from_secs(10);

/// Keeps [`LogSet`] in step with the table.
#[derive(Debug)]
pub(super) struct LogKeeper {
    pub(super) source: TableSource,
    pub(super) downstream: TableWriter,
    pub(super) logs: LogSet,
    pub(super) opener: Arc<LogOpener>,
    pub(super) readiness: Readiness,
    pub(super) orphans: OrphanKeeper,
}

/// What has to change for a table.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    open: Vec<BrokerKey>,
    close: Vec<BrokerKey>,
}

/// Compares the open logs with a table.
fn plan(open: &BTreeSet<BrokerKey>, table: &Table) -> Plan {
    Plan {
        open: table.brokers.keys().filter(|key| !open.contains(*key)).cloned().collect(),
        close: open.iter().filter(|key| !table.brokers.contains_key(*key)).cloned().collect(),
    }
}

impl LogKeeper {
    /// Brings the logs in step with the present table, tells downstream, and says which Brokers could not be opened.
    pub(super) async fn apply(&mut self, table: &Arc<Table>) -> Vec<BrokerKey> {
        let open = self.logs.all().iter().map(|logs| logs.key.clone()).collect();
        let plan = plan(&open, table);
        let mut failed = Vec::new();
        for key in plan.open {
            let opener = self.opener.clone();
            let wanted = key.clone();
            let opened = tokio::task::spawn_blocking(move || opener.adopt(&wanted)).await;
            match opened {
                Ok(Ok(logs)) => self.logs.insert(logs),
                Ok(Err(error)) => {
                    tracing::error!(broker = %key, %error, "cannot open the log of a broker");
                    failed.push(key);
                }
                Err(error) => {
                    tracing::error!(broker = %key, %error, "opening the log of a broker failed");
                    failed.push(key);
                }
            }
        }
        let closing: Vec<Arc<BrokerLogs>> = plan.close.iter().filter_map(|key| self.logs.remove(key)).collect();
        self.downstream.publish(Table::clone(table));
        for logs in closing {
            let stays = self.orphans.grace().as_secs();
            tracing::info!(broker = %logs.key, "broker removed, its log stays on disk for {stays} s");
            self.orphans.closing(&logs);
            logs.events.close().await;
            logs.dead_letters.close().await;
        }
        self.readiness.unopened(&failed);
        self.logs.set_incomplete(table.knowledge == Knowledge::Nothing);
        if table.knowledge != Knowledge::Nothing {
            self.readiness.triggers_loaded();
        }
        failed
    }

    /// Follows the table, of which `applied` is in force, until `stop`.
    pub(super) async fn run(mut self, mut applied: Arc<Table>, mut failed: Vec<BrokerKey>, stop: CancellationToken) {
        loop {
            self.orphans.review(&applied).await;
            let retry = async {
                if failed.is_empty() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(REOPEN_AFTER).await;
            };
            let review = async {
                if !self.orphans.is_busy() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(REVIEW_EVERY).await;
            };
            let table = tokio::select! {
                () = stop.cancelled() => return,
                table = self.source.changed() => match table {
                    Some(table) => table,
                    None => return,
                },
                () = review => continue,
                () = retry => self.source.current(),
            };
            failed = self.apply(&table).await;
            applied = table;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::app::orphans::OrphanParts;
    use crate::log::Retention;
    use crate::triggers::BrokerEntry;

    fn key(name: &str) -> BrokerKey {
        BrokerKey::parse("default", name).unwrap()
    }

    #[test]
    fn only_differences_are_opened_and_closed() {
        let mut table = Table::default();
        for name in ["kept", "new"] {
            let entry = BrokerEntry {
                key: key(name),
                retention: Retention::default(),
                dead_letters: Retention::default(),
                triggers: Default::default(),
            };
            table.brokers.insert(key(name), Arc::new(entry));
        }
        let open = [key("kept"), key("gone")].into_iter().collect();
        assert_eq!(plan(&open, &table), Plan { open: vec![key("new")], close: vec![key("gone")] });
    }

    #[tokio::test]
    async fn ready_once_the_logs_of_the_known_brokers_are_open() {
        let dir = tempfile::tempdir().unwrap();
        let data = Arc::new(crate::app::DataDir::claim(dir.path()).unwrap());
        let config = crate::config::ServeConfig::local(dir.path().join("data"), dir.path().join("manifests"));
        let (clock, metrics) = (crate::clock::Clock::system(), crate::metrics::Metrics::new());
        let opener = Arc::new(LogOpener::new(data.clone(), &config, clock.clone(), metrics.clone()));
        let orphans = OrphanKeeper::new(OrphanParts {
            data,
            grace: Duration::ZERO,
            clock,
            state: Arc::new(crate::state::MemoryStore::new()),
            metrics,
            opener: opener.clone(),
            shown: crate::log::Orphans::new(),
            stop: CancellationToken::new(),
        });
        let ((_, source), (downstream, _)) = (TableSource::new(), TableSource::new());
        let (logs, readiness) = (LogSet::new(), Readiness::new());
        let mut keeper =
            LogKeeper { source, downstream, logs: logs.clone(), opener, readiness: readiness.clone(), orphans };
        keeper.apply(&Arc::new(Table { knowledge: Knowledge::Nothing, ..Table::default() })).await;
        assert!(logs.is_incomplete() && readiness.until_triggers_loaded().now_or_never().is_none());
        let entry = BrokerEntry {
            key: key("b"),
            retention: Retention::default(),
            dead_letters: Retention::default(),
            triggers: Default::default(),
        };
        let brokers = [(key("b"), Arc::new(entry))].into();
        keeper.apply(&Arc::new(Table { brokers, knowledge: Knowledge::Provisional, ..Table::default() })).await;
        assert!(!logs.is_incomplete() && logs.get("default", "b").is_some());
        assert!(readiness.until_triggers_loaded().now_or_never().is_some());
    }
}
