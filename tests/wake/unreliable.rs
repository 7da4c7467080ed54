//! Wakes on an API server that fails, is slow or forgets, and among people who undo them.

use http::{Method, StatusCode};
use tests::cluster::{ApiProxy, Cluster, Fault};
use tests::harness::{Answer, eventually};

use super::stage::{Night, each_once, publish};

const SCALES: &str = "*/scale*";
const SLICES: &str = "*/endpointslices?*watch=true*";

/// Back to how it was before the wake.
async fn to_sleep(night: &Night<'_>) {
    night.told("orders", "True", "Awake").await;
    night.slice("orders", &[]);
    night.scale("orders", 0).await;
    night.told("orders", "Unknown", "ScaledToZero").await;
}

async fn met(proxy: &ApiProxy, faults: u64) {
    eventually("a fault to be met", || std::future::ready((proxy.faults() >= faults).then_some(()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_that_cannot_be_had_is_waited_out_and_said() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (night, proxy) = Night::behind_a_proxy(cluster, "noscale").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let (pod, mut ids) = (night.pod(|_| Answer::code(200)), Vec::new());
    let answer = |code| Fault::Answer(StatusCode::from_u16(code).unwrap());
    for (round, (method, fault)) in [
        (None, answer(500)),
        (None, Fault::Cut),
        (None, Fault::Stall),
        (None, answer(429)),
        (Some(Method::PATCH), answer(500)),
        (Some(Method::PATCH), Fault::Cut),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.fail(method, SCALES, fault);
        ids.extend(publish(&night.publisher(&broker), &round.to_string(), 1).await);
        let words = night.told("orders", "False", "ApiServerUnreachable").await;
        assert!(words.contains("API server"), "{fault:?}: {words}");
        assert_eq!((pod.received().len(), night.replicas("deployments", "orders").await.0), (round, 0), "{fault:?}");
        proxy.heal();
        night.awake("orders").await;
        night.ready("orders", &[&pod]);
        pod.wait_for(round + 1).await;
        to_sleep(&night).await;
    }
    let rounds = ids.len();
    // Somebody who does not hear that a write was done looks before the next.
    proxy.fail(Some(Method::PATCH), SCALES, Fault::LoseAnswer);
    ids.extend(publish(&night.publisher(&broker), "lost", 1).await);
    night.awake("orders").await;
    night.ready("orders", &[&pod]);
    pod.wait_for(ids.len()).await;
    assert_eq!(night.writes_done().await, rounds + 1, "one for each wake");
    each_once(pod.ids(), ids);
    assert_eq!(broker.trigger_in(night.stage.namespace.name(), "orders").await.unwrap().dead_letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_in_the_middle_of_a_wake_does_not_keep_it_from_delivering() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (night, proxy) = Night::behind_a_proxy(cluster, "watch").await;
    night.sleeper("orders").await;
    let broker = night.launch.clone().arg("--api-timeout", "PT3S").start().await.unwrap();
    night.served(&broker, "orders").await;
    let (pod, mut ids) = (night.pod(|_| Answer::code(200)), Vec::new());
    for fault in [Fault::Cut, Fault::ExpireWatch, Fault::Stall] {
        ids.extend(publish(&night.publisher(&broker), &format!("{fault:?}"), 1).await);
        night.awake("orders").await;
        let (faults, lists) = (proxy.faults(), proxy.seen(&Method::GET, "*/endpointslices?*limit=*"));
        // What stands ends, or is silent, and so does what comes after.
        let lasting = if fault == Fault::Stall { Fault::Stall } else { Fault::Cut };
        proxy.fail(None, SLICES, lasting);
        if lasting == Fault::Cut {
            met(&proxy, faults + 1).await;
        }
        night.ready("orders", &[&pod]);
        // The next watch is asked for after the slice is there.
        met(&proxy, proxy.faults() + 1).await;
        assert_eq!(pod.received().len(), ids.len() - 1, "{fault:?}: nobody can know of it");
        if fault == Fault::ExpireWatch {
            proxy.fail_next(1, None, SLICES, fault);
        } else {
            proxy.heal();
        }
        pod.wait_for(ids.len()).await;
        let listed = proxy.seen(&Method::GET, "*/endpointslices?*limit=*") - lists;
        assert!(fault != Fault::ExpireWatch || listed > 0, "what was forgotten is listed");
        proxy.heal();
        to_sleep(&night).await;
    }
    each_once(pod.ids(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_puts_it_back_to_zero_is_not_fought_for_ever() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let (night, proxy) = Night::behind_a_proxy(cluster, "revert").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let ids = publish(&night.publisher(&broker), "e", 1).await;
    for _ in 0..3 {
        night.awake("orders").await;
        night.scale("orders", 0).await;
    }
    let words = night.told("orders", "False", "WakeReverted").await;
    assert!(words.contains("3 times") && words.contains("GitOps"), "{words}");
    // It goes on looking, and leaves it at that.
    let looks = proxy.seen(&Method::GET, SCALES);
    eventually("two more looks", || std::future::ready((proxy.seen(&Method::GET, SCALES) >= looks + 2).then_some(())))
        .await;
    assert_eq!((night.writes_done().await, night.replicas("deployments", "orders").await.0), (3, 0));
    assert_eq!(broker.metric("reveille_delivery_attempts_total").await, 0.0);
    night.scale("orders", 1).await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
    each_once(pod.ids(), ids);
    night.told("orders", "True", "Awake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wakes_that_were_hard_but_worked_are_not_taken_for_reverted_ones() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "hard").await;
    night.sleeper("orders").await;
    night.annotate("trigger", "orders", "reveille.dev/wake-timeout=PT0.1S");
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    let (pod, mut ids) = (night.pod(|_| Answer::code(200)), Vec::new());
    for round in 0..5 {
        ids.extend(publish(&night.publisher(&broker), &round.to_string(), 1).await);
        night.told("orders", "False", "NotReadyInTime").await;
        night.ready("orders", &[&pod]);
        pod.wait_for(ids.len()).await;
        to_sleep(&night).await;
    }
    each_once(pod.ids(), ids);
}
