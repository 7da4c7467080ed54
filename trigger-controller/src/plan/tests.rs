use serde_json::json;

use super::*;
use crate::status::summary;
use crate::world::tests::{broker as broker_object, key, merge, object, service, trigger as trigger_object, world};
use crate::world::{Gvk, KindState};

pub(crate) fn settings() -> Settings {
    Settings {
        default_class: false,
        cluster_domain: "c.l".into(),
        ingress_url: "http://in".into(),
        ingress_service: None,
    }
}

fn planned(objects: &[Value], kind: Kind) -> Option<Plan> {
    let name = if kind == Kind::Broker { "b" } else { "t" };
    plan(&world(objects), &key(kind, name), &settings())
}

fn to_service() -> Value {
    json!({"spec": {"subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}}}})
}

fn sound() -> [Value; 3] {
    [broker_object(&json!({})), service("s", &json!([{"port": 80}])), trigger_object(&to_service())]
}

/// `Ready`, and the findings that are not True, as `Condition=Status/Reason`.
fn told(plan: &Plan) -> Vec<String> {
    let ready = summary(&plan.findings);
    let not_true = plan.findings.iter().filter(|finding| finding.status != ConditionStatus::True);
    not_true.chain([&ready]).map(|f| format!("{}={:?}/{}", f.condition, f.status, f.reason)).collect()
}

#[test]
fn a_sound_broker_is_ready() {
    let plan = planned(&sound(), Kind::Broker).unwrap();
    assert_eq!(told(&plan), ["Ready=True/"]);
    assert_eq!(plan.fields["address"], json!({"name": "http", "url": "http://in/ns/b"}));
    assert_eq!(plan.fields["observedGeneration"], 1);
    assert!(!plan.fields.contains_key("deadLetterSinkUri") && !plan.claim && !plan.pending);
}

#[test]
fn a_broker_and_its_triggers_wait_for_the_data_plane() {
    let settings = Settings { ingress_service: Some(Place::new("sys", "in")), ..settings() };
    let slice = |ready: bool| {
        object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "in-1",
            &json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]}),
        )
    };
    let check = |world: &World, broker: &[&str], trigger: &[&str], pending: bool| {
        for (kind, name, expected) in [(Kind::Broker, "b", broker), (Kind::Trigger, "t", trigger)] {
            let plan = plan(world, &key(kind, name), &settings).unwrap();
            assert_eq!((told(&plan), plan.pending), (expected.iter().map(|t| (*t).to_owned()).collect(), pending));
        }
    };
    let mut world = world(&sound());
    let without = ["IngressReady=False/NoReadyEndpoint", "Ready=False/NoReadyEndpoint"];
    let carried = ["BrokerReady=False/NoReadyEndpoint", "Ready=False/NoReadyEndpoint"];
    check(&world, &without, &carried, false);
    let slices = Gvk::endpoint_slice();
    assert!(world.apply(&slices, &slice(false)).is_empty());
    check(&world, &without, &carried, false);
    let all = [key(Kind::Broker, "b"), key(Kind::Trigger, "t")];
    assert_eq!(world.apply(&slices, &slice(true)), all.clone().into());
    check(&world, &["Ready=True/"], &["Ready=True/"], false);
    // It goes away: for a moment nothing is said.
    assert!(world.apply(&slices, &slice(false)).is_empty() && world.data_plane_falters());
    check(&world, &["Ready=True/"], &["Ready=True/"], false);
    assert_eq!(world.give_data_plane_up(), all.into());
    check(&world, &without, &carried, false);
    world.refuse(&slices, KindState::Forbidden("denied".into()));
    let hidden = ["IngressReady=Unknown/EndpointSlicesUnavailable", "Ready=Unknown/EndpointSlicesUnavailable"];
    let carried = ["BrokerReady=Unknown/EndpointSlicesUnavailable", "Ready=Unknown/EndpointSlicesUnavailable"];
    check(&world, &hidden, &carried, false);
    world.refuse(&slices, KindState::Pending);
    check(
        &world,
        &["IngressReady=Unknown/Resolving", "Ready=Unknown/Resolving"],
        &["BrokerReady=Unknown/Resolving", "Ready=Unknown/Resolving"],
        true,
    );
}

#[test]
fn brokers_of_other_classes_and_their_triggers_are_left_alone() {
    let other = json!({"metadata": {"annotations": {"eventing.knative.dev/broker.class": "Kafka"}}});
    let none = json!({"metadata": {"annotations": {"eventing.knative.dev/broker.class": null}}});
    for class in [other, none] {
        let objects = [broker_object(&class), trigger_object(&to_service())];
        assert_eq!(planned(&objects, Kind::Broker), None);
        assert_eq!(planned(&objects, Kind::Trigger), None);
    }
}

