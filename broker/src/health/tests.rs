use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::clock::{Clock, UnixMicros};
use crate::config::LogFormat;
use crate::dispatch::status::{StatusBoard, TriggerStatus};
use crate::event::Event;
use crate::log::{
    Bounds, BrokerLogs, EventLog, LogId, Offset, Page, ReadError, ReadLimit, Retention, Tail, Ticket, TrimError,
    Trimmed,
};
use crate::names::{BrokerKey, TriggerKey};
use crate::state::MemoryStore;

pub(super) fn status(floor: u64) -> TriggerStatus {
    TriggerStatus {
        broker: "ns/broker".parse().unwrap(),
        began: Offset(0),
        scanned: Offset(floor),
        floor: Offset(floor),
        letters_floor: None,
        unsettled: 4,
        retrying: 1,
        in_flight: 2,
        dead_letters: 0,
        wake: None,
        failing: false,
        last_error: None,
        oldest_unsettled: Some(UnixMicros(7_500_000)),
    }
}

/// A log that has nothing but bounds and a health.
#[derive(Debug)]
struct Fake(Mutex<Health>);

impl EventLog for Fake {
    fn append(&self, _: Vec<Event>) -> Ticket {
        Ticket::ready(Err(crate::log::AppendError::Closed))
    }
    fn read(&self, _: Offset, _: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>> {
        Box::pin(async { Err(ReadError::Closed) })
    }
    fn seek_time(&self, _: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async { Err(ReadError::Closed) })
    }
    fn bounds(&self) -> Bounds {
        Bounds { first: Offset(0), next: Offset(100), bytes: 5000, ..Bounds::default() }
    }
    fn tail(&self) -> Tail {
        Tail::new(tokio::sync::watch::channel(Offset(100)).1)
    }
    fn trim(&self, _: Offset, _: Retention, _: UnixMicros) -> BoxFuture<'_, Result<Trimmed, TrimError>> {
        Box::pin(async { Ok(Trimmed::default()) })
    }
    fn health(&self) -> Health {
        self.0.lock().unwrap().clone()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A store of which only the health matters.
#[derive(Debug, Default)]
struct Troubled(MemoryStore, Option<String>);

impl StateStore for Troubled {
    fn load_cursors(&self) -> BoxFuture<'_, Result<Vec<(TriggerKey, crate::state::Cursor)>, crate::state::StateError>> {
        self.0.load_cursors()
    }
    fn save_cursor(&self, key: &TriggerKey, cursor: crate::state::Cursor) {
        self.0.save_cursor(key, cursor);
    }
    fn remove_cursor(&self, key: &TriggerKey) {
        self.0.remove_cursor(key);
    }
    fn put(&self, key: String, value: Option<Vec<u8>>) {
        self.0.put(key, value);
    }
    fn scan(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<crate::state::Entry>, crate::state::StateError>> {
        self.0.scan(prefix)
    }
    fn flush(&self) -> BoxFuture<'_, Result<(), crate::state::StateError>> {
        self.0.flush()
    }
    fn health(&self) -> StoreHealth {
        self.1.clone().map_or(StoreHealth::Sound, StoreHealth::Failed)
    }
}

struct Setup {
    parts: HealthParts,
    board: StatusBoard,
    log: Arc<Fake>,
}

fn setup() -> Setup {
    let (_, telemetry) = crate::telemetry::build(LogFormat::Text, "info", false, std::io::sink).unwrap();
    let log = Arc::new(Fake(Mutex::new(Health::Writable)));
    let logs = LogSet::new();
    let key: BrokerKey = "ns/broker".parse().unwrap();
    logs.insert(BrokerLogs {
        key,
        id: LogId::default(),
        events: log.clone(),
        dead_letters: Arc::new(Fake(Mutex::new(Health::Writable))),
    });
    let (metrics, board) = (Metrics::new(), StatusBoard::new());
    let clock = Clock::manual(Arc::new(AtomicU64::new(10_000_000)));
    let lag = Arc::new(LagReporter::new(metrics.clone(), board.clone(), logs.clone(), clock));
    let state = Arc::new(MemoryStore::new());
    Setup { parts: HealthParts { readiness: Readiness::new(), logs, state, metrics, lag, telemetry }, board, log }
}

