//! What publishers send, and what they are told: the rows I1 to I16 of the data plane contract, and ours.

use std::time::Duration;

use super::*;
use crate::event::{BodyKind, SpecVersion};

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a" : 1}}"#;
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GOOD.into_iter().filter(|(key, _)| *key != name).collect()
}

fn with(extra: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let names: Vec<_> = extra.iter().map(|(name, _)| *name).collect();
    GOOD.into_iter().filter(|(key, _)| !names.contains(key)).chain(extra.iter().copied()).collect()
}

#[tokio::test]
async fn i1_any_media_type_is_taken_in_binary_mode() {
    let rig = Rig::start().await;
    for (content_type, body) in [
        ("application/json", &b"{\"z\" :1}"[..]),
        ("application/xml", b"<a/>"),
        ("application/vnd.apache.thrift.binary", b"\x00\x01\xff"),
    ] {
        let answer = rig.post(&with(&[("content-type", content_type)]), body).await;
        assert_eq!((answer.status, answer.body.len()), (202, 0), "{content_type}");
        let events = rig.log.take();
        assert_eq!(events[0].datacontenttype(), Some(content_type));
        assert_eq!(events[0].body(), body);
    }
}

#[tokio::test]
async fn i2_i3_structured_mode_and_version_0_3_are_taken() {
    let rig = Rig::start().await;
    assert_eq!(rig.post_json("Application/CloudEvents+JSON; charset=utf-8", EVENT).await.status, 202);
    assert_eq!(rig.log.take()[0].body(), r#"{"a" : 1}"#);
    assert_eq!(rig.post(&with(&[("ce-specversion", "0.3")]), b"x").await.status, 202);
    assert_eq!(rig.log.take()[0].spec_version(), SpecVersion::V03);
}

#[tokio::test]
async fn i4_i5_i8_malformed_events_are_refused_with_attribute_and_reason() {
    let rig = Rig::start().await;
    let malformed =
        |attribute: Option<&str>| (400, "malformed_event".to_owned(), attribute.map(|attribute| attribute.to_owned()));
    for (headers, attribute) in [
        (with(&[("ce-specversion", "19.0")]), "specversion"),
        (with(&[("ce-specversion", "9000.1")]), "specversion"),
        (without("ce-specversion"), "specversion"),
        (without("ce-id"), "id"),
        (without("ce-source"), "source"),
        (without("ce-type"), "type"),
        (with(&[("ce-id", "%20")]), "id"),
        (with(&[("ce-type", "")]), "type"),
        (with(&[("ce-subject", "")]), "subject"),
        (with(&[("ce-my_ext", "1")]), "my_ext"),
        (with(&[("ce-time", "today")]), "time"),
        (with(&[("ce-datacontenttype", "a/b")]), "datacontenttype"),
        (with(&[("ce-knativebrokerttl", "1")]), "knativebrokerttl"),
        (with(&[("ce-knativebrokerttl", "-5")]), "knativebrokerttl"),
    ] {
        assert_eq!(rig.post(&headers, b"x").await.gist(), malformed(Some(attribute)), "{headers:?}");
    }
    for text in ["{", "[]", "5", ""] {
        assert_eq!(rig.post_json(STRUCTURED, text).await.gist(), malformed(None), "{text}");
    }
    assert_eq!(rig.post(&[], b"hello").await.gist(), malformed(None));
    let unsupported = (415, "unsupported_format".to_owned(), None);
    assert_eq!(rig.post_json("application/cloudevents+avro", "x").await.gist(), unsupported);
    assert_eq!(rig.post_json("application/cloudevents+json;charset=utf-16", EVENT).await.gist(), unsupported);
    assert!(rig.log.batches().is_empty());
}

#[tokio::test]
async fn i6_i7_methods() {
    let rig = Rig::start().await;
    for method in ["GET", "PUT", "PATCH", "DELETE", "BREW"] {
        let answer = rig.send(method, "/ns/b", &GOOD, b"").await;
        assert_eq!(answer.gist(), (405, "method_not_allowed".to_owned(), None), "{method}");
        assert!(answer.header("allow").unwrap().contains("POST"));
    }
    let answer = rig.send("OPTIONS", "/ns/b", &[("WebHook-Request-Origin", "eventemitter.example.com")], b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    assert_eq!(answer.header("webhook-allowed-origin"), Some("eventemitter.example.com"));
    assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
    assert_eq!(rig.send("OPTIONS", "/", &[], b"").await.header("webhook-allowed-origin"), Some("*"));
    assert_eq!(rig.send("HEAD", "/ns/b", &[], b"").await.status, 200);
    assert_eq!(rig.send("HEAD", "/ns/none", &[], b"").await.status, 404);
}

#[tokio::test]
async fn i9_i10_paths() {
    let rig = Rig::start().await;
    for (path, expected) in [
        ("/ns/b", None),
        ("/ns/b/", None),
        ("/ns/b?x=1", None),
        ("/ns/other", Some("unknown_broker")),
        ("/other/b", Some("unknown_broker")),
        ("/ns/%62", Some("unknown_broker")),
        ("/", Some("bad_path")),
        ("/ns", Some("bad_path")),
        ("/ns/", Some("bad_path")),
        ("//b", Some("bad_path")),
        ("/ns/b//", Some("bad_path")),
        ("/ns/b/c", Some("bad_path")),
    ] {
        let answer = rig.send("POST", path, &GOOD, b"x").await;
        match expected {
            None => assert_eq!(answer.status, 202, "{path}"),
            Some(code) => assert_eq!(answer.gist(), (404, code.to_owned(), None), "{path}"),
        }
    }
}

#[tokio::test]
async fn i11_the_answer_waits_for_the_log() {
    let rig = Rig::start().await;
    rig.log.answer(Answering::WhenReleased);
    let mut stream = rig.connect().await;
    stream.write_all(&request("POST", "/ns/b", &GOOD, b"x")).await.unwrap();
    rig.log.arrival(1).await;
    let early = tokio::time::timeout(Duration::from_millis(100), stream.readable()).await;
    assert!(early.is_err(), "answered before the event was durable");
    assert_eq!(rig.metrics.ingest_in_flight_bytes.get(), 1);
    rig.log.release();
    assert_eq!(answer(&mut stream).await.status, 202);
    assert_eq!(rig.metrics.ingest_in_flight_bytes.get(), 0);
}

#[tokio::test]
async fn i12_i13_i14_repeats_large_bodies_and_odd_headers() {
    let rig = Rig::start().await;
    let body: Vec<u8> = (0..36_864_u32).map(|n| n.to_le_bytes()[0]).collect();
    for _ in 0..2 {
        assert_eq!(rig.post(&with(&[("upgrade", "unknown/1")]), &body).await.status, 202);
    }
    let events = rig.log.take();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.body() == &body));
}

