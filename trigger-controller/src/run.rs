//! The composition root: puts the parts together, runs them until told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use http::header::{HeaderValue, USER_AGENT};
use kube::{Client, Config as KubeConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Times};
use crate::controller::{Controller, Parts};
use crate::events::Events;
use crate::health::{self, Readiness};
use crate::lease::{self, Timing};
use crate::metrics::Metrics;
use crate::reconcile::Writer;

/// How much longer than `--api-timeout` an answer may be silent: a watch that is silent ends itself before that.
const READ_MARGIN: Duration = Duration::from_secs(10);

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// When the API server cannot be found, or the health port cannot be opened.
pub(crate) async fn run(config: Config, times: Times) -> anyhow::Result<()> {
    let client = client(times).await?;
    let (readiness, metrics) = (Readiness::new(), Metrics::new());
    let stop = CancellationToken::new();
    let address = serve(&config, readiness.clone(), metrics.clone(), stop.clone()).await?;
    if config.print_addrs {
        println!("{}", serde_json::json!({"health": address}));
    }
    let identity = identity();
    let timing = Timing::of(times.lease);
    let place = lease::Place { namespace: config.namespace.clone(), name: config.lease_name.clone() };
    tracing::info!(%address, identity, lease = place.name, namespace = place.namespace, "controller starts");
    let (leadership, campaign) =
        lease::run(client.clone(), &place, identity.clone(), timing, metrics.clone(), stop.clone());
    let events = Events::start(client.clone(), identity, leadership.clone(), metrics.clone(), stop.clone());
    let parts = Parts {
        writer: Writer::new(client.clone(), leadership.clone(), timing.write_limit()),
        client,
        settings: config.settings(),
        events,
        leadership,
        readiness: readiness.clone(),
        metrics,
        ingress_grace: times.ingress_grace,
        watch_timeout_seconds: u32::try_from(times.api_timeout.as_secs()).unwrap_or(u32::MAX),
    };
    // Writes must have stopped before the lead is given up.
    let quit = CancellationToken::new();
    let controller = tokio::spawn(Controller::new(parts).run(quit.clone()));
    terminated().await?;
    tracing::info!("controller stops");
    readiness.stop();
    quit.cancel();
    controller.await.context("the controller's loop failed")?;
    stop.cancel();
    campaign.await.context("the election failed")
}

async fn client(times: Times) -> anyhow::Result<Client> {
    let mut config = KubeConfig::infer()
        .await
        .context("no Kubernetes API server is configured; set KUBECONFIG, or run as a pod of the cluster")?;
    config.connect_timeout = Some(times.api_timeout);
    // Without it a list that is never answered would be waited for for ever.
    config.read_timeout = Some(times.api_timeout + READ_MARGIN);
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(concat!("reveille-controller/", env!("CARGO_PKG_VERSION")))));
    Ok(Client::try_from(config)?)
}

async fn serve(
    config: &Config,
    readiness: Readiness,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(config.health_addr)
        .await
        .with_context(|| format!("--health-addr {} cannot be opened", config.health_addr))?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let server = axum::serve(listener, health::router(readiness, metrics));
        if let Err(error) = server.with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "health port failed");
        }
    });
    Ok(address)
}

/// A name for this process that no other has: a pod's containers may restart under the same name.
fn identity() -> String {
    let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
    let pod = if pod.is_empty() { "reveille-controller".to_owned() } else { pod };
    format!("{pod}_{}", uuid::Uuid::new_v4())
}

async fn terminated() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
