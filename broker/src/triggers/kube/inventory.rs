//! What is known of Brokers and Triggers, and the table of it. Pure: no clock, no I/O.
//!
//! *In*: objects as seen, objects said to be gone. *Out*: the [`Table`], and faults and records of Brokers of ours and
//! of their Triggers. *Invariants*: an object that turns bad stays as it was; another UID is another object; nothing
//! leaves but by [`Inventory::gone`]. *Not here*: finding out whether an object is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::annotations::BROKER_CLASS;
use schemas::broker::CLASS;
use schemas::validate::{Fault, parse_broker, parse_trigger};
use serde_json::Value;

use super::record::{Kind, Record, names, uid};
use crate::clock::UnixMicros;
use crate::names::{BrokerKey, TriggerKey};
use crate::triggers::convert::{BrokerPart, Defaults, TriggerPart, broker_part, table, trigger_part};
use crate::triggers::recipient::Lookup;
use crate::triggers::table::{Knowledge, Table};

/// `(namespace, name)`.
pub(super) type Names = (String, String);

/// An object that may be gone: a complete list lacks it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Doubt {
    pub(super) kind: Kind,
    pub(super) names: Names,
    pub(super) uid: String,
}

#[derive(Debug, Clone)]
struct Held<P> {
    uid: String,
    good: Option<(Arc<Record>, P)>,
    faults: Vec<Fault>,
    /// Which Broker a Trigger names now, even a faulty one.
    broker: Option<String>,
}

impl<P> Held<P> {
    fn good(record: Arc<Record>, part: P) -> Self {
        let (uid, broker) = (record.uid.clone(), broker_of(&record.object));
        Self { uid, good: Some((record, part)), faults: Vec::new(), broker }
    }

