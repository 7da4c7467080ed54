//! A [`Transport`] that dials pods.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::balance::Ended;
use super::directory::{Directory, Port};
use crate::deliver::{Attempt, Failure, Outcome, Transport};
use crate::triggers::Pods;

/// Sends to an endpoint of a Service where the target names one, else to the address as it is.
///
/// # Guarantees
/// [`Failure::unreachable`] of a Service says that nobody was there, and that this is no event's fault: the Service
/// slept, or an endpoint of it is only just starting, or is going.
#[derive(Debug)]
pub struct Routed {
    inner: Arc<dyn Transport>,
    directory: Directory,
}

impl Routed {
    /// Sends through `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, directory: Directory) -> Self {
        Self { inner, directory }
    }
}

impl Transport for Routed {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        let Some(pods) = attempt.target.pods.clone() else { return self.inner.deliver(attempt) };
        let (inner, directory) = (self.inner.clone(), self.directory.clone());
        Box::pin(async move { deliver(inner.as_ref(), &directory, &pods, attempt).await })
    }
}

async fn deliver(inner: &dyn Transport, directory: &Directory, pods: &Pods, attempt: Attempt) -> Outcome {
    let port = directory.port(&pods.port);
    if !pods.dial {
        return by_name(inner, directory, &port, attempt).await;
    }
    let Ok(lease) = tokio::time::timeout(attempt.timeout, port.take()).await else {
        // So many requests are under way that none ended in time; it is theirs that will be counted.
        return nobody("all its endpoints are busy");
    };
    let Some(lease) = lease else {
        if directory.is_current() || (directory.was_read() && !port.has_any()) {
            return nobody("it has no endpoint that is ready");
        }
        return by_name(inner, directory, &port, attempt).await;
    };
    let outcome = inner.deliver(Attempt { via: Some(lease.address()), ..attempt }).await;
    let free = lease.end(ended(&outcome));
    excused(outcome, free)
}

/// The Service's name is dialled: whoever forwards from there may be behind the slices.
async fn by_name(inner: &dyn Transport, directory: &Directory, port: &Port, attempt: Attempt) -> Outcome {
    let outcome = inner.deliver(attempt).await;
    let free = directory.was_read() && port.is_starting();
    excused(outcome, free)
}

fn excused(mut outcome: Outcome, free: bool) -> Outcome {
    if let Outcome::Retryable(failure) = &mut outcome {
        failure.unreachable &= free;
    }
    outcome
}

fn nobody(error: &str) -> Outcome {
    Outcome::Retryable(Failure {
        code: None,
        error: error.to_owned(),
        body: Bytes::new(),
        retry_after: None,
        unreachable: true,
    })
}

fn ended(outcome: &Outcome) -> Ended {
    match outcome {
        Outcome::Delivered { .. } => Ended::Answered,
        Outcome::Retryable(failure) | Outcome::Refused(failure) => match failure.code {
            Some(500..) => Ended::Error,
            Some(_) => Ended::Answered,
            None if failure.unreachable => Ended::Refused,
            None => Ended::Silent,
        },
    }
}
