use serde_json::json;

use super::*;
use crate::plan::plan;
use crate::plan::tests::settings;
use crate::world::tests::{broker, key, merge, service, trigger, world};
use crate::world::{Kind, World};

fn with_status(status: &Value, managers: &Value) -> (World, Key, Plan) {
    let subscriber = json!({"spec": {"subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}}}});
    let mut trigger = trigger(&subscriber);
    merge(&mut trigger, &json!({"status": status, "metadata": {"managedFields": managers}}));
    let world = world(&[broker(&json!({})), service("s", &json!([])), trigger]);
    let key = key(Kind::Trigger, "t");
    let plan = plan(&world, &key, &settings()).unwrap();
    (world, key, plan)
}

/// The status that a write at `now` leads to, from nothing.
fn written(now: &str) -> Value {
    let (world, key, plan) = with_status(&json!({}), &json!([]));
    body(&key, world.subject(&key).unwrap(), &plan, now)["status"].clone()
}

#[test]
fn what_was_written_is_not_written_again() {
    let status = written("2026-01-01T00:00:00Z");
    let (world, key, plan) = with_status(&status, &json!([]));
    assert!(!differs(&key, world.subject(&key).unwrap(), &plan));
}

#[test]
fn a_difference_in_what_is_ours_counts() {
    for change in [
        json!({"subscriberUri": "http://other"}),
        json!({"deadLetterSinkUri": "http://left-over"}),
        json!({"observedGeneration": 0}),
        json!({"annotations": {"reveille.dev/wake-target": "apps/v1/Deployment/gone"}}),
        json!({"conditions": []}),
    ] {
        let mut status = written("2026-01-01T00:00:00Z");
        merge(&mut status, &change);
        let (world, key, plan) = with_status(&status, &json!([]));
        assert!(differs(&key, world.subject(&key).unwrap(), &plan), "{change}");
    }
}

#[test]
fn what_is_not_ours_does_not_count() {
    let mut status = written("2026-01-01T00:00:00Z");
    merge(&mut status, &json!({"auth": {"serviceAccountName": "x"}, "annotations": {"theirs": "1"}}));
    let conditions = status["conditions"].as_array_mut().unwrap();
    conditions.push(json!({"type": "SubscriberAwake", "status": "False", "reason": "CrashLoop"}));
    for condition in conditions.iter_mut() {
        condition["lastTransitionTime"] = json!("2000-01-01T00:00:00Z");
    }
    let (world, key, plan) = with_status(&status, &json!([]));
    assert!(!differs(&key, world.subject(&key).unwrap(), &plan));
}

#[test]
fn transition_times_move_with_their_status_alone() {
    let mut status = written("2026-01-01T00:00:00Z");
    let conditions = status["conditions"].as_array_mut().unwrap();
    conditions.iter_mut().find(|c| c["type"] == "Ready").unwrap()["status"] = json!("False");
    let (world, key, plan) = with_status(&status, &json!([]));
    let body = body(&key, world.subject(&key).unwrap(), &plan, "2026-02-02T00:00:00Z");
    for condition in body["status"]["conditions"].as_array().unwrap() {
        let expected = if condition["type"] == "Ready" { "2026-02-02T00:00:00Z" } else { "2026-01-01T00:00:00Z" };
        assert_eq!(condition["lastTransitionTime"], expected, "{condition}");
    }
}

#[test]
fn conditions_of_others_are_written_back_only_where_the_list_is_one_value() {
    let status = json!({"conditions": [{"type": "SubscriberAwake", "status": "True"}]});
    for (owned, kept) in [(json!({}), true), (json!({"k:{\"type\":\"Ready\"}": {}}), false)] {
        let managers = json!([{"manager": "reveille", "fieldsV1": {"f:status": {"f:conditions": owned}}}]);
        let (world, key, plan) = with_status(&status, &managers);
        let body = body(&key, world.subject(&key).unwrap(), &plan, "2026-02-02T00:00:00Z");
        let conditions = body["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.iter().any(|condition| condition["type"] == "SubscriberAwake"), kept);
        assert_eq!(body["metadata"].get("resourceVersion").is_some(), kept, "a list that changed meanwhile is refused");
        assert_eq!(body["metadata"]["uid"], "uid-t", "another object of the same name is refused");
    }
}

#[test]
fn left_over_fields_are_removed() {
    let (world, key, plan) = with_status(&json!({"deadLetterSinkUri": "http://old", "subscriberUri": "x"}), &json!([]));
    let patch = leftovers(&key, world.subject(&key).unwrap(), &plan).unwrap();
    assert_eq!(patch["status"], json!({"deadLetterSinkUri": null}));
    let (world, key, plan) = with_status(&json!({}), &json!([]));
    assert_eq!(leftovers(&key, world.subject(&key).unwrap(), &plan), None);
}

#[test]
fn every_false_condition_has_a_reason_and_ready_is_the_worst() {
    let holds = Finding::holds("A");
    let unknown = Finding::unknown("B", "Wait", "w".into());
    let fails = Finding::fails("C", "Broken", "b".into());
    for (findings, expected) in [
        (vec![holds.clone()], (ConditionStatus::True, "")),
        (vec![holds.clone(), unknown.clone()], (ConditionStatus::Unknown, "Wait")),
        (vec![unknown, fails, holds], (ConditionStatus::False, "Broken")),
    ] {
        let ready = summary(&findings);
        assert_eq!((ready.status, ready.reason.as_str()), expected);
    }
}

#[test]
fn long_messages_are_cut_the_same_way_each_time() {
    let long = "ä".repeat(5000);
    let cut_once = cut(&long);
    assert_eq!(cut_once.chars().count(), 1024);
    assert_eq!(cut(&cut_once), cut_once);
}
