//! Publishing: what is taken, and that it arrives unchanged; what is refused, and why.

use bytes::Bytes;
use tests::harness::{Ack, Home, Publisher, Received, Sample, Subscriber, TriggerManifest};

use super::{accepted, launch, start};

async fn delivered(home: &Home) -> (tests::harness::BrokerProcess, Subscriber) {
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    (start(home).await, subscriber)
}

fn find<'a>(received: &'a [Received], id: &str) -> &'a Received {
    received.iter().find(|received| received.id() == id).unwrap()
}

#[tokio::test]
async fn every_mode_arrives_byte_exact() {
    let home = Home::new();
    let (broker, subscriber) = delivered(&home).await;
    let publisher = broker.publisher("default");

    let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
    let binary = Sample::new("binary").data("application/x-odd; p=\"1\"", bytes.clone()).attribute("subject", "a/b");
    accepted(publisher.binary(&binary).await);
    let odd_json = r#"{ "z":1, "a" : 12345678901234567890.1200, "u":"\u00e9é" }"#;
    let structured = Sample::new("structured").data("application/json", odd_json).attribute("myext", "plain");
    accepted(publisher.structured(&structured).await);
    let base64 = r#"{"specversion":"1.0","id":"base64","source":"/tests","type":"t","datacontenttype":"image/png","data_base64":"AAEC/w=="}"#;
    accepted(
        publisher.send(publisher.request().header("content-type", "Application/CloudEvents+JSON").body(base64)).await,
    );
    let batch: Vec<Sample> =
        (0..3).map(|n| Sample::new(&format!("batch-{n}")).data("text/json", format!("[{n} ]"))).collect();
    accepted(publisher.batch(&batch).await);

    let received = subscriber.wait_for(6).await;
    for (id, content_type, body) in [
        ("binary", "application/x-odd; p=\"1\"", bytes),
        ("structured", "application/json", Bytes::from(odd_json)),
        ("base64", "image/png", Bytes::from_static(&[0, 1, 2, 255])),
        ("batch-0", "text/json", Bytes::from("[0 ]")),
        ("batch-2", "text/json", Bytes::from("[2 ]")),
    ] {
        let delivery = find(&received, id);
        assert_eq!(delivery.body, body, "{id}");
        assert_eq!(delivery.header("content-type"), content_type, "{id}");
        assert_eq!(delivery.header("ce-specversion"), "1.0", "{id}");
        assert_eq!(delivery.header("prefer"), "reply", "{id}");
        assert_eq!(delivery.header("kn-namespace"), "default", "{id}");
    }
    assert_eq!(find(&received, "binary").header("ce-subject"), "a/b");
    assert_eq!(find(&received, "structured").header("ce-myext"), "plain");
}

#[tokio::test]
async fn attribute_values_are_percent_coded_both_ways() {
    let home = Home::new();
    let (broker, subscriber) = delivered(&home).await;
    let publisher = broker.publisher("default");
    for (id, sent) in [
        ("1", "Euro%20%E2%82%AC"),
        ("2", "\"quoted \\\" text\""),
        ("3", "lone % sign"),
        ("4", "%e2%82%ac"),
        ("5", "plain"),
    ] {
        accepted(publisher.binary(&Sample::new(id).attribute("subject", sent)).await);
    }
    let received = subscriber.wait_for(5).await;
    for (id, arrives) in [
        ("1", "Euro%20%E2%82%AC"),
        ("2", "quoted%20%22%20text"),
        ("3", "lone%20%25%20sign"),
        ("4", "%E2%82%AC"),
        ("5", "plain"),
    ] {
        assert_eq!(find(&received, id).header("ce-subject"), arrives);
    }
}

/// A request that must be refused: headers, body, then the status and a word that the answer must hold.
struct Refusal(&'static [(&'static str, &'static str)], &'static str, u16, &'static str);

const FULL: &[(&str, &str)] =
    &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("content-type", "text/plain")];
const JSON: &[(&str, &str)] = &[("content-type", "application/cloudevents+json")];

