//! The load itself: so many connections, each sending one request after the other.
//!
//! A connection and its requests are driven by one task, so that no wake-up crosses threads between them; apart from
//! its id, nothing of a request is made anew. That keeps the generator's share of a measurement small.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::message::{Sequence, Template};
use super::{LoadPlan, Stop};

/// Limit of one request. A server that takes longer hangs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Limit of making one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a connection failed, so that a server that is gone is not dialled in a tight loop.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Failures to connect in a row after which a connection gives up: about a second, the time of a quick restart.
const CONNECT_FAILURES_MAX: u32 = 20;

/// Longest latency that is recorded as it is; longer ones count as this.
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// What came of a load.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// Requests that were answered, in whatever way.
    pub requests: u64,
    /// Events in requests answered 2xx.
    pub events: u64,
    /// From the first connection to the last answer.
    pub elapsed: Duration,
    /// Time from sending a request to the end of its answer, in nanoseconds; of 2xx answers.
    pub latency: Histogram<u64>,
    /// What else happened, by status or kind of transport error, in requests.
    pub errors: BTreeMap<String, u64>,
    pub(super) sent: Vec<Sent>,
}

/// What one connection sent: events `0..next` without those of `failed`.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    pub(super) next: u64,
    /// First number of each request that was not accepted; a request has as many as the plan's batch.
    pub(super) failed: Vec<u64>,
}

impl LoadReport {
    fn new() -> Self {
        let highest = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        // Two digits: a quantile is within 1 %, and a histogram small enough for each connection to have its own.
        let latency = Histogram::new_with_bounds(1, highest, 2).expect("bounds and digits are in the allowed ranges");
        let (errors, sent) = (BTreeMap::new(), Vec::new());
        Self { requests: 0, events: 0, elapsed: Duration::ZERO, latency, errors, sent }
    }

    /// Accepted events per second.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let events = self.events as f64;
        events / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that `quantile` (0 to 1) of the accepted requests stayed below.
    #[must_use]
    pub fn latency_at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    fn error(&mut self, what: impl Into<String>) {
        *self.errors.entry(what.into()).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.events += other.events;
        for (what, count) in other.errors {
            *self.errors.entry(what).or_default() += count;
        }
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.sent.extend(other.sent);
    }
}

/// When a connection stops. Clones share the count.
#[derive(Debug, Clone)]
enum Budget {
    Events(Arc<AtomicU64>),
    Until(Instant),
}

impl Budget {
    /// Takes up to `want` events; 0 when the load is over.
    fn take(&self, want: u64) -> u64 {
        match self {
            Self::Until(end) => {
                if Instant::now() < *end {
                    want
                } else {
                    0
                }
            }
            Self::Events(left) => {
                let take = |left: u64| Some(left.saturating_sub(want));
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_or(0, |left| left.min(want))
            }
        }
    }
}

/// Sends what `plan` says to any server that speaks HTTP/1.1, and measures.
///
/// # Errors
/// When the plan's address is no `http://host[:port]/path`. What goes wrong on the way is in the report.
pub async fn load(plan: LoadPlan) -> anyhow::Result<LoadReport> {
    let uri: Uri = plan.url.parse().with_context(|| format!("`{}` is no URL", plan.url))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
    let host =
        host.with_context(|| format!("`{}` cannot be loaded; use http://host:port/namespace/broker", plan.url))?;
    let address = (host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(80));
    let budget = match plan.stop {
        Stop::Events(count) => Budget::Events(Arc::new(AtomicU64::new(count))),
        Stop::After(duration) => Budget::Until(Instant::now() + duration),
    };
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..plan.connections {
        let load = ConnectionLoad {
            number,
            address: address.clone(),
            batch: u64::try_from(plan.batch_events())?,
            template: Template::new(&plan, &uri),
            budget: budget.clone(),
            report: LoadReport::new(),
            sent: Sent::default(),
        };
        tasks.spawn(load.run());
    }
    let mut report = LoadReport::new();
    let mut parts: Vec<(u16, LoadReport)> = Vec::with_capacity(usize::from(plan.connections));
    while let Some(part) = tasks.join_next().await {
        parts.push(part.context("a connection's task ended early")?);
    }
    report.elapsed = begun.elapsed();
    parts.sort_by_key(|(number, _)| *number);
    parts.into_iter().for_each(|(_, part)| report.add(part));
    Ok(report)
}

