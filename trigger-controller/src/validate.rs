//! The faults of an object as written, sorted by the condition that reports them.
//!
//! *In*: a manifest from the [`crate::world`]. *Out*: the typed spec where it can be read, and the faults by area.
//! *Invariants*: pure; every fault lands in exactly one area. *Not here*: the rules themselves, which are
//! [`schemas::validate`]'s.

use schemas::annotations::DEPENDENCY;
use schemas::validate::{Fault, validate_broker, validate_trigger};
use serde_json::Value;

use crate::world::Kind;

/// Most faults named in a message; the others are counted.
const FAULTS_SHOWN: usize = 3;

/// Where in an object a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// The reference of a Trigger to its Broker.
    Broker,
    /// Filters.
    Filter,
    /// The subscriber.
    Subscriber,
    /// The dead letter sink.
    Sink,
    /// The annotation that names a dependency.
    Dependency,
    /// Everything else.
    Rest,
}

/// All faults of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Checks an object.
    pub(crate) fn of(kind: Kind, manifest: &Value) -> Self {
        Self(match kind {
            Kind::Broker => validate_broker(manifest),
            Kind::Trigger => validate_trigger(manifest),
        })
    }

    /// What is wrong in that area, for people; `None` when nothing is.
    pub(crate) fn in_area(&self, area: Area) -> Option<String> {
        let faults: Vec<&Fault> = self.0.iter().filter(|fault| area_of(&fault.path) == area).collect();
        let shown: Vec<String> = faults.iter().take(FAULTS_SHOWN).map(ToString::to_string).collect();
        let more = faults.len().saturating_sub(FAULTS_SHOWN);
        let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!shown.is_empty()).then(|| format!("{}{tail}", shown.join("; ")))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

fn area_of(path: &str) -> Area {
    let dependency = format!("metadata.annotations[{DEPENDENCY}]");
    let begins = |prefix: &str| path.starts_with(prefix);
    if begins("spec.broker") {
        Area::Broker
    } else if begins("spec.filter") {
        Area::Filter
    } else if begins("spec.subscriber") {
        Area::Subscriber
    } else if begins("spec.delivery.deadLetterSink") {
        Area::Sink
    } else if begins(&dependency) {
        Area::Dependency
    } else {
        Area::Rest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_go_to_the_condition_that_people_look_at() {
        let manifest = json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
            "metadata": {"name": "t", "namespace": "ns", "annotations": {
                "knative.dev/dependency": "no JSON", "reveille.dev/start": "yesterday"}},
            "spec": {
                "broker": "No Name",
                "filters": [{"exact": {"TYPE": "a"}}, {}, {}, {}],
                "subscriber": {"uri": "/relative"},
                "delivery": {"retry": -1, "deadLetterSink": {}},
            },
        });
        let faults = Faults::of(Kind::Trigger, &manifest);
        for (area, words) in [
            (Area::Broker, "spec.broker: `No Name` is no Kubernetes name"),
            (Area::Filter, "spec.filters[0].exact.TYPE"),
            (Area::Subscriber, "spec.subscriber.uri: is relative"),
            (Area::Sink, "spec.delivery.deadLetterSink: has neither ref nor uri"),
            (Area::Dependency, "metadata.annotations[knative.dev/dependency]"),
            (Area::Rest, "spec.delivery.retry"),
            (Area::Rest, "metadata.annotations[reveille.dev/start]"),
        ] {
            let message = faults.in_area(area).unwrap_or_default();
            assert!(message.contains(words), "{area:?}: {message}");
        }
        assert!(faults.in_area(Area::Filter).unwrap().ends_with("; and 1 more"));
    }

    #[test]
    fn a_sound_object_has_none() {
        let manifest = json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "b", "namespace": "ns"},
        });
        assert_eq!(Faults::of(Kind::Broker, &manifest), Faults::default());
    }
}
