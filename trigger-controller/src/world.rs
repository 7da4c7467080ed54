//! What the API server holds, as far as it matters here: a value that watch events are applied to.
//!
//! *Responsibility*: the objects of ours, trimmed copies of what they refer to, and who refers to whom. *Inputs*:
//! objects as JSON, and what is known about whole kinds (listed, missing, forbidden). *Outputs*: which Brokers and
//! Triggers a change concerns; look-ups for [`crate::plan`]; the kinds that must be watched. *Invariants*: pure and
//! synchronous; an object of any shape is taken, what cannot be read of it counts as absent. *Not here*: watching,
//! deciding, writing.

mod data_plane;
mod index;
mod object;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

pub(crate) use data_plane::Standing;
pub(crate) use index::{Reference, broker_name, references};
pub(crate) use object::{FIELD_MANAGER, PortFacts, ServiceFacts, Subject, Target, Workload};

use data_plane::DataPlane;
use index::Index;

/// Most kinds watched because something refers to them: a watch costs a connection, and real clusters have a handful
/// of kinds with an address.
pub(crate) const KINDS_MAX: usize = 64;

/// Group, version and kind of objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gvk {
    /// Empty for the core group.
    pub(crate) group: String,
    /// Such as `v1`.
    pub(crate) version: String,
    /// Such as `Service`.
    pub(crate) kind: String,
}

impl Gvk {
    pub(crate) fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    pub(crate) fn broker() -> Self {
        Self::new(schemas::broker::API_VERSION, "Broker")
    }

    pub(crate) fn trigger() -> Self {
        Self::new(schemas::broker::API_VERSION, "Trigger")
    }

    pub(crate) fn service() -> Self {
        Self::new("v1", "Service")
    }

    pub(crate) fn deployment() -> Self {
        Self::new("apps/v1", "Deployment")
    }

    pub(crate) fn stateful_set() -> Self {
        Self::new("apps/v1", "StatefulSet")
    }

    /// Watched of the data plane's Service alone.
    pub(crate) fn endpoint_slice() -> Self {
        Self::new("discovery.k8s.io/v1", "EndpointSlice")
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds whose status is written here. Brokers come first, so that their Triggers find them done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Broker,
    Trigger,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "Broker",
            Self::Trigger => "Trigger",
        }
    }
}

/// An object whose status is written here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
}

/// What is known about a whole kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KindState {
    /// It has not been listed yet.
    Pending,
    /// It has been listed, and is watched.
    Listed,
    /// The API server does not have it.
    Absent,
    /// It may not be listed; the API server's words.
    Forbidden(String),
}

