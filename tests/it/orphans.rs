//! Logs of Brokers that are gone: kept for a while, seen meanwhile, then removed; whatever a kill cuts off.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::admin::{BrokerItem, List};
use tests::harness::{Answer, BrokerManifest, BrokerProcess, Home, Subscriber, TriggerManifest, eventually};

use super::{launch, start};

async fn item(broker: &BrokerProcess, name: &str) -> Option<BrokerItem> {
    let list: List<BrokerItem> = broker.admin("/api/v1/brokers").await;
    list.items.into_iter().find(|item| item.name == name)
}

fn kept(home: &Home, name: &str) -> PathBuf {
    home.data().join("logs/default").join(name)
}

fn removed(home: &Home) -> usize {
    std::fs::read_dir(home.data().join("removed")).map_or(0, Iterator::count)
}

/// A broker that removes logs of Brokers that are gone at once.
async fn hasty(home: &Home) -> BrokerProcess {
    launch(home).arg("--orphan-grace", "PT0S").start().await.unwrap()
}

#[tokio::test]
async fn a_broker_that_comes_back_in_time_goes_on_where_it_was() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = start(&home).await;
    broker.publisher("default").series("before", 3).await;
    broker.settled("orders").await;

    home.remove_manifest("broker-default.yaml");
    eventually("the log to be an orphan", || async { item(&broker, "default").await?.orphaned }).await;
    let orphan = item(&broker, "default").await.unwrap();
    assert_eq!((orphan.first_offset, orphan.next_offset, orphan.triggers), (0, 3, 0));
    assert!(orphan.bytes > 0 && orphan.health.starts_with("orphaned"), "{orphan:?}");
    let size = broker.metric("reveille_orphaned_log_size_bytes").await;
    assert!((size - orphan.bytes as f64).abs() < 0.5, "{size}");
    let table = broker.cli().run(&["brokers", "ls"]).await;
    assert!(table.stdout.contains("orphaned"), "{table:?}");
    let shown = broker.cli().run(&["brokers", "show", "default", "-o", "json"]).await.json();
    assert_eq!(shown["orphaned"]["held_by"], serde_json::json!([]));

    // A restart does not begin the grace period anew.
    assert!(broker.sigterm().await.success());
    let broker = start(&home).await;
    let again = eventually("the orphan after a restart", || async { item(&broker, "default").await }).await;
    assert_eq!((&again.orphaned, again.next_offset), (&orphan.orphaned, 3));

    home.broker(&BrokerManifest::new("default"));
    eventually("the Broker to be back", || async {
        item(&broker, "default").await.filter(|item| item.orphaned.is_none() && item.triggers == 1)
    })
    .await;
    assert!(broker.metric("reveille_orphaned_log_size_bytes").await.abs() < 0.5);
    broker.publisher("default").series("after", 1).await;
    broker.settled("orders").await;
    assert_eq!(subscriber.ids(), ["before-0", "before-1", "before-2", "after-0"], "each once");
}

#[tokio::test]
async fn after_the_grace_period_it_is_gone_and_a_new_broker_begins_with_nothing() {
    let home = Home::new();
    home.broker(&BrokerManifest::new("other"));
    let subscriber = Subscriber::start().await;
    let broker = hasty(&home).await;
    for name in ["default", "other"] {
        broker.publisher(name).series(name, 3).await;
    }
    home.remove_manifest("broker-other.yaml");
    eventually("the log to go", || async { (!kept(&home, "other").exists() && removed(&home) == 0).then_some(()) })
        .await;
    eventually("it to be counted", || async {
        (broker.metric("reveille_orphaned_logs_removed_total").await > 0.5).then_some(())
    })
    .await;
    assert!(broker.metric("reveille_orphaned_logs_removed_bytes_total").await > 0.5);
    assert!(broker.stderr().contains("the log of a removed broker is deleted"), "{}", broker.stderr());
    assert_eq!(item(&broker, "default").await.unwrap().next_offset, 3, "the other one is untouched");

    home.broker(&BrokerManifest::new("other"));
    home.trigger(
        &TriggerManifest::new("all", &subscriber.url()).broker("other").annotation("reveille.dev/start", "earliest"),
    );
    eventually("the new Broker", || async { item(&broker, "other").await.filter(|item| item.triggers == 1) }).await;
    broker.publisher("other").series("new", 2).await;
    broker.settled("all").await;
    assert_eq!(subscriber.ids(), ["new-0", "new-1"]);
}

