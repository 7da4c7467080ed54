//! The yardsticks as servers: axum that accepts, counts or forwards; and the HTTP client alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::generator::EVENT_BYTES;

/// Serves until killed, after telling its address on stdout.
async fn serve(router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // As the broker does; without it small answers wait for the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

/// Reads the request whole and answers 202: what any ingress on axum costs at least.
pub(crate) async fn accept() -> anyhow::Result<()> {
    serve(Router::new().fallback(any(async |_body: Bytes| StatusCode::ACCEPTED))).await
}

/// A subscriber that takes everything; `GET /count` tells how many.
pub(crate) async fn count() -> anyhow::Result<()> {
    let counter = Arc::new(AtomicU64::new(0));
    let take = async |State(counter): State<Arc<AtomicU64>>, _body: Bytes| {
        counter.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let tell = async |State(counter): State<Arc<AtomicU64>>| counter.load(Ordering::Relaxed).to_string();
    serve(Router::new().route("/count", get(tell)).fallback(any(take)).with_state(counter)).await
}

fn client_of(connections: u16) -> anyhow::Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    Ok(builder.tcp_nodelay(true).pool_max_idle_per_host(connections.into()).build()?)
}

/// Receives and delivers as a broker without a log would: axum and the HTTP client in one process.
pub(crate) async fn forward(target: String) -> anyhow::Result<()> {
    let client = client_of(1024)?;
    let target: Arc<str> = target.into();
    let pass_on =
        async |State((client, target)): State<(reqwest::Client, Arc<str>)>, headers: HeaderMap, body: Bytes| {
            let mut request = client.post(&*target).body(body);
            for (name, value) in
                headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-") || *name == "content-type")
            {
                request = request.header(name, value);
            }
            match request.send().await {
                Ok(answer) if answer.status().is_success() => StatusCode::ACCEPTED,
                _ => StatusCode::BAD_GATEWAY,
            }
        };
    serve(Router::new().fallback(any(pass_on)).with_state((client, target))).await
}

/// The HTTP client alone, as the broker uses it: how many events a second it can deliver.
pub(crate) async fn client(target: &str, connections: u16, run: Duration) -> anyhow::Result<()> {
    let client = client_of(connections)?;
    let body = Bytes::from(vec![b'x'; EVENT_BYTES]);
    let deadline = Instant::now() + run;
    let mut tasks = JoinSet::new();
    for task in 0..connections {
        let (client, target, body) = (client.clone(), target.to_owned(), body.clone());
        tasks.spawn(async move {
            let mut taken = 0_u64;
            while Instant::now() < deadline {
                let request = client.post(&target).header("ce-specversion", "1.0").header("ce-source", "/bench");
                let request = request.header("ce-id", format!("{task}-{taken}")).header("ce-type", "com.example.bench");
                let answer = request.header("content-type", "application/octet-stream").body(body.clone()).send().await;
                taken += u64::from(answer.is_ok_and(|answer| answer.status().is_success()));
            }
            taken
        });
    }
    let taken: u64 = tasks.join_all().await.into_iter().sum();
    println!("{taken}");
    Ok(())
}
