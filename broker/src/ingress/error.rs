//! Why a publish request was refused, and how the publisher is told: `application/problem+json`.
//!
//! The one place where failures of the ingress get a public [`ErrorCode`], each match without a wildcard, so that a
//! new failure cannot go without one.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use schemas::error_code::{ErrorCode, PROBLEM_MEDIA_TYPE, Problem};
use serde::Serialize;

use crate::event::DecodeError;
use crate::log::AppendError;

/// Seconds until another try is worth it under pressure: the queue turns over many times in one.
const RETRY_AFTER_PRESSURE_SECONDS: u64 = 1;
/// The same when there is no space: retention looks around every few seconds.
const RETRY_AFTER_SPACE_SECONDS: u64 = 10;
/// The same when the broker has to start again first.
const RETRY_AFTER_RESTART_SECONDS: u64 = 5;

/// Methods that a Broker's address knows.
pub(super) const ALLOWED: &str = "POST, OPTIONS, HEAD";

/// Why a publish request was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// The path does not name a Broker.
    #[error("there is nothing at this path; events go to POST /NAMESPACE/BROKER")]
    Path,
    /// Another method than the endpoint has.
    #[error("the method {0} is not allowed here; publish with POST")]
    Method(String),
    /// The path names a Broker that is not there.
    #[error("there is no Broker `{0}`; create it, or check the address in its status")]
    UnknownBroker(String),
    /// Nobody has said yet which Brokers there are.
    #[error("the broker waits for the Kubernetes API server to say which Brokers there are; try again in a moment")]
    BrokersUnknown,
    /// The message is no event.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An event is too large.
    #[error(
        "{} is larger than the {limit_bytes} bytes that this broker takes (--max-event-bytes)",
        index.map_or_else(|| "the event".to_owned(), |index| format!("event {index} of the batch"))
    )]
    EventTooLarge {
        /// The limit.
        limit_bytes: usize,
        /// Which event of a batch, from 0.
        index: Option<usize>,
    },
    /// The body of a batch is too large.
    #[error(
        "the batch is larger than the {limit_bytes} bytes that this broker takes (--max-request-bytes); send smaller batches"
    )]
    RequestTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// Too much is in memory already.
    #[error(
        "requests under way hold {limit_bytes} bytes already, all that this broker keeps in memory; try again in a moment"
    )]
    Overloaded {
        /// The limit.
        limit_bytes: usize,
    },
    /// The body came too slowly.
    #[error("the body did not arrive within {} s", after.as_secs_f64())]
    BodyTimeout {
        /// How long was waited.
        after: Duration,
    },
    /// The body broke off.
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    /// The event went round in replies too often.
    #[error("`knativebrokerttl` is {ttl}: the event has no hops left; it may be a reply that answers itself")]
    HopsUsedUp {
        /// The value found.
        ttl: i64,
        /// Which event of a batch, from 0.
        index: Option<usize>,
    },
    /// The log refused it.
    #[error("{}", append_detail(.0))]
    Append(#[from] AppendError),
}

/// What a publisher may know of a log's refusal; files and system messages stay in our own log.
fn append_detail(error: &AppendError) -> &'static str {
    match error {
        AppendError::Overloaded { .. } => "the broker's log has more waiting than it can write; try again in a moment",
        AppendError::Full(_) => "the broker's log is out of space; it takes events again when there is room",
        AppendError::Poisoned(_) => {
            "the broker's log stopped after a failed write; whether this event is stored is unknown, send it again later"
        }
        AppendError::TooLarge { .. } => "the batch is larger than the log takes at once; send smaller batches",
        AppendError::Closed => "the broker is stopping; try again in a moment",
    }
}