/// One connection's share.
struct ConnectionLoad {
    number: u16,
    address: (String, u16),
    batch: u64,
    template: Template,
    budget: Budget,
    report: LoadReport,
    sent: Sent,
}

/// Whether the connection can take another request.
#[derive(Debug, PartialEq, Eq)]
enum After {
    GoOn,
    Reconnect,
    Over,
}

impl ConnectionLoad {
    async fn run(mut self) -> (u16, LoadReport) {
        let mut failures = 0;
        while failures < CONNECT_FAILURES_MAX && self.budget_left() {
            match self.connect().await {
                Ok((mut sender, mut connection)) => {
                    failures = 0;
                    let mut after = After::GoOn;
                    while after == After::GoOn {
                        after = self.exchange(&mut sender, &mut connection).await;
                    }
                    if after == After::Over {
                        break;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.report.error(format!("connect: {error}"));
                    tokio::time::sleep(CONNECT_PAUSE).await;
                }
            }
        }
        self.report.sent = vec![self.sent];
        (self.number, self.report)
    }

    fn budget_left(&self) -> bool {
        match &self.budget {
            Budget::Events(left) => left.load(Ordering::Relaxed) > 0,
            Budget::Until(end) => Instant::now() < *end,
        }
    }

    async fn connect(&self) -> anyhow::Result<Wire> {
        let (host, port) = &self.address;
        let dial = TcpStream::connect((host.as_str(), *port));
        let socket = timeout(CONNECT_TIMEOUT, dial).await.context("no answer")??;
        socket.set_nodelay(true)?;
        Ok(http1::handshake(TokioIo::new(socket)).await?)
    }

    /// One request and its answer.
    async fn exchange(&mut self, sender: &mut Sender, connection: &mut Driver) -> After {
        // The last request of a count may promise more events than were asked for; a batch is never cut.
        if self.budget.take(self.batch) == 0 {
            return After::Over;
        }
        let first = Sequence { connection: self.number, number: self.sent.next };
        self.sent.next += self.batch;
        let request = self.template.request(first);
        let begun = Instant::now();
        let answer = timeout(REQUEST_TIMEOUT, drive(connection, round_trip(sender, request))).await;
        let elapsed = begun.elapsed();
        let failure = match answer {
            Ok(Ok(status)) => {
                self.report.requests += 1;
                if status.is_success() {
                    self.report.events += self.batch;
                    self.report.latency.saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
                    return After::GoOn;
                }
                self.sent.failed.push(first.number);
                self.report.error(status.as_str());
                return After::GoOn;
            }
            Ok(Err(error)) => format!("connection: {error}"),
            Err(_) => format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()),
        };
        self.sent.failed.push(first.number);
        self.report.error(failure);
        After::Reconnect
    }
}

type Sender = SendRequest<Full<Bytes>>;
type Driver = Connection<TokioIo<TcpStream>, Full<Bytes>>;
type Wire = (Sender, Driver);

/// Sends a request and reads its answer to the end.
async fn round_trip(sender: &mut Sender, request: Request<Full<Bytes>>) -> Result<StatusCode, hyper::Error> {
    sender.ready().await?;
    let mut answer = sender.send_request(request).await?;
    while let Some(frame) = answer.body_mut().frame().await {
        frame?;
    }
    Ok(answer.status())
}

/// Runs `exchange` and the connection that it needs in this task.
async fn drive(
    connection: &mut Driver,
    exchange: impl Future<Output = Result<StatusCode, hyper::Error>>,
) -> Result<StatusCode, hyper::Error> {
    let mut exchange = std::pin::pin!(exchange);
    let mut closed = false;
    loop {
        tokio::select! {
            biased;
            // A connection that has ended has handed over all that came, or an error, to the exchange.
            _ = &mut *connection, if !closed => closed = true,
            status = &mut exchange => return status,
        }
    }
}
