//! Broker and controller together while the API server is away, cut off or slow, and somebody publishes all the while.

use std::time::Duration;

use tests::cluster::{Cluster, Fault};
use tests::harness::{Subscriber, eventually};

use super::controller_setup::{ControllerProcess, service, to_service, trigger};
use super::outage_setup::{Both, Held, Load, took_each_once};

/// Deliveries that show that the broker goes on.
const SOME: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_loses_nothing_and_causes_no_writes() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    let both = Both::start(&cluster, "restart").await;
    let (steady, held, late) = (Subscriber::start().await, Held::new().await, Subscriber::start().await);
    for (name, subscriber) in [("steady", &steady), ("held", &held.subscriber)] {
        both.trigger(name, subscriber);
        both.stage.trigger(name, "True", "").await;
        both.served(name, subscriber).await;
    }
    let load = Load::start(both.publisher());
    steady.wait_for(SOME).await;
    let before = both.status_writes("").await;
    cluster.stop_api_server().unwrap();
    both.lost().await;
    steady.wait_for(steady.received().len() + SOME).await;
    cluster.start_api_server().await.unwrap();
    both.found().await;

    both.trigger("late", &late);
    both.stage.trigger("late", "True", "").await;
    both.served("late", &late).await;
    late.wait_for(SOME).await;
    assert_eq!(both.status_writes("late").await, before, "nothing had changed");
    held.open();
    let ids = load.end().await;
    took_each_once(&steady, &ids).await;
    took_each_once(&held.subscriber, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_during_a_partition_is_right_after_it() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let both = Both::start(cluster, "partition").await;
    let (steady, held, gone) = (Subscriber::start().await, Held::new().await, Subscriber::start().await);
    let (moved, late) = (Subscriber::start().await, Subscriber::start().await);
    both.stage.apply(&service("orders"));
    both.stage.apply(&trigger("resolved", "default", &to_service("orders")));
    both.stage.trigger("resolved", "True", "").await;
    for (name, subscriber) in [("steady", &steady), ("held", &held.subscriber), ("gone", &gone), ("moves", &gone)] {
        both.trigger(name, subscriber);
        both.stage.trigger(name, "True", "").await;
        both.served(name, subscriber).await;
    }
    let load = Load::start(both.publisher());
    steady.wait_for(SOME).await;
    let before = both.status_writes("").await.len();
    both.proxy.fail(None, "*", Fault::Cut);
    both.lost().await;
    both.stage.delete("trigger", "gone");
    both.stage.delete("service", "orders");
    both.trigger("moves", &moved);
    both.trigger("late", &late);
    steady.wait_for(steady.received().len() + SOME).await;
    both.proxy.heal();
    both.found().await;

    both.dropped("gone").await;
    both.stage.trigger("resolved", "False", "NotFound").await;
    for (name, subscriber) in [("moves", &moved), ("late", &late)] {
        both.stage.trigger(name, "True", "").await;
        both.served(name, subscriber).await;
        subscriber.wait_for(SOME).await;
    }
    let after = both.status_writes("").await;
    let after: Vec<_> = after[before..].iter().map(|write| write.name.as_str()).collect();
    assert!(after.len() <= 6 && after.iter().all(|name| ["resolved", "moves", "late"].contains(name)), "{after:?}");
    held.open();
    let ids = load.end().await;
    took_each_once(&steady, &ids).await;
    took_each_once(&held.subscriber, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_take_a_second_delay_and_break_nothing() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let both = Both::start(cluster, "slow").await;
    let (steady, late) = (Subscriber::start().await, Subscriber::start().await);
    both.trigger("steady", &steady);
    both.served("steady", &steady).await;
    let load = Load::start(both.publisher());
    both.controller.leads().await;
    let losses = both.controller.losses();
    both.proxy.fail(None, "*", Fault::Delay(Duration::from_secs(1)));
    for number in 0..3 {
        let name = format!("late-{number}");
        both.trigger(&name, &late);
        both.stage.trigger(&name, "True", "").await;
        both.served(&name, &late).await;
    }
    // Longer than the lead would last unless it were renewed.
    let renewals = both.proxy.seen(&http::Method::PUT, "*/leases/*");
    eventually("some renewals", || {
        std::future::ready((both.proxy.seen(&http::Method::PUT, "*/leases/*") >= renewals + 4).then_some(()))
    })
    .await;
    assert!(both.controller.is_leader().await && both.controller.losses() == losses, "the lead was lost");
    let writes = both.status_writes("steady").await;
    assert!(writes.len() <= 3 * 3 + 3, "{writes:?}");
    let ids = load.end().await;
    took_each_once(&steady, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_stops_writing_before_another_begins() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let both = Both::start(cluster, "lease").await;
    let steady = Subscriber::start().await;
    both.controller.leads().await;
    let second = ControllerProcess::start(both.stage.kubeconfig()).await;
    both.proxy.fail(None, "*/leases/*", Fault::Stall);
    let late = std::cell::Cell::new(0);
    eventually("the second to lead", || async {
        // So that there is always something to write.
        late.set(late.get() + 1);
        both.trigger(&format!("late-{}", late.get()), &steady);
        // Asked first: what the first says after that it said while the second led.
        let (new, old) = (second.is_leader().await, both.controller.is_leader().await);
        assert!(!(new && old), "two lead at once");
        new.then_some(())
    })
    .await;
    let by_the_first = || both.proxy.seen(&http::Method::PATCH, "*");
    let before = by_the_first();
    for number in 1..=late.get() {
        both.stage.trigger(&format!("late-{number}"), "True", "").await;
    }
    both.trigger("last", &steady);
    both.stage.trigger("last", "True", "").await;
    assert_eq!(by_the_first(), before, "the first still writes");
    // Healed, it waits for its turn.
    both.proxy.heal();
    second.stop().await;
    both.controller.leads().await;
    both.trigger("again", &steady);
    both.stage.trigger("again", "True", "").await;
    assert!(by_the_first() > before);
}
