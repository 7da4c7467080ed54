//! What is known of Brokers and Triggers, and the table of it. Pure: no clock, no I/O.
//!
//! *In*: objects as seen, objects said to be gone. *Out*: the [`Table`], faults, and the records that changed.
//! *Invariants*: an object that turns bad stays as it was; another UID is another object; nothing leaves but by
//! [`Inventory::gone`]. *Not here*: finding out whether an object is gone.

use std::collections::{BTreeMap, BTreeSet};

use schemas::annotations::BROKER_CLASS;
use schemas::broker::CLASS;
use schemas::validate::{Fault, parse_broker, parse_trigger};
use serde_json::Value;

use super::record::{Kind, Record, names, uid};
use crate::clock::UnixMicros;
use crate::names::TriggerKey;
use crate::triggers::convert::{BrokerPart, Defaults, TriggerPart, broker_part, table, trigger_part};
use crate::triggers::recipient::Lookup;
use crate::triggers::table::Table;

/// `(namespace, name)`.
pub(super) type Names = (String, String);

/// An object that may be gone: a complete list lacks it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Doubt {
    pub(super) kind: Kind,
    pub(super) names: Names,
    pub(super) uid: String,
}

/// A record to store (`Some`) or to remove.
pub(super) type Change = (Kind, Names, Option<Record>);

#[derive(Debug, Clone)]
struct Held<P> {
    uid: String,
    good: Option<(Record, P)>,
    faults: Vec<Fault>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inventory {
    default_class: bool,
    brokers: BTreeMap<Names, Held<BrokerPart>>,
    triggers: BTreeMap<Names, Held<TriggerPart>>,
}

type Parse<P> = fn(&Record) -> Result<P, Vec<Fault>>;

fn read_broker(record: &Record) -> Result<BrokerPart, Vec<Fault>> {
    let lookup = Lookup::Controller { findings: &record.findings, uid: &record.uid };
    broker_part(&parse_broker(&record.object)?, lookup)
}

fn read_trigger(record: &Record) -> Result<TriggerPart, Vec<Fault>> {
    let lookup = Lookup::Controller { findings: &record.findings, uid: &record.uid };
    trigger_part(&parse_trigger(&record.object)?, lookup)
}

/// Takes an object in; says what of it changed in the store, and whether it has new faults.
fn take<P>(
    held: &mut BTreeMap<Names, Held<P>>,
    (kind, names): (Kind, &Names),
    (object, now): (&Value, UnixMicros),
    parse: Parse<P>,
    refuse: fn(&Record, &Record) -> Vec<Fault>,
) -> (Option<Change>, bool) {
    let former = held.get(names).filter(|former| former.uid == uid(object));
    let previous = former.and_then(|former| former.good.as_ref());
    let record = Record::new(kind, object, previous.map(|(record, _)| record), now);
    if previous.is_some_and(|(previous, _)| *previous == record) && former.is_some_and(|held| held.faults.is_empty()) {
        return (None, false);
    }
    let refused = previous.map_or_else(Vec::new, |(previous, _)| refuse(previous, &record));
    let parsed = if refused.is_empty() { parse(&record) } else { Err(refused) };
    let uid = record.uid.clone();
    match parsed {
        Ok(part) => {
            let change = (kind, names.clone(), Some(record.clone()));
            held.insert(names.clone(), Held { uid, good: Some((record, part)), faults: Vec::new() });
            (Some(change), false)
        }
        Err(faults) => {
            let new = former.is_none_or(|former| former.faults != faults);
            // A former object of this name is gone.
            let change = (former.is_none() && held.contains_key(names)).then(|| (kind, names.clone(), None));
            let good = held.remove(names).filter(|former| former.uid == uid).and_then(|former| former.good);
            held.insert(names.clone(), Held { uid, good, faults });
            (change, new)
        }
    }
}

fn another_broker(old: &Record, new: &Record) -> Vec<Fault> {
    let broker = |record: &Record| {
        ["/spec/broker", "/spec/brokerRef/name"]
            .iter()
            .find_map(|pointer| record.object.pointer(pointer).and_then(Value::as_str).map(str::to_owned))
    };
    let message = "is immutable; delete the Trigger and create it anew to attach it to another Broker".to_owned();
    let changed = broker(old) != broker(new);
    changed.then(|| Fault { path: "spec.broker".into(), message }).into_iter().collect()
}

impl Inventory {
    /// Nothing is known yet. `default_class`: Brokers that name no class are ours too.
    pub(super) fn new(default_class: bool) -> Self {
        Self { default_class, brokers: BTreeMap::new(), triggers: BTreeMap::new() }
    }

    fn is_ours(&self, broker: &Value) -> bool {
        let class = broker.pointer("/metadata/annotations").and_then(|notes| notes.get(BROKER_CLASS));
        class.map_or(self.default_class, |class| class == CLASS)
    }

