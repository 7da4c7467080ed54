//! The one table from an answer to what happens next.
//!
//! *Inputs*: an answer's status, its `Retry-After`, the beginning of its body and what [`super::reply`] read in it.
//! *Outputs*: an [`Outcome`]. *Invariants*: pure; every status from 100 to 999 has a row. *Not here*: whether a
//! retry is left, and how long to wait ([`crate::dispatch`]).

use std::time::Duration;

use bytes::Bytes;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::reply::Content;
use super::{ERROR_BODY_BYTES_MAX, Failure, Outcome};
use crate::clock::UnixMicros;
use crate::triggers::ReplyMode;

/// Longest wait that is read from a `Retry-After`, so that a nonsensical number cannot overflow anything. Dispatch
/// has its own, far lower, limit on what it obeys.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a status alone means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Delivered,
    /// 404, 408, 409, 429, and everything from 500 on.
    Retryable,
    /// Everything else: 1xx, 3xx, other 4xx.
    Refused,
}

/// The retry list (`knative.md` §1.7): the same one as Knative's brokers have.
#[must_use]
pub fn verdict(code: u16) -> Verdict {
    match code {
        200..=299 => Verdict::Delivered,
        404 | 408 | 409 | 429 | 500.. => Verdict::Retryable,
        _ => Verdict::Refused,
    }
}

/// One answer, as far as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<'a> {
    /// HTTP status.
    pub code: u16,
    /// Value of `Retry-After`, if any.
    pub retry_after: Option<&'a str>,
    /// Beginning of the body of an answer that is not 2xx.
    pub body: Bytes,
    /// What a 2xx answer held.
    pub content: Content,
}

/// What an answer comes to. `reply` is that of the attempt, `now` is what an HTTP date is counted from.
#[must_use]
pub fn classify(answer: Answer<'_>, reply: Option<ReplyMode>, now: UnixMicros) -> Outcome {
    let code = answer.code;
    let failure = |error: String| Failure {
        code: Some(code),
        error,
        body: answer.body.slice(..answer.body.len().min(ERROR_BODY_BYTES_MAX)),
        retry_after: matches!(code, 429 | 503)
            .then(|| answer.retry_after.and_then(|value| retry_after(value, now)))
            .flatten(),
        unreachable: false,
    };
    match (verdict(code), answer.content) {
        (Verdict::Retryable, _) => Outcome::Retryable(failure(format!("HTTP {code}"))),
        (Verdict::Refused, _) if (300..400).contains(&code) => {
            Outcome::Refused(failure(format!("HTTP {code}: redirects are not followed; name the final address")))
        }
        (Verdict::Refused, _) => Outcome::Refused(failure(format!("HTTP {code}"))),
        (Verdict::Delivered, Content::Nothing) => Outcome::Delivered { code, reply: None, odd_body: false },
        (Verdict::Delivered, Content::Event(event)) => Outcome::Delivered { code, reply: Some(event), odd_body: false },
        (Verdict::Delivered, Content::Broken(why)) => {
            Outcome::Retryable(failure(format!("HTTP {code}, but the reply in it cannot be used: {why}")))
        }
        (Verdict::Delivered, Content::Odd) if reply == Some(ReplyMode::Strict) => Outcome::Retryable(failure(format!(
            "HTTP {code} with a body that is no CloudEvent, which `reveille.dev/reply: strict` takes for a failure"
        ))),
        (Verdict::Delivered, Content::Odd) => Outcome::Delivered { code, reply: None, odd_body: true },
    }
}

/// Reads a `Retry-After`: seconds, or an HTTP date in any of its three forms. A date that has passed is zero; `None`
/// when the value is neither.
#[must_use]
pub fn retry_after(value: &str, now: UnixMicros) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Digits that do not fit are a long time all the same.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let micros = http_date(value)?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    let moment = UnixMicros(u64::try_from(micros).unwrap_or(0));
    Some(moment.since(now).min(RETRY_AFTER_MAX))
}