#[test]
fn a_broker_without_class_is_claimed_by_the_default_class() {
    let none = json!({"metadata": {"annotations": {"eventing.knative.dev/broker.class": null}}});
    let world = world(&[broker_object(&none)]);
    let settings = Settings { default_class: true, ..settings() };
    assert!(plan(&world, &key(Kind::Broker, "b"), &settings).unwrap().claim);
}

#[test]
fn objects_on_their_way_out_are_left_alone() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert_eq!(planned(&[broker_object(&going)], Kind::Broker), None);
    let plan = planned(&[broker_object(&going), trigger_object(&to_service())], Kind::Trigger).unwrap();
    assert!(told(&plan).contains(&"BrokerReady=False/BrokerDoesNotExist".to_owned()));
}

#[test]
fn what_is_wrong_with_a_broker() {
    let sink = |value: Value| json!({"spec": {"delivery": {"deadLetterSink": value}}});
    let missing = json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "nope"}});
    for (rest, expected) in [
        (sink(missing), "DeadLetterSinkResolved=False/NotFound"),
        (sink(json!({})), "DeadLetterSinkResolved=False/InvalidDeadLetterSink"),
        (json!({"spec": {"delivery": {"timeout": "soon"}}}), "SpecValid=False/InvalidSpec"),
        (json!({"metadata": {"annotations": {"reveille.dev/retention-age": "old"}}}), "SpecValid=False/InvalidSpec"),
    ] {
        let plan = planned(&[broker_object(&rest)], Kind::Broker).unwrap();
        let (condition, rest) = expected.split_once('=').unwrap();
        assert_eq!(told(&plan), [format!("{condition}={rest}"), format!("Ready={rest}")]);
        assert!(!summary(&plan.findings).message.is_empty());
    }
}

#[test]
fn a_sound_trigger_is_ready() {
    let plan = planned(&sound(), Kind::Trigger).unwrap();
    assert_eq!(told(&plan), ["Ready=True/"]);
    assert_eq!(plan.fields["subscriberUri"], "http://s.ns.svc.c.l");
    let conditions: Vec<&str> = plan.findings.iter().map(|finding| finding.condition).collect();
    let expected =
        ["BrokerReady", "SpecValid", "FilterValid", "SubscriberResolved", "DeadLetterSinkResolved", "DependencyReady"];
    assert_eq!(conditions, expected);
}

#[test]
fn what_is_wrong_with_a_trigger() {
    let broken_broker = json!({"spec": {"delivery": {"deadLetterSink": {"uri": "/relative"}}}});
    let dependency = |text: &str| json!({"metadata": {"annotations": {"knative.dev/dependency": text}}});
    let source = r#"{"apiVersion":"v1","kind":"Service","name":"nope"}"#;
    for (change, broker, expected) in [
        (json!({"spec": {"broker": "other"}}), json!({}), "BrokerReady=False/BrokerDoesNotExist"),
        (json!({}), broken_broker, "BrokerReady=False/InvalidDeadLetterSink"),
        (json!({"spec": {"filters": [{"exact": {"TYPE": "x"}}]}}), json!({}), "FilterValid=False/InvalidFilter"),
        (json!({"spec": {"filters": [{"exact": {"type": "x"}}, {}]}}), json!({}), "FilterValid=False/InvalidFilter"),
        (json!({"spec": {"filters": [{"cesql": "type ="}]}}), json!({}), "FilterValid=False/InvalidFilter"),
        (json!({"spec": {"subscriber": {"ref": {"name": "nope"}}}}), json!({}), "SubscriberResolved=False/NotFound"),
        (json!({"spec": {"subscriber": {"ref": null}}}), json!({}), "SubscriberResolved=False/InvalidSubscriber"),
        (
            json!({"spec": {"delivery": {"deadLetterSink": {}}}}),
            json!({}),
            "DeadLetterSinkResolved=False/InvalidDeadLetterSink",
        ),
        (json!({"spec": {"delivery": {"retry": "3"}}}), json!({}), "SpecValid=False/InvalidSpec"),
        (dependency("?"), json!({}), "DependencyReady=False/ReferenceError"),
        (dependency(source), json!({}), "DependencyReady=False/DependencyDoesNotExist"),
    ] {
        let mut trigger = trigger_object(&to_service());
        merge(&mut trigger, &change);
        let plan = planned(&[broker_object(&broker), service("s", &json!([])), trigger], Kind::Trigger).unwrap();
        let told = told(&plan);
        assert!(told.iter().any(|one| one == expected), "{expected} is not among {told:?}");
        assert_eq!(told.last().unwrap().split_once('=').unwrap().1, expected.split_once('=').unwrap().1, "{told:?}");
        let has_address = !expected.starts_with("SubscriberResolved");
        assert_eq!(plan.fields.contains_key("subscriberUri"), has_address, "{expected}");
        assert!(!summary(&plan.findings).message.is_empty());
    }
}