    /// Takes over what was stored.
    pub(super) fn restore(&mut self, kind: Kind, names: Names, record: Record) {
        let uid = record.uid.clone();
        match kind {
            Kind::Broker if self.is_ours(&record.object) => {
                if let Ok(part) = read_broker(&record) {
                    self.brokers.insert(names, Held { uid, good: Some((record, part)), faults: Vec::new() });
                }
            }
            Kind::Broker => {}
            Kind::Trigger => {
                if let Ok(part) = read_trigger(&record) {
                    self.triggers.insert(names, Held { uid, good: Some((record, part)), faults: Vec::new() });
                }
            }
        }
    }

    /// An object as it is now. Says what to store, and whether it has faults that are new.
    pub(super) fn seen(&mut self, kind: Kind, object: &Value, now: UnixMicros) -> (Option<Change>, bool) {
        let (namespace, name) = names(object);
        let names = (namespace.to_owned(), name.to_owned());
        match kind {
            Kind::Broker if self.is_ours(object) => {
                take(&mut self.brokers, (kind, &names), (object, now), read_broker, |_, _| Vec::new())
            }
            // Another class now, or always: somebody else's.
            Kind::Broker => (self.brokers.remove(&names).map(|_| (kind, names, None)), false),
            Kind::Trigger => take(&mut self.triggers, (kind, &names), (object, now), read_trigger, another_broker),
        }
    }

    /// The API server said that this very object is gone.
    pub(super) fn gone(&mut self, doubt: &Doubt) -> Option<Change> {
        let held = match doubt.kind {
            Kind::Broker => self.brokers.get(&doubt.names).map(|held| &held.uid),
            Kind::Trigger => self.triggers.get(&doubt.names).map(|held| &held.uid),
        };
        if held != Some(&doubt.uid) {
            return None;
        }
        match doubt.kind {
            Kind::Broker => drop(self.brokers.remove(&doubt.names)),
            Kind::Trigger => drop(self.triggers.remove(&doubt.names)),
        }
        Some((doubt.kind, doubt.names.clone(), None))
    }

    /// What is known and is not in a complete list.
    pub(super) fn missing(&self, kind: Kind, listed: &BTreeSet<Names>) -> Vec<Doubt> {
        let known: Vec<(&Names, &String)> = match kind {
            Kind::Broker => self.brokers.iter().map(|(names, held)| (names, &held.uid)).collect(),
            Kind::Trigger => self.triggers.iter().map(|(names, held)| (names, &held.uid)).collect(),
        };
        let absent = known.into_iter().filter(|(names, _)| !listed.contains(*names));
        absent.map(|(names, uid)| Doubt { kind, names: names.clone(), uid: uid.clone() }).collect()
    }

    /// The table of all that is good.
    pub(super) fn table(&self, defaults: Defaults, provisional: bool) -> Table {
        let brokers = self.brokers.values().filter_map(|held| held.good.as_ref().map(|(_, part)| part));
        let triggers = self.triggers.values().filter_map(|held| held.good.as_ref());
        let since: BTreeMap<&TriggerKey, u64> = triggers.clone().map(|(r, part)| (&part.key, r.created)).collect();
        let parts = triggers.map(|(_, part)| part);
        let since = |key: &TriggerKey| UnixMicros(since.get(key).copied().unwrap_or_default());
        let mut table = table(brokers, parts, defaults, since);
        let bad = self.triggers.iter().filter(|(_, held)| held.good.is_none());
        table.unserved.extend(bad.filter_map(|((namespace, name), _)| TriggerKey::parse(namespace, name).ok()));
        table.provisional = provisional;
        table
    }

    /// Every fault of Brokers of ours and of their Triggers, as text.
    pub(super) fn faults(&self) -> Vec<String> {
        let line = |kind: Kind, (namespace, name): &Names, fault: &Fault, kept: bool| {
            let kept = if kept { " (in use as last read)" } else { "" };
            format!("{} {namespace}/{name}: {fault}{kept}", kind.name())
        };
        let mut lines = Vec::new();
        for (names, held) in &self.brokers {
            lines.extend(held.faults.iter().map(|fault| line(Kind::Broker, names, fault, held.good.is_some())));
        }
        for (names, held) in &self.triggers {
            lines.extend(held.faults.iter().map(|fault| line(Kind::Trigger, names, fault, held.good.is_some())));
        }
        lines
    }

    /// How many Brokers and Triggers are good.
    pub(super) fn counts(&self) -> (usize, usize) {
        let brokers = self.brokers.values().filter(|held| held.good.is_some()).count();
        (brokers, self.triggers.values().filter(|held| held.good.is_some()).count())
    }
}

#[cfg(test)]
mod tests;