/// The three forms of RFC 9110 §5.6.7: the present one, that of RFC 850 and that of C's `asctime`.
fn http_date(value: &str) -> Option<DateTime> {
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| strtime::parse(format, value).ok()?.to_datetime().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, SpecVersion};

    const NOW: UnixMicros = UnixMicros(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT

    #[test]
    fn every_status_has_the_verdict_of_the_table() {
        let retryable = |code: u16| matches!(code, 404 | 408 | 409 | 429) || code >= 500;
        for code in 100..=999 {
            let expected = match code {
                200..=299 => Verdict::Delivered,
                code if retryable(code) => Verdict::Retryable,
                _ => Verdict::Refused,
            };
            assert_eq!(verdict(code), expected, "{code}");
        }
        for code in [100, 101, 301, 302, 307, 308, 400, 401, 403, 405, 410, 413, 415, 422, 425, 451] {
            assert_eq!(verdict(code), Verdict::Refused, "{code}");
        }
        for code in [404, 408, 409, 429, 500, 502, 503, 599, 600, 999] {
            assert_eq!(verdict(code), Verdict::Retryable, "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (value, expected) in [
            ("0", seconds(0)),
            ("2", seconds(2)),
            (" 120 ", seconds(120)),
            ("99999999999999999999999", Some(RETRY_AFTER_MAX)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", seconds(3)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", seconds(10)),
            ("Sun Nov  6 08:50:37 1994", seconds(60)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", seconds(0)),
            ("Wed, 01 Jan 9999 00:00:00 GMT", None), // that day is a Friday
            ("Fri, 01 Jan 9999 00:00:00 GMT", Some(RETRY_AFTER_MAX)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, NOW), expected, "{value:?}");
        }
    }

    fn check(code: u16, content: Content, reply: Option<ReplyMode>, expected: &str) {
        let answer = Answer { code, retry_after: Some("2"), body: Bytes::from_static(b"why"), content };
        let text = match classify(answer, reply, NOW) {
            Outcome::Delivered { reply, odd_body, .. } => format!("delivered reply={} odd={odd_body}", reply.is_some()),
            Outcome::Retryable(failure) => format!("retryable {:?}", failure.retry_after),
            Outcome::Refused(failure) => format!("refused {:?}", failure.retry_after),
        };
        assert_eq!(text, expected, "{code}");
    }

    #[test]
    fn answers_become_outcomes() {
        let event =
            Event::builder(SpecVersion::V1).attribute("id", "1").attribute("source", "s").attribute("type", "t");
        let event = Content::Event(Box::new(event.build().unwrap()));
        let (lenient, strict) = (Some(ReplyMode::Lenient), Some(ReplyMode::Strict));
        check(200, Content::Nothing, lenient, "delivered reply=false odd=false");
        check(200, event, lenient, "delivered reply=true odd=false");
        check(200, Content::Odd, lenient, "delivered reply=false odd=true");
        check(200, Content::Odd, None, "delivered reply=false odd=true");
        check(201, Content::Odd, strict, "retryable None");
        check(200, Content::Broken("it is".into()), lenient, "retryable None");
        check(429, Content::Nothing, lenient, "retryable Some(2s)");
        check(503, Content::Nothing, lenient, "retryable Some(2s)");
        check(500, Content::Nothing, lenient, "retryable None");
        check(307, Content::Nothing, lenient, "refused None");
        check(422, Content::Nothing, lenient, "refused None");
    }

    #[test]
    fn an_error_body_is_cut() {
        let body = Bytes::from(vec![0xff; ERROR_BODY_BYTES_MAX + 1]);
        let answer = Answer { code: 500, retry_after: None, body, content: Content::Nothing };
        let Outcome::Retryable(failure) = classify(answer, None, NOW) else { panic!("500 is retryable") };
        assert_eq!(failure.body.len(), ERROR_BODY_BYTES_MAX);
        assert_eq!(failure.error, "HTTP 500");
    }
}