#[test]
fn a_wrong_expression_is_told_with_a_caret_under_the_fault() {
    let filters = |filters: Value| {
        let mut trigger = trigger_object(&to_service());
        merge(&mut trigger, &json!({"spec": {"filters": filters}}));
        planned(&[broker_object(&json!({})), service("s", &json!([])), trigger], Kind::Trigger).unwrap()
    };
    let plan = filters(json!([{"any": [{"sql": "EXISTS subject AND (type = 'a'"}]}]));
    let finding = plan.findings.iter().find(|finding| finding.condition == "FilterValid").unwrap();
    assert_eq!(
        finding.message,
        "spec.filters[0].any[0].sql: an operator or `)` is expected here, not the end\n  \
         EXISTS subject AND (type = 'a'\n                                ^"
    );
    assert_eq!(told(&filters(json!([{"cesql": "EXISTS subject AND (type = 'a')"}, {"sql": "TRUE"}]))), ["Ready=True/"]);
}

#[test]
fn dead_letter_sinks_own_first_then_the_brokers() {
    let sink = |uri: &str| json!({"spec": {"delivery": {"deadLetterSink": {"uri": uri}}}});
    let mut own = trigger_object(&to_service());
    merge(&mut own, &sink("http://own"));
    let mut block_without = trigger_object(&to_service());
    merge(&mut block_without, &json!({"spec": {"delivery": {"retry": 1}}}));
    for (trigger, expected) in
        [(own, "http://own"), (trigger_object(&to_service()), "http://brokers"), (block_without, "http://brokers")]
    {
        let objects = [broker_object(&sink("http://brokers")), service("s", &json!([])), trigger];
        assert_eq!(planned(&objects, Kind::Trigger).unwrap().fields["deadLetterSinkUri"], expected);
    }
}

#[test]
fn dependencies_are_as_ready_as_they_say() {
    let condition =
        |status: &str| json!({"conditions": [{"type": "Ready", "status": status, "reason": "Why", "message": "m"}]});
    let mut behind = condition("True");
    merge(&mut behind, &json!({"observedGeneration": 0}));
    for (status, expected) in [
        (condition("True"), None),
        (condition("False"), Some("DependencyReady=False/Why")),
        (condition("Unknown"), Some("DependencyReady=Unknown/Why")),
        (behind, Some("DependencyReady=Unknown/GenerationNotEqual")),
        (json!({}), Some("DependencyReady=Unknown/DependencyNotConfigured")),
    ] {
        let mut trigger = trigger_object(&to_service());
        let text = r#"{"apiVersion":"sources.knative.dev/v1","kind":"PingSource","name":"p"}"#;
        merge(&mut trigger, &json!({"metadata": {"annotations": {"knative.dev/dependency": text}}}));
        let source = object("sources.knative.dev/v1", "PingSource", "p", &json!({"status": status}));
        let objects = [broker_object(&json!({})), service("s", &json!([])), trigger, source];
        let plan = planned(&objects, Kind::Trigger).unwrap();
        assert_eq!(told(&plan).first().map(String::as_str), expected.or(Some("Ready=True/")));
    }
}

#[test]
fn an_address_that_cannot_work_leaves_the_trigger_ready() {
    let trigger = trigger_object(&json!({"spec": {"subscriber": {"uri": "bad://uri"}}}));
    let plan = planned(&[broker_object(&json!({})), trigger], Kind::Trigger).unwrap();
    assert_eq!(told(&plan), ["Ready=True/"]);
    assert_eq!(plan.fields["subscriberUri"], "bad://uri");
    assert!(plan.findings.iter().any(|finding| finding.reason == "UnsupportedScheme"));
}

#[test]
fn what_has_not_been_read_is_pending() {
    let unread = trigger_object(
        &json!({"spec": {"subscriber": {"ref": {"apiVersion": "x.dev/v1", "kind": "Thing", "name": "a"}}}}),
    );
    let plan = planned(&[broker_object(&json!({})), unread], Kind::Trigger).unwrap();
    assert!(plan.pending);
    assert_eq!(told(&plan), ["SubscriberResolved=Unknown/Resolving", "Ready=Unknown/Resolving"]);
}

