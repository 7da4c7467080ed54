//! From a plan to a status: conditions, comparison, and the body of a write.
//!
//! *Invariants*: pure (`now` is handed in); what is not ours is never compared, and written back unchanged only where
//! the list of conditions can be written as a whole alone; a transition time moves only when its status does.

use std::collections::BTreeMap;

use schemas::annotations::{DELIVERY_PATH, ENDPOINTS, IDLE_PERIOD, WAKE_TARGET, WAKE_TARGET_REASON, WAKE_TIMEOUT};
use schemas::conditions::{Condition, ConditionStatus, READY};
use serde_json::{Map, Value, json};

use crate::plan::{Plan, fields};
use crate::world::{Key, Subject};

/// Longest message of a condition, in characters (the definition's limit is far above): people read it in a terminal.
const MESSAGE_CHARS_MAX: usize = 1024;

/// One thing found out about an object; a [`Condition`] without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) condition: &'static str,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn holds(condition: &'static str) -> Self {
        Self { condition, status: ConditionStatus::True, reason: String::new(), message: String::new() }
    }

    pub(crate) fn fails(condition: &'static str, reason: &str, message: String) -> Self {
        Self { condition, status: ConditionStatus::False, reason: reason.to_owned(), message }
    }

    pub(crate) fn unknown(condition: &'static str, reason: &str, message: String) -> Self {
        Self { condition, status: ConditionStatus::Unknown, reason: reason.to_owned(), message }
    }
}

/// `Ready`: False if any finding is, else Unknown if any is, else True; the first offender says why.
pub(crate) fn summary(findings: &[Finding]) -> Finding {
    let worst = [ConditionStatus::False, ConditionStatus::Unknown]
        .into_iter()
        .find_map(|status| findings.iter().find(|finding| finding.status == status));
    worst.map_or_else(|| Finding::holds(READY), |worst| Finding { condition: READY, ..worst.clone() })
}

/// All conditions of a plan, by type.
fn conditions(plan: &Plan) -> BTreeMap<&'static str, Finding> {
    let all = plan.findings.iter().cloned().chain([summary(&plan.findings)]);
    all.map(|finding| (finding.condition, Finding { message: cut(&finding.message), ..finding })).collect()
}

/// The `Ready` condition as the object has it: status and reason.
pub(crate) fn ready_of(status: &Value) -> Option<(&str, &str)> {
    let condition = condition(status, READY)?;
    let part = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    Some((part("status"), part("reason")))
}

/// Whether the object's status says something else than the plan, times left aside.
pub(crate) fn differs(key: &Key, subject: &Subject, plan: &Plan) -> bool {
    let status = &subject.status;
    let fields_differ = fields(key.kind).iter().any(|name| !same(status.get(*name), plan.fields.get(name)));
    let annotations = |name: &str| status.get("annotations").and_then(|map| map.get(name)).and_then(Value::as_str);
    let annotations_differ =
        OUR_ANNOTATIONS.iter().any(|name| annotations(name) != plan.annotations.get(name).map(String::as_str));
    fields_differ
        || annotations_differ
        || conditions(plan)
            .values()
            .any(|finding| !condition(status, finding.condition).is_some_and(|c| says(c, finding)))
}

const OUR_ANNOTATIONS: [&str; 6] =
    [WAKE_TARGET, WAKE_TARGET_REASON, ENDPOINTS, IDLE_PERIOD, WAKE_TIMEOUT, DELIVERY_PATH];

/// An absent field, a null and an empty text are the same.
fn same(left: Option<&Value>, right: Option<&Value>) -> bool {
    let there = |value: Option<&Value>| value.filter(|value| !value.is_null() && value.as_str() != Some("")).cloned();
    there(left) == there(right)
}

fn condition<'s>(status: &'s Value, kind: &str) -> Option<&'s Value> {
    let all = status.get("conditions")?.as_array()?;
    all.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

/// Whether a condition says what the finding says.
fn says(condition: &Value, finding: &Finding) -> bool {
    let part = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    part("status") == word(finding.status)
        && part("reason") == finding.reason
        && part("message") == finding.message
        && part("severity").is_empty()
}

/// What to send by server-side apply so that the status becomes what is planned.
pub(crate) fn body(key: &Key, subject: &Subject, plan: &Plan, now: &str) -> Value {
    let mut status: Map<String, Value> =
        plan.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut written: Vec<Value> = Vec::new();
    let planned = conditions(plan);
    for finding in planned.values() {
        let known = condition(&subject.status, finding.condition);
        let since = known
            .filter(|known| known.get("status").and_then(Value::as_str) == Some(word(finding.status)))
            .and_then(|known| known.get("lastTransitionTime")?.as_str());
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let condition = Condition {
            kind: finding.condition.to_owned(),
            status: finding.status,
            reason: some(&finding.reason),
            message: some(&finding.message),
            severity: None,
            last_transition_time: Some(since.unwrap_or(now).to_owned()),
        };
        written.push(serde_json::to_value(condition).unwrap_or_default());
    }
    if subject.conditions_are_atomic {
        let all = subject.status.get("conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let ours = |one: &Value| one.get("type").and_then(Value::as_str).is_some_and(|kind| planned.contains_key(kind));
        written.extend(all.iter().filter(|one| !ours(one)).cloned());
        written.sort_by_key(|one| one.get("type").and_then(Value::as_str).unwrap_or_default().to_owned());
    }
    status.insert("conditions".to_owned(), Value::Array(written));
    if !plan.annotations.is_empty() {
        status.insert("annotations".to_owned(), json!(plan.annotations));
    }
    // The whole list is written back where it is one value, so it must not have changed meanwhile.
    let version = subject.conditions_are_atomic.then_some(&subject.resource_version);
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(key.place.name));
    metadata.insert("namespace".to_owned(), json!(key.place.namespace));
    metadata.insert("uid".to_owned(), json!(subject.uid));
    metadata.extend(version.map(|version| ("resourceVersion".to_owned(), json!(version))));
    json!({
        "apiVersion": schemas::broker::API_VERSION,
        "kind": key.kind.as_str(),
        "metadata": metadata,
        "status": status,
    })
}

/// Removes, by merge patch, what an apply leaves behind because another manager wrote it once. `None` where nothing is.
pub(crate) fn leftovers(key: &Key, subject: &Subject, plan: &Plan) -> Option<Value> {
    let mut status = Map::new();
    for name in fields(key.kind) {
        if !plan.fields.contains_key(name) && !same(subject.status.get(*name), None) {
            status.insert((*name).to_owned(), Value::Null);
        }
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": subject.uid}, "status": status}))
}

fn word(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    }
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX - 1) {
        None => message.to_owned(),
        Some((at, _)) => format!("{}…", message.get(..at).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