async fn call(parts: &HealthParts, method: Method, path: &str, body: &str) -> (StatusCode, String, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let response = router(parts.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn ready_now(parts: &HealthParts) -> (u16, Value) {
    let (status, kind, body) = call(parts, Method::GET, "/ready", "").await;
    assert_eq!(kind, "application/json");
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(report["ready"], status == StatusCode::OK);
    (status.as_u16(), report["parts"].clone())
}

fn trouble(parts: &Value) -> Vec<Value> {
    parts.as_array().unwrap().iter().filter(|part| part["state"] != "ok").cloned().collect()
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    let Setup { mut parts, log, .. } = setup();
    assert_eq!(call(&parts, Method::GET, "/live", "").await.0, StatusCode::OK, "alive before it is ready");
    let (status, missing) = ready_now(&parts).await;
    assert_eq!((status, trouble(&missing).len()), (503, 2));
    parts.readiness.listening();
    assert_eq!(ready_now(&parts).await.0, 503);
    parts.readiness.triggers_loaded();
    let (status, all) = ready_now(&parts).await;
    assert_eq!((status, trouble(&all)), (200, vec![]));

    *log.0.lock().unwrap() = Health::Full("no space".to_owned());
    let (status, full) = ready_now(&parts).await;
    let expected = json!({"name": "log ns/broker", "state": "degraded", "detail": "no space"});
    assert_eq!((status, trouble(&full)), (200, vec![expected]));
    *log.0.lock().unwrap() = Health::Poisoned("sync failed".to_owned());
    let (status, poisoned) = ready_now(&parts).await;
    let expected = json!({"name": "log ns/broker", "state": "failed", "detail": "sync failed"});
    assert_eq!((status, trouble(&poisoned)), (503, vec![expected]));
    *log.0.lock().unwrap() = Health::Writable;

    parts.readiness.drain();
    let (status, draining) = ready_now(&parts).await;
    let expected = json!({"name": "draining", "state": "failed", "detail": "the broker is stopping"});
    assert_eq!((status, trouble(&draining)), (503, vec![expected]));
    assert_eq!(call(&parts, Method::GET, "/live", "").await.0, StatusCode::OK, "alive while it drains");

    parts.state = Arc::new(Troubled(MemoryStore::new(), Some("disk gone".to_owned())));
    let (_, failed) = ready_now(&parts).await;
    assert!(trouble(&failed).contains(&json!({"name": "state", "state": "failed", "detail": "disk gone"})));
}

#[tokio::test]
async fn metrics_show_lag_and_forget_what_is_gone() {
    let Setup { parts, board, .. } = setup();
    let key: TriggerKey = "ns/orders".parse().unwrap();
    board.set(&key, status(60));
    let (status, kind, text) = call(&parts, Method::GET, "/metrics", "").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, OPENMETRICS));
    let labels = r#"{namespace="ns",trigger="orders"}"#;
    for line in [
        format!("reveille_lag_events{labels} 44"),
        format!("reveille_lag_bytes{labels} 2200"),
        format!("reveille_oldest_undelivered_seconds{labels} 2.5"),
        format!("reveille_window_events{labels} 4"),
        format!("reveille_delivery_in_flight{labels} 2"),
        r#"reveille_log_size_bytes{namespace="ns",broker="broker"} 5000"#.to_owned(),
        "# EOF".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }

    board.remove(&key);
    parts.logs.remove(&"ns/broker".parse().unwrap());
    let (_, _, text) = call(&parts, Method::GET, "/metrics", "").await;
    assert!(!text.contains("orders") && !text.contains("reveille_log_size_bytes{"), "{text}");
}

#[tokio::test]
async fn the_log_level_can_be_read_and_set() {
    let Setup { parts, .. } = setup();
    // The filter lives as long as its subscriber.
    let (_subscriber, telemetry) = crate::telemetry::build(LogFormat::Text, "info", false, std::io::sink).unwrap();
    let parts = HealthParts { telemetry, ..parts };
    let check = async |method, body: &str, status: u16, answer: &str| {
        let (got, _, text) = call(&parts, method, "/log-level", body).await;
        assert_eq!(got.as_u16(), status, "{text}");
        assert!(text.starts_with(answer), "{text}");
    };
    check(Method::GET, "", 200, "info\n").await;
    check(Method::PUT, "info,broker=debug\n", 200, "info,broker=debug\n").await;
    check(Method::GET, "", 200, "info,broker=debug\n").await;
    check(Method::PUT, "broker=loud", 400, "`broker=loud` is no log filter").await;
    check(Method::PUT, &"x".repeat(FILTER_BYTES_MAX + 1), 413, "").await;
    check(Method::GET, "", 200, "info,broker=debug\n").await;
    check(Method::POST, "info", 405, "").await;
}