const REFUSALS: [Refusal; 12] = [
    Refusal(&[("ce-specversion", "1.0"), ("ce-source", "/s"), ("ce-type", "t")], "", 400, "`id`"),
    Refusal(&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", ""), ("ce-type", "t")], "", 400, "`source`"),
    Refusal(
        &[("ce-specversion", "2.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")],
        "",
        400,
        "`specversion`",
    ),
    Refusal(
        &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-time", "noon")],
        "",
        400,
        "`time`",
    ),
    Refusal(
        &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-my_ext", "1")],
        "",
        400,
        "my_ext",
    ),
    Refusal(
        &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-subject", "%C0%A0")],
        "",
        400,
        "`subject`",
    ),
    Refusal(&[("content-type", "text/plain")], "hello", 400, "ce-"),
    Refusal(JSON, r#"{"specversion":"1.0","id":"1","source":"/s","type":""}"#, 400, "`type`"),
    Refusal(
        JSON,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}"#,
        400,
        "data",
    ),
    Refusal(JSON, r#"{"specversion":"1.0","id":"1""#, 400, "JSON"),
    Refusal(&[("content-type", "application/cloudevents+avro")], "", 415, "avro"),
    Refusal(
        &[("content-type", "application/cloudevents-batch+json")],
        r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"specversion":"1.0","source":"/s","type":"t"}]"#,
        400,
        "event 1",
    ),
];

async fn refused(publisher: &Publisher, request: reqwest::RequestBuilder, code: u16, word: &str) -> Ack {
    let ack = publisher.send(request).await.unwrap();
    assert_eq!(ack.code, code, "{word}: {}", ack.body);
    assert_eq!(ack.headers["content-type"], "application/problem+json", "{word}");
    let problem: serde_json::Value = serde_json::from_str(&ack.body).unwrap();
    assert_eq!(problem["status"], code, "{word}: {problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{word}: {problem}");
    ack
}

#[tokio::test]
async fn refusals_name_the_attribute_and_the_reason_and_store_nothing() {
    let home = Home::new();
    let broker =
        launch(&home).arg("--max-event-bytes", "2KiB").arg("--max-request-bytes", "8KiB").start().await.unwrap();
    let publisher = broker.publisher("default");
    for Refusal(headers, body, code, word) in &REFUSALS {
        let request = headers.iter().fold(publisher.request(), |request, (name, value)| request.header(*name, *value));
        refused(&publisher, request.body(*body), *code, word).await;
    }
    let full = |publisher: &Publisher| {
        FULL.iter().fold(publisher.request(), |request, (name, value)| request.header(*name, *value))
    };
    refused(&publisher, full(&publisher).body(vec![b'x'; 3000]), 413, "2").await;
    refused(&publisher, full(&publisher).body(vec![b'x'; 9000]), 413, "8").await;
    let nowhere = broker.publisher("nobody");
    refused(&nowhere, full(&nowhere), 404, "nobody").await;
    let odd_path = publisher.moved(&format!("http://{}/", broker.addresses().ingress));
    refused(&odd_path, full(&odd_path), 404, "/").await;

    let list: schemas::admin::List<schemas::admin::BrokerItem> = broker.admin("/api/v1/brokers").await;
    assert_eq!(list.items.iter().map(|item| item.next_offset).collect::<Vec<_>>(), [0]);
}

#[tokio::test]
async fn other_methods_are_answered_as_the_web_hook_specification_says() {
    let home = Home::new();
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    let client = tests::harness::http_client();
    for (method, code) in [("GET", 405), ("PUT", 405), ("PATCH", 405), ("DELETE", 405)] {
        let request = client.request(method.parse().unwrap(), publisher.url());
        let ack = publisher.send(request).await.unwrap();
        assert_eq!(ack.code, code, "{method}");
        assert!(ack.headers["allow"].to_str().unwrap().contains("POST"), "{method}");
    }
    let request =
        client.request(reqwest::Method::OPTIONS, publisher.url()).header("webhook-request-origin", "shop.example");
    let ack = publisher.send(request).await.unwrap();
    assert_eq!(ack.code, 200);
    assert!(ack.headers["allow"].to_str().unwrap().contains("POST"));
    assert!(["*", "shop.example"].contains(&ack.headers["webhook-allowed-origin"].to_str().unwrap()));
    assert!(ack.headers.contains_key("webhook-allowed-rate"));
    assert!(client.head(publisher.url()).send().await.is_ok());
    let slashed = publisher.moved(&format!("{}/", publisher.url()));
    accepted(slashed.binary(&Sample::new("slash")).await);
}

#[tokio::test]
async fn an_empty_batch_is_accepted_and_stores_nothing() {
    let home = Home::new();
    let broker = start(&home).await;
    accepted(broker.publisher("default").batch(&[]).await);
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let list: schemas::admin::List<schemas::admin::BrokerItem> = broker.admin("/api/v1/brokers").await;
    assert_eq!(list.items.iter().map(|item| item.next_offset).collect::<Vec<_>>(), [1]);
}