#[test]
fn two_controllers_do_not_take_turns_over_a_trigger_without_broker() {
    let theirs = json!({"metadata": {"managedFields": [
        {"manager": "mtbroker-controller", "fieldsV1": {"f:status": {"f:conditions": {}}}}]}});
    let mut trigger = trigger_object(&to_service());
    merge(&mut trigger, &theirs);
    assert_eq!(planned(&[trigger.clone()], Kind::Trigger), None);
    assert!(
        planned(&[broker_object(&json!({})), trigger], Kind::Trigger).is_some(),
        "with a Broker of ours it is ours"
    );
}

#[test]
fn wake_targets() {
    let workload = |kind: &str, name: &str, meta: Value| {
        let mut workload = object(
            "apps/v1",
            kind,
            name,
            &json!({"spec": {"template": {"metadata": {"labels": {"app": "s", "v": "1"}}}}}),
        );
        merge(&mut workload, &json!({"metadata": meta}));
        workload
    };
    let owned = json!({"ownerReferences": [{"controller": true, "kind": "Revision", "name": "r"}]});
    for (workloads, expected) in [
        (vec![workload("Deployment", "d", json!({}))], "apps/v1/Deployment/d"),
        (vec![workload("StatefulSet", "x", json!({}))], "apps/v1/StatefulSet/x"),
        (vec![], "NotWakeable: the selector of Service `s` matches the pod template of no"),
        (
            vec![workload("Deployment", "d", owned)],
            "ManagedByOther: Deployment `d` behind Service `s` is managed by Revision r",
        ),
        (
            vec![workload("Deployment", "d", json!({})), workload("StatefulSet", "x", json!({}))],
            "AmbiguousWakeTarget: Service `s` selects the pods of 2 workloads (Deployment `d`, StatefulSet `x`)",
        ),
    ] {
        let mut objects = sound().to_vec();
        objects.extend(workloads);
        let plan = planned(&objects, Kind::Trigger).unwrap();
        let told = ["reveille.dev/wake-target", "reveille.dev/wake-target-reason"];
        let told: Vec<&String> = told.iter().filter_map(|name| plan.annotations.get(name)).collect();
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
        assert_eq!(plan.annotations.contains_key("reveille.dev/wake-target"), expected.starts_with("apps"));
    }
}

#[test]
fn a_wake_target_that_may_not_be_read_says_so() {
    let mut world = world(&sound());
    world.refuse(&Gvk::deployment(), KindState::Forbidden("denied".into()));
    let plan = plan(&world, &key(Kind::Trigger, "t"), &settings()).unwrap();
    assert!(plan.annotations["reveille.dev/wake-target-reason"].starts_with("NotPermitted"), "{plan:?}");
    assert_eq!(told(&plan), ["Ready=True/"]);
}

#[test]
fn what_the_broker_has_to_know_of_a_subscriber_is_published() {
    let plain = || service("s", &json!([{"name": "web", "port": 8080}]));
    let noted = |notes: Value| {
        let mut service = plain();
        merge(&mut service, &json!({"metadata": {"annotations": notes}}));
        service
    };
    let external = {
        let mut service = plain();
        merge(&mut service, &json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}));
        service
    };
    for (service, on_trigger, expected) in [
        (plain(), json!({}), json!({"reveille.dev/endpoints": "s:web"})),
        (external, json!({}), json!({})),
        (
            noted(json!({"reveille.dev/wake-timeout": "PT9S", "reveille.dev/idle-period": "often"})),
            json!({}),
            json!({"reveille.dev/endpoints": "s:web", "reveille.dev/wake-timeout": "PT9S"}),
        ),
        (
            noted(json!({"reveille.dev/wake-timeout": "PT9S", "reveille.dev/wake-target": "apps/v1/Deployment/x"})),
            json!({"reveille.dev/wake-timeout": "PT5S"}),
            json!({"reveille.dev/endpoints": "s:web", "reveille.dev/wake-target": "apps/v1/Deployment/x"}),
        ),
        (
            noted(json!({"reveille.dev/wake-target": "apps/v1/Deployment/x"})),
            json!({"reveille.dev/wake-target": "none"}),
            json!({"reveille.dev/endpoints": "s:web"}),
        ),
    ] {
        let mut trigger = trigger_object(&to_service());
        merge(&mut trigger, &json!({"metadata": {"annotations": on_trigger}}));
        let plan = planned(&[broker_object(&json!({})), service, trigger], Kind::Trigger).unwrap();
        let told = plan.annotations.iter().filter(|(name, _)| **name != "reveille.dev/wake-target-reason");
        let told: serde_json::Map<String, Value> = told.map(|(name, value)| ((*name).into(), json!(value))).collect();
        assert_eq!(Value::Object(told), expected);
    }
}
