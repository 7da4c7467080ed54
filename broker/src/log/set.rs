//! The logs that are open, by Broker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::EventLog;
use crate::names::BrokerKey;

/// Tells a log from a former one of the same Broker's name, since the offsets of both begin with 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogId(pub u64);

/// The two logs of a Broker.
#[derive(Debug, Clone)]
pub struct BrokerLogs {
    /// Whose.
    pub key: BrokerKey,
    /// Which of those that were kept under this name, one after the other.
    pub id: LogId,
    /// Its events.
    pub events: Arc<dyn EventLog>,
    /// Its dead letters.
    pub dead_letters: Arc<dyn EventLog>,
}

type ByName = HashMap<Box<str>, Arc<BrokerLogs>>;
type ByNamespace = HashMap<Box<str>, ByName>;

/// Which Brokers have open logs. Clones share the same set; look-ups take no lock.
#[derive(Debug, Clone, Default)]
pub struct LogSet {
    logs: Arc<ArcSwap<ByNamespace>>,
    incomplete: Arc<AtomicBool>,
    added: Arc<watch::Sender<()>>,
}

impl LogSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a Broker without logs here may exist all the same, as nobody has said yet which there are.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Acquire)
    }

    /// See [`LogSet::is_incomplete`]; a set begins as complete.
    pub fn set_incomplete(&self, incomplete: bool) {
        self.incomplete.store(incomplete, Ordering::Release);
    }

    /// The logs of a Broker; `None` when there is no such Broker.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<BrokerLogs>> {
        self.logs.load().get(namespace)?.get(name).cloned()
    }

    /// The same, once it has logs; the caller says for how long it waits.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn appears(&self, namespace: &str, name: &str) -> Arc<BrokerLogs> {
        let mut added = self.added.subscribe();
        loop {
            if let Some(logs) = self.get(namespace, name) {
                return logs;
            }
            // The sender lives in this very object.
            let _ = added.changed().await;
        }
    }

    /// All of them, in order of key.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<BrokerLogs>> {
        let mut all: Vec<_> = self.logs.load().values().flat_map(HashMap::values).cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Adds a Broker's logs, or replaces them.
    pub fn insert(&self, logs: BrokerLogs) {
        let logs = Arc::new(logs);
        self.logs.rcu(|set| {
            let mut set = ByNamespace::clone(set);
            let names = set.entry(logs.key.namespace.as_str().into()).or_default();
            names.insert(logs.key.name.as_str().into(), logs.clone());
            set
        });
        self.added.send_replace(());
    }

    /// Takes a Broker's logs out, so that publishers get a 404; the caller closes them.
    pub fn remove(&self, key: &BrokerKey) -> Option<Arc<BrokerLogs>> {
        let taken = self.get(key.namespace.as_str(), key.name.as_str())?;
        self.logs.rcu(|set| {
            let mut set = ByNamespace::clone(set);
            if let Some(names) = set.get_mut(key.namespace.as_str()) {
                names.remove(key.name.as_str());
            }
            set
        });
        Some(taken)
    }
}
