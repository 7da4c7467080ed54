//! Since when Triggers are there: the moment each was first read, which counts as its creation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::load::{Loaded, ObjectKey, Part};
use crate::clock::UnixMicros;
use crate::names::{BrokerKey, TriggerKey};
use crate::state::{StateError, StateStore};

/// What the keys in the state store begin with.
const PREFIX: &str = "seen/";

/// A key of the state store and its new value; `None` removes it.
pub(super) type Change = (String, Option<Vec<u8>>);

/// A Trigger's record.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    at: UnixMicros,
    broker: BrokerKey,
    /// The file it was in last; not known from before a restart.
    file: Option<String>,
}

/// A record as stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Microseconds since the Unix epoch.
    at: u64,
    /// `namespace/name` of its Broker.
    broker: String,
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<TriggerKey, Record>);

/// Reads the records; one that cannot be understood is left out, so that its Trigger counts as new.
pub(super) async fn load_seen(store: &dyn StateStore) -> Result<Seen, StateError> {
    let mut seen = Seen::default();
    for (key, value) in store.scan(PREFIX).await? {
        let trigger = key.strip_prefix(PREFIX).and_then(|key| key.parse().ok());
        let stored: Option<Stored> = serde_json::from_slice(&value).ok();
        let record = stored.and_then(|stored| {
            let broker = stored.broker.parse().ok()?;
            Some(Record { at: UnixMicros(stored.at), broker, file: None })
        });
        match (trigger, record) {
            (Some(trigger), Some(record)) => {
                seen.0.insert(trigger, record);
            }
            _ => tracing::warn!("state key {key} cannot be read; its trigger counts as new"),
        }
    }
    Ok(seen)
}

impl Seen {
    /// Since when the Trigger is there.
    pub(super) fn since(&self, key: &TriggerKey) -> Option<UnixMicros> {
        self.0.get(key).map(|record| record.at)
    }

    /// The Broker the Trigger was attached to when it was first read.
    pub(super) fn broker(&self, key: &TriggerKey) -> Option<&BrokerKey> {
        self.0.get(key).map(|record| &record.broker)
    }

    /// Forgets Triggers that are in no file, unless the file they were in (`None`: not known) is in doubt.
    pub(super) fn forget_absent(
        &mut self,
        present: &BTreeSet<ObjectKey>,
        in_doubt: impl Fn(Option<&str>) -> bool,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        self.0.retain(|key, record| {
            let stays = present.contains(&ObjectKey::Trigger(key.clone())) || in_doubt(record.file.as_deref());
            if !stays {
                changes.push((format!("{PREFIX}{key}"), None));
            }
            stays
        });
        changes
    }

    /// Notes the Triggers that are served.
    pub(super) fn note_present(&mut self, loaded: &Loaded, now: UnixMicros) -> Vec<Change> {
        let mut changes = Vec::new();
        for object in &loaded.objects {
            let Part::Trigger(part) = &object.part else { continue };
            let record = self.0.entry(part.key.clone()).or_insert_with(|| {
                let stored = Stored { at: now.0, broker: part.broker.to_string() };
                let bytes = serde_json::to_vec(&stored).expect("a number and a text are JSON");
                changes.push((format!("{PREFIX}{}", part.key), Some(bytes)));
                Record { at: now, broker: part.broker.clone(), file: None }
            });
            record.file = Some(object.file.clone());
        }
        changes
    }
}
