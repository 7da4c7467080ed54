//! The CustomResourceDefinitions of both kinds, as they are installed.
//!
//! Made from the Rust types, plus what the types cannot say: defaults that stand in for Knative's defaulting webhook
//! (a Broker without `spec` or `delivery`, a Trigger without `filter`). Pure and deterministic; `crdgen` writes the files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::CustomResourceExt;
use serde_json::{Value, json};

use crate::{Broker, Trigger};

/// First lines of every generated file.
const HEADER: &str =
    "# Generated from schemas/src; do not edit. Run: cargo run -p schemas --features crdgen --bin crdgen\n";

/// File names under `schemas/crds` and what belongs into them.
///
/// # Errors
/// Only when a definition cannot be written as YAML.
pub fn files() -> Result<[(&'static str, String); 2], serde_saphyr::SerializeError> {
    Ok([("broker.yaml", to_yaml(&broker())?), ("trigger.yaml", to_yaml(&trigger())?)])
}

/// The definition of `Broker`.
#[must_use]
pub fn broker() -> Value {
    let mut definition = plain(&Broker::crd());
    default_spec(&mut definition);
    definition
}

/// The definition of `Trigger`.
#[must_use]
pub fn trigger() -> Value {
    let mut definition = plain(&Trigger::crd());
    if let Some(filter) = definition.pointer_mut(&format!("{ROOT}/spec/properties/filter")) {
        set_default(filter, json!({}));
    }
    definition
}

/// Where the properties of the objects are described.
const ROOT: &str = "/spec/versions/0/schema/openAPIV3Schema/properties";

/// A Broker without `spec` is one with an empty `spec`, and one without `delivery` gets what Knative's installation
/// gives: the API server fills the inner default into the outer one.
fn default_spec(definition: &mut Value) {
    if let Some(spec) = definition.pointer_mut(&format!("{ROOT}/spec")) {
        set_default(spec, json!({}));
    }
    if let Some(delivery) = definition.pointer_mut(&format!("{ROOT}/spec/properties/delivery")) {
        set_default(delivery, json!({"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}));
    }
    if let Some(root) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        && let Some(map) = root.as_object_mut()
    {
        map.remove("required");
    }
}

fn set_default(schema: &mut Value, value: Value) {
    if let Some(map) = schema.as_object_mut() {
        map.insert("default".into(), value);
    }
}

fn plain(definition: &CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(definition).expect("a definition made of strings, numbers and maps is JSON");
    tidy(&mut value);
    value
}

/// Joins the lines of descriptions, as `kubectl explain` wraps them itself, and drops `nullable`: the API server then
/// removes a null as if the field were left out, and rules need not ask for it.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn to_yaml(definition: &Value) -> Result<String, serde_saphyr::SerializeError> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(&sorted(definition), options)?;
    Ok(format!("{HEADER}{yaml}"))
}

/// The same value with the keys of every map in order, whatever the map type of the build is.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|left, right| left.0.cmp(right.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests;
