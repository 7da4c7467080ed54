//! The ingress over real sockets, in front of a log whose answers the test decides.

mod server;
mod wire;

use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::{Drained, ServerLimits, serve};
use super::*;
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::contract::Acknowledge;
use crate::log::{
    AppendError, Appended, Bounds, BrokerLogs, EventLog, Health, LogId, Offset, Page, ReadError, ReadLimit, Retention,
    Tail, Ticket, TrimError, Trimmed,
};
use crate::names::BrokerKey;

/// How a [`FakeLog`] answers appends.
#[derive(Debug, Clone)]
enum Answering {
    AtOnce,
    WhenReleased,
    With(AppendError),
}

/// A log that keeps what it is given and answers as told.
#[derive(Debug)]
struct FakeLog {
    answering: Mutex<Answering>,
    batches: Mutex<Vec<Vec<Event>>>,
    held: Mutex<Vec<Acknowledge>>,
    arrived: watch::Sender<usize>,
}

impl FakeLog {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            answering: Mutex::new(Answering::AtOnce),
            batches: Mutex::default(),
            held: Mutex::default(),
            arrived: watch::Sender::new(0),
        })
    }

    fn answer(&self, answering: Answering) {
        *self.answering.lock().unwrap() = answering;
    }

    fn batches(&self) -> Vec<Vec<Event>> {
        self.batches.lock().unwrap().clone()
    }

    /// Takes what has been appended so far.
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.batches.lock().unwrap()).into_iter().flatten().collect()
    }

    async fn arrival(&self, count: usize) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    fn release(&self) {
        for held in std::mem::take(&mut *self.held.lock().unwrap()) {
            held.send(Ok(Appended { first: Offset(0), count: 1, appended: UnixMicros(1) }));
        }
    }
}

impl EventLog for FakeLog {
    fn append(&self, events: Vec<Event>) -> Ticket {
        let answering = self.answering.lock().unwrap().clone();
        if let Answering::With(error) = answering {
            return Ticket::ready(Err(error));
        }
        let count = u64::try_from(events.len()).unwrap();
        self.batches.lock().unwrap().push(events);
        let (acknowledge, ticket) = Ticket::new();
        match answering {
            Answering::WhenReleased => self.held.lock().unwrap().push(acknowledge),
            Answering::AtOnce | Answering::With(_) => {
                acknowledge.send(Ok(Appended { first: Offset(0), count, appended: UnixMicros(1) }));
            }
        }
        self.arrived.send_modify(|arrived| *arrived += 1);
        ticket
    }

    fn read(&self, from: Offset, _: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>> {
        Box::pin(async move { Ok(Page { records: Vec::new(), next: from, lost: Vec::new() }) })
    }

    fn seek_time(&self, _: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async { Ok(Offset(0)) })
    }

    fn bounds(&self) -> Bounds {
        Bounds::default()
    }

    fn tail(&self) -> Tail {
        Tail::new(watch::channel(Offset(0)).1)
    }

    fn trim(&self, _: Offset, _: Retention, _: UnixMicros) -> BoxFuture<'_, Result<Trimmed, TrimError>> {
        Box::pin(async { Ok(Trimmed::default()) })
    }

    fn health(&self) -> Health {
        Health::Writable
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A server with one Broker, `ns/b`.
struct Rig {
    log: Arc<FakeLog>,
    logs: LogSet,
    metrics: Metrics,
    addr: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<Drained>,
}

impl Rig {
    async fn start() -> Self {
        Self::with(IngressLimits::default(), ServerLimits::default()).await
    }

    async fn with(limits: IngressLimits, server_limits: ServerLimits) -> Self {
        let (log, metrics, logs) = (FakeLog::new(), Metrics::new(), LogSet::new());
        let key = BrokerKey::parse("ns", "b").unwrap();
        logs.insert(BrokerLogs { key, id: LogId::default(), events: log.clone(), dead_letters: FakeLog::new() });
        let router: Router = router(IngressState::new(logs.clone(), metrics.clone(), limits));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, server_limits, shutdown.clone()));
        Self { log, logs, metrics, addr, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends one request on a connection of its own.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(&request(method, path, headers, body)).await.unwrap();
        answer(&mut stream).await
    }

    async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", "/ns/b", headers, body).await
    }

    async fn post_json(&self, content_type: &str, body: &str) -> Answer {
        self.post(&[("content-type", content_type)], body.as_bytes()).await
    }
}

/// The headers of a good event in binary mode.
const GOOD: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [text.as_bytes(), body].concat()
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status, code, attribute of a refusal.
    fn gist(&self) -> (u16, String, Option<String>) {
        let problem = self.problem();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], format!("urn:reveille:error:{}", problem["code"].as_str().unwrap()));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        (self.status, problem["code"].as_str().unwrap().to_owned(), problem["attribute"].as_str().map(str::to_owned))
    }
}

/// Reads to the end of the connection.
async fn answer(stream: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    read.expect("an answer in time").expect("an answer, not a reset");
    parse(&all).unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&all)))
}

fn parse(all: &[u8]) -> Option<Answer> {
    let end = memchr::memmem::find(all, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&all[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    Some(Answer { status, headers: headers.collect(), body: Bytes::copy_from_slice(&all[end + 4..]) })
}
