//! What is kept of an object: enough to make its part of the table again without the API server.
//!
//! *Invariants*: a finding in a record belongs to what the record's spec says: where the status is older than the spec
//! (`observedGeneration`), a finding goes on only for a destination that did not change.

use std::collections::BTreeMap;

use schemas::annotations::PREFIX;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::UnixMicros;
use crate::triggers::recipient::{Finding, Findings};

/// Which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A Broker.
    Broker,
    /// A Trigger.
    Trigger,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Broker => "Broker",
            Self::Trigger => "Trigger",
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// UID.
    pub(super) uid: String,
    /// When it was created, in microseconds since the Unix epoch; not later than when it was first seen.
    pub(super) created: u64,
    /// The object without what nobody here reads.
    pub(super) object: Value,
    /// What the controller found.
    pub(super) findings: Findings,
}

fn text<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// UID of an object; empty where it has none.
pub(super) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

/// `(namespace, name)` of an object.
pub(super) fn names(object: &Value) -> (&str, &str) {
    (text(object, "/metadata/namespace").unwrap_or_default(), text(object, "/metadata/name").unwrap_or_default())
}

impl Record {
    /// The record of an object as the API server has it now, first seen at `now`.
    pub(super) fn new(kind: Kind, object: &Value, previous: Option<&Self>, now: UnixMicros) -> Self {
        let uid = uid(object).to_owned();
        let previous = previous.filter(|previous| previous.uid == uid);
        let created = previous.map_or_else(
            || {
                // A clock behind the API server's must not make the Trigger wait for its own creation.
                let said = text(object, "/metadata/creationTimestamp").and_then(UnixMicros::from_rfc3339);
                said.unwrap_or(now).min(now).0
            },
            |previous| previous.created,
        );
        Self { uid, created, object: slim(kind, object), findings: findings(object, previous) }
    }
}

fn slim(kind: Kind, object: &Value) -> Value {
    let (namespace, name) = names(object);
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let ours = |name: &str| name.starts_with(PREFIX) || name.contains("knative.dev/");
    let annotations: Map<String, Value> = annotations
        .into_iter()
        .flatten()
        .filter(|(name, _)| ours(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut slim = json!({
        "apiVersion": schemas::broker::API_VERSION,
        "kind": kind.name(),
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
    });
    if let (Some(map), Some(spec)) = (slim.as_object_mut(), object.get("spec")) {
        map.insert("spec".into(), spec.clone());
    }
    slim
}

fn findings(object: &Value, previous: Option<&Record>) -> Findings {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let observed = number("/status/observedGeneration");
    let stale = match (observed, number("/metadata/generation")) {
        (Some(observed), Some(generation)) => observed < generation,
        _ => false,
    };
    if stale {
        let kept = |pointer: &str, finding: fn(&Findings) -> &Option<Finding>| {
            let previous = previous.filter(|previous| previous.object.pointer(pointer) == object.pointer(pointer));
            previous.and_then(|previous| finding(&previous.findings).clone())
        };
        let previous_notes = previous
            .filter(|previous| previous.object.pointer("/spec/subscriber") == object.pointer("/spec/subscriber"));
        return Findings {
            notes: previous_notes.map(|previous| previous.findings.notes.clone()).unwrap_or_default(),
            subscriber: kept("/spec/subscriber", |findings| &findings.subscriber),
            sink: kept("/spec/delivery/deadLetterSink", |findings| &findings.sink),
        };
    }
    Findings {
        subscriber: finding(object, "/status/subscriberUri", "SubscriberResolved"),
        sink: finding(object, "/status/deadLetterSinkUri", "DeadLetterSinkResolved"),
        notes: notes(object, "/status/annotations"),
    }
}

/// The annotations of ours at that place.
fn notes(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let all = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let ours = all.filter(|(name, _)| name.starts_with(PREFIX));
    ours.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn finding(object: &Value, uri: &str, condition: &str) -> Option<Finding> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|found| text(found, "/type") == Some(condition));
    if let Some(found) = found.filter(|found| text(found, "/status") == Some("False")) {
        let words = text(found, "/message").or_else(|| text(found, "/reason"));
        return Some(Finding::Missing(words.unwrap_or("its status does not say why").to_owned()));
    }
    text(object, uri).map(|uri| Finding::At(uri.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(generation: i64, observed: Option<i64>, name: &str, status: Value) -> Value {
        let mut status = status;
        status["observedGeneration"] = json!(observed);
        json!({
            "metadata": {"namespace": "shop", "name": "t", "uid": "u", "generation": generation,
                "creationTimestamp": "1970-01-01T00:00:05Z",
                "annotations": {"reveille.dev/start": "latest", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {"subscriber": {"ref": {"kind": "Service", "name": name}}}, "status": status,
        })
    }

    #[test]
    fn findings_are_those_of_what_is_written() {
        let at = |uri: &str| Some(Finding::At(uri.into()));
        let now = UnixMicros(9_000_000);
        let fresh = object(1, Some(1), "a", json!({"subscriberUri": "http://a"}));
        let first = Record::new(Kind::Trigger, &fresh, None, now);
        assert_eq!(first.findings.subscriber, at("http://a"));
        for (case, object, previous, expected) in [
            ("no status", object(1, None, "a", json!({})), None, None),
            ("empty", object(1, Some(1), "a", json!({"subscriberUri": ""})), Some(&first), None),
            ("no generation seen", object(3, None, "a", json!({"subscriberUri": "http://b"})), None, at("http://b")),
            ("stale, unknown", object(2, Some(1), "a", json!({"subscriberUri": "http://a"})), None, None),
            (
                "stale, same",
                object(2, Some(1), "a", json!({"subscriberUri": "http://x"})),
                Some(&first),
                at("http://a"),
            ),
            ("stale, changed", object(2, Some(1), "b", json!({"subscriberUri": "http://a"})), Some(&first), None),
            (
                "not resolved",
                object(
                    1,
                    Some(1),
                    "a",
                    json!({"subscriberUri": "http://old", "conditions": [
                    {"type": "SubscriberResolved", "status": "False", "reason": "R", "message": "no such Service"}]}),
                ),
                Some(&first),
                Some(Finding::Missing("no such Service".into())),
            ),
        ] {
            let record = Record::new(Kind::Trigger, &object, previous, now);
            assert_eq!(record.findings.subscriber, expected, "{case}");
        }
    }

    #[test]
    fn creation_is_never_later_than_the_first_sight_and_survives_updates() {
        let fresh = object(1, Some(1), "a", json!({}));
        let of =
            |now: u64, previous: Option<&Record>| Record::new(Kind::Trigger, &fresh, previous, UnixMicros(now)).created;
        assert_eq!((of(9_000_000, None), of(3_000_000, None)), (5_000_000, 3_000_000));
        let first = Record::new(Kind::Trigger, &fresh, None, UnixMicros(3_000_000));
        assert_eq!(of(9_000_000, Some(&first)), 3_000_000);
        assert_eq!(of(9_000_000, Some(&Record { uid: "other".into(), ..first.clone() })), 5_000_000);
        assert_eq!(first.object.pointer("/metadata/annotations"), Some(&json!({"reveille.dev/start": "latest"})));
    }
}