/// The answer to a look-up.
#[derive(Debug)]
pub(crate) enum Lookup<'w> {
    /// Nobody knows yet.
    Pending,
    /// There is no such kind.
    KindAbsent,
    /// The kind may not be looked at.
    Forbidden(&'w str),
    /// There is no such object.
    Missing,
    /// Here it is.
    Found(&'w Target),
}

#[derive(Debug)]
struct Shelf {
    state: KindState,
    objects: HashMap<Place, Target>,
    /// While a list is under way: what it had so far.
    listed: Option<HashSet<Place>>,
}

/// The objects, see the module.
#[derive(Debug, Default)]
pub(crate) struct World {
    subjects: BTreeMap<Key, Subject>,
    shelves: HashMap<Gvk, Shelf>,
    workloads: BTreeMap<(Place, Gvk), Workload>,
    index: Index,
    data_plane: DataPlane,
}

impl World {
    /// An object appeared, or changed.
    pub(crate) fn apply(&mut self, gvk: &Gvk, object: &Value) -> BTreeSet<Key> {
        let Some(place) = object::place(object) else { return BTreeSet::new() };
        let shelf = self.shelf(gvk);
        if let Some(listed) = &mut shelf.listed {
            listed.insert(place.clone());
        }
        let target = object::target(gvk, object);
        let changed = shelf.objects.get(&place) != Some(&target);
        shelf.objects.insert(place.clone(), target);
        let mut dirty = BTreeSet::new();
        if changed {
            dirty = self.index.concerned(gvk, &place);
        }
        if *gvk == Gvk::endpoint_slice() && self.data_plane.set(&place, Some(object)) {
            dirty.extend(self.keys());
        }
        if let Some(kind) = subject_kind(gvk) {
            self.apply_subject(Key { kind, place }, object, &mut dirty);
        } else if is_workload(gvk) {
            let new = object::workload(gvk, &place, object);
            let old = self.workloads.insert((place, gvk.clone()), new.clone());
            if old.as_ref() != Some(&new) {
                self.concern_selectors(old.iter().chain([&new]), &mut dirty);
            }
        }
        dirty
    }

    /// An object is gone.
    pub(crate) fn delete(&mut self, gvk: &Gvk, place: &Place) -> BTreeSet<Key> {
        self.shelf(gvk).objects.remove(place);
        let mut dirty = self.index.concerned(gvk, place);
        if *gvk == Gvk::endpoint_slice() {
            self.data_plane.set(place, None);
        }
        if let Some(kind) = subject_kind(gvk) {
            let key = Key { kind, place: place.clone() };
            self.subjects.remove(&key);
            self.index.remove(&key);
            dirty.remove(&key);
        } else if let Some(old) = self.workloads.remove(&(place.clone(), gvk.clone())) {
            self.concern_selectors([&old].into_iter(), &mut dirty);
        }
        dirty
    }

    /// A list of the kind begins: what it does not bring is gone.
    pub(crate) fn begin(&mut self, gvk: &Gvk) {
        self.shelf(gvk).listed = Some(HashSet::new());
    }

    /// The list of the kind is complete.
    pub(crate) fn finish(&mut self, gvk: &Gvk) -> BTreeSet<Key> {
        let shelf = self.shelf(gvk);
        let listed = shelf.listed.take().unwrap_or_default();
        let gone: Vec<Place> = shelf.objects.keys().filter(|place| !listed.contains(place)).cloned().collect();
        let mut dirty = self.set_state(gvk, KindState::Listed);
        for place in gone {
            dirty.append(&mut self.delete(gvk, &place));
        }
        dirty
    }

    /// The kind cannot be listed, for a reason that waiting does not mend.
    pub(crate) fn refuse(&mut self, gvk: &Gvk, state: KindState) -> BTreeSet<Key> {
        let mut dirty = self.set_state(gvk, state);
        // What was seen of ours stays: a Broker does not vanish because the API server refuses for a moment.
        if subject_kind(gvk).is_none() {
            let gone: Vec<Place> = self.shelf(gvk).objects.keys().cloned().collect();
            for place in gone {
                dirty.append(&mut self.delete(gvk, &place));
            }
        }
        dirty
    }

    fn set_state(&mut self, gvk: &Gvk, state: KindState) -> BTreeSet<Key> {
        let shelf = self.shelf(gvk);
        if shelf.state == state {
            return BTreeSet::new();
        }
        shelf.state = state;
        if *gvk == Gvk::broker() || *gvk == Gvk::endpoint_slice() || is_workload(gvk) {
            return self.subjects.keys().cloned().collect();
        }
        self.index.concerned_by_kind(gvk)
    }

    /// The kind is no longer watched.
    pub(crate) fn forget(&mut self, gvk: &Gvk) {
        self.shelves.remove(gvk);
    }

    fn shelf(&mut self, gvk: &Gvk) -> &mut Shelf {
        let empty = || Shelf { state: KindState::Pending, objects: HashMap::new(), listed: None };
        self.shelves.entry(gvk.clone()).or_insert_with(empty)
    }

    fn apply_subject(&mut self, key: Key, object: &Value, dirty: &mut BTreeSet<Key>) {
        let subject = Subject::read(key.kind, object);
        if let Some(known) = self.subjects.get(&key) {
            if known.is_newer_than(&subject) {
                return;
            }
            if *known == subject {
                return;
            }
        }
        self.index.set(&key, &subject);
        if key.kind == Kind::Broker {
            dirty.extend(self.index.triggers_of(&key.place));
        }
        self.subjects.insert(key.clone(), subject);
        dirty.insert(key);
    }

    /// Triggers whose subscriber is a Service that selects one of the workloads.
    fn concern_selectors<'w>(&self, workloads: impl Iterator<Item = &'w Workload>, dirty: &mut BTreeSet<Key>) {
        let Some(services) = self.shelves.get(&Gvk::service()) else { return };
        for workload in workloads {
            let selecting = services.objects.iter().filter(|(place, target)| {
                place.namespace == workload.namespace
                    && target.service.as_ref().is_some_and(|service| workload.is_selected_by(&service.selector))
            });
            for (place, _) in selecting {
                dirty.append(&mut self.index.concerned(&Gvk::service(), place));
            }
        }
    }

    /// The object of ours.
    pub(crate) fn subject(&self, key: &Key) -> Option<&Subject> {
        self.subjects.get(key)
    }

    /// The Broker of that place.
    pub(crate) fn broker(&self, place: &Place) -> Option<&Subject> {
        self.subjects.get(&Key { kind: Kind::Broker, place: place.clone() })
    }

    /// All objects of ours, Brokers first.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.subjects.keys().cloned().collect()
    }

    /// Looks an object up.
    pub(crate) fn look_up(&self, gvk: &Gvk, place: &Place) -> Lookup<'_> {
        let Some(shelf) = self.shelves.get(gvk) else { return Lookup::Pending };
        match (&shelf.state, shelf.objects.get(place)) {
            (KindState::Absent, _) => Lookup::KindAbsent,
            (KindState::Forbidden(words), _) => Lookup::Forbidden(words),
            (_, Some(target)) => Lookup::Found(target),
            (KindState::Pending, None) => Lookup::Pending,
            (KindState::Listed, None) => Lookup::Missing,
        }
    }

    /// What is known about a kind.
    pub(crate) fn state(&self, gvk: &Gvk) -> &KindState {
        self.shelves.get(gvk).map_or(&KindState::Pending, |shelf| &shelf.state)
    }

    /// Workloads of the namespace whose pods the selector matches.
    pub(crate) fn selected<'w>(
        &'w self,
        namespace: &'w str,
        selector: &'w BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'w Workload> {
        self.workloads
            .values()
            .filter(move |workload| workload.namespace == namespace && workload.is_selected_by(selector))
    }

    /// How the broker's data plane stands.
    pub(crate) fn data_plane(&self) -> Standing<'_> {
        self.data_plane.standing(self.state(&Gvk::endpoint_slice()))
    }

    /// Whether the data plane has no ready endpoint and counts as served all the same.
    pub(crate) fn data_plane_falters(&self) -> bool {
        self.data_plane.falters()
    }

    /// The data plane has faltered for too long.
    pub(crate) fn give_data_plane_up(&mut self) -> BTreeSet<Key> {
        self.data_plane.give_up();
        self.subjects.keys().cloned().collect()
    }

    /// The kinds that objects of ours refer to, besides those always watched; at most [`KINDS_MAX`].
    pub(crate) fn wanted(&self) -> BTreeSet<Gvk> {
        self.index.kinds().filter(|gvk| !base_kinds().contains(gvk)).take(KINDS_MAX).cloned().collect()
    }
}

/// The kinds that are always watched.
pub(crate) fn base_kinds() -> [Gvk; 6] {
    [Gvk::broker(), Gvk::trigger(), Gvk::service(), Gvk::deployment(), Gvk::stateful_set(), Gvk::endpoint_slice()]
}

/// Which kind of ours it is, if any.
pub(crate) fn subject_kind(gvk: &Gvk) -> Option<Kind> {
    if *gvk == Gvk::broker() {
        Some(Kind::Broker)
    } else if *gvk == Gvk::trigger() {
        Some(Kind::Trigger)
    } else {
        None
    }
}

fn is_workload(gvk: &Gvk) -> bool {
    *gvk == Gvk::deployment() || *gvk == Gvk::stateful_set()
}
