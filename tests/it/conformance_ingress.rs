//! What Knative demands of the ingress (DP-I), where no other test has it.

use bytes::Bytes;
use futures_util::stream;
use tests::harness::{Ack, Answer, Home, Publisher, Sample, Subscriber, TriggerManifest, http_client};

use super::{accepted, launch, start};

/// Much more than the broker may hold of a request.
const FLOOD_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 64 << 10;
/// Far below the flood, far above what the broker's buffers vary by.
const GROWTH_KIB_MAX: u64 = 32 << 10;

#[tokio::test]
async fn i1_i2_any_content_type_and_both_modes_are_taken() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    for (id, content_type, data) in [
        ("json", "application/json", "{}"),
        ("xml", "application/xml", "<a/>"),
        ("thrift", "application/vnd.apache.thrift.binary", "\x0b"),
    ] {
        accepted(publisher.binary(&Sample::new(id).data(content_type, data)).await);
    }
    accepted(publisher.structured(&Sample::new("structured")).await);
    subscriber.wait_for(4).await;
}

#[tokio::test]
async fn i3_an_event_of_version_0_3_stays_one() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    let request = publisher.request().header("ce-specversion", "0.3").header("ce-id", "old");
    accepted(publisher.send(request.header("ce-source", "/s").header("ce-type", "t").body("x")).await);
    let received = subscriber.wait_for(1).await;
    assert_eq!((received[0].id(), received[0].header("ce-specversion")), ("old", "0.3"));
}

async fn with_attributes(publisher: &Publisher, attributes: &[(&str, &str)]) -> Ack {
    let request = publisher.request();
    let request =
        attributes.iter().fold(request, |request, (name, value)| request.header(format!("ce-{name}"), *value));
    publisher.send(request).await.unwrap()
}

#[tokio::test]
async fn i4_i5_a_version_unknown_or_an_attribute_missing_or_blank_is_400() {
    let home = Home::new();
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    let whole = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];
    for version in ["19.0", "9000.1", "", "1"] {
        let mut attributes = whole;
        attributes[0].1 = version;
        let ack = with_attributes(&publisher, &attributes).await;
        assert!(ack.code == 400 && ack.body.contains("specversion"), "{version}: {} {}", ack.code, ack.body);
    }
    for at in 0..whole.len() {
        let missing: Vec<_> = whole.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, pair)| *pair).collect();
        let mut blank = whole;
        blank[at].1 = "";
        for attributes in [&missing[..], &blank] {
            let ack = with_attributes(&publisher, attributes).await;
            assert_eq!(ack.code, 400, "{attributes:?}: {}", ack.body);
        }
    }
    assert_eq!(with_attributes(&publisher, &whole).await.code, 202);
}

#[tokio::test]
async fn i11_an_event_taken_before_a_kill_is_delivered_after_it() {
    let home = Home::new();
    let down = Subscriber::scripted(|_| Answer::code(503)).await;
    let trigger = TriggerManifest::new("orders", &down.url());
    home.trigger(&trigger.clone().delivery("retry: 9, backoffPolicy: linear, backoffDelay: PT60S"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    broker.kill9().await;
    let up = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &up.url()));
    let _broker = start(&home).await;
    assert_eq!(up.wait_for(1).await[0].id(), "a");
}

#[tokio::test]
async fn i12_i13_i14_twice_the_same_a_large_body_and_an_upgrade_are_taken() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    for _ in 0..2 {
        accepted(publisher.binary(&Sample::new("twice")).await);
    }
    let body: Bytes = (0..36_864_u32).map(|n| (n % 251) as u8).collect();
    accepted(publisher.binary(&Sample::new("large").data("application/octet-stream", body.clone())).await);
    let upgrade = publisher.request().header("connection", "upgrade").header("upgrade", "cloudevents/9");
    let upgrade = upgrade.header("ce-specversion", "1.0").header("ce-id", "upgrade");
    accepted(publisher.send(upgrade.header("ce-source", "/s").header("ce-type", "t")).await);
    broker.settled("all").await;
    let received = subscriber.received();
    let of = |id: &str| received.iter().filter(|one| one.id() == id).collect::<Vec<_>>();
    assert_eq!((of("twice").len(), of("large").len(), of("upgrade").len()), (2, 1, 1));
    assert_eq!(of("large")[0].body, body);
}

#[tokio::test]
async fn i15_a_batch_is_delivered_whole_or_not_taken() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    let batch: Vec<Sample> = (0..20).map(|n| Sample::new(&format!("n-{n}"))).collect();
    let mut spoilt = batch.clone();
    spoilt[19].source = String::new();
    assert_eq!(publisher.batch(&spoilt).await.unwrap().code, 400);
    accepted(publisher.batch(&batch).await);
    broker.settled("all").await;
    let (mut ids, mut sent) = (subscriber.ids(), publisher.acknowledged());
    ids.sort();
    sent.sort();
    assert_eq!((ids.len(), ids), (20, sent));
}

/// Most memory that the process has had, in KiB.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn i16_a_body_without_end_is_413_and_takes_no_memory() {
    let home = Home::new();
    let broker = launch(&home).start().await.unwrap();
    let publisher = broker.publisher("default");
    accepted(publisher.binary(&Sample::new("warm")).await);
    let before = peak_memory(broker.id().unwrap());
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
    let flood = stream::iter((0..FLOOD_BYTES / PIECE_BYTES).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let request = http_client().post(publisher.url()).header("ce-specversion", "1.0").header("ce-id", "flood");
    let request = request.header("ce-source", "/s").header("ce-type", "t");
    // The broker may answer, or close, before all is sent: a client then sees either.
    if let Ok(answer) = request.body(reqwest::Body::wrap_stream(flood)).send().await {
        assert_eq!(answer.status(), 413);
    }
    accepted(publisher.binary(&Sample::new("after")).await);
    let grown = peak_memory(broker.id().unwrap()) - before;
    assert!(grown < GROWTH_KIB_MAX, "it grew by {grown} KiB");
    assert_eq!(broker.metric("reveille_ingest_events_total").await, 2.0);
}
