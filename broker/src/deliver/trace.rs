//! W3C trace context: the trace that an event carries goes on in the HTTP headers of its delivery.
//!
//! The attribute `traceparent` names the originating span; each attempt is a new span of the same trace. Without a
//! readable `traceparent` nothing is sent: a broker that no trace runs through starts none.

use std::sync::{Mutex, PoisonError};

/// Gives every attempt a span id.
#[derive(Debug)]
pub(super) struct Spans(Mutex<fastrand::Rng>);

impl Spans {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self(Mutex::new(rng))
    }

    /// The `traceparent` header that continues the trace of `parent`; `None` when `parent` is none.
    pub(super) fn next(&self, parent: &str) -> Option<String> {
        let span = self.0.lock().unwrap_or_else(PoisonError::into_inner).u64(1..);
        continued(parent, span)
    }
}

/// `00-{trace id}-{span}-{flags}` with the trace id and flags of `parent`. A later version than 00 is read as far as
/// 00 goes, as the specification wants.
fn continued(parent: &str, span: u64) -> Option<String> {
    let mut parts = parent.split('-');
    let (version, trace, from, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zeros = |text: &str| text.bytes().all(|b| b == b'0');
    let sound = hex(version, 2) && hex(trace, 32) && hex(from, 16) && hex(flags, 2);
    let over = version == "00" && parts.next().is_some();
    (sound && version != "ff" && !over && !zeros(trace) && !zeros(from))
        .then(|| format!("00-{trace}-{span:016x}-{flags}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_under_a_new_span() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = Some(format!("00-{TRACE}-00000000000000ab-01"));
        for (parent, expected) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), good.clone()),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-later"), good),
            (format!("00-{TRACE}-00f067aa0ba902b7-01-more"), None),
            (format!("ff-{TRACE}-00f067aa0ba902b7-01"), None),
            (format!("00-{TRACE}-0000000000000000-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-00f067aa0ba902b7"), None),
            (String::new(), None),
        ] {
            assert_eq!(continued(&parent, 0xab), expected, "{parent}");
        }
    }

    #[test]
    fn span_ids_differ() {
        let spans = Spans::new(fastrand::Rng::with_seed(1));
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert_ne!(spans.next(parent), spans.next(parent));
    }
}