    fn record(&self) -> Option<&Arc<Record>> {
        self.good.as_ref().map(|(record, _)| record)
    }
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

fn broker_of(trigger: &Value) -> Option<String> {
    let named = ["/spec/broker", "/spec/brokerRef/name"];
    named.iter().find_map(|pointer| trigger.pointer(pointer).and_then(Value::as_str).map(str::to_owned))
}

/// Takes an object in; says whether it has new faults.
fn take<P>(
    held: &mut BTreeMap<Names, Held<P>>,
    (kind, names): (Kind, &Names),
    (object, now): (&Value, UnixMicros),
    parse: Parse<P>,
    refuse: fn(&Record, &Record) -> Vec<Fault>,
) -> bool {
    let former = held.get(names).filter(|former| former.uid == uid(object));
    let previous = former.and_then(|former| former.good.as_ref());
    let record = Record::new(kind, object, previous.map(|(record, _)| &**record), now);
    let same = previous.map(|(record, _)| record).filter(|previous| ***previous == record).cloned();
    if same.is_some() && former.is_some_and(|held| held.faults.is_empty()) {
        return false;
    }
    // What is stored already is not stored again.
    let record = same.unwrap_or_else(|| Arc::new(record));
    let refused = previous.map_or_else(Vec::new, |(previous, _)| refuse(previous, &record));
    let parsed = if refused.is_empty() { parse(&record) } else { Err(refused) };
    match parsed {
        Ok(part) => {
            held.insert(names.clone(), Held::good(record, part));
            false
        }
        Err(faults) => {
            let new = former.is_none_or(|former| former.faults != faults);
            let (uid, broker) = (record.uid.clone(), broker_of(&record.object));
            // A former object of this name is gone.
            let good = held.remove(names).filter(|former| former.uid == uid).and_then(|former| former.good);
            held.insert(names.clone(), Held { uid, good, faults, broker });
            new
        }
    }
}

fn another_broker(old: &Record, new: &Record) -> Vec<Fault> {
    let message = "is immutable; delete the Trigger and create it anew to attach it to another Broker".to_owned();
    let changed = broker_of(&old.object) != broker_of(&new.object);
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
    pub(super) fn restore(&mut self, kind: Kind, names: Names, record: Arc<Record>) {
        match kind {
            Kind::Broker if self.is_ours(&record.object) => {
                if let Ok(part) = read_broker(&record) {
                    self.brokers.insert(names, Held::good(record, part));
                }
            }
            Kind::Broker => {}
            Kind::Trigger => {
                if let Ok(part) = read_trigger(&record) {
                    self.triggers.insert(names, Held::good(record, part));
                }
            }
        }
    }

    /// Whether a Trigger names a Broker of ours; one that went bad still belongs to where it was.
    fn is_served(&self, (namespace, _): &Names, held: &Held<TriggerPart>) -> bool {
        let served = held.good.as_ref().map(|(_, part)| part.broker.name.as_str());
        let mut named = served.into_iter().chain(held.broker.as_deref());
        named.any(|broker| self.brokers.contains_key(&(namespace.clone(), broker.to_owned())))
    }

    /// An object as it is now. Says whether it is for us, and has faults that are new.
    pub(super) fn seen(&mut self, kind: Kind, object: &Value, now: UnixMicros) -> bool {
        let (namespace, name) = names(object);
        let names = (namespace.to_owned(), name.to_owned());
        match kind {
            Kind::Broker if self.is_ours(object) => {
                take(&mut self.brokers, (kind, &names), (object, now), read_broker, |_, _| Vec::new())
            }
            // Another class now, or always: somebody else's.
            Kind::Broker => {
                self.brokers.remove(&names);
                false
            }
            Kind::Trigger => {
                take(&mut self.triggers, (kind, &names), (object, now), read_trigger, another_broker)
                    && self.triggers.get(&names).is_some_and(|held| self.is_served(&names, held))
            }
        }
    }

    /// The API server said that this very object is gone.
    pub(super) fn gone(&mut self, doubt: &Doubt) {
        let held = match doubt.kind {
            Kind::Broker => self.brokers.get(&doubt.names).map(|held| &held.uid),
            Kind::Trigger => self.triggers.get(&doubt.names).map(|held| &held.uid),
        };
        if held != Some(&doubt.uid) {
            return;
        }
        match doubt.kind {
            Kind::Broker => drop(self.brokers.remove(&doubt.names)),
            Kind::Trigger => drop(self.triggers.remove(&doubt.names)),
        }
    }

    /// What a start without the API server needs: what is good of Brokers of ours and of their Triggers.
    pub(super) fn records(&self, kind: Kind) -> BTreeMap<&Names, &Arc<Record>> {
        match kind {
            Kind::Broker => self.brokers.iter().filter_map(|(names, held)| Some((names, held.record()?))).collect(),
            Kind::Trigger => {
                let served = self.triggers.iter().filter(|(names, held)| self.is_served(names, held));
                served.filter_map(|(names, held)| Some((names, held.record()?))).collect()
            }
        }
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
    pub(super) fn table(&self, defaults: Defaults, knowledge: Knowledge) -> Table {
        let brokers = self.brokers.values().filter_map(|held| held.good.as_ref().map(|(_, part)| part));
        let triggers = self.triggers.values().filter_map(|held| held.good.as_ref());
        let since: BTreeMap<&TriggerKey, u64> = triggers.clone().map(|(r, part)| (&part.key, r.created)).collect();
        let parts = triggers.map(|(_, part)| part);
        let since = |key: &TriggerKey| UnixMicros(since.get(key).copied().unwrap_or_default());
        let mut table = table(brokers, parts, defaults, since);
        let bad = self.triggers.iter().filter(|(_, held)| held.good.is_none());
        table.unserved.extend(bad.filter_map(|((namespace, name), held)| {
            let broker = held.broker.as_deref().and_then(|broker| BrokerKey::parse(namespace, broker).ok());
            Some((TriggerKey::parse(namespace, name).ok()?, broker))
        }));
        let bad = self.brokers.iter().filter(|(_, held)| held.good.is_none());
        table.faulty = bad.filter_map(|((namespace, name), _)| BrokerKey::parse(namespace, name).ok()).collect();
        table.knowledge = knowledge;
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
        for (names, held) in self.triggers.iter().filter(|(names, held)| self.is_served(names, held)) {
            lines.extend(held.faults.iter().map(|fault| line(Kind::Trigger, names, fault, held.good.is_some())));
        }
        lines
    }

    /// How many Brokers and Triggers are served.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.records(Kind::Broker).len(), self.records(Kind::Trigger).len())
    }
}

#[cfg(test)]
mod tests;
