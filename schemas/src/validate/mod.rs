//! What is wrong with a Broker or Trigger as written: every fault at once, each with its field path.
//!
//! *In*: an object as JSON, as somebody wrote it. *Out*: [`Fault`]s, or the typed object. One pure function per kind
//! serves manifests, the CLI and the controller; [`parse_broker`] and [`parse_trigger`] give the typed object of one
//! without faults. Nothing here panics, whatever the object. *Not here*: whether what is referred to exists.

mod annotations;
mod delivery;
mod destination;
mod filter;
mod metadata;
mod nearest;
mod node;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::annotations::{BROKER_CLASS, Kind};
use crate::broker::CLASS;
use crate::{Broker, Trigger};
use node::{Faults, Node};

pub use nearest::nearest;
pub use node::field_path;

/// Most faults reported for one object: more than a person mends in one go.
pub const FAULTS_MAX: usize = 100;

/// Something wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where, such as `spec.filters[0].exact.TYPE`; empty for the whole object.
    pub path: String,
    /// What is wrong, in plain words, with what to write instead.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// All faults of a Broker, in the order of its fields.
#[must_use]
pub fn validate_broker(object: &Value) -> Vec<Fault> {
    let mut faults = Faults::default();
    let root = Node::root(object);
    metadata::check(&root, "Broker", &mut faults);
    annotations::check(&root, Kind::Broker, &mut faults);
    if let Some(spec) = root.field("spec")
        && spec.is_object(&["config", "delivery"], &mut faults)
    {
        if let Some(config) = spec.field("config") {
            destination::check_reference(&config, &mut faults);
        }
        if let Some(block) = spec.field("delivery") {
            delivery::check(&block, &mut faults);
        }
    }
    faults.into_vec()
}

/// All faults of a Trigger, in the order of its fields.
#[must_use]
pub fn validate_trigger(object: &Value) -> Vec<Fault> {
    let mut faults = Faults::default();
    let root = Node::root(object);
    metadata::check(&root, "Trigger", &mut faults);
    annotations::check(&root, Kind::Trigger, &mut faults);
    match root.field("spec") {
        None => faults.add("spec", "is missing; give at least spec.broker and spec.subscriber"),
        Some(spec) => check_trigger_spec(&root, &spec, &mut faults),
    }
    faults.into_vec()
}

fn check_trigger_spec(root: &Node<'_>, spec: &Node<'_>, faults: &mut Faults) {
    if !spec.is_object(&["broker", "brokerRef", "filter", "filters", "subscriber", "delivery"], faults) {
        return;
    }
    check_broker_reference(root, spec, faults);
    if let Some(legacy) = spec.field("filter") {
        filter::check_legacy(&legacy, faults);
    }
    if let Some(filters) = spec.field("filters") {
        filter::check_list(&filters, 1, faults);
    }
    match spec.field("subscriber") {
        None => faults.add("spec.subscriber", "is missing; give spec.subscriber.uri or spec.subscriber.ref"),
        Some(subscriber) => destination::check(&subscriber, faults),
    }
    if let Some(block) = spec.field("delivery") {
        delivery::check(&block, faults);
    }
}

fn check_broker_reference(root: &Node<'_>, spec: &Node<'_>, faults: &mut Faults) {
    match (spec.field("broker"), spec.field("brokerRef")) {
        (None, None) => faults.add("spec.broker", "is missing; name the Broker whose events are asked for"),
        (Some(_), Some(_)) => faults.add("spec.brokerRef", "stands beside spec.broker; give exactly one of the two"),
        (Some(broker), None) => metadata::check_name(&broker, faults),
        (None, Some(reference)) => {
            if !reference.is_object(&["apiVersion", "kind", "name", "namespace"], faults) {
                return;
            }
            reference.required_name("name", faults);
            reference.expect_text("kind", "Broker", faults);
            reference.expect_text("apiVersion", crate::broker::API_VERSION, faults);
            let own = root.field("metadata").and_then(|meta| meta.field("namespace"));
            let own = own.as_ref().and_then(Node::as_text).unwrap_or("default");
            if let Some(other) = reference.field("namespace")
                && other.as_text() != Some(own)
            {
                faults.at(&other, "names another namespace; a Trigger is served from its own namespace's Broker only");
            }
        }
    }
}

/// Faults of an update: what may not change.
#[must_use]
pub fn validate_update(old: &Value, new: &Value) -> Vec<Fault> {
    let mut faults = Faults::default();
    let class = |object: &Value| {
        object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(BROKER_CLASS)).cloned()
    };
    if class(old) != class(new) {
        let path = format!("metadata.annotations[{BROKER_CLASS}]");
        faults.add(&path, "is immutable; delete the Broker and create it anew to change its class");
    }
    for field in ["broker", "brokerRef", "config"] {
        let value =
            |object: &Value| object.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null()).cloned();
        if value(old) != value(new) {
            let message = "is immutable; delete the object and create it anew under another name to change it";
            faults.add(&format!("spec.{field}"), message);
        }
    }
    faults.into_vec()
}

/// Whether a Broker says that it is of another class than ours; such a Broker is left alone.
#[must_use]
pub fn is_foreign(broker: &Value) -> bool {
    let annotations = broker.pointer("/metadata/annotations");
    let class = annotations.and_then(|annotations| annotations.get(BROKER_CLASS)).and_then(Value::as_str);
    class.is_some_and(|class| class != CLASS)
}

/// The typed Broker.
///
/// # Errors
/// All its faults.
pub fn parse_broker(object: &Value) -> Result<Broker, Vec<Fault>> {
    typed(object, validate_broker(object))
}

/// The typed Trigger, its `filter` as `{}` where it has none.
///
/// # Errors
/// All its faults.
pub fn parse_trigger(object: &Value) -> Result<Trigger, Vec<Fault>> {
    let mut trigger: Trigger = typed(object, validate_trigger(object))?;
    trigger.spec.filter.get_or_insert_default();
    Ok(trigger)
}

fn typed<T: DeserializeOwned>(object: &Value, faults: Vec<Fault>) -> Result<T, Vec<Fault>> {
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut object = without_nulls(object);
    if let Some(map) = object.as_object_mut() {
        map.entry("spec").or_insert_with(|| json!({}));
        // A status in a manifest is what some cluster once said; it decides nothing here, so it need not parse.
        map.remove("status");
    }
    serde_json::from_value(object).map_err(|error| vec![Fault { path: String::new(), message: error.to_string() }])
}

/// The API server treats a null as if the field were left out.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
