//! A subscriber that counts: what came, what came twice, what is missing. It answers 200 and keeps nothing but one
//! bit per event.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::LoadPlan;
use super::load::{LoadReport, Sent};
use super::message::Sequence;
use crate::event::decode::decode;

/// Largest request that is read: the largest batch that a broker sends, with room to spare.
const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Most connections served at once. A broker uses as many as its Triggers' concurrency.
const CONNECTIONS_MAX: usize = 1024;

/// Most events of one connection that are told apart; 16 MiB of bits.
const NUMBERS_MAX: u64 = 1 << 27;

/// How often arrivals are counted while the last ones are waited for: seldom enough to cost nothing beside them.
const COUNT_PAUSE: Duration = Duration::from_millis(20);

/// A subscriber at work. It stops when dropped.
#[derive(Debug)]
pub struct Counter {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the subscriber got, held against what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Accepted events that came at least once.
    pub delivered: u64,
    /// Accepted events that did not come.
    pub missing: u64,
    /// Deliveries beyond the first, of any event.
    pub duplicates: u64,
    /// Events that came though their request was not answered 2xx; no fault of the broker.
    pub unacknowledged: u64,
    /// From the start of the subscriber to the last event that came for the first time.
    pub elapsed: Duration,
}

#[derive(Debug)]
struct Shared {
    run: String,
    begun: Instant,
    tally: Vec<Mutex<Tally>>,
}

/// What came of one sending connection.
#[derive(Debug)]
struct Tally {
    seen: Vec<u64>,
    distinct: u64,
    duplicates: u64,
    last: Duration,
}

impl Tally {
    fn add(&mut self, number: u64, at: Duration) {
        let (word, bit) = place(number);
        if number >= NUMBERS_MAX {
            return;
        }
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        if let Some(word) = self.seen.get_mut(word) {
            if *word & bit == 0 {
                *word |= bit;
                self.distinct += 1;
                self.last = at;
            } else {
                self.duplicates += 1;
            }
        }
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many accepted events came, and how many that were not accepted.
    fn against(&self, sent: &Sent, batch: u64) -> (u64, u64) {
        let failed = sent.failed.iter().flat_map(|first| *first..first + batch);
        let unacknowledged = failed.filter(|number| self.has(*number)).map(|_| 1).sum();
        (self.distinct.saturating_sub(unacknowledged), unacknowledged)
    }
}

fn place(number: u64) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

impl Counter {
    /// Starts a subscriber at `address` for the events that `plan` will send.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start(address: SocketAddr, plan: &LoadPlan) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let blank = || Mutex::new(Tally { seen: Vec::new(), distinct: 0, duplicates: 0, last: Duration::ZERO });
        let shared = Arc::new(Shared {
            run: plan.run.clone(),
            begun: Instant::now(),
            tally: std::iter::repeat_with(blank).take(usize::from(plan.connections)).collect(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until all accepted events have come, or none has for `patience`, and counts.
    pub async fn settle(&self, report: &LoadReport, batch: usize, patience: Duration) -> Delivery {
        let batch = batch as u64;
        let mut quiet_since = Instant::now();
        let mut before = u64::MAX;
        loop {
            let delivery = self.count(report, batch);
            if delivery.missing != before {
                (before, quiet_since) = (delivery.missing, Instant::now());
            }
            if delivery.missing == 0 || quiet_since.elapsed() >= patience {
                return delivery;
            }
            tokio::time::sleep(COUNT_PAUSE.min(patience)).await;
        }
    }

    fn count(&self, report: &LoadReport, batch: u64) -> Delivery {
        let mut total =
            Delivery { delivered: 0, missing: 0, duplicates: 0, unacknowledged: 0, elapsed: Duration::ZERO };
        for (tally, sent) in self.shared.tally.iter().zip(&report.sent) {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let (delivered, unacknowledged) = tally.against(sent, batch);
            total.delivered += delivered;
            total.unacknowledged += unacknowledged;
            total.duplicates += tally.duplicates;
            total.elapsed = total.elapsed.max(tally.last);
        }
        total.missing = report.events.saturating_sub(total.delivered);
        total
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Connections end with the subscriber.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            serve(socket, shared).await;
            drop(place);
        });
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request: http::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            let mut answer = Response::new(Full::<Bytes>::default());
            match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
                Ok(body) => shared.take(&parts.headers, body.to_bytes()),
                Err(_) => *answer.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE,
            }
            Ok::<_, Infallible>(answer)
        }
    });
    // A connection that breaks off is the sender's affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

impl Shared {
    fn take(&self, headers: &HeaderMap, body: Bytes) {
        let at = self.begun.elapsed();
        if let Some(id) = headers.get("ce-id").and_then(|id| id.to_str().ok()) {
            self.add(id, at);
        } else if let Ok(events) = decode(headers, body) {
            events.into_events().iter().for_each(|event| self.add(event.id(), at));
        }
    }

    fn add(&self, id: &str, at: Duration) {
        let Some(sequence) = Sequence::read(&self.run, id) else { return };
        if let Some(tally) = self.tally.get(usize::from(sequence.connection)) {
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(sequence.number, at);
        }
    }
}
