//! Who else writes replicas at the same moment: other brokers, autoscalers, people.

use http::{Method, StatusCode};
use tests::cluster::{ApiProxy, Cluster, Fault};
use tests::harness::{Answer, Home, eventually};

use super::stage::{Night, each_once, launch, publish};

const SCALES: &str = "*/scale*";

/// Waits until the broker behind the proxy has read a scale and sent a write.
async fn wrote(proxy: &ApiProxy) {
    eventually("a broker to write replicas", || {
        std::future::ready((proxy.seen(&Method::PATCH, SCALES) > 0).then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_scales_between_reading_and_writing_stays() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (night, proxy) = Night::behind_a_proxy(cluster, "between").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let (_, generation) = night.replicas("deployments", "orders").await;
    proxy.fail(Some(Method::PATCH), SCALES, Fault::Stall);
    let ids = publish(&night.publisher(&broker), "e", 10).await;
    wrote(&proxy).await;
    night.scale("orders", 5).await;
    proxy.heal();
    eventually("the write that comes too late to be refused", || async {
        night.writes().await.iter().any(|write| write.code == 409).then_some(())
    })
    .await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
    assert_eq!(night.replicas("deployments", "orders").await, (5, generation + 1));
    assert_eq!(night.writes_done().await, 0, "{:?}", night.writes().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_decided_anew_and_are_no_failure_until_they_do_not_end() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (night, proxy) = Night::behind_a_proxy(cluster, "conflict").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let (_, generation) = night.replicas("deployments", "orders").await;
    proxy.fail_next(3, Some(Method::PATCH), SCALES, Fault::Answer(StatusCode::CONFLICT));
    let mut ids = publish(&night.publisher(&broker), "a", 1).await;
    night.awake("orders").await;
    assert_eq!(proxy.faults(), 3);
    assert!(proxy.seen(&Method::GET, SCALES) >= 4, "each time it looks anew");
    assert_eq!(night.replicas("deployments", "orders").await, (1, generation + 1));
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
    night.told("orders", "True", "Awake").await;
    night.slice("orders", &[]);
    night.scale("orders", 0).await;
    night.told("orders", "Unknown", "ScaledToZero").await;
    proxy.fail(Some(Method::PATCH), SCALES, Fault::Answer(StatusCode::CONFLICT));
    ids.extend(publish(&night.publisher(&broker), "b", 1).await);
    night.told("orders", "False", "WakeConflict").await;
    proxy.heal();
    night.awake("orders").await;
    night.ready("orders", &[&pod]);
    pod.wait_for(ids.len()).await;
    each_once(pod.ids(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_brokers_with_a_backlog_one_writes() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "three").await;
    night.sleeper("orders").await;
    let (homes, mut brokers) = ([(); 3].map(|()| Home::new()), Vec::new());
    let proxies = [(); 3].map(|()| cluster.api_proxy_inside().unwrap());
    for (home, proxy) in homes.iter().zip(&proxies) {
        let broker = launch(cluster, home, Some(proxy)).start().await.unwrap();
        night.served(&broker, "orders").await;
        brokers.push(broker);
    }
    let (_, generation) = night.replicas("deployments", "orders").await;
    // All three have read that it sleeps before any of them writes.
    for proxy in &proxies {
        proxy.fail(Some(Method::PATCH), SCALES, Fault::Stall);
    }
    let mut ids = Vec::new();
    for (number, broker) in brokers.iter().enumerate() {
        ids.extend(publish(&night.publisher(broker), &format!("broker-{number}"), 100).await);
    }
    for proxy in &proxies {
        wrote(proxy).await;
    }
    for proxy in &proxies {
        proxy.heal();
    }
    night.delivered("orders", ids).await;
    assert_eq!(night.replicas("deployments", "orders").await, (1, generation + 1));
    let writes = night.writes().await;
    assert_eq!(night.writes_done().await, 1, "{writes:?}");
    assert!(writes.iter().all(|write| [200, 409].contains(&write.code)), "{writes:?}");
}