#[tokio::test]
async fn i15_a_batch_is_taken_whole_or_not_at_all() {
    let rig = Rig::start().await;
    assert_eq!(rig.post_json(BATCH, &format!("[{EVENT},{EVENT},{EVENT}]")).await.status, 202);
    assert_eq!(rig.log.batches().iter().map(Vec::len).collect::<Vec<_>>(), [3]);
    rig.log.take();
    let answer = rig.post_json(BATCH, &format!(r#"[{EVENT},{{"specversion":"1.0","id":"2"}}]"#)).await;
    assert_eq!(answer.gist(), (400, "malformed_event".to_owned(), Some("source".to_owned())));
    assert_eq!(answer.problem()["index"], 1);
    let spent = EVENT.replace("\"data\"", "\"knativebrokerttl\":1,\"data\"");
    assert_eq!(rig.post_json(BATCH, &format!("[{EVENT},{spent}]")).await.problem()["index"], 1);
    assert_eq!(rig.post_json(BATCH, "[]").await.status, 202);
    assert!(rig.log.batches().is_empty());
}

#[tokio::test]
async fn i16_too_large_is_refused_while_reading() {
    let limits = IngressLimits { event_bytes: 1000, request_bytes: 5000, ..IngressLimits::default() };
    let rig = Rig::with(limits, ServerLimits::default()).await;
    assert_eq!(rig.post(&GOOD, &[0; 1000]).await.status, 202);
    let large = rig.post(&GOOD, &[0; 1001]).await;
    assert_eq!(large.gist(), (413, "event_too_large".to_owned(), None));
    assert!(large.problem()["detail"].as_str().unwrap().contains("1000"));
    let large = rig.post_json(BATCH, &" ".repeat(5001)).await;
    assert_eq!(large.gist(), (413, "request_too_large".to_owned(), None));
    let inner = EVENT.replace("1}", &format!("\"{}\"}}", "x".repeat(1000)));
    let large = rig.post_json(BATCH, &format!("[{EVENT},{inner}]")).await;
    assert_eq!((large.status, &large.problem()["index"]), (413, &serde_json::json!(1)));

    // Far more than the limit, in chunks: refused long before the end, and the answer still arrives.
    let mut stream = rig.connect().await;
    let head = "POST /ns/b HTTP/1.1\r\nhost: x\r\nconnection: close\r\nce-id: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..64 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut stream).await.gist().0, 413);
    assert_eq!(rig.metrics.ingest_in_flight_bytes.get(), 0);
}

#[tokio::test]
async fn an_announced_length_above_the_limit_is_refused_unread() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    let head = "POST /ns/b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = answer(&mut stream).await;
    assert_eq!(answer.status, 413, "and no 100 Continue before it");
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_over_all_requests() {
    let limits = IngressLimits { in_flight_bytes: 1500, ..IngressLimits::default() };
    let rig = Rig::with(limits, ServerLimits::default()).await;
    rig.log.answer(Answering::WhenReleased);
    let mut first = rig.connect().await;
    first.write_all(&request("POST", "/ns/b", &GOOD, &[0; 1000])).await.unwrap();
    rig.log.arrival(1).await;
    let refused = rig.post(&GOOD, &[0; 501]).await;
    assert_eq!(refused.gist(), (503, "overloaded".to_owned(), None));
    assert_eq!(refused.header("retry-after"), Some("1"));
    rig.log.release();
    assert_eq!(answer(&mut first).await.status, 202);
    rig.log.answer(Answering::AtOnce);
    assert_eq!(rig.post(&GOOD, &[0; 501]).await.status, 202, "the bytes came back");
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let limits = IngressLimits { body_timeout: Duration::from_millis(200), ..IngressLimits::default() };
    let rig = Rig::with(limits, ServerLimits::default()).await;
    let mut stream = rig.connect().await;
    let mut text = request("POST", "/ns/b", &GOOD, b"0123456789");
    text.truncate(text.len() - 5);
    stream.write_all(&text).await.unwrap();
    assert_eq!(answer(&mut stream).await.gist(), (408, "request_timeout".to_owned(), None));
    assert!(rig.log.batches().is_empty());
}

#[tokio::test]
async fn what_the_log_refuses_has_its_own_answer() {
    let rig = Rig::start().await;
    for (error, status, code, retry_after) in [
        (AppendError::Overloaded { queued_bytes: 9 }, 503, "overloaded", Some("1")),
        (AppendError::Full("/data: no space".to_owned()), 507, "out_of_space", Some("10")),
        (AppendError::Poisoned("/data: EIO".to_owned()), 503, "log_unavailable", Some("5")),
        (AppendError::TooLarge { bytes: 9, limit_bytes: 8 }, 413, "request_too_large", None),
        (AppendError::Closed, 503, "shutting_down", Some("5")),
    ] {
        rig.log.answer(Answering::With(error));
        let answer = rig.post(&GOOD, b"x").await;
        assert_eq!(answer.gist(), (status, code.to_owned(), None));
        assert_eq!(answer.header("retry-after"), retry_after, "{code}");
        assert!(!answer.problem()["detail"].as_str().unwrap().contains("/data"), "no paths for publishers");
    }
}

#[tokio::test]
async fn publishers_wait_while_nobody_knows_which_brokers_there_are() {
    let rig = Rig::start().await;
    for (incomplete, status, code, retry_after) in
        [(true, 503, "starting_up", Some("5")), (false, 404, "unknown_broker", None)]
    {
        rig.logs.set_incomplete(incomplete);
        let answer = rig.send("POST", "/ns/other", &GOOD, b"x").await;
        assert_eq!((answer.gist(), answer.header("retry-after")), ((status, code.to_owned(), None), retry_after));
        assert_eq!(rig.post(&GOOD, b"x").await.status, 202, "a Broker that is known takes events");
    }
}

/// Kubernetes may say that a Broker is ready before the news has come here.
#[tokio::test]
async fn a_publisher_waits_a_moment_for_a_broker_that_is_not_known_yet() {
    let limits = IngressLimits { unknown_wait: Duration::from_millis(300), ..IngressLimits::default() };
    let rig = Rig::with(limits, ServerLimits::default()).await;
    let early = async { rig.send("POST", "/ns/early", &GOOD, b"x").await.status };
    let added = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let key = BrokerKey::parse("ns", "early").unwrap();
        rig.logs.insert(BrokerLogs {
            key,
            id: crate::log::LogId::default(),
            events: rig.log.clone(),
            dead_letters: FakeLog::new(),
        });
    };
    assert_eq!(tokio::join!(early, added).0, 202);
    assert_eq!(rig.send("POST", "/ns/never", &GOOD, b"x").await.status, 404);
}

#[tokio::test]
async fn hops_and_trace_are_put_right() {
    let rig = Rig::start().await;
    for (sent, kept) in [("2", Some("2")), ("255", Some("255")), ("many", None), ("", None)] {
        assert_eq!(rig.post(&with(&[("ce-knativebrokerttl", sent)]), b"x").await.status, 202);
        let event = rig.log.take().remove(0);
        assert_eq!(event.attribute("knativebrokerttl").map(|a| a.value), kept, "{sent}");
        assert_eq!((&event.body()[..], event.body_kind()), (&b"x"[..], BodyKind::Binary));
    }
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", parent), ("tracestate", "a=1"), ("content-type", BATCH)];
    let own = EVENT.replace("\"data\"", "\"traceparent\":\"own\",\"data\"");
    assert_eq!(rig.post(&headers, format!("[{EVENT},{own}]").as_bytes()).await.status, 202);
    let events = rig.log.take();
    let of = |event: &Event, name: &str| event.attribute(name).map(|a| a.value.to_owned());
    assert_eq!(of(&events[0], "traceparent").as_deref(), Some(parent));
    assert_eq!(of(&events[0], "tracestate").as_deref(), Some("a=1"));
    assert_eq!((of(&events[1], "traceparent").as_deref(), of(&events[1], "tracestate")), (Some("own"), None));
}

#[tokio::test]
async fn requests_are_counted() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        rig.post(&GOOD, b"x").await;
    }
    rig.post_json(BATCH, &format!("[{EVENT},{EVENT}]")).await;
    rig.post(&[], b"x").await;
    rig.send("POST", "/ns/none", &GOOD, b"x").await;
    let text = rig.metrics.encode().unwrap();
    for line in [
        r#"reveille_ingest_events_total{namespace="ns",broker="b"} 4"#,
        r#"reveille_ingest_answers_total{code="accepted"} 3"#,
        r#"reveille_ingest_answers_total{code="malformed_event"} 1"#,
        r#"reveille_ingest_answers_total{code="unknown_broker"} 1"#,
        "reveille_ingest_duration_seconds_count 5",
        "reveille_ingest_in_flight_bytes 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
