//! Filters of Triggers: which events are asked for.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most elements of one list of filters. The API server's cost estimate of the rules multiplies the limits of nested
/// lists, and refuses the definition above its own; 64 stays far below it with two levels spelt out.
pub const FILTER_LIST_MAX: usize = 64;

/// Most attributes in one `exact`, `prefix`, `suffix` or `attributes`; CloudEvents has nine of its own, and events
/// with more than a handful of extensions are rare.
pub const FILTER_ATTRIBUTES_MAX: usize = 32;

/// Longest value an attribute is compared with, in characters: as long as an attribute that fits an HTTP header.
pub const FILTER_VALUE_CHARS_MAX: usize = 4096;

/// Longest CESQL expression, in characters.
pub const CESQL_CHARS_MAX: usize = 4096;

/// Deepest nesting of filters: far more than a person can read, and little stack.
pub const FILTER_DEPTH_MAX: usize = 16;

/// The dialects: an element of `filters` has exactly one of them.
pub const DIALECTS: [&str; 8] = ["exact", "prefix", "suffix", "all", "any", "not", "cesql", "sql"];

/// Exact values of attributes that an event must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerFilter {
    /// Attribute names and the values they must have, all of them, such as `type: order.created`; an empty value
    /// means any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "attributes_schema")]
    pub attributes: Option<BTreeMap<String, String>>,
}

/// One filter: exactly one of its fields is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFilter {
    /// Attributes that must equal these values, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<BTreeMap<String, String>>,
    /// Attributes that must begin with these texts, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<BTreeMap<String, String>>,
    /// Attributes that must end with these texts, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<BTreeMap<String, String>>,
    /// Filters that must all pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<EventFilter>>,
    /// Filters of which at least one must pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<EventFilter>>,
    /// A filter that must not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<EventFilter>>,
    /// A CESQL expression that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cesql: Option<String>,
    /// The same under the name that the CloudEvents Subscriptions API has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// The schema of `spec.filters`. A definition cannot refer to itself, so two levels are spelt out; what is nested
/// deeper is kept as written and checked by [`crate::validate`] alone.
pub(crate) fn filters_schema(_: &mut SchemaGenerator) -> Schema {
    let mut list = list(&element(2), "Events to deliver: those that pass every element.");
    if let Some(map) = list.as_object_mut() {
        map.insert("description".into(), json!(FILTERS_DOC));
    }
    Schema::try_from(list).expect("an object is a schema")
}

const FILTERS_DOC: &str = "Events to deliver: those that pass every element. Overrides `filter` unless it is empty. \
     Each element has exactly one of `exact`, `prefix`, `suffix`, `all`, `any`, `not`, `cesql` and `sql`.";

fn attributes_schema(_: &mut SchemaGenerator) -> Schema {
    let text = "Attribute names and the values they must have, all of them, such as `type: order.created`; an empty \
                value means any value.";
    Schema::try_from(attributes(text)).expect("an object is a schema")
}

fn attributes(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": FILTER_VALUE_CHARS_MAX},
        "maxProperties": FILTER_ATTRIBUTES_MAX,
        "x-kubernetes-validations": [{
            "rule": "self.all(name, name.matches('^[a-z][a-z0-9]*$'))",
            "message": "attribute names begin with a lower-case letter and have only a-z and 0-9",
        }],
    })
}

fn list(items: &Value, description: &str) -> Value {
    json!({"description": description, "type": "array", "maxItems": FILTER_LIST_MAX, "items": items})
}

/// One filter with `levels` levels spelt out.
fn element(levels: usize) -> Value {
    if levels == 0 {
        return json!({
            "description": "A filter as above; nested this deep it is checked by the controller.",
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        });
    }
    let nested = element(levels - 1);
    let mut not = nested.clone();
    if let Some(map) = not.as_object_mut() {
        map.insert("description".into(), json!("A filter that must not pass."));
    }
    let count = DIALECTS.map(|dialect| format!("(has(self.{dialect}) ? 1 : 0)")).join(" + ");
    json!({
        "description": "One filter: exactly one of its fields is set.",
        "type": "object",
        "properties": {
            "exact": attributes("Attributes that must equal these values, all of them, such as `type: order.created`."),
            "prefix": attributes("Attributes that must begin with these texts, all of them, such as `type: order.`."),
            "suffix": attributes("Attributes that must end with these texts, all of them, such as `type: .created`."),
            "all": list(&nested, "Filters that must all pass."),
            "any": list(&nested, "Filters of which at least one must pass."),
            "not": not,
            "cesql": {
                "description": "A CloudEvents SQL expression that must be true.",
                "type": "string",
                "maxLength": CESQL_CHARS_MAX,
            },
            "sql": {
                "description": "The same as cesql, under its name in the CloudEvents Subscriptions API.",
                "type": "string",
                "maxLength": CESQL_CHARS_MAX,
            },
        },
        "x-kubernetes-validations": [{
            "rule": format!("{count} == 1"),
            "message": "give exactly one of exact, prefix, suffix, all, any, not, cesql and sql",
        }],
    })
}