/// Offsets of a removed log mean nothing in the next one of its name: its Triggers get all that is published there.
#[tokio::test]
async fn a_trigger_that_outlives_two_logs_of_its_broker_misses_nothing() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = hasty(&home).await;
    broker.publisher("default").series("first", 5).await;
    broker.settled("orders").await;
    home.remove_manifest("broker-default.yaml");
    eventually("the log to go", || async { (!kept(&home, "default").exists()).then_some(()) }).await;
    home.broker(&BrokerManifest::new("default"));
    eventually("the new Broker", || async { item(&broker, "default").await.filter(|item| item.orphaned.is_none()) })
        .await;
    broker.publisher("default").series("second", 3).await;
    broker.settled("orders").await;
    let ids = subscriber.ids();
    assert_eq!(&ids[5..], ["second-0", "second-1", "second-2"], "{ids:?}");
}

#[tokio::test]
async fn what_a_trigger_has_still_to_get_outlasts_the_grace_period() {
    let home = Home::new();
    let up = Arc::new(AtomicBool::new(false));
    let willing = up.clone();
    let code = move |_: &_| Answer::code(if willing.load(Ordering::Relaxed) { 200 } else { 503 });
    let subscriber = Subscriber::scripted(code).await;
    home.trigger(
        &TriggerManifest::new("orders", &subscriber.url())
            .delivery("retry: 1000, backoffPolicy: linear, backoffDelay: PT0.1S"),
    );
    let broker = hasty(&home).await;
    broker.publisher("default").series("n", 3).await;
    subscriber.wait_for(3).await;
    home.remove_manifest("broker-default.yaml");
    let orphan = eventually("the log to be held", || async {
        item(&broker, "default").await?.orphaned.filter(|orphan| !orphan.held_by.is_empty())
    })
    .await;
    assert_eq!(orphan.held_by, ["default/orders"]);

    up.store(true, Ordering::Relaxed);
    home.broker(&BrokerManifest::new("default"));
    eventually("the Trigger to be served", || async { broker.trigger("orders").await }).await;
    broker.settled("orders").await;
    let mut delivered: Vec<String> =
        subscriber.received().iter().filter(|received| received.answered == 200).map(|r| r.id().to_owned()).collect();
    delivered.sort();
    assert_eq!(delivered, ["n-0", "n-1", "n-2"]);

    for file in ["trigger-orders.yaml", "broker-default.yaml"] {
        home.remove_manifest(file);
    }
    eventually("the log to go", || async { (!kept(&home, "default").exists()).then_some(()) }).await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_removal_leaves_what_the_next_start_finishes() {
    let home = Home::new();
    let broker = start(&home).await;
    broker.publisher("default").series("kept", 3).await;
    assert!(broker.sigterm().await.success());
    for round in 0..6 {
        home.broker(&BrokerManifest::new("other"));
        let broker = hasty(&home).await;
        eventually("the Broker", || async { item(&broker, "other").await.filter(|item| item.orphaned.is_none()) })
            .await;
        broker.publisher("other").series("other", 20).await;
        home.remove_manifest("broker-other.yaml");
        // Killed before, in, or right after the one step that takes the log away; with some files there, or none.
        match round % 3 {
            0 => {}
            1 => {
                eventually("it to be noted", || async {
                    let place = kept(&home, "other");
                    (place.join("orphaned").exists() || !place.exists()).then_some(())
                })
                .await
            }
            _ => eventually("it to leave", || async { (!kept(&home, "other").exists()).then_some(()) }).await,
        }
        broker.kill9().await;
        let broker = hasty(&home).await;
        eventually("nothing to be left", || async {
            (!kept(&home, "other").exists() && removed(&home) == 0).then_some(())
        })
        .await;
        assert_eq!(item(&broker, "default").await.unwrap().next_offset, 3);
        broker.kill9().await;
    }
}
