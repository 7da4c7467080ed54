//! Everything works on a cluster that has Knative's definitions of Broker and Trigger in place of ours: what we add lies
//! in annotations, and other controllers' conditions stay.

use serde_json::{Value, json};
use tests::cluster::{Cluster, condition};
use tests::harness::{Subscriber, eventually};

use crate::installed::{apply, refused};
use crate::kubectl::done;
use crate::together_setup::{Programs, Scene, has, publish, to, trigger};

const DEFINITIONS: &str = include_str!("knative_definitions.yaml");

/// A subscriber with a workload behind it, so that there is something to wake.
const WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  replicas: 0
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Service
metadata: {name: worker}
spec: {selector: {app: worker}, ports: [{port: 80}]}
";

async fn scene<'a>(cluster: &'a Cluster) -> Scene<'a> {
    done(cluster, &["create", "-f", "-"], DEFINITIONS);
    apply(cluster, "deploy/overlays/knative").await;
    Scene::on(cluster, &Programs::start(cluster).await, "knative").await
}

/// Writes a condition as Knative's own controller would: the list as a whole.
fn write_foreign_condition(scene: &Scene<'_>, trigger: &Value) {
    let mut conditions = trigger["status"]["conditions"].as_array().unwrap().clone();
    conditions.push(json!({"type": "SubscriptionReady", "status": "Unknown", "reason": "Theirs"}));
    let patch = json!({"status": {"conditions": conditions}}).to_string();
    scene.kubectl(&["patch", "trigger", "t", "--subresource=status", "--type=merge", "-p", &patch]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_knatives_definitions_everything_works() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    let scene = scene(&cluster).await;
    let (subscriber, moved) = (Subscriber::start().await, Subscriber::start().await);
    // Its definition fills nothing in, and needs no spec.
    scene.broker("").await;
    let spec = |to: &str| format!("{to}, filters: [{{prefix: {{type: com.}}}}]");
    let annotated = trigger("t", &spec(&to(&subscriber)))
        .replace("{name: t}", "{name: t, annotations: {reveille.dev/delivery-order: by-key}}");
    scene.apply(&annotated);
    let ready = scene.ready("triggers", "t", "True", "").await;
    assert_eq!(ready["status"]["subscriberUri"], subscriber.url().as_str());
    let publisher = scene.publisher().await;
    publish(&publisher, "a", "com.example").await;
    publish(&publisher, "b", "org.example").await;
    has(&subscriber, "a").await;
    scene.settled("t").await;
    assert_eq!(subscriber.ids(), ["a"]);

    // An edit beside a condition of another controller, which stays.
    write_foreign_condition(&scene, &ready);
    scene.apply(&annotated.replace(&subscriber.url(), &moved.url()));
    let after = scene.ready("triggers", "t", "True", "").await;
    assert_eq!(condition(&after, "SubscriptionReady").unwrap()["reason"], "Theirs", "{after}");
    eventually("the broker to have it", || async {
        scene.item("t").await.filter(|item| item.subscriber == moved.url())
    })
    .await;
    publish(&publisher, "c", "com.example").await;
    has(&moved, "c").await;

    // What we add is not pruned.
    scene.apply(WORKLOAD);
    scene.trigger("sleeper", "subscriber: {ref: {apiVersion: v1, kind: Service, name: worker}}");
    let sleeper = scene.ready("triggers", "sleeper", "True", "").await;
    let target = sleeper["status"]["annotations"]["reveille.dev/wake-target"].as_str();
    assert!(target.is_some_and(|target| target.contains("worker")), "{sleeper}");

    let listed = scene.kubectl(&["get", "brokers,triggers"]);
    assert!(listed.contains(publisher.url()) && listed.contains(&moved.url()), "{listed}");
    let namespace = ["-n", scene.namespace.name(), "apply", "-f", "-"];
    refused(
        scene.cluster,
        &namespace,
        &trigger("bad", &spec("subscriber: {}")),
        &["spec.subscriber", "give ref or uri"],
    );
    scene.kubectl(&["delete", "trigger", "t"]);
    eventually("the broker to drop it", || async { scene.item("t").await.is_none().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_knatives_definitions_little_is_written() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    let scene = scene(&cluster).await;
    let subscriber = Subscriber::start().await;
    scene.broker("").await;
    for number in 0..10 {
        scene.trigger(&format!("t-{number}"), &to(&subscriber));
        scene.ready("triggers", &format!("t-{number}"), "True", "").await;
    }
    let writes = cluster
        .audit_writes(|write| {
            write.user.ends_with(":reveille-controller") && write.resource != "leases" && write.resource != "events"
        })
        .await
        .unwrap();
    // One for the Broker, one for each Trigger; a second where the first met an older version.
    assert!(writes.len() <= 2 * 11, "{writes:?}");
}
