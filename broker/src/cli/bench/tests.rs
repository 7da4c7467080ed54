//! Loads against small real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::post;

use super::*;

/// A server that takes requests for `handler` at any path; its address.
async fn server<F, R>(handler: F) -> String
where
    F: Fn(Request) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = StatusCode> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/ns/b", post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/ns/b")
}

/// The client that forwards wants some cryptography, though nothing is encrypted; a second call changes nothing.
fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn plan(url: &str, stop: Stop) -> LoadPlan {
    LoadPlan { connections: 8, size_bytes: 32, ..LoadPlan::new(url, stop) }
}

#[tokio::test]
async fn a_count_is_sent_to_the_event() {
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let url = server(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::ACCEPTED }
    })
    .await;
    let report = load(plan(&url, Stop::Events(1000))).await.unwrap();
    assert_eq!((report.events, report.requests, seen.load(Ordering::SeqCst)), (1000, 1000, 1000));
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!(report.latency.len(), 1000);
    assert!(report.latency_at(0.5) > Duration::ZERO && report.latency_at(0.5) <= report.latency_at(1.0));
    assert!(report.elapsed >= report.latency_at(0.5));
}

#[tokio::test]
async fn a_duration_ends() {
    let url = server(|_| async { StatusCode::NO_CONTENT }).await;
    let report = load(plan(&url, Stop::After(Duration::from_millis(200)))).await.unwrap();
    assert!(report.events > 0 && report.elapsed >= Duration::from_millis(200));
    assert!(report.elapsed < Duration::from_secs(20), "{:?}", report.elapsed);
}

#[tokio::test]
async fn refusals_are_counted_by_status() {
    let turn = Arc::new(AtomicU64::new(0));
    let url = server(move |_| {
        let nth = turn.fetch_add(1, Ordering::SeqCst);
        async move { if nth.is_multiple_of(4) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::ACCEPTED } }
    })
    .await;
    let report = load(plan(&url, Stop::Events(400))).await.unwrap();
    assert_eq!((report.events, report.errors.get("503")), (300, Some(&100)));
}

#[tokio::test]
async fn nobody_there_is_an_error_and_not_a_hang() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = load(plan(&format!("http://{free}/"), Stop::Events(10))).await.unwrap();
    assert_eq!(report.events, 0);
    assert!(report.errors.keys().any(|what| what.contains("refused")), "{:?}", report.errors);
    for url in ["ftp://h/", "h:80", "https://h/", ""] {
        assert!(load(plan(url, Stop::Events(1))).await.is_err(), "{url}");
    }
}

/// Sends to the counter through a server that forwards each event as often as `copies` says of its turn.
async fn counted(mode: Mode, copies: impl Fn(u64) -> usize + Clone + Send + Sync + 'static) -> Delivery {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let blank = LoadPlan { mode, batch: 10, ..plan("", Stop::Events(400)) };
    let counter = Counter::start(anywhere, &blank).await.unwrap();
    let address = counter.address();
    crypto();
    let (client, turn) = (reqwest::Client::new(), Arc::new(AtomicU64::new(0)));
    let url = server(move |request: Request| {
        let (client, copies) = (client.clone(), copies(turn.fetch_add(1, Ordering::SeqCst)));
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            for _ in 0..copies {
                let sent = client.post(format!("http://{address}/")).headers(parts.headers.clone()).body(body.clone());
                assert!(sent.send().await.unwrap().status().is_success());
            }
            StatusCode::ACCEPTED
        }
    })
    .await;
    let report = load(LoadPlan { url, ..blank.clone() }).await.unwrap();
    assert_eq!(report.events, 400, "{:?}", report.errors);
    counter.settle(&report, blank.batch_events(), Duration::from_millis(300)).await
}

#[tokio::test]
async fn the_counter_tells_complete_lost_and_repeated() {
    for mode in [Mode::Binary, Mode::Structured, Mode::Batch] {
        let delivery = counted(mode, |_| 1).await;
        assert_eq!((delivery.delivered, delivery.missing, delivery.duplicates), (400, 0, 0), "{mode:?}");
        assert!(delivery.elapsed > Duration::ZERO);
    }
    let delivery = counted(Mode::Binary, |nth| usize::from(nth % 8 != 0)).await;
    assert_eq!((delivery.delivered, delivery.missing, delivery.duplicates), (350, 50, 0));
    let delivery = counted(Mode::Batch, |nth| if nth % 4 == 0 { 3 } else { 1 }).await;
    assert_eq!((delivery.delivered, delivery.missing, delivery.duplicates), (400, 0, 200));
}

#[tokio::test]
async fn what_was_refused_and_came_all_the_same_is_told_apart() {
    let blank = plan("", Stop::Events(100));
    let counter = Counter::start("127.0.0.1:0".parse().unwrap(), &blank).await.unwrap();
    let address = counter.address();
    crypto();
    let client = reqwest::Client::new();
    let url = server(move |request: Request| {
        let client = client.clone();
        async move {
            let sent = client.post(format!("http://{address}/")).headers(request.headers().clone()).body(vec![0; 32]);
            sent.send().await.unwrap();
            StatusCode::BAD_GATEWAY
        }
    })
    .await;
    let report = load(LoadPlan { url, ..blank }).await.unwrap();
    let delivery = counter.settle(&report, 1, Duration::from_millis(200)).await;
    assert_eq!((delivery.delivered, delivery.missing, delivery.unacknowledged), (0, 0, 100));
}

#[test]
fn arguments_make_a_plan() {
    use clap::Parser;
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }
    let parse = |args: &[&str]| Cli::try_parse_from([&["bench"], args].concat()).map(|cli| cli.args);
    let plan = parse(&["--url", "http://h:1/", "-n", "a", "--broker", "b", "--count", "5"]).unwrap().plan().unwrap();
    assert_eq!((plan.url.as_str(), plan.stop), ("http://h:1/a/b", Stop::Events(5)));
    let plan = parse(&["--url", "http://h:1/x", "--duration", "PT1M"]).unwrap().plan().unwrap();
    assert_eq!((plan.url.as_str(), plan.stop), ("http://h:1/x", Stop::After(Duration::from_secs(60))));
    for bad in [&["--duration", "ten"][..], &["--duration=-PT1S"], &["--size", "1"], &["--connections", "0"]] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn reports_are_shown() {
    let url = server(|_| async { StatusCode::ACCEPTED }).await;
    let plan = plan(&url, Stop::Events(10));
    let report = load(plan.clone()).await.unwrap();
    let delivery =
        Delivery { delivered: 9, missing: 1, duplicates: 2, unacknowledged: 0, elapsed: Duration::from_secs(3) };
    let json = show::json(&plan, &report, Some(&delivery));
    assert_eq!((&json["events"], &json["errors"]), (&10.into(), &serde_json::json!({})));
    assert_eq!((&json["subscriber"]["missing"], &json["subscriber"]["events_per_second"]), (&1.into(), &3.0.into()));
    assert!(json["latency_ms"]["p99_9"].as_f64().is_some_and(|millis| millis > 0.0), "{json}");
    let table = show::table(&plan, &report, Some(&delivery)).unwrap();
    for line in ["accepted     10 events", "missing      1", "duplicates   2"] {
        assert!(table.contains(line), "{table}");
    }
}
