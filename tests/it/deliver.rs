//! Delivery: who gets what, retries, replies, content modes; one Trigger's trouble is its own.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::harness::{Answer, BrokerProcess, Home, Sample, Subscriber, TriggerManifest, eventually};

use super::{accepted, start};

#[tokio::test]
async fn each_trigger_gets_what_its_filters_want() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    for (name, filters) in [
        ("exact", "[{exact: {type: com.example.order.placed}}]"),
        ("prefix", "[{prefix: {type: com.example.order.}}]"),
        ("suffix", "[{suffix: {type: .placed, source: /tests}}]"),
        ("any", "[{any: [{exact: {tier: gold}}, {exact: {type: other}}]}]"),
        ("not", "[{not: {prefix: {type: com.example.}}}]"),
        ("all", "[{all: [{prefix: {type: com.}}, {not: {exact: {tier: gold}}}]}]"),
    ] {
        home.trigger(&TriggerManifest::new(name, &format!("{}{name}", subscriber.url())).filters(filters));
    }
    let attributes = TriggerManifest::new("attributes", &format!("{}attributes", subscriber.url()));
    home.trigger(&attributes.attributes("type: other, tier: \"\""));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    accepted(publisher.binary(&Sample::new("placed").ty("com.example.order.placed")).await);
    accepted(publisher.binary(&Sample::new("paid").ty("com.example.order.paid").attribute("tier", "gold")).await);
    accepted(publisher.binary(&Sample::new("other").ty("other").attribute("tier", "tin")).await);

    let expected: BTreeSet<(String, String)> = [
        ("exact", "placed"),
        ("prefix", "placed"),
        ("prefix", "paid"),
        ("suffix", "placed"),
        ("any", "paid"),
        ("any", "other"),
        ("not", "other"),
        ("all", "placed"),
        ("attributes", "other"),
    ]
    .map(|(trigger, id)| (format!("/{trigger}"), id.to_owned()))
    .into();
    subscriber.wait_for(expected.len()).await;
    for name in ["exact", "prefix", "suffix", "any", "not", "all", "attributes"] {
        broker.settled(name).await;
    }
    let received = subscriber.received();
    let got: BTreeSet<_> = received.iter().map(|r| (r.path.clone(), r.id().to_owned())).collect();
    assert_eq!(got, expected);
    assert_eq!(received.len(), expected.len(), "each once");
}

