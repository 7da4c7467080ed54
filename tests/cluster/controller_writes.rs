//! How often the controller writes, and which of two does.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Write};
use tests::harness::eventually;

use super::controller_setup::{Stage, service, to_service, trigger};

const TRIGGERS: usize = 1000;
/// How long the controller is watched while it has nothing to do: its watches are begun anew once a minute.
const IDLE: Duration = Duration::from_secs(100);
/// Requests to create one that are open at a time.
const AT_ONCE: usize = 16;

fn others(writes: Vec<Write>) -> Vec<Write> {
    writes.into_iter().filter(|write| !write.name.starts_with("marker")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_should_be_is_not_written_again() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "idle").await;
    stage.apply(&service("test"));
    let controller = stage.start().await;
    stage.broker().await;
    for name in ["one", "two"] {
        stage.apply(&trigger(name, "default", &to_service("test")));
        stage.trigger(name, "True", "").await;
    }
    stage.apply(&trigger("three", "default", &to_service("missing")));
    stage.trigger("three", "False", "NotFound").await;
    // Events are written one after the other, and this is the last.
    eventually("the Event about it", || async {
        let mut writes = stage.writes().await.into_iter();
        writes.any(|write| write.resource == "events" && write.name.starts_with("three")).then_some(())
    })
    .await;
    let before = others(stage.writes().await);
    assert!(before.len() >= 5, "{before:?}");
    // An object changes in a way that its status does not tell of; then another is new.
    let labelled = stage.namespace.kubectl(&["label", "trigger", "one", "a=b"]).unwrap();
    assert!(labelled.status.success(), "{labelled:?}");
    stage.apply(&trigger("marker-1", "default", &to_service("test")));
    stage.trigger("marker-1", "True", "").await;
    assert_eq!(others(stage.writes().await), before);
    // Nor by a controller that is new itself.
    controller.stop().await;
    let controller = stage.start().await;
    stage.apply(&trigger("marker-2", "default", &to_service("test")));
    stage.trigger("marker-2", "True", "").await;
    assert_eq!(others(stage.writes().await), before);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_from_a_leader_that_was_killed() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "leader").await;
    let first = stage.start().await;
    first.leads().await;
    stage.broker().await;
    let second = stage.start().await;
    assert!(!second.is_leader().await);
    first.kill9().await;
    stage.apply(&trigger("late", "default", "{uri: \"http://a.example\"}"));
    stage.trigger("late", "True", "").await;
    assert!(second.is_leader().await);
    second.stop().await;
}

async fn create_all(stage: &Stage<'_>) -> Result<(), kube::Error> {
    let uri = format!("/apis/eventing.knative.dev/v1/namespaces/{}/triggers", stage.namespace.name());
    let create = |number| {
        let body = json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": format!("t-{number}")},
            "spec": {"broker": "default", "subscriber": {"uri": "http://a.example"}},
        });
        let request = http::Request::post(&uri).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(body.to_string().into_bytes()).unwrap();
        async move { stage.client().request::<Value>(request).await }
    };
    stream::iter(0..TRIGGERS).map(create).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await
}

async fn all_ready(stage: &Stage<'_>) {
    eventually("all to be ready", || async {
        let uri = format!("/apis/eventing.knative.dev/v1/namespaces/{}/triggers", stage.namespace.name());
        let request = http::Request::get(uri).body(Vec::new()).unwrap();
        let list: Value = stage.client().request(request).await.ok()?;
        let ready =
            |item: &&Value| tests::cluster::condition(item, "Ready").is_some_and(|ready| ready["status"] == "True");
        (list["items"].as_array()?.iter().filter(ready).count() == TRIGGERS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_triggers_take_few_writes_each() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "many").await;
    let controller = stage.start().await;
    controller.leads().await;
    create_all(&stage).await.unwrap();
    stage.broker().await;
    all_ready(&stage).await;
    let writes = stage.writes().await;
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for write in writes.iter().filter(|write| write.resource == "triggers") {
        *counts.entry(&write.name).or_default() += 1;
    }
    assert_eq!(counts.len(), TRIGGERS);
    let most = counts.iter().max_by_key(|(_, count)| **count).unwrap();
    assert!(*most.1 <= 3, "{most:?}");
    controller.stop().await;
}

/// Not a check but a figure, for a quiet machine: what a controller costs that has nothing to do.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes and prints a figure: cargo test -p tests --test controller idle -- --ignored --nocapture"]
async fn idle_cost_with_many_triggers() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "quiet").await;
    let controller = stage.start().await;
    controller.leads().await;
    create_all(&stage).await.unwrap();
    stage.broker().await;
    all_ready(&stage).await;
    let statuses = async || stage.writes().await.iter().filter(|write| write.resource != "events").count();
    let (busy, writes) = (controller.cpu_seconds(), statuses().await);
    tokio::time::sleep(IDLE).await;
    let used = controller.cpu_seconds() - busy;
    assert_eq!(statuses().await, writes, "something was written that said nothing new");
    println!(
        "{TRIGGERS} Triggers: {busy:.2} s of a processor until all were ready, then {:.3} % of one over {} s",
        100.0 * used / IDLE.as_secs_f64(),
        IDLE.as_secs()
    );
    controller.stop().await;
}
