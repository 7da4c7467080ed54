//! What Knative demands of a Broker (CP-B).

use std::cell::Cell;
use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tests::harness::{Answer, Sample, Subscriber, eventually};

use crate::installed::{broker, refused};
use crate::together_setup::{Scene, has, publish, to};
use tests::cluster::{condition, message};

const CLASS: &str = "eventing.knative.dev/broker.class";

fn conditions(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_the_address_of_a_ready_broker_takes_events() {
    let Some(scene) = Scene::new("b2").await else { return };
    let broker = scene.broker("").await;
    let url: reqwest::Url = broker["status"]["address"]["url"].as_str().unwrap().parse().unwrap();
    assert!(url.has_host() && url.scheme() == "http", "{url}");
    let ack = scene.publisher().await.binary(&Sample::new("a")).await.unwrap();
    assert_eq!(ack.code, 202, "{}", ack.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_there_is_a_condition_ready_and_no_type_twice() {
    let Some(scene) = Scene::new("b3").await else { return };
    let ready = scene.broker("").await;
    scene.apply(&broker(
        "waits",
        "Reveille",
        "{delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: missing}}}}",
    ));
    let waits = scene.ready("brokers", "waits", "False", "").await;
    for object in [ready, waits] {
        let all = conditions(&object);
        let types: BTreeSet<_> = all.iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert!(types.len() == all.len() && types.contains("Ready"), "{object}");
        let known = |one: &Value| ["True", "False", "Unknown"].contains(&one["status"].as_str().unwrap());
        assert!(all.iter().all(known), "{object}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_the_class_cannot_be_patched() {
    let Some(scene) = Scene::new("b4").await else { return };
    scene.broker("").await;
    for value in [json!("Kafka"), json!(null)] {
        let patch = json!({"metadata": {"annotations": {CLASS: value}}}).to_string();
        let args = ["-n", scene.namespace.name(), "patch", "broker", "default", "--type=merge", "-p", &patch];
        refused(scene.cluster, &args, "", &[CLASS, "Immutable fields changed", "create it anew"]);
    }
    let stored = scene.get("brokers", "default").await.unwrap();
    assert_eq!(stored["metadata"]["annotations"][CLASS], "Reveille");
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_the_config_cannot_be_set_or_changed() {
    let Some(scene) = Scene::new("b5").await else { return };
    let config = |name: &str| format!("{{config: {{apiVersion: v1, kind: ConfigMap, name: {name}}}}}");
    let apply = ["-n", scene.namespace.name(), "apply", "-f", "-"];
    let words = ["spec.config", "Immutable fields changed"];
    scene.broker("").await;
    refused(scene.cluster, &apply, &broker("default", "Reveille", &config("a")), &words);
    scene.apply(&broker("configured", "Reveille", &config("a")));
    refused(scene.cluster, &apply, &broker("configured", "Reveille", &config("b")), &words);
    refused(scene.cluster, &apply, &broker("configured", "Reveille", "{}"), &words);
    assert_eq!(scene.get("brokers", "configured").await.unwrap()["spec"]["config"]["name"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_the_observed_generation_moves_with_the_conditions() {
    let Some(scene) = Scene::new("b9").await else { return };
    let first = scene.broker("").await;
    let kind = GroupVersionKind::gvk("eventing.knative.dev", "v1", "Broker");
    let resource = ApiResource::from_gvk(&kind);
    let client = scene.cluster.client().await.unwrap();
    let brokers: Api<DynamicObject> = Api::namespaced_with(client, scene.namespace.name(), &resource);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut states = brokers.watch(&WatchParams::default(), version).await.unwrap().boxed();
    let sink = "{delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: missing}}}}";
    scene.apply(&broker("default", "Reveille", sink));
    scene.ready("brokers", "default", "False", "NotFound").await;
    loop {
        let Some(Ok(WatchEvent::Modified(state))) = states.next().await else { unreachable!("the watch goes on") };
        let state = serde_json::to_value(state).unwrap();
        let ready = condition(&state, "Ready").unwrap()["status"] == "True";
        let observed = state["status"]["observedGeneration"] == first["metadata"]["generation"];
        assert_eq!(ready, observed, "the new generation is said to be seen with the old conditions: {state}");
        if !observed {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_changed_delivery_counts_for_the_next_event() {
    let Some(scene) = Scene::new("b10").await else { return };
    let refusing = Subscriber::scripted(|_| Answer::code(503)).await;
    scene.broker("{delivery: {retry: 0}}").await;
    scene.trigger("t", &to(&refusing));
    let publisher = scene.publisher().await;
    let attempts = async |id: &str| {
        publish(&publisher, id, "t").await;
        has(&refusing, id).await;
        scene.settled("t").await;
        refusing.ids().iter().filter(|one| *one == id).count()
    };
    assert_eq!(attempts("before").await, 1);
    scene.broker("{delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT0.01S}}").await;
    let number = Cell::new(0);
    eventually("the new count of attempts", || async {
        number.set(number.get() + 1);
        (attempts(&format!("after-{}", number.get())).await == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b13_what_is_false_has_a_reason_and_words() {
    let Some(scene) = Scene::new("b13").await else { return };
    let sink = "deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: missing}}";
    scene.apply(&broker("waits", "Reveille", &format!("{{delivery: {{{sink}}}}}")));
    let missing = "subscriber: {ref: {apiVersion: v1, kind: Service, name: missing}}";
    scene.broker("").await;
    scene.trigger("missing", &format!("{missing}, delivery: {{{sink}}}"));
    scene.trigger("odd", "subscriber: {ref: {apiVersion: example.dev/v9, kind: Nothing, name: a}}");
    scene.apply(
        &crate::together_setup::trigger("dependent", "subscriber: {uri: 'http://a.example'}").replace(
            "{name: dependent}",
            r#"{name: dependent, annotations: {knative.dev/dependency: '{"apiVersion":"v1","kind":"Service","name":"no"}'}}"#,
        ),
    );
    let mut false_ones = 0;
    for (plural, name) in
        [("brokers", "waits"), ("triggers", "missing"), ("triggers", "odd"), ("triggers", "dependent")]
    {
        let object = scene.ready(plural, name, "False", "").await;
        for one in conditions(&object).iter().filter(|one| one["status"] == "False") {
            let text = |part: &str| one[part].as_str().is_some_and(|text| !text.is_empty());
            assert!(text("reason") && text("message"), "{name}: {one}");
            false_ones += 1;
        }
        assert!(!message(&object, "Ready").is_empty());
    }
    assert!(false_ones > 8, "{false_ones}");
}
