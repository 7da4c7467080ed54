//! From the first event to the first delivery.

use tests::cluster::Cluster;
use tests::harness::{Answer, eventually};

use super::stage::{Night, publish, workload};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_wakes_and_is_delivered_once_an_endpoint_is_ready() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "first").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    night.told("orders", "Unknown", "ScaledToZero").await;
    let (_, generation) = night.replicas("deployments", "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 1).await;
    night.awake("orders").await;
    night.told("orders", "Unknown", "Waking").await;
    assert_eq!(night.replicas("deployments", "orders").await, (1, generation + 1));
    let item = || broker.trigger_in(night.stage.namespace.name(), "orders");
    eventually("the Trigger to be shown as waking", || async {
        let item = item().await?;
        (serde_json::to_value(&item).unwrap()["state"] == "waking").then_some(())
    })
    .await;
    let pod = night.pod(|_| Answer::code(200));
    night.slice("orders", &[(&pod.addr().ip().to_string(), "false")]);
    assert_eq!(broker.metric("reveille_delivery_attempts_total").await, 0.0);
    assert!(pod.received().is_empty());
    night.ready("orders", &[&pod]);
    let got = pod.wait_for(1).await;
    assert_eq!(got[0].id(), ids[0]);
    let host = format!("orders.{}.svc.cluster.local", night.stage.namespace.name());
    assert_eq!(got[0].header("host"), host);
    night.told("orders", "True", "Awake").await;
    eventually("it to be settled", || async { (item().await?.lag.events == 0).then_some(()) }).await;
    assert_eq!(night.replicas("deployments", "orders").await, (1, generation + 1));
    assert_eq!(night.writes().await.len(), 1, "{:?}", night.writes().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_one_wake_and_loses_nothing() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "burst").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let (_, generation) = night.replicas("deployments", "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 10_000).await;
    night.delivered("orders", ids).await;
    assert_eq!(night.replicas("deployments", "orders").await, (1, generation + 1));
    assert_eq!(night.writes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_starts_with_a_backlog_wakes_without_a_new_event() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "backlog").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 3).await;
    night.awake("orders").await;
    broker.kill9().await;
    // It went back to sleep while no broker was there.
    let scaled = night.stage.namespace.kubectl(&["scale", "deployment/orders", "--replicas=0"]).unwrap();
    assert!(scaled.status.success());
    let broker = night.start().await;
    night.delivered("orders", ids).await;
    drop(broker);
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets_are_woken_and_what_is_up_is_left_as_it_is() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "kinds").await;
    night.stage.apply(&workload("StatefulSet", "state", "state", 0));
    night.service_and_trigger("state").await;
    // Somebody has scaled this one already; its pods are not ready yet.
    night.stage.apply(&workload("Deployment", "up", "up", 5));
    night.service_and_trigger("up").await;
    let broker = night.start().await;
    night.served(&broker, "state").await;
    night.served(&broker, "up").await;
    publish(&night.publisher(&broker), "e", 1).await;
    eventually("the StatefulSet to be scaled up", || async {
        (night.replicas("statefulsets", "state").await.0 == 1).then_some(())
    })
    .await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("up", &[&pod]);
    pod.wait_for(1).await;
    assert_eq!(night.replicas("deployments", "up").await.0, 5);
    let writes = night.writes().await;
    assert_eq!(writes.len(), 1, "{writes:?}");
}
