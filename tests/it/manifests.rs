//! Manifests: read again when they change; a bad one stops no good one; where a Trigger begins.

use tests::harness::{Answer, Home, Sample, Subscriber, TriggerManifest, eventually};

use super::{accepted, start};

#[tokio::test]
async fn triggers_come_change_and_go_while_the_broker_runs() {
    let home = Home::new();
    let (first, second) = (Subscriber::start().await, Subscriber::start().await);
    let broker = start(&home).await;
    let publisher = broker.publisher("default");

    home.trigger(&TriggerManifest::new("orders", &first.url()));
    eventually("the new Trigger", || async { broker.trigger("orders").await }).await;
    accepted(publisher.binary(&Sample::new("one")).await);
    first.wait_for(1).await;
    broker.settled("orders").await;

    home.trigger(&TriggerManifest::new("orders", &second.url()));
    eventually("the changed Trigger", || async {
        broker.trigger("orders").await.filter(|item| item.subscriber == second.url())
    })
    .await;
    accepted(publisher.binary(&Sample::new("two")).await);
    second.wait_for(1).await;
    broker.settled("orders").await;

    home.remove_manifest("trigger-orders.yaml");
    eventually("the Trigger to go", || async { broker.trigger("orders").await.is_none().then_some(()) }).await;
    home.trigger(&TriggerManifest::new("witness", &first.url()));
    eventually("the witness", || async { broker.trigger("witness").await }).await;
    accepted(publisher.binary(&Sample::new("three")).await);
    first.wait_for(2).await;
    assert_eq!((first.ids(), second.ids()), (vec!["one".into(), "three".to_owned()], vec!["two".to_owned()]));
}

#[tokio::test]
async fn a_new_subscriber_gets_what_the_old_one_could_not_take() {
    let home = Home::new();
    let (down, up) = (Subscriber::scripted(|_| Answer::code(503)).await, Subscriber::start().await);
    let delivery = "retry: 10, backoffPolicy: linear, backoffDelay: PT0.2S";
    home.trigger(&TriggerManifest::new("orders", &down.url()).delivery(delivery));
    let broker = start(&home).await;
    broker.publisher("default").series("n", 10).await;
    down.wait_for(10).await;
    home.trigger(&TriggerManifest::new("orders", &up.url()).delivery(delivery));
    up.wait_for(10).await;
    broker.settled("orders").await;
    assert_eq!(up.received().len(), 10);
}

#[tokio::test]
async fn a_bad_file_is_named_and_stops_no_good_one() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.manifest("a-broken.yaml", "kind: Trigger\nmetadata: [\n");
    let wrong = TriggerManifest::new("wrong", &subscriber.url()).delivery("retry: -1");
    home.manifest("b-wrong.yaml", &wrong.yaml());
    home.trigger(&TriggerManifest::new("good", &subscriber.url()));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("one")).await);
    subscriber.wait_for(1).await;
    assert!(broker.trigger("wrong").await.is_none());
    let stderr = broker.stderr();
    for (file, field) in [("a-broken.yaml", ":"), ("b-wrong.yaml", "spec.delivery.retry")] {
        assert!(stderr.lines().any(|line| line.contains(file) && line.contains(field)), "{file} {field}: {stderr}");
    }
    assert!(broker.metric("reveille_manifest_faults").await >= 2.0);

    let mended = TriggerManifest::new("wrong", &subscriber.url()).delivery("retry: 1");
    home.manifest("b-wrong.yaml", &mended.yaml());
    home.remove_manifest("a-broken.yaml");
    eventually("the mended Trigger", || async { broker.trigger("wrong").await }).await;
    eventually("no fault", || async { (broker.metric("reveille_manifest_faults").await == 0.0).then_some(()) }).await;
}

#[tokio::test]
async fn a_file_that_turns_bad_keeps_its_trigger_as_it_was() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = start(&home).await;
    home.manifest("trigger-orders.yaml", "kind: Trigger\nmetadata: [\n");
    eventually("the fault", || async { (broker.metric("reveille_manifest_faults").await > 0.0).then_some(()) }).await;
    accepted(broker.publisher("default").binary(&Sample::new("one")).await);
    subscriber.wait_for(1).await;
}

#[tokio::test]
async fn a_trigger_begins_where_it_says() {
    let home = Home::new();
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    publisher.series("old", 5).await;
    let subscriber = Subscriber::start().await;
    for (name, at) in
        [("earliest", "earliest"), ("latest", "latest"), ("third", "#3"), ("epoch", "2020-01-01T00:00:00Z")]
    {
        let trigger = TriggerManifest::new(name, &format!("{}{name}", subscriber.url()));
        home.trigger(&trigger.annotation("reveille.dev/start", at));
    }
    home.trigger(&TriggerManifest::new("silent", &format!("{}silent", subscriber.url())));
    let names = ["earliest", "latest", "third", "epoch", "silent"];
    for name in names {
        eventually(name, || async { broker.trigger(name).await }).await;
    }
    accepted(publisher.binary(&Sample::new("new")).await);
    for name in names {
        broker.settled(name).await;
    }
    subscriber.wait_for(6 + 1 + 3 + 6 + 1).await;
    for (name, count) in [("earliest", 6), ("latest", 1), ("third", 3), ("epoch", 6), ("silent", 1)] {
        let got = subscriber.received().iter().filter(|r| r.path == format!("/{name}")).count();
        assert_eq!(got, count, "{name}");
    }
}

#[tokio::test]
async fn a_broker_may_come_later() {
    let home = Home::new();
    home.remove_manifest("broker-default.yaml");
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    assert_eq!(publisher.binary(&Sample::new("early")).await.unwrap().code, 404);
    home.broker(&tests::harness::BrokerManifest::new("default"));
    eventually("the Broker", || async {
        let ack = publisher.binary(&Sample::new("one")).await.unwrap();
        (ack.code == 202).then_some(())
    })
    .await;
    assert_eq!(subscriber.wait_for(1).await[0].id(), "one");
}
