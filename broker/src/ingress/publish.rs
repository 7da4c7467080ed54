//! The publish endpoint: which request is what, and the way of one publish from body to acknowledgement.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use super::admit::{self, BodyLimit};
use super::error::ALLOWED;
use super::trace_context::TraceContext;
use super::{IngressLimits, IngressState, PublishError};
use crate::event::decode::{Decoded, decode};
use crate::event::media_type::{self, Mode};
use crate::event::{Event, HOPS_ATTRIBUTE, ValueKind};
use crate::log::{BrokerLogs, Offset};

const REQUEST_ORIGIN: &str = "webhook-request-origin";
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// The publish endpoint as a service: every path and method is answered here, since the paths are Brokers, which come
/// and go.
pub fn router(state: IngressState) -> Router {
    Router::new().fallback(handle).with_state(state)
}

async fn handle(State(state): State<IngressState>, request: Request) -> Response {
    let since = Instant::now();
    let (parts, mut body) = request.into_parts();
    let error = match answer(&state, &parts, &mut body, since).await {
        Ok(response) => return response,
        Err(error) => error,
    };
    state.0.meters.refuse(error.code(), since);
    tracing::debug!(outcome = error.code().as_str(), %error, "publish refused");
    // A publisher that waits for `100 Continue` has sent no body and needs none read.
    if !body.is_end_stream() && !parts.headers.contains_key(EXPECT) {
        tokio::spawn(admit::linger(body));
    }
    error.into_response()
}

async fn answer(
    state: &IngressState,
    parts: &Parts,
    body: &mut Body,
    since: Instant,
) -> Result<Response, PublishError> {
    match parts.method {
        Method::POST => {
            let logs = match find(state, parts.uri.path()) {
                Err(PublishError::UnknownBroker(path)) => appears(state, path).await?,
                found => found?,
            };
            let span = tracing::debug_span!(
                "publish",
                broker = %logs.key,
                event_id = Empty,
                event_source = Empty,
                offset = Empty,
            );
            publish(state, &logs, &parts.headers, body, since).instrument(span).await?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Method::OPTIONS => Ok(consent(&parts.headers)),
        Method::HEAD => find(state, parts.uri.path()).map(|_| [(ALLOW, ALLOWED)].into_response()),
        ref other => Err(PublishError::Method(other.as_str().chars().take(32).collect())),
    }
}

/// The Broker that a path names: two segments, and one slash too many at the end is forgiven.
fn find(state: &IngressState, path: &str) -> Result<std::sync::Arc<BrokerLogs>, PublishError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let (namespace, name) = path.split_once('/').ok_or(PublishError::Path)?;
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err(PublishError::Path);
    }
    // Asked first: once all Brokers are known, the look-up finds every one.
    let incomplete = state.0.logs.is_incomplete();
    let unknown = || match incomplete {
        true => PublishError::BrokersUnknown,
        false => PublishError::UnknownBroker(path.chars().take(160).collect()),
    };
    state.0.logs.get(namespace, name).ok_or_else(unknown)
}

/// A Broker that is not known yet, if it becomes so in time.
async fn appears(state: &IngressState, path: String) -> Result<std::sync::Arc<BrokerLogs>, PublishError> {
    let wait = state.0.limits.unknown_wait;
    let (Ok(_waiting), Some((namespace, name))) = (state.0.waiting.try_acquire(), path.split_once('/')) else {
        return Err(PublishError::UnknownBroker(path));
    };
    let found = tokio::time::timeout(wait, state.0.logs.appears(namespace, name)).await;
    found.map_err(|_| PublishError::UnknownBroker(path))
}

/// Answers the handshake of CloudEvents web hooks: whoever asks may send, at any rate.
fn consent(headers: &HeaderMap) -> Response {
    let origin = headers.get(REQUEST_ORIGIN).cloned().unwrap_or(HeaderValue::from_static("*"));
    let mut response = StatusCode::OK.into_response();
    let answers = response.headers_mut();
    answers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    answers.insert(ALLOWED_ORIGIN, origin);
    answers.insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    response
}

async fn publish(
    state: &IngressState,
    logs: &BrokerLogs,
    headers: &HeaderMap,
    body: &mut Body,
    since: Instant,
) -> Result<(), PublishError> {
    let limits = &state.0.limits;
    let (bytes, _reservation) = admit::read(&state.0.budget, body, body_limit(limits, headers)).await?;
    let events = check(decode(headers, bytes)?, headers, limits)?;
    if let Some(first) = events.first() {
        let span = tracing::Span::current();
        if !span.is_disabled() {
            span.record("event_id", first.id()).record("event_source", first.source());
        }
    }
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    let size = events.iter().map(Event::size_bytes).sum::<usize>();
    let offset = match count {
        0 => Offset::default(),
        _ => logs.events.append(events).await?.first,
    };
    state.0.meters.accept(&logs.key, count, u64::try_from(size).unwrap_or(u64::MAX), since);
    tracing::debug!(%offset, count, outcome = "accepted", elapsed_ms = since.elapsed().as_secs_f64() * 1e3, "published");
    Ok(())
}

/// A batch may be as large as a request may; anything else is one event.
fn body_limit(limits: &IngressLimits, headers: &HeaderMap) -> BodyLimit {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let batch = media_type::mode(content_type) == Mode::Batch;
    let bytes = if batch { limits.request_bytes } else { limits.event_bytes };
    BodyLimit { bytes, batch, timeout: limits.body_timeout }
}

/// What goes beyond the specification: our limits, the hop count, and the trace.
fn check(decoded: Decoded, headers: &HeaderMap, limits: &IngressLimits) -> Result<Vec<Event>, PublishError> {
    let trace = TraceContext::of(headers);
    let finish = |event: Event, index: Option<usize>| {
        let event = with_sound_hops(event, index)?;
        Ok(match &trace {
            Some(trace) => trace.add_to(event),
            None => event,
        })
    };
    match decoded {
        Decoded::One(event) => Ok(vec![finish(event, None)?]),
        Decoded::Batch(events) => {
            let large = |event: &Event| event.size_bytes() > limits.event_bytes;
            if let Some(index) = events.iter().position(large) {
                return Err(PublishError::EventTooLarge { limit_bytes: limits.event_bytes, index: Some(index) });
            }
            events.into_iter().enumerate().map(|(index, event)| finish(event, Some(index))).collect()
        }
    }
}

/// A publisher may set the hop count: a number above 1 counts on from there, one that is used up is refused, and what
/// is no number is taken off, so that the event starts with a full count.
fn with_sound_hops(event: Event, index: Option<usize>) -> Result<Event, PublishError> {
    let Some(hops) = event.attribute(HOPS_ATTRIBUTE) else { return Ok(event) };
    match (hops.value.parse::<i64>(), hops.kind) {
        (Ok(ttl), ValueKind::String | ValueKind::Integer) if ttl <= 1 => Err(PublishError::HopsUsedUp { ttl, index }),
        (Ok(_), ValueKind::String | ValueKind::Integer) => Ok(event),
        (Ok(_) | Err(_), _) => Ok(event.with_attributes(&[], &[HOPS_ATTRIBUTE])),
    }
}