#[tokio::test]
async fn retries_go_on_until_the_subscriber_takes_the_event() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|received| match received.earlier {
        0 => Answer::code(503),
        1 => Answer::drop_connection(),
        2 => Answer::code(404),
        _ => Answer::code(204),
    })
    .await;
    let trigger = TriggerManifest::new("flaky", &subscriber.url());
    home.trigger(&trigger.delivery("retry: 5, backoffPolicy: exponential, backoffDelay: PT0.05S"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let received = subscriber.wait_for(4).await;
    assert_eq!(received.iter().map(|r| r.answered).collect::<Vec<_>>(), [503, 0, 404, 204]);
    for (pair, wait_ms) in received.windows(2).zip([50, 100, 200]) {
        let waited = pair[1].at - pair[0].at;
        // Jitter takes at most a tenth.
        assert!(waited >= Duration::from_millis(wait_ms * 9 / 10), "{waited:?}, not {wait_ms} ms, before a retry");
    }
    broker.settled("flaky").await;
    assert_eq!(subscriber.received().len(), 4, "no attempt after the success");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|received| match received.earlier {
        0 => Answer::code(429).header("retry-after", "1"),
        _ => Answer::code(200),
    })
    .await;
    home.trigger(
        &TriggerManifest::new("busy", &subscriber.url())
            .delivery("retry: 1, backoffPolicy: linear, backoffDelay: PT0.01S"),
    );
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let received = subscriber.wait_for(2).await;
    assert!(received[1].at - received[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let home = Home::new();
    let elsewhere = Subscriber::start().await;
    let target = elsewhere.url();
    let subscriber = Subscriber::scripted(move |_| Answer::code(307).header("location", &target)).await;
    home.trigger(
        &TriggerManifest::new("moved", &subscriber.url())
            .delivery("retry: 3, backoffPolicy: linear, backoffDelay: PT0.01S"),
    );
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    eventually("the dead letter", || async { (broker.trigger("moved").await?.dead_letters == 1).then_some(()) }).await;
    assert_eq!((subscriber.received().len(), elsewhere.received().len()), (1, 0));
}

#[tokio::test]
async fn a_reply_goes_back_into_the_broker() {
    let home = Home::new();
    let asked = Subscriber::scripted(|_| {
        let reply =
            Answer::code(200).header("ce-specversion", "1.0").header("ce-id", "answer").header("ce-source", "/asked");
        reply.header("ce-type", "answer").header("content-type", "application/json").body("{\"yes\" :true}")
    })
    .await;
    let answered = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("asked", &asked.url()).filters("[{exact: {type: question}}]"));
    home.trigger(&TriggerManifest::new("answered", &answered.url()).filters("[{exact: {type: answer}}]"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("q").ty("question")).await);
    let received = answered.wait_for(1).await;
    assert_eq!((received[0].id(), received[0].header("ce-source")), ("answer", "/asked"));
    assert_eq!(received[0].body, "{\"yes\" :true}");
    assert!(!received[0].headers.contains_key("ce-knativebrokerttl"));
    broker.settled("asked").await;
    assert_eq!(asked.received().len(), 1);
}

#[tokio::test]
async fn a_loop_of_replies_ends_as_a_dead_letter() {
    let home = Home::new();
    let echo = Subscriber::scripted(|received| {
        let next = format!("{}x", received.id());
        let reply = Answer::code(200).header("ce-specversion", "1.0").header("ce-id", &next);
        reply.header("ce-source", "/echo").header("ce-type", "echo")
    })
    .await;
    home.trigger(&TriggerManifest::new("echo", &echo.url()));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a").attribute("knativebrokerttl", "4")).await);
    eventually("the dead letter", || async { (broker.trigger("echo").await?.dead_letters == 1).then_some(()) }).await;
    broker.settled("echo").await;
    assert_eq!(echo.ids(), ["a", "ax", "axx", "axxx"]);
}

#[tokio::test]
async fn structured_mode_is_there_for_those_who_ask() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    let trigger = TriggerManifest::new("structured", &subscriber.url());
    home.trigger(&trigger.annotation("reveille.dev/content-mode", "structured"));
    let broker = start(&home).await;
    let data = r#"{ "n" : 1.50 }"#;
    accepted(broker.publisher("default").binary(&Sample::new("a").data("application/json", data)).await);
    let received = subscriber.wait_for(1).await;
    assert!(received[0].header("content-type").starts_with("application/cloudevents+json"));
    let event: serde_json::Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(
        (&event["id"], &event["type"], &event["data"]["n"]),
        (&"a".into(), &"com.example.sample".into(), &1.5.into())
    );
    assert!(std::str::from_utf8(&received[0].body).unwrap().contains(data), "the data is kept byte for byte");
}

