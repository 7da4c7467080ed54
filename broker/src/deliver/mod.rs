//! One attempt at delivering an event, or a batch of them, over HTTP, and what came of it.
//!
//! [`Transport`] is the seam; [`http`] is the real one. [`outcome`] holds the one table from status and transport
//! error to what happens next. *Not here*: when to try again, order, dead letters ([`crate::dispatch`]).

pub mod http;
pub mod outcome;
pub mod reply;
mod target;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::event::Event;
use crate::names::Name;
use crate::triggers::{ContentMode, ReplyMode, Target};

/// Longest part of an error answer's body that is kept, in bytes (Knative's `knativeerrordata`).
pub const ERROR_BODY_BYTES_MAX: usize = 1024;

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where to.
    pub target: Arc<Target>,
    /// What is dialled instead of the address's own host, which is still named as the host (HTTP only).
    pub via: Option<SocketAddr>,
    /// What, as stored; the transport leaves `knativebrokerttl` out.
    pub event: Event,
    /// Further events of the same request, in order; only [`ContentMode::Batched`] takes any.
    pub rest: Vec<Event>,
    /// Namespace of the Trigger, for `Kn-Namespace`.
    pub namespace: Name,
    /// How it is put into HTTP.
    pub content_mode: ContentMode,
    /// Limit of the attempt.
    pub timeout: Duration,
    /// `Some` for a subscriber: ask for a reply and read it so. `None` for a dead letter sink.
    pub reply: Option<ReplyMode>,
}

/// What an attempt came to. Failure is data, not an error.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// 2xx. A CloudEvent in a 200 is a reply.
    Delivered {
        /// HTTP status.
        code: u16,
        /// To be stored before the event is settled. It has no `knativebrokerttl` of its own.
        reply: Option<Box<Event>>,
        /// The answer had a body that is no CloudEvent (lenient mode): worth a warning.
        odd_body: bool,
    },
    /// May work another time: transport error, 404, 408, 409, 429, ≥ 500.
    Retryable(Failure),
    /// Will not work: any other answer, or an address that cannot be dialled at all.
    Refused(Failure),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// HTTP status; `None` when there was no answer.
    pub code: Option<u16>,
    /// In plain words: `HTTP 503`, `connection refused`, `no answer within 5 s`.
    pub error: String,
    /// Beginning of the answer's body, at most [`ERROR_BODY_BYTES_MAX`].
    pub body: Bytes,
    /// What `Retry-After` asked for, of a 429 or 503.
    pub retry_after: Option<Duration>,
    /// The connection could not be made at all: nobody listens there.
    pub unreachable: bool,
}

/// Sends one event, or one batch, once.
///
/// # Guarantees
/// - Resolves within the attempt's timeout, and reads a bounded part of the answer.
/// - Never follows a redirect, never uses a proxy from the environment.
pub trait Transport: Send + Sync + std::fmt::Debug + 'static {
    /// Makes the attempt.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection; the subscriber may have seen the event.
    fn deliver(&self, attempt: Attempt) -> BoxFuture<'static, Outcome>;
}
