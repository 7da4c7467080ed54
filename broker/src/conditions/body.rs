//! What the condition says, and how it is written. Pure.

use schemas::conditions::{Condition, ConditionStatus, SUBSCRIBER_AWAKE};
use serde_json::{Value, json};

use crate::wake::WakeState;

/// Longest message, in characters; the definition allows more, people read less.
const MESSAGE_CHARS_MAX: usize = 1024;

/// What the condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    status: ConditionStatus,
    reason: String,
    message: String,
}

/// How it is written.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    /// By server-side apply: the condition alone.
    Apply(Value),
    /// By merge patch: the whole list, which is one value, unless the object has changed meanwhile.
    Merge(Value),
}

/// `error` is what went wrong last, a failed wake as `REASON: words`.
pub(super) fn finding(state: WakeState, error: Option<&str>) -> Finding {
    let of = |status, reason: &str, message: &str| Finding { status, reason: reason.into(), message: message.into() };
    match state {
        WakeState::Awake => of(ConditionStatus::True, "Awake", "The subscriber takes events"),
        WakeState::Asleep => of(
            ConditionStatus::Unknown,
            "ScaledToZero",
            "The subscriber has no ready endpoint; the next event for it wakes it",
        ),
        WakeState::Waking => {
            of(ConditionStatus::Unknown, "Waking", "Events wait until the subscriber has a ready endpoint")
        }
        WakeState::Failed => {
            let (reason, message) = error.and_then(|error| error.split_once(": ")).unwrap_or_default();
            let is_word = !reason.is_empty() && reason.bytes().all(|b| b.is_ascii_alphanumeric());
            let reason = if is_word { reason } else { "WakeFailed" };
            let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
            of(ConditionStatus::False, reason, &message)
        }
    }
}

/// What has to be written to the Trigger, as it is at `now`, if anything.
pub(super) fn body(trigger: &Value, finding: &Finding, now: &str) -> Option<Body> {
    let all = trigger.pointer("/status/conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_ours = |one: &&Value| one.get("type").and_then(Value::as_str) == Some(SUBSCRIBER_AWAKE);
    let known: Option<Condition> = all.iter().find(is_ours).and_then(|one| serde_json::from_value(one.clone()).ok());
    let since = known.as_ref().filter(|known| known.status == finding.status);
    let since = since.and_then(|known| known.last_transition_time.clone()).unwrap_or_else(|| now.to_owned());
    let condition = Condition {
        kind: SUBSCRIBER_AWAKE.to_owned(),
        status: finding.status,
        reason: Some(finding.reason.clone()),
        message: Some(finding.message.clone()),
        severity: (finding.status != ConditionStatus::True).then(|| "Info".to_owned()),
        last_transition_time: Some(since),
    };
    if known.as_ref() == Some(&condition) {
        return None;
    }
    let condition = serde_json::to_value(condition).unwrap_or_default();
    let text = |pointer: &str| trigger.pointer(pointer).cloned().unwrap_or_default();
    if is_one_value(trigger) {
        let mut list: Vec<Value> = all.iter().filter(|one| !is_ours(one)).cloned().collect();
        list.push(condition);
        let meta = json!({"uid": text("/metadata/uid"), "resourceVersion": text("/metadata/resourceVersion")});
        return Some(Body::Merge(json!({"metadata": meta, "status": {"conditions": list}})));
    }
    Some(Body::Apply(json!({
        "apiVersion": schemas::broker::API_VERSION,
        "kind": "Trigger",
        "metadata": {"name": text("/metadata/name"), "namespace": text("/metadata/namespace"), "uid": text("/metadata/uid")},
        "status": {"conditions": [condition]},
    })))
}

/// Whether the list of conditions is owned as a whole, as with Knative's definitions: managers then own no entries.
fn is_one_value(trigger: &Value) -> bool {
    let managers = trigger.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let mut owned = managers.filter_map(|entry| entry.pointer("/fieldsV1/f:status/f:conditions")?.as_object());
    owned.any(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(conditions: &Value, owned: &Value) -> Value {
        json!({
            "metadata": {"name": "t", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "managedFields": [{"fieldsV1": {"f:status": {"f:conditions": owned}}}]},
            "status": {"conditions": conditions},
        })
    }

    #[test]
    fn states_become_findings() {
        let of = |state, error| {
            let found = finding(state, error);
            (found.status, found.reason, found.message)
        };
        assert_eq!(of(WakeState::Awake, Some("old")).0, ConditionStatus::True);
        assert_eq!(of(WakeState::Asleep, None).1, "ScaledToZero");
        assert_eq!(of(WakeState::Waking, None).1, "Waking");
        let failed = of(WakeState::Failed, Some("ImagePullFailed: no image: none"));
        assert_eq!(failed, (ConditionStatus::False, "ImagePullFailed".into(), "no image: none".into()));
        assert_eq!(of(WakeState::Failed, Some("odd words: here")).1, "WakeFailed");
        assert_eq!(of(WakeState::Failed, None).1, "WakeFailed");
    }

    #[test]
    fn only_news_are_written_and_only_what_is_ours() {
        let ready = json!({"type": "Ready", "status": "True"});
        let by_entry = json!({"k:{\"type\":\"Ready\"}": {}});
        let asleep = finding(WakeState::Asleep, None);
        let Some(Body::Apply(first)) = body(&trigger(&json!([ready]), &by_entry), &asleep, "2026-01-01T00:00:00Z")
        else {
            panic!("it is applied");
        };
        let written = &first["status"]["conditions"];
        assert_eq!(written.as_array().unwrap().len(), 1);
        assert_eq!((&written[0]["severity"], &first["metadata"]["uid"]), (&json!("Info"), &json!("u")));
        let there = json!([ready, written[0]]);
        assert_eq!(body(&trigger(&there, &by_entry), &asleep, "2027-01-01T00:00:00Z"), None);
        // Still unknown, for another reason: since then.
        let waking = finding(WakeState::Waking, None);
        let Some(Body::Apply(second)) = body(&trigger(&there, &by_entry), &waking, "2027-01-01T00:00:00Z") else {
            panic!("it is applied");
        };
        assert_eq!(second["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        let awake = finding(WakeState::Awake, None);
        let Some(Body::Merge(third)) = body(&trigger(&there, &json!({})), &awake, "2027-01-01T00:00:00Z") else {
            panic!("the list is one value");
        };
        assert_eq!(third["metadata"]["resourceVersion"], "7");
        assert_eq!(third["status"]["conditions"][0], ready);
        assert_eq!(third["status"]["conditions"][1]["lastTransitionTime"], "2027-01-01T00:00:00Z");
        assert_eq!(third["status"]["conditions"][1].get("severity"), None);
    }
}