impl PublishError {
    /// Its public code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Path => ErrorCode::BadPath,
            Self::Method(_) => ErrorCode::MethodNotAllowed,
            Self::UnknownBroker(_) => ErrorCode::UnknownBroker,
            Self::BrokersUnknown => ErrorCode::StartingUp,
            Self::Decode(error) => decode_code(error),
            Self::EventTooLarge { .. } => ErrorCode::EventTooLarge,
            Self::RequestTooLarge { .. } => ErrorCode::RequestTooLarge,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::BodyTimeout { .. } => ErrorCode::RequestTimeout,
            Self::BodyBroken(_) => ErrorCode::BadRequest,
            Self::HopsUsedUp { .. } => ErrorCode::MalformedEvent,
            Self::Append(error) => append_code(error),
        }
    }

    /// Seconds after which another try makes sense, where one does.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::Overloaded { .. } | Self::Append(AppendError::Overloaded { .. }) => {
                Some(RETRY_AFTER_PRESSURE_SECONDS)
            }
            Self::Append(AppendError::Full(_)) => Some(RETRY_AFTER_SPACE_SECONDS),
            Self::BrokersUnknown | Self::Append(AppendError::Poisoned(_) | AppendError::Closed) => {
                Some(RETRY_AFTER_RESTART_SECONDS)
            }
            Self::Path
            | Self::Method(_)
            | Self::UnknownBroker(_)
            | Self::Decode(_)
            | Self::EventTooLarge { .. }
            | Self::RequestTooLarge { .. }
            | Self::BodyTimeout { .. }
            | Self::BodyBroken(_)
            | Self::HopsUsedUp { .. }
            | Self::Append(AppendError::TooLarge { .. }) => None,
        }
    }

    /// The attribute and the position in a batch that are at fault, where known.
    fn place(&self) -> (Option<&str>, Option<usize>) {
        match self {
            Self::Decode(error) => (error.attribute_name(), error.index()),
            Self::EventTooLarge { index, .. } => (None, *index),
            Self::HopsUsedUp { index, .. } => (Some("knativebrokerttl"), *index),
            Self::Path
            | Self::Method(_)
            | Self::UnknownBroker(_)
            | Self::BrokersUnknown
            | Self::RequestTooLarge { .. }
            | Self::Overloaded { .. }
            | Self::BodyTimeout { .. }
            | Self::BodyBroken(_)
            | Self::Append(_) => (None, None),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (attribute, index) = self.place();
        let mut problem = Problem::new(self.code(), self.to_string());
        problem.attribute = attribute.map(str::to_owned);
        problem.index = index.and_then(|index| u64::try_from(index).ok());
        problem
    }
}

fn decode_code(error: &DecodeError) -> ErrorCode {
    match error {
        DecodeError::UnsupportedFormat(_) | DecodeError::UnsupportedCharset(_) => ErrorCode::UnsupportedFormat,
        DecodeError::TooManyEvents { .. } => ErrorCode::RequestTooLarge,
        DecodeError::NotAnEvent
        | DecodeError::NotUtf8 { .. }
        | DecodeError::Json(_)
        | DecodeError::Attribute { .. }
        | DecodeError::Data(_)
        | DecodeError::TooManyAttributes { .. }
        | DecodeError::InBatch { .. } => ErrorCode::MalformedEvent,
    }
}

fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Overloaded { .. } => ErrorCode::Overloaded,
        AppendError::Full(_) => ErrorCode::OutOfSpace,
        AppendError::Poisoned(_) => ErrorCode::LogUnavailable,
        AppendError::TooLarge { .. } => ErrorCode::RequestTooLarge,
        AppendError::Closed => ErrorCode::ShuttingDown,
    }
}

/// RFC 9457's own members around ours.
#[derive(Serialize)]
struct ProblemDocument {
    r#type: String,
    #[serde(flatten)]
    problem: Problem,
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let document = ProblemDocument { r#type: format!("urn:reveille:error:{}", problem.code), problem };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::Method(_) = self {
            headers.insert(ALLOW, HeaderValue::from_static(ALLOWED));
        }
        response
    }
}