/// The ids of the events in a batch.
fn batch_ids(body: &[u8]) -> Vec<String> {
    let events: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap_or_default();
    events.iter().map(|event| event["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn batched_mode_sends_what_is_ready_together() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    let trigger = TriggerManifest::new("batched", &subscriber.url());
    home.trigger(&trigger.annotation("reveille.dev/content-mode", "batched"));
    let broker = start(&home).await;
    let samples: Vec<Sample> = (0..250).map(|n| Sample::new(&format!("n-{n}"))).collect();
    accepted(broker.publisher("default").batch(&samples).await);
    broker.settled("batched").await;
    let received = subscriber.received();
    assert!(received.iter().all(|r| r.header("content-type").starts_with("application/cloudevents-batch+json")));
    let batches: Vec<Vec<String>> = received.iter().map(|r| batch_ids(&r.body)).collect();
    let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (250, Some(&100)), "{sizes:?}");
    let ids: BTreeSet<&String> = batches.iter().flatten().collect();
    assert_eq!(ids.len(), 250, "each once");
}

#[tokio::test]
async fn one_poisonous_event_of_a_batch_is_a_dead_letter_alone() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|received| match batch_ids(&received.body).iter().any(|id| id == "n-37") {
        true => Answer::code(400).body("n-37 is not for me"),
        false => Answer::code(204),
    })
    .await;
    let trigger = TriggerManifest::new("batched", &subscriber.url()).delivery("retry: 0");
    home.trigger(&trigger.annotation("reveille.dev/content-mode", "batched"));
    let broker = start(&home).await;
    let samples: Vec<Sample> = (0..100).map(|n| Sample::new(&format!("n-{n}"))).collect();
    accepted(broker.publisher("default").batch(&samples).await);
    broker.settled("batched").await;
    assert_eq!(broker.trigger("batched").await.unwrap().dead_letters, 1);
    let received = subscriber.received();
    let taken = received.iter().filter(|r| r.answered == 204).flat_map(|r| batch_ids(&r.body));
    assert_eq!(taken.collect::<BTreeSet<_>>().len(), 99);
    let refused: Vec<usize> = received.iter().filter(|r| r.answered == 400).map(|r| batch_ids(&r.body).len()).collect();
    assert!(refused.is_sorted_by(|a, b| a > b) && refused.last() == Some(&1), "halves: {refused:?}");
}

async fn publish_series(broker: &BrokerProcess, count: usize) {
    broker.publisher("default").series("n", count).await;
}

#[tokio::test]
async fn a_hung_a_refusing_and_an_absent_subscriber_delay_nobody() {
    let home = Home::new();
    let (fast, refusing) = (Subscriber::start().await, Subscriber::scripted(|_| Answer::code(503)).await);
    let hung = Subscriber::scripted(|_| Answer::code(200).after(Duration::from_secs(3600))).await;
    let retries = "retry: 10, backoffPolicy: exponential, backoffDelay: PT5S";
    home.trigger(&TriggerManifest::new("fast", &fast.url()));
    home.trigger(&TriggerManifest::new("hung", &hung.url()).annotation("reveille.dev/concurrency", "4"));
    home.trigger(&TriggerManifest::new("refusing", &refusing.url()).delivery(retries));
    home.trigger(&TriggerManifest::new("absent", "http://127.0.0.1:1/").delivery(retries));
    let broker = start(&home).await;
    publish_series(&broker, 300).await;
    fast.wait_for(300).await;
    broker.settled("fast").await;
    refusing.wait_for(300).await;
    let item = broker.trigger("hung").await.unwrap();
    assert_eq!((item.in_flight, item.lag.events), (4, 300));
    let what = "all events to wait for their retries without holding a slot";
    let item = eventually(what, || async {
        broker.trigger("refusing").await.filter(|item| item.in_flight == 0 && item.retrying == 300)
    })
    .await;
    assert!(item.last_error.is_some_and(|error| error.contains("503")));
}

#[tokio::test]
async fn brokers_are_apart() {
    let home = Home::new();
    home.broker(&tests::harness::BrokerManifest::new("second"));
    let (first, second) = (Subscriber::start().await, Subscriber::start().await);
    home.trigger(&TriggerManifest::new("first", &first.url()));
    home.trigger(&TriggerManifest::new("second", &second.url()).broker("second"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("one")).await);
    accepted(broker.publisher("second").binary(&Sample::new("two")).await);
    first.wait_for(1).await;
    second.wait_for(1).await;
    broker.settled("first").await;
    broker.settled("second").await;
    assert_eq!((first.ids(), second.ids()), (vec!["one".to_owned()], vec!["two".to_owned()]));
}
