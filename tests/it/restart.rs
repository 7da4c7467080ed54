//! Stopping and starting again: nothing lost, nothing repeated after an orderly stop, attempts remembered.

use std::time::Duration;

use tests::harness::{Answer, Home, Sample, Subscriber, TriggerManifest, eventually, http_client};

use super::{accepted, start};

#[tokio::test]
async fn an_orderly_stop_finishes_what_is_under_way_and_repeats_nothing() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|_| Answer::code(200).after(Duration::from_millis(300))).await;
    home.trigger(&TriggerManifest::new("slow", &subscriber.url()).annotation("reveille.dev/concurrency", "8"));
    let broker = start(&home).await;
    broker.publisher("default").series("n", 20).await;
    subscriber.wait_for(10).await;
    let status = broker.sigterm().await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    let before = subscriber.received().len();

    let broker = start(&home).await;
    broker.settled("slow").await;
    let mut ids = subscriber.ids();
    assert!(before < ids.len(), "everything was delivered before the stop: the test shows nothing");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "lost: only {ids:?}");
    assert_eq!(subscriber.received().len(), 20, "repeated after an orderly stop");
}

#[tokio::test]
async fn a_stopping_broker_is_not_ready_and_takes_no_new_connections() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|_| Answer::code(200).after(Duration::from_secs(2))).await;
    home.trigger(&TriggerManifest::new("slow", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    accepted(publisher.binary(&Sample::new("a")).await);
    subscriber.wait_for(1).await;
    broker.ask_to_stop();
    let health = format!("http://{}/ready", broker.addresses().health);
    eventually("readiness to end", || async {
        let answer = http_client().get(&health).send().await;
        answer.map_or(Some(()), |answer| (answer.status() == 503).then_some(()))
    })
    .await;
    eventually("publishing to end", || async {
        // A connection of its own each time: those that are open may finish.
        let fresh = tests::harness::Publisher::new(publisher.url());
        fresh.binary(&Sample::new("late")).await.map_or(Some(()), |ack| (ack.code == 503).then_some(()))
    })
    .await;
    assert_eq!(broker.ended().await.code(), Some(0));
}

#[tokio::test]
async fn attempts_are_remembered_across_a_restart() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|_| Answer::code(503)).await;
    let delivery = "retry: 4, backoffPolicy: linear, backoffDelay: PT0.4S";
    home.trigger(&TriggerManifest::new("down", &subscriber.url()).delivery(delivery));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    subscriber.wait_for(2).await;
    assert!(broker.sigterm().await.success());
    let before = subscriber.received().len();
    assert!(before < 5, "all attempts were made before the stop: the test shows nothing");
    let broker = start(&home).await;
    eventually("the dead letter", || async { (broker.trigger("down").await?.dead_letters == 1).then_some(()) }).await;
    assert_eq!(subscriber.received().len(), 5, "one attempt and four retries in all");
}

#[tokio::test]
async fn losing_the_state_directory_loses_no_event() {
    let home = Home::new();
    let down = Subscriber::scripted(|received| Answer::code(if received.id() < "n-50" { 200 } else { 503 })).await;
    let addr = down.addr().to_string();
    let trigger = TriggerManifest::new("orders", &down.url());
    home.trigger(&trigger.delivery("retry: 10, backoffPolicy: exponential, backoffDelay: PT30S"));
    let broker = start(&home).await;
    let samples: Vec<Sample> = (10..90).map(|n| Sample::new(&format!("n-{n}"))).collect();
    accepted(broker.publisher("default").batch(&samples).await);
    down.wait_for(80).await;
    assert!(broker.sigterm().await.success());
    let first: Vec<String> = down.received().iter().filter(|r| r.answered == 200).map(|r| r.id().to_owned()).collect();
    drop(down);
    assert!(home.data().join("state").is_dir(), "the state lies elsewhere: the test shows nothing");
    std::fs::remove_dir_all(home.data().join("state")).unwrap();

    let up = eventually("the subscriber's port", || async {
        tokio::net::TcpListener::bind(&addr).await.is_ok().then_some(())
    });
    up.await;
    let up = Subscriber::at(&addr, |_| Answer::code(200)).await;
    // The retry that was due in 30 s comes when it is due, or at once; both are right, so look at the cursor only.
    let broker = start(&home).await;
    eventually("all events to be delivered", || async {
        let mut ids = [first.clone(), up.ids()].concat();
        ids.sort();
        ids.dedup();
        (ids.len() == 80).then_some(())
    })
    .await;
    broker.settled("orders").await;
}

#[tokio::test]
async fn after_a_kill_only_what_was_settled_last_is_repeated() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = start(&home).await;
    broker.publisher("default").series("old", 20).await;
    subscriber.wait_for(20).await;
    broker.settled("orders").await;
    // Longer than the flush interval of 1 s: this is the promise under test, not a wait for something to happen.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    broker.publisher("default").series("new", 5).await;
    subscriber.wait_for(25).await;
    broker.kill9().await;
    let broker = start(&home).await;
    broker.settled("orders").await;
    let repeated: Vec<String> =
        subscriber.received().iter().filter(|r| r.earlier > 0).map(|r| r.id().to_owned()).collect();
    assert!(repeated.iter().all(|id| id.starts_with("new")), "repeated: {repeated:?}");
}
