//! A subscriber that records what it gets and answers as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::DEADLINE;

/// One request that arrived, whole.
#[derive(Debug, Clone)]
pub struct Received {
    /// When its body was complete.
    pub at: Instant,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body, untouched.
    pub body: Bytes,
    /// How many requests with this `ce-id` came before it.
    pub earlier: usize,
    /// The code it was answered with; 0 when the connection was dropped instead.
    pub answered: u16,
}

impl Received {
    /// A header's value; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The header `ce-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.header("ce-id")
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Status; 0 drops the connection without an answer.
    pub code: u16,
    /// Wait so long before answering.
    pub delay: Duration,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// Just a status.
    #[must_use]
    pub fn code(code: u16) -> Self {
        Self { code, ..Self::default() }
    }

    /// No answer: the connection ends.
    #[must_use]
    pub fn drop_connection() -> Self {
        Self::default()
    }

    /// Waits first.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Decides the answer to a request.
pub type Script = dyn Fn(&Received) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    received: Mutex<Vec<Received>>,
    seen: Mutex<BTreeMap<String, usize>>,
    count: watch::Sender<usize>,
    /// Who is connected.
    peers: watch::Sender<BTreeSet<SocketAddr>>,
}

/// A subscriber on a port of its own. It stops when dropped.
pub struct Subscriber {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// One that takes everything with 200.
    pub async fn start() -> Self {
        Self::scripted(|_| Answer::code(200)).await
    }

    /// One that answers as `script` says.
    pub async fn scripted(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", script).await
    }

    /// The same at an address of choice, which may have been in use a moment ago.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub async fn at(addr: &str, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind(addr).await.expect("a port for the subscriber"), script)
    }

    /// The same on a listener that is there already.
    ///
    /// # Panics
    /// When it is not bound.
    #[must_use]
    pub fn on(listener: TcpListener, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let addr = listener.local_addr().expect("a bound port has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            received: Mutex::default(),
            seen: Mutex::default(),
            count: watch::Sender::new(0),
            peers: watch::Sender::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, shared.clone(), stop.clone()));
        Self { addr, shared, stop }
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL, with path `/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// Everything it got so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The `ce-id` of everything it got so far, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.received().iter().map(|received| received.id().to_owned()).collect()
    }

    /// Waits until it has got at least `count` requests, and gives them.
    ///
    /// # Panics
    /// After the deadline.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut watcher = self.shared.count.subscribe();
        let arrived = timeout(DEADLINE, watcher.wait_for(|seen| *seen >= count)).await.is_ok();
        assert!(arrived, "waited in vain for {count} deliveries; these came: {:?}", self.ids());
        self.received()
    }

    /// Waits until it has read all that was sent to it by whoever is gone, and nobody is connected.
    ///
    /// # Panics
    /// After the deadline.
    pub async fn deserted(&self) {
        // Connections are accepted in the order they were made: with this one, all earlier ones have been.
        let last = TcpStream::connect(self.addr).await.expect("the subscriber accepts");
        let addr = last.local_addr().expect("a connection has an address");
        let mut peers = self.shared.peers.subscribe();
        let seen = timeout(DEADLINE, peers.wait_for(|peers| peers.contains(&addr))).await.is_ok();
        assert!(seen, "the subscriber does not accept");
        drop(last);
        let deserted = timeout(DEADLINE, peers.wait_for(BTreeSet::is_empty)).await.is_ok();
        assert!(deserted, "still connected: {:?}", self.shared.peers.borrow());
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    while let Some(Ok((stream, peer))) = stop.run_until_cancelled(listener.accept()).await {
        let (shared, stop) = (shared.clone(), stop.clone());
        shared.peers.send_modify(|peers| _ = peers.insert(peer));
        tokio::spawn(async move {
            stop.run_until_cancelled(serve(stream, shared.clone())).await;
            shared.peers.send_modify(|peers| _ = peers.remove(&peer));
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(|request| answer(request, shared.clone()));
    // An error here is a dropped connection: the script's wish, or the broker's.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// A connection that the script wants dropped, or that broke.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropped")
    }
}

impl std::error::Error for Dropped {}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Dropped> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let mut received = Received {
        at: Instant::now(),
        path: head.uri.to_string(),
        headers: head.headers,
        body,
        earlier: 0,
        answered: 0,
    };
    {
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let times = seen.entry(received.id().to_owned()).or_default();
        received.earlier = *times;
        *times += 1;
    }
    let answer = (shared.script)(&received);
    received.answered = answer.code;
    shared.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    shared.count.send_modify(|count| *count += 1);
    tokio::time::sleep(answer.delay).await;
    if answer.code == 0 {
        return Err(Dropped);
    }
    let mut response = Response::builder().status(answer.code);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(answer.body)).map_err(|_| Dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Publisher, Sample};

    #[tokio::test]
    async fn answers_follow_the_script_and_are_recorded() {
        let subscriber = Subscriber::scripted(|received| match (received.id(), received.earlier) {
            ("dropped", _) => Answer::drop_connection(),
            (_, 0) => Answer::code(503).header("retry-after", "1").body("later"),
            _ => Answer::code(202),
        })
        .await;
        let publisher = Publisher::new(&subscriber.url());
        let sample = Sample::new("a");
        assert_eq!(publisher.binary(&sample).await.map(|ack| (ack.code, ack.body)).ok(), Some((503, "later".into())));
        assert_eq!(publisher.binary(&sample).await.map(|ack| ack.code).ok(), Some(202));
        assert!(publisher.binary(&Sample::new("dropped")).await.is_err());
        assert_eq!(publisher.acknowledged(), ["a"]);
        let codes: Vec<u16> = subscriber.wait_for(3).await.iter().map(|received| received.answered).collect();
        assert_eq!(codes.get(..3), Some([503, 202, 0].as_slice()));
    }

    #[tokio::test]
    async fn it_is_deserted_when_everybody_has_left() {
        let subscriber = Subscriber::start().await;
        let peers = [TcpStream::connect(subscriber.addr()).await, TcpStream::connect(subscriber.addr()).await];
        assert!(timeout(Duration::from_millis(50), subscriber.deserted()).await.is_err());
        drop(peers);
        subscriber.deserted().await;
    }
}
