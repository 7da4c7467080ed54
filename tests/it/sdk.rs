//! Publishers that people use: the Python, JavaScript and Rust SDKs, in every mode each of them writes. What they
//! sent is compared with what the subscriber got, attribute by attribute, and the data byte by byte or as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloudevents::binding::http::Serializer;
use cloudevents::message::StructuredDeserializer;
use cloudevents::{EventBuilder, EventBuilderV10};
use serde_json::Value;
use tests::harness::{Home, Publisher, Received, Subscriber, TriggerManifest};

use super::start;

/// An event, however it was written: attributes as text, and its data.
#[derive(Debug, PartialEq)]
struct Plain {
    attributes: BTreeMap<String, String>,
    data: Data,
}

#[derive(Debug, PartialEq)]
enum Data {
    Bytes(Vec<u8>),
    Json(Value),
}

fn plain<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>, body: &[u8]) -> Plain {
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let content_type = headers.get("content-type").map_or("", String::as_str);
    if content_type.starts_with("application/cloudevents+json") {
        return structured(&serde_json::from_slice(body).unwrap());
    }
    let mut attributes: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("ce-")?.to_owned(), percent_decoded(value))))
        .collect();
    attributes.insert("datacontenttype".to_owned(), content_type.to_owned());
    Plain { attributes, data: Data::Bytes(body.to_vec()) }
}

fn structured(event: &Value) -> Plain {
    let members = event.as_object().unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let data = match (members.get("data"), members.get("data_base64")) {
        (_, Some(base64)) => Data::Bytes(STANDARD.decode(base64.as_str().unwrap()).unwrap()),
        (data, None) => Data::Json(data.cloned().unwrap_or_default()),
    };
    let attributes = members.iter().filter(|(name, _)| !name.starts_with("data_base64") && *name != "data");
    Plain { attributes: attributes.map(|(name, value)| (name.clone(), text(value))).collect(), data }
}

/// One pass, leaving alone what is no escape: how a broker must read what SDKs without percent-coding send.
fn percent_decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escape =
            value.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap()
}

fn check(what: &str, sent: &Plain, received: &Received) {
    let headers = received.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let got = plain(headers, &received.body);
    assert_eq!(got.attributes, sent.attributes, "{what}");
    match (&sent.data, &got.data) {
        (Data::Bytes(sent), Data::Bytes(got)) => assert_eq!(sent, got, "{what}"),
        (Data::Json(sent), Data::Bytes(got)) => {
            assert_eq!(sent, &serde_json::from_slice::<Value>(got).unwrap(), "{what}");
        }
        (_, Data::Json(_)) => unreachable!("{what}: the subscriber gets binary mode"),
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program to its end and gives its stdout.
async fn output(program: impl AsRef<std::ffi::OsStr>, args: &[&str], node_path: Option<&str>) -> String {
    let mut command = tokio::process::Command::new(program.as_ref());
    command.args(args).envs(node_path.map(|path| ("NODE_PATH", path))).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{:?} {args:?}: {}", program.as_ref(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes sure that an SDK is there, and tells where.
async fn installed(sdk: &str) -> PathBuf {
    output(repository().join("sdk/install"), &[sdk], None).await.into()
}

/// What a script printed about the event it sent.
fn report(stdout: &str) -> Plain {
    let report: Value = serde_json::from_str(stdout).unwrap();
    assert_eq!(report["status"], 202, "{report}");
    let headers = report["headers"].as_object().unwrap().iter();
    let body = STANDARD.decode(report["body"].as_str().unwrap()).unwrap();
    plain(headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap())), &body)
}

#[tokio::test]
async fn python_events_arrive_unchanged() {
    let python = installed("python").await;
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let (script, publisher) = (repository().join("sdk/publish.py"), broker.publisher("default"));
    for (n, mode) in ["binary", "structured"].iter().enumerate() {
        let sent = report(&output(&python, &[script.to_str().unwrap(), publisher.url(), mode, mode], None).await);
        assert_eq!(sent.attributes["subject"], "Größe: 100 % \"€\"", "the script sends something else");
        check(mode, &sent, &subscriber.wait_for(n + 1).await[n]);
    }
}

#[tokio::test]
async fn javascript_events_arrive_unchanged() {
    let modules = installed("node").await;
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let (script, publisher) = (repository().join("sdk/publish.cjs"), broker.publisher("default"));
    for (n, mode) in ["binary", "structured"].iter().enumerate() {
        let args = [script.to_str().unwrap(), publisher.url(), mode, mode];
        let sent = report(&output("node", &args, modules.to_str()).await);
        assert_eq!(sent.attributes["subject"], "100 % plain", "the script sends something else");
        check(mode, &sent, &subscriber.wait_for(n + 1).await[n]);
    }
}

/// Builds a request for the SDK, which writes into whatever implements its seam.
struct Builder(http::request::Builder);

impl cloudevents::binding::http::Builder<http::Request<Vec<u8>>> for Builder {
    fn header(&mut self, name: &str, value: http::HeaderValue) {
        self.0 = std::mem::take(&mut self.0).header(name, value);
    }

    fn body(&mut self, bytes: Vec<u8>) -> cloudevents::message::Result<http::Request<Vec<u8>>> {
        let request = std::mem::take(&mut self.0).body(bytes);
        request.map_err(|error| cloudevents::message::Error::Other { source: Box::new(error) })
    }

    fn finish(&mut self) -> cloudevents::message::Result<http::Request<Vec<u8>>> {
        self.body(Vec::new())
    }
}

fn rust_event(id: &str) -> cloudevents::Event {
    let builder = EventBuilderV10::new()
        .id(id)
        .source("/rust")
        .ty("com.example.rust")
        .subject("a b")
        .time("2026-02-03T04:05:06Z");
    let data = serde_json::json!({"text": "Größe €", "list": [1.5, null, true]});
    builder.extension("partitionkey", "k1").extension("hop", 7_i64).data("application/json", data).build().unwrap()
}

async fn send(publisher: &Publisher, request: http::Request<Vec<u8>>) -> Plain {
    let (head, body) = request.into_parts();
    let sent = plain(head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())), &body);
    let ack = publisher.send(publisher.request().headers(head.headers).body(body)).await.unwrap();
    assert_eq!(ack.code, 202, "{}", ack.body);
    sent
}

#[tokio::test]
async fn rust_events_arrive_unchanged() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");

    let request = http::Request::<Option<Vec<u8>>>::try_from(rust_event("binary")).unwrap();
    let sent = send(&publisher, request.map(Option::unwrap_or_default)).await;
    check("binary", &sent, &subscriber.wait_for(1).await[0]);

    let serializer = Serializer::new(Builder(http::Request::builder()));
    let request = StructuredDeserializer::deserialize_structured(rust_event("structured"), serializer).unwrap();
    let sent = send(&publisher, request).await;
    check("structured", &sent, &subscriber.wait_for(2).await[1]);

    // The SDK writes no batches itself; a JSON array of its events is one.
    let events: Vec<cloudevents::Event> = ["batch-0", "batch-1"].map(rust_event).into();
    let body = serde_json::to_string(&events).unwrap();
    let request = publisher.request().header("content-type", "application/cloudevents-batch+json").body(body);
    assert_eq!(publisher.send(request).await.unwrap().code, 202);
    let received = subscriber.wait_for(4).await;
    for event in &events {
        let sent = structured(&serde_json::to_value(event).unwrap());
        let id = &sent.attributes["id"];
        check(id, &sent, received.iter().find(|received| received.id() == id).unwrap());
    }
}
