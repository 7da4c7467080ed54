use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use tokio::net::TcpListener;

use super::*;
use crate::config::{LogFormat, Period};
use crate::state::tests::files::Files;

/// Reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(60);

async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !look().await {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Broker {
    running: Running,
    http: reqwest::Client,
    delivered: Arc<AtomicUsize>,
    published: usize,
    _home: tempfile::TempDir,
    _log: Box<dyn std::any::Any>,
}

impl Broker {
    /// With one Trigger, whose subscriber takes everything.
    async fn start(files: Files) -> Self {
        crate::deliver::http::tls();
        let home = tempfile::tempdir().unwrap();
        let (data, manifests) = (home.path().join("data"), home.path().join("manifests"));
        std::fs::create_dir(&manifests).unwrap();
        let delivered = Arc::new(AtomicUsize::new(0));
        let count = delivered.clone();
        let subscriber = Router::new().fallback(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, subscriber).into_future());
        let objects = format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: default}}\n---\n\
             apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\n\
             spec: {{broker: default, subscriber: {{uri: \"http://{address}/\"}}}}\n"
        );
        std::fs::write(manifests.join("all.yaml"), objects).unwrap();
        let mut config = ServeConfig::local(data, manifests);
        config.drain_timeout = Period(Duration::from_secs(1));
        config.state_flush_interval = Period(Duration::from_millis(20));
        let (log, telemetry) = crate::telemetry::build(LogFormat::Text, "info", false, std::io::sink).unwrap();
        let running = start_on(config, telemetry, Arc::new(files)).await.unwrap();
        running.until_loaded().await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { running, http, delivered, published: 0, _home: home, _log: Box::new(log) }
    }

    /// That an event is accepted and delivered.
    async fn passes_one(&mut self) {
        let url = format!("http://{}/default/default", self.running.addrs().ingress);
        let headers = [("ce-specversion", "1.0"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-id", "1")];
        let request = headers.iter().fold(self.http.post(url), |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.body("x").send().await.unwrap().status(), 202);
        self.published += 1;
        let (delivered, published) = (&self.delivered, self.published);
        eventually("the delivery", || async { delivered.load(Ordering::Relaxed) == published }).await;
    }

    async fn health(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}/{path}", self.running.addrs().health);
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn unflushed(&self) -> f64 {
        let (_, text) = self.health("metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix("reveille_state_unflushed_seconds "));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_never_returns_stops_neither_events_nor_the_end() {
    let files = Files::default();
    let mut broker = Broker::start(files.clone()).await;
    broker.passes_one().await;
    eventually("the first cursor to be durable", || async { broker.unflushed().await.abs() < f64::EPSILON }).await;

    files.hang(true);
    broker.passes_one().await;
    eventually("the age of the cursor to grow", || async { broker.unflushed().await > 1.0 }).await;
    broker.passes_one().await;
    eventually("/ready to tell", || async {
        let (status, text) = broker.health("ready").await;
        assert_eq!(status, 200, "events go on: {text}");
        text.contains("nothing was made durable for")
    })
    .await;
    broker.passes_one().await;

    let patience = broker.running.drain_timeout + FLUSH_GRACE + Duration::from_secs(20);
    let stopped = tokio::time::timeout(patience, broker.running.stop()).await.expect("it ends in time");
    let error = format!("{:#}", stopped.unwrap_err());
    assert!(error.contains("the next start repeats some deliveries") && error.contains("a flush hangs"), "{error}");
    files.hang(false);
}
