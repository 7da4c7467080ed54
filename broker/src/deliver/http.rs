//! Delivery over HTTP/1.1, on reqwest: one client, one connection pool for all Triggers.
//!
//! *Inputs*: an [`Attempt`]. *Outputs*: an [`Outcome`]; what an answer means is [`super::outcome`]'s and
//! [`super::reply`]'s to say. *Invariants*: one POST per attempt, to the address as given: no redirect is followed, no
//! proxy taken from the environment. The event's data goes out byte for byte. No more than a bounded part of an answer
//! is read, and a subscriber that is slow to finish an answer it need not have sent does not hold the attempt.
//! *Not here*: waiting, retrying, waking.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method};
use reqwest::{Client, Request, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::outcome::{Answer, classify};
use super::reply::{self, Content, Plan};
use super::target::{Destination, Targets};
use super::trace::Spans;
use super::{Attempt, ERROR_BODY_BYTES_MAX, Failure, Outcome, Transport};
use crate::clock::Clock;
use crate::event::encode::{BATCH_JSON, STRUCTURED_JSON, encode_batch, encode_binary, encode_structured};
use crate::event::{Event, HOPS_ATTRIBUTE};
use crate::triggers::ContentMode;

/// Time for the part of an answer's body that decides nothing or little: error texts, and the rest of a body that is
/// read only to keep the connection. Subscribers send these at once; a second is ample, and a lost connection is cheap.
pub const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// Most of an unwanted rest of a body that is read so that the connection can be used again, in bytes. Reading this
/// much costs about what a new connection does.
pub const DRAIN_BYTES_MAX: usize = 64 * 1024;

const KN_NAMESPACE: HeaderName = HeaderName::from_static("kn-namespace");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The header that [`HOPS_ATTRIBUTE`] becomes in binary mode.
const TTL_HEADER: HeaderName = HeaderName::from_static("ce-knativebrokerttl");

/// Settings of the client.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// Limit of making a connection, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// Idle connections kept per host and port: those of a Trigger at its full concurrency.
    pub idle_connections_max: usize,
    /// How long an idle connection is kept; shorter than what servers use, so that they seldom close one just as it
    /// is taken.
    pub idle_timeout: Duration,
    /// Largest reply that is read, in bytes; the largest event that the ingress takes.
    pub reply_bytes_max: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_connections_max: 256,
            idle_timeout: Duration::from_secs(30),
            reply_bytes_max: 1 << 20,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client for deliveries: {0}")]
pub struct SetupError(#[from] reqwest::Error);

/// Makes ring the process's cryptography for TLS. Called once by `main`; calling it again does nothing.
pub fn tls() {
    // An error means that a provider is installed already, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The real [`Transport`]. Clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpTransport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    targets: Targets,
    spans: Spans,
    clock: Clock,
    options: HttpOptions,
}

impl HttpTransport {
    /// Sets up the client. `rng` gives span ids.
    ///
    /// # Errors
    /// [`SetupError`] when TLS cannot be set up. A machine without root certificates is no error: `http` works there,
    /// and `https` fails, saying that the certificate's issuer is unknown.
    pub fn new(options: HttpOptions, clock: Clock, rng: fastrand::Rng) -> Result<Self, SetupError> {
        tls();
        let builder = || {
            Client::builder()
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .tcp_nodelay(true)
                .tcp_keepalive(Duration::from_secs(15))
                .connect_timeout(options.connect_timeout)
                .pool_max_idle_per_host(options.idle_connections_max)
                .pool_idle_timeout(options.idle_timeout)
        };
        let client = builder().build().or_else(|error| {
            let error = root_cause(&error);
            tracing::warn!(%error, "no root certificates were found, https subscribers will be refused");
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self(Arc::new(Shared { client, targets: Targets::default(), spans: Spans::new(rng), clock, options })))
    }
}

impl Transport for HttpTransport {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.deliver(&attempt).await })
    }
}

impl Shared {
    async fn deliver(&self, attempt: &Attempt) -> Outcome {
        let parsed = self.targets.get(&attempt.target.uri);
        let destination = match parsed.as_ref() {
            Ok(destination) => destination,
            Err(why) => return Outcome::Refused(no_answer(why.clone())),
        };
        let deadline = Instant::now() + attempt.timeout;
        let sent = self.client.execute(self.request(attempt, destination));
        match timeout_at(deadline, sent).await {
            Err(_) => Outcome::Retryable(no_answer(format!("no answer within {}", seconds(attempt.timeout)))),
            Ok(Err(error)) => Outcome::Retryable(self.transport_failure(&error, &destination.place)),
            Ok(Ok(response)) => self.answer(response, attempt, deadline).await,
        }
    }

