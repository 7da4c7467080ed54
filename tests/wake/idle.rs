//! Putting to sleep what is idle.

use std::time::Duration;

use tests::cluster::Cluster;
use tests::harness::{Answer, eventually};
use tokio::time::Instant;

use super::stage::{Night, each_once, publish, workload};

/// Long enough to tell it from the time that a busy machine needs.
const IDLE: Duration = Duration::from_secs(2);
/// One delivery.
const WORK: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_idle_is_put_to_sleep_once_and_not_before_its_work_is_done() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "idle").await;
    night.sleeper("orders").await;
    let noted =
        night.stage.namespace.kubectl(&["annotate", "service", "orders", "reveille.dev/idle-period=PT2S"]).unwrap();
    assert!(noted.status.success(), "{noted:?}");
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let publisher = night.publisher(&broker);
    let mut ids = publish(&publisher, "a", 1).await;
    night.awake("orders").await;
    let pod = night.pod(|received| {
        let answer = Answer::code(200);
        if received.id() == "a-0" { answer.after(WORK) } else { answer }
    });
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
    let begun = Instant::now();
    eventually("it to be put to sleep", || async {
        (night.replicas("deployments", "orders").await.0 == 0).then_some(())
    })
    .await;
    let slept = begun.elapsed();
    assert!(slept >= WORK + IDLE - Duration::from_millis(200), "{slept:?}");
    assert_eq!(night.writes().await.len(), 2, "one to wake it, one to put it to sleep");
    // Its pod is still there when the next event comes, and goes: the event wakes it again.
    night.slice("orders", &[]);
    ids.extend(publish(&publisher, "b", 1).await);
    night.awake("orders").await;
    night.ready("orders", &[&pod]);
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_scaled_is_left_as_it_is() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "scaled").await;
    night.stage.apply(&workload("Deployment", "orders", "orders", 3));
    night.service_and_trigger("orders").await;
    let noted =
        night.stage.namespace.kubectl(&["annotate", "trigger", "orders", "reveille.dev/idle-period=PT1S"]).unwrap();
    assert!(noted.status.success(), "{noted:?}");
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    publish(&night.publisher(&broker), "a", 1).await;
    pod.wait_for(1).await;
    // Nothing tells of what is not done but time.
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(night.replicas("deployments", "orders").await.0, 3);
    assert!(night.writes().await.is_empty());
}
