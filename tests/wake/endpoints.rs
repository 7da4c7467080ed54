//! Which endpoints get events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::cluster::Cluster;
use tests::harness::{Answer, eventually};

use super::stage::{Night, each_once, publish};

#[tokio::test(flavor = "multi_thread")]
async fn readiness_that_is_not_said_is_readiness_and_one_that_refuses_costs_nothing() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "nil").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let (pod, nobody) = (night.pod(|_| Answer::code(200)), night.address());
    night.slice("orders", &[(&pod.addr().ip().to_string(), "null"), (&nobody, "true")]);
    let ids = publish(&night.publisher(&broker), "e", 100).await;
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
    let item = broker.trigger_in(night.stage.namespace.name(), "orders").await.unwrap();
    assert_eq!(item.dead_letters, 0);
    assert_eq!(night.replicas("deployments", "orders").await.0, 0, "it has endpoints, so nothing is woken");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_right_after_readiness_use_no_attempts() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "early").await;
    night.sleeper("orders").await;
    // One attempt is all that an event has.
    let patch = "{\"spec\":{\"delivery\":{\"retry\":0}}}";
    let patched = night.stage.namespace.kubectl(&["patch", "trigger", "orders", "--type=merge", "-p", patch]).unwrap();
    assert!(patched.status.success(), "{patched:?}");
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let address = night.address();
    night.slice("orders", &[(&address, "true")]);
    let ids = publish(&night.publisher(&broker), "e", 10).await;
    // Ready, but it does not listen yet.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let listener = night.cluster.listen_inside(&format!("{address}:8080")).unwrap();
    let pod = tests::harness::Subscriber::on(listener, |_| Answer::code(200));
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
    assert_eq!(broker.trigger_in(night.stage.namespace.name(), "orders").await.unwrap().dead_letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_wakes_to_a_backlog_gets_few_requests_at_first() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "slow").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 1000).await;
    night.awake("orders").await;
    // Whoever comes before the first answer is out was sent at once.
    let (before, first) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, most) = (before.clone(), first.clone());
    let pod = night.pod(move |_| {
        let n = seen.fetch_add(1, Ordering::SeqCst) + 1;
        if n <= 4 {
            return Answer::code(200).after(Duration::from_millis(300));
        }
        most.fetch_max(n, Ordering::SeqCst);
        Answer::code(200)
    });
    night.ready("orders", &[&pod]);
    pod.wait_for(4).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!((before.load(Ordering::SeqCst), first.load(Ordering::SeqCst)), (4, 0));
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_goes_is_followed_by_the_next_wake() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "again").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let publisher = night.publisher(&broker);
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    let mut ids = publish(&publisher, "a", 5).await;
    pod.wait_for(ids.len()).await;
    night.slice("orders", &[]);
    eventually("the broker to see that it sleeps", || async {
        let item = broker.trigger_in(night.stage.namespace.name(), "orders").await?;
        (serde_json::to_value(&item).unwrap()["state"] == "asleep").then_some(())
    })
    .await;
    ids.extend(publish(&publisher, "b", 5).await);
    night.awake("orders").await;
    assert_eq!(pod.received().len(), 5);
    night.ready("orders", &[&pod]);
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
}
