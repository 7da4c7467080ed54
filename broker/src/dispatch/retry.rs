//! What comes after an attempt: the one decision from its outcome to settling, trying again, or giving up. Pure.

use std::time::Duration;

use super::schedule;
use crate::dead_letter::Reason;
use crate::deliver::{Failure, Outcome};
use crate::event::{Attribute, Event, HOPS_ATTRIBUTE, ValueKind};
use crate::triggers::DeliveryPolicy;

/// Hops of an event that does not say how many it has (Knative's default of `knativebrokerttl`).
pub const HOPS_DEFAULT: i64 = 255;

/// What to do with the event.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Next {
    /// It is done.
    Settle,
    /// It is done once this reply is durable.
    SettleAfterReply(Box<Event>),
    /// Try again after this long.
    Retry {
        /// From now.
        wait: Duration,
    },
    /// Give up.
    DeadLetter {
        /// Why.
        reason: Reason,
        /// What the last attempt failed with.
        failure: Failure,
    },
}

/// Decides what follows `outcome`, which the `attempts`-th attempt (from 1) came to. `jitter` lies in 0..1.
pub fn decide(outcome: Outcome, attempts: u32, policy: &DeliveryPolicy, jitter: f64) -> Next {
    match outcome {
        Outcome::Delivered { reply: Some(reply), .. } => Next::SettleAfterReply(reply),
        Outcome::Delivered { reply: None, .. } => Next::Settle,
        Outcome::Retryable(failure) if attempts > policy.retry => {
            Next::DeadLetter { reason: Reason::RetriesExhausted, failure }
        }
        Outcome::Retryable(failure) => {
            Next::Retry { wait: schedule::wait(policy, attempts, failure.retry_after, jitter) }
        }
        Outcome::Refused(failure) => {
            let reason = if failure.code.is_some() { Reason::Refused } else { Reason::BadAddress };
            Next::DeadLetter { reason, failure }
        }
    }
}

/// How many events the next request may carry at the most that carries one of a batch of `company` events, all of which
/// would have to be given up; `None` when it has to be given up indeed. See [`super::attempt`] on batches.
pub fn apart(reason: Reason, company: usize) -> Option<usize> {
    match reason {
        _ if company <= 1 => None,
        // One of them may be at fault: halves find it in few requests.
        Reason::Refused => Some(company / 2),
        // Its last attempt has to be its own.
        Reason::RetriesExhausted => Some(1),
        Reason::BadAddress | Reason::HopLimit | Reason::Unreadable => None,
    }
}

/// The hops that an event has left.
#[must_use]
pub fn hops(event: &Event) -> i64 {
    let stored = event.attribute(HOPS_ATTRIBUTE).and_then(|attribute| attribute.value.parse::<i64>().ok());
    stored.unwrap_or(HOPS_DEFAULT)
}

/// The reply as it is stored: with one hop less than the event that it answers. `None` when there is none left.
#[must_use]
pub fn with_hops(reply: &Event, original: &Event) -> Option<Event> {
    let left = hops(original).saturating_sub(1);
    if left <= 0 {
        return None;
    }
    let mut builder = Event::builder(reply.spec_version());
    for Attribute { name, value, kind } in reply.attributes() {
        if name != HOPS_ATTRIBUTE {
            builder.push(name, value, kind);
        }
    }
    // CloudEvents integers have 32 bits; whoever publishes more hops than that gets as many as there are.
    let left = left.min(i64::from(i32::MAX)).to_string();
    builder.push(HOPS_ATTRIBUTE, &left, ValueKind::Integer);
    builder.body(reply.body_kind(), reply.body().clone()).build().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{BodyKind, SpecVersion};
    use crate::triggers::Backoff;

    fn event(hops: Option<&str>) -> Event {
        let mut builder =
            Event::builder(SpecVersion::V03).attribute("id", "1").attribute("source", "/s").attribute("type", "t");
        if let Some(hops) = hops {
            builder.push(HOPS_ATTRIBUTE, hops, ValueKind::String);
        }
        builder.body(BodyKind::Text, Bytes::from_static(b"x")).build().unwrap()
    }

    fn failure(code: Option<u16>) -> Failure {
        Failure { code, error: String::new(), body: Bytes::new(), retry_after: None, unreachable: false }
    }

    #[test]
    fn every_outcome_has_its_next() {
        let policy = DeliveryPolicy {
            retry: 2,
            backoff: Backoff::Linear,
            backoff_delay: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retry_after_max: None,
            dead_letter_sink: None,
        };
        let reply = Box::new(event(None));
        let delivered = |reply| Outcome::Delivered { code: 200, reply, odd_body: false };
        let retryable = Outcome::Retryable(failure(Some(503)));
        let given_up = |reason, code| Next::DeadLetter { reason, failure: failure(code) };
        for (outcome, attempts, expected) in [
            (delivered(None), 1, Next::Settle),
            (delivered(None), 9, Next::Settle),
            (delivered(Some(reply.clone())), 1, Next::SettleAfterReply(reply)),
            (retryable.clone(), 1, Next::Retry { wait: Duration::from_secs(1) }),
            (retryable.clone(), 2, Next::Retry { wait: Duration::from_secs(2) }),
            (retryable.clone(), 3, given_up(Reason::RetriesExhausted, Some(503))),
            (retryable, u32::MAX, given_up(Reason::RetriesExhausted, Some(503))),
            (Outcome::Refused(failure(Some(422))), 1, given_up(Reason::Refused, Some(422))),
            (Outcome::Refused(failure(None)), 1, given_up(Reason::BadAddress, None)),
        ] {
            assert_eq!(decide(outcome.clone(), attempts, &policy, 0.0), expected, "{outcome:?} {attempts}");
        }
    }

    #[test]
    fn nobody_is_given_up_for_its_company() {
        for (reason, company, expected) in [
            (Reason::Refused, 1, None),
            (Reason::Refused, 2, Some(1)),
            (Reason::Refused, 3, Some(1)),
            (Reason::Refused, 100, Some(50)),
            (Reason::RetriesExhausted, 1, None),
            (Reason::RetriesExhausted, 100, Some(1)),
            (Reason::BadAddress, 100, None),
        ] {
            assert_eq!(apart(reason, company), expected, "{reason:?} of {company}");
        }
    }

    #[test]
    fn hops_run_out() {
        for (original, expected) in [
            (None, Some("254")),
            (Some("255"), Some("254")),
            (Some("2"), Some("1")),
            (Some("1"), None),
            (Some("0"), None),
            (Some("-5"), None),
            (Some("many"), Some("254")),
            (Some("9223372036854775807"), Some("2147483647")),
        ] {
            let reply = event(Some("77"));
            let stored = with_hops(&reply, &event(original));
            let hops = stored.as_ref().and_then(|event| event.attribute(HOPS_ATTRIBUTE));
            assert_eq!(hops.map(|a| (a.value, a.kind)), expected.map(|hops| (hops, ValueKind::Integer)));
            assert!(stored.is_none_or(|stored| {
                (stored.body(), stored.body_kind(), stored.spec_version())
                    == (reply.body(), BodyKind::Text, SpecVersion::V03)
            }));
        }
    }
}
