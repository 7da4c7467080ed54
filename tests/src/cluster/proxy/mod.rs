//! A proxy in front of the API server that misbehaves as told, for tests of clients that must bear it.
//!
//! *Inputs*: rules, by method and path, that a test sets and lifts while clients are connected. *Outputs*: the API
//! server's answers, watches event by event; or the fault. *Invariants*: without a rule nothing changes on the way but
//! headers of the connection. *Not here*: TLS towards the client (kube's clients send their token all the same, but
//! kubectl does not), and upgraded connections (`exec`, `port-forward`).

mod answer;
mod rules;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use http::Method;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use rules::Fault;
use rules::Rule;

use super::Cluster;

/// The proxy; it serves as long as it lives, on the runtime that it was made on.
#[derive(Debug)]
pub struct ApiProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// The API server's URL.
    server: String,
    client: reqwest::Client,
    rules: watch::Sender<Vec<Rule>>,
    faults: AtomicU64,
    seen: Mutex<Vec<(Method, String)>>,
}

impl Shared {
    fn note(&self, method: &Method, target: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((method.clone(), target.to_owned()));
    }
}

impl ApiProxy {
    /// On a listener that may be in another network than the API server, at its URL `server`.
    fn start(server: String, listener: TcpListener) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Over HTTP/1 each watch has a connection of its own: one that is held cannot hold another.
        let client =
            reqwest::Client::builder().no_proxy().http1_only().tls_danger_accept_invalid_certs(true).build()?;
        let address = listener.local_addr()?;
        let (rules, faults, seen) = (watch::Sender::new(Vec::new()), AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { server, client, rules, faults, seen });
        let server = AbortOnDropHandle::new(tokio::spawn(serve(listener, Arc::clone(&shared))));
        Ok(Self { address, shared, _server: server })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig like `original`, which is one of the cluster's, but through this proxy.
    ///
    /// # Errors
    /// When it cannot be read or the new one, which lies beside it, not be written.
    pub fn kubeconfig(&self, original: &Path) -> anyhow::Result<PathBuf> {
        let text = std::fs::read_to_string(original).with_context(|| format!("{}", original.display()))?;
        let path = original.with_extension(format!("{}.yaml", self.address.port()));
        std::fs::write(&path, text.replace(&self.shared.server, &self.url()))?;
        Ok(path)
    }

    /// From now on, requests of `method` (`None`: any) whose path and query, taken as one text, fit `pattern` meet the
    /// fault. In the pattern `*` stands for any text: `*/triggers/*/status*`, `*watch=true*`. Of several rules that
    /// fit, the youngest counts.
    pub fn fail(&self, method: Option<Method>, pattern: &str, fault: Fault) {
        self.add(Rule { method, pattern: pattern.to_owned(), fault, left: None });
    }

    /// The same for the next `times` requests that fit only.
    pub fn fail_next(&self, times: usize, method: Option<Method>, pattern: &str, fault: Fault) {
        self.add(Rule { method, pattern: pattern.to_owned(), fault, left: Some(times) });
    }

    /// Lifts all rules: what was stalled goes on.
    pub fn heal(&self) {
        self.shared.rules.send_replace(Vec::new());
    }

    /// How many requests have met a fault, to wait until one has.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// How many requests came so far whose method and target fit, as in [`ApiProxy::fail`], whatever became of them.
    #[must_use]
    pub fn seen(&self, method: &Method, pattern: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(one, target)| one == method && rules::matches(pattern, target)).count()
    }

    fn add(&self, rule: Rule) {
        self.shared.rules.send_modify(|rules| rules.push(rule));
    }
}

impl Cluster {
    /// A proxy in front of this cluster's API server, without rules.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn api_proxy(&self) -> anyhow::Result<ApiProxy> {
        ApiProxy::start(self.server_url(), TcpListener::bind("127.0.0.1:0").await?)
    }

    /// The same for programs inside the cluster's network.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn api_proxy_inside(&self) -> anyhow::Result<ApiProxy> {
        ApiProxy::start(self.server_url(), self.listen_inside("127.0.0.1:0")?)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, it closes the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("the proxy to the API server cannot accept: {error}");
                return;
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer::answer(Arc::clone(&shared), request));
            // An error is a client that went away, or a cut.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
