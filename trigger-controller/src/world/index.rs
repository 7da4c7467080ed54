//! Who refers to whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::annotations::DEPENDENCY;
use serde_json::Value;

use super::{Gvk, Key, Kind, Place, Subject};

/// Groups whose kinds never have an address, but for the core Service: none of them is watched for one.
const WITHOUT_ADDRESS: [&str; 4] = ["", "apps", "batch", "networking.k8s.io"];

/// An object that another refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) gvk: Gvk,
    pub(crate) place: Place,
}

impl Reference {
    /// Whether objects of the kind can have an address.
    pub(crate) fn may_have_address(&self) -> bool {
        self.gvk == Gvk::service() || !WITHOUT_ADDRESS.contains(&self.gvk.group.as_str())
    }
}

/// Reads a reference; its namespace is `own` where it names none. `None` where it is incomplete.
pub(crate) fn reference(value: &Value, own: &str) -> Option<Reference> {
    let part = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    Some(Reference {
        gvk: Gvk::new(part("apiVersion")?, part("kind")?),
        place: Place::new(part("namespace").unwrap_or(own), part("name")?),
    })
}

/// What a Broker or Trigger refers to, in its own namespace, where references may lead.
fn watched(key: &Key, subject: &Subject) -> BTreeSet<Reference> {
    let refs = references(&subject.manifest);
    let destinations = [refs.subscriber, refs.sink].into_iter().flatten().filter(Reference::may_have_address);
    let all = destinations.chain(refs.dependency);
    all.filter(|reference| reference.place.namespace == key.place.namespace).collect()
}

/// The references of a Broker or Trigger.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) subscriber: Option<Reference>,
    pub(crate) sink: Option<Reference>,
    pub(crate) dependency: Option<Reference>,
}

/// Reads the references of a Broker or Trigger.
pub(crate) fn references(manifest: &Value) -> References {
    let own = manifest.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let at = |pointer: &str| manifest.pointer(pointer).and_then(|value| reference(value, own));
    let dependency = manifest.pointer("/metadata/annotations").and_then(|map| map.get(DEPENDENCY)?.as_str());
    let dependency = dependency.and_then(|text| serde_json::from_str::<Value>(text).ok());
    References {
        subscriber: at("/spec/subscriber/ref"),
        sink: at("/spec/delivery/deadLetterSink/ref"),
        dependency: dependency.and_then(|value| reference(&value, own)),
    }
}

/// The name of the Broker that a Trigger asks for.
pub(crate) fn broker_name(manifest: &Value) -> Option<&str> {
    let plain = manifest.pointer("/spec/broker").and_then(Value::as_str);
    plain.or_else(|| manifest.pointer("/spec/brokerRef/name").and_then(Value::as_str))
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Who refers to an object.
    referrers: BTreeMap<Gvk, HashMap<Place, BTreeSet<Key>>>,
    /// The Triggers of a Broker, whether it exists or not.
    triggers: HashMap<Place, BTreeSet<Key>>,
    /// The other way round: what to undo when an object changes.
    of: BTreeMap<Key, (BTreeSet<Reference>, Option<Place>)>,
}

impl Index {
    pub(super) fn set(&mut self, key: &Key, subject: &Subject) {
        let references = watched(key, subject);
        let broker = (key.kind == Kind::Trigger)
            .then(|| broker_name(&subject.manifest).map(|name| Place::new(&key.place.namespace, name)))
            .flatten();
        if self.of.get(key).is_some_and(|(known, of)| *known == references && *of == broker) {
            return;
        }
        self.remove(key);
        for reference in &references {
            let places = self.referrers.entry(reference.gvk.clone()).or_default();
            places.entry(reference.place.clone()).or_default().insert(key.clone());
        }
        if let Some(broker) = &broker {
            self.triggers.entry(broker.clone()).or_default().insert(key.clone());
        }
        self.of.insert(key.clone(), (references, broker));
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Some((references, broker)) = self.of.remove(key) else { return };
        for reference in references {
            let Some(places) = self.referrers.get_mut(&reference.gvk) else { continue };
            take(places, &reference.place, key);
            if places.is_empty() {
                self.referrers.remove(&reference.gvk);
            }
        }
        if let Some(broker) = broker {
            take(&mut self.triggers, &broker, key);
        }
    }

    /// Whom a change of that object concerns: who refers to it, and the Triggers of Brokers among them.
    pub(super) fn concerned(&self, gvk: &Gvk, place: &Place) -> BTreeSet<Key> {
        let referrers = self.referrers.get(gvk).and_then(|places| places.get(place));
        let mut concerned = self.with_triggers(referrers.into_iter().flatten());
        if *gvk == Gvk::broker() {
            concerned.extend(self.triggers_of(place));
        }
        concerned
    }

    /// Whom a change of the whole kind concerns.
    pub(super) fn concerned_by_kind(&self, gvk: &Gvk) -> BTreeSet<Key> {
        let places = self.referrers.get(gvk);
        self.with_triggers(places.into_iter().flat_map(HashMap::values).flatten())
    }

    fn with_triggers<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> BTreeSet<Key> {
        let mut all = BTreeSet::new();
        for key in keys {
            if key.kind == Kind::Broker {
                all.extend(self.triggers_of(&key.place));
            }
            all.insert(key.clone());
        }
        all
    }

    pub(super) fn triggers_of(&self, broker: &Place) -> impl Iterator<Item = Key> {
        self.triggers.get(broker).into_iter().flatten().cloned()
    }

    /// The kinds referred to.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Gvk> {
        self.referrers.keys()
    }
}

fn take(places: &mut HashMap<Place, BTreeSet<Key>>, place: &Place, key: &Key) {
    if let Some(keys) = places.get_mut(place) {
        keys.remove(key);
        if keys.is_empty() {
            places.remove(place);
        }
    }
}