    fn request(&self, attempt: &Attempt, destination: &Destination) -> Request {
        let event = &attempt.event;
        let (mut headers, body) = encoded(event, &attempt.rest, attempt.content_mode);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("reveille/", env!("CARGO_PKG_VERSION"))));
        if let Ok(namespace) = HeaderValue::from_str(attempt.namespace.as_str()) {
            headers.insert(KN_NAMESPACE, namespace);
        }
        if attempt.reply.is_some() {
            headers.insert(PREFER, HeaderValue::from_static("reply"));
        }
        if let Some(authorization) = &destination.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        // A batch belongs to no one trace; the attributes of its events tell theirs.
        let traced = Some(event).filter(|_| attempt.rest.is_empty());
        let traced_parent = traced.and_then(|event| event.attribute("traceparent"));
        let parent = traced_parent.and_then(|parent| self.spans.next(parent.value));
        if let Some(Ok(parent)) = parent.map(HeaderValue::try_from) {
            headers.insert(TRACEPARENT, parent);
            let state = event.attribute("tracestate").map(|state| HeaderValue::from_str(state.value));
            if let Some(Ok(state)) = state {
                headers.insert(TRACESTATE, state);
            }
        }
        let mut url = destination.url.clone();
        if let Some(via) = attempt.via.filter(|_| url.scheme() == "http") {
            headers.insert(HOST, destination.host.clone());
            // Both refuse only addresses without a host, and http always has one.
            let _ = url.set_ip_host(via.ip());
            let _ = url.set_port(Some(via.port()));
        }
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        request
    }

    async fn answer(&self, mut response: Response, attempt: &Attempt, deadline: Instant) -> Outcome {
        let code = response.status().as_u16();
        let mut body = Bytes::new();
        let content = match reply::plan(code, response.headers(), attempt.reply.is_some()) {
            Plan::Reply => {
                let limit = self.options.reply_bytes_max;
                match timeout_at(deadline, whole(&mut response, limit)).await {
                    Ok(Ok(whole)) => {
                        body = whole.clone();
                        reply::read(response.headers(), whole)
                    }
                    Ok(Err(why)) => Content::Broken(why),
                    Err(_) => Content::Broken(format!("it did not end within {}", seconds(attempt.timeout))),
                }
            }
            Plan::Peek => peek(&mut response).await,
            Plan::Ignore => Content::Nothing,
            Plan::Beginning => {
                body = beginning(&mut response).await;
                Content::Nothing
            }
        };
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = Answer { code, retry_after, body, content };
        let outcome = classify(answer, attempt.reply, self.clock.now());
        drain(response).await;
        outcome
    }

    /// What went wrong on the way, in words that name the place and the reason.
    fn transport_failure(&self, error: &reqwest::Error, place: &str) -> Failure {
        let io = io_kind(error);
        let text = if error.is_dns() {
            format!("the name of {place} does not resolve: {}", root_cause(error))
        } else if error.is_connect() && error.is_timeout() {
            format!("no connection to {place} within {}", seconds(self.options.connect_timeout))
        } else if io == Some(std::io::ErrorKind::ConnectionRefused) {
            format!("connection refused: nothing listens at {place}")
        } else if error.is_connect() {
            format!("no connection to {place}: {}", root_cause(error))
        } else {
            format!("the connection to {place} broke off before the answer: {}", root_cause(error))
        };
        Failure { unreachable: error.is_connect(), ..no_answer(text) }
    }
}

/// Headers and body of the event (in batched mode, of all), without the attribute that is the broker's own.
fn encoded(event: &Event, rest: &[Event], mode: ContentMode) -> (HeaderMap, Bytes) {
    let json = |body: Bytes, media_type: &'static str| {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        (headers, body)
    };
    let without_ttl = |event: &Event| match event.attribute(HOPS_ATTRIBUTE) {
        Some(_) => event.with_attributes(&[], &[HOPS_ATTRIBUTE]),
        None => event.clone(),
    };
    match mode {
        ContentMode::Binary => {
            let (mut headers, body) = encode_binary(event);
            headers.remove(TTL_HEADER);
            (headers, body)
        }
        ContentMode::Structured => json(encode_structured(&without_ttl(event)), STRUCTURED_JSON),
        ContentMode::Batched => {
            let events: Vec<Event> = std::iter::once(event).chain(rest).map(without_ttl).collect();
            json(encode_batch(&events), BATCH_JSON)
        }
    }
}

/// The whole body, if it has no more than `limit` bytes.
async fn whole(response: &mut Response, limit: usize) -> Result<Bytes, String> {
    let too_large = || format!("it has more than {limit} bytes");
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(format!("it broke off: {}", root_cause(&error))),
        }
    }
}

/// Whether there is a body at all.
async fn peek(response: &mut Response) -> Content {
    match response.content_length() {
        Some(0) => Content::Nothing,
        Some(_) => Content::Odd,
        None => match timeout(BODY_PATIENCE, response.chunk()).await {
            Ok(Ok(Some(_))) => Content::Odd,
            _ => Content::Nothing,
        },
    }
}

/// The beginning of an error's body, as much of it as comes in time.
async fn beginning(response: &mut Response) -> Bytes {
    let mut body = BytesMut::new();
    let _ = timeout(BODY_PATIENCE, async {
        while body.len() < ERROR_BODY_BYTES_MAX {
            let Ok(Some(chunk)) = response.chunk().await else { break };
            let room = ERROR_BODY_BYTES_MAX - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
    })
    .await;
    body.freeze()
}

/// Reads what is left of a body, within limits, so that the connection goes back to the pool.
async fn drain(mut response: Response) {
    if response.content_length() == Some(0) {
        return;
    }
    let _ = timeout(BODY_PATIENCE, async {
        let mut left = DRAIN_BYTES_MAX;
        while let Ok(Some(chunk)) = response.chunk().await {
            let Some(rest) = left.checked_sub(chunk.len()) else { break };
            left = rest;
        }
    })
    .await;
}

fn no_answer(error: String) -> Failure {
    Failure { code: None, error, body: Bytes::new(), retry_after: None, unreachable: false }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// The innermost cause: the outer ones repeat the address and say little.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn io_kind(error: &reqwest::Error) -> Option<std::io::ErrorKind> {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(io) = source.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = source.source();
    }
    None
}

#[cfg(test)]
mod tests;
