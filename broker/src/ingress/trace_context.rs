//! W3C trace context of a publish request, so that delivery can carry the trace on.

use std::borrow::Cow;

use http::HeaderMap;

use crate::event::Event;

/// Length of `traceparent` in version 00, and of its known part in later versions.
const PARENT_BYTES: usize = 55;
/// Longest `tracestate` that is kept, in bytes: what the specification asks every party to pass on.
const STATE_BYTES_MAX: usize = 512;

/// A request's trace context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TraceContext<'h> {
    parent: &'h str,
    state: Option<Cow<'h, str>>,
}

impl<'h> TraceContext<'h> {
    /// Reads the headers; what is malformed is as good as absent.
    pub(super) fn of(headers: &'h HeaderMap) -> Option<Self> {
        let parent = headers.get("traceparent")?.to_str().ok().filter(|parent| is_parent(parent))?;
        let mut states = headers.get_all("tracestate").iter().filter_map(|state| state.to_str().ok());
        let first = states.next().map(Cow::Borrowed);
        let state = first.map(|first| states.fold(first, |all, next| Cow::Owned(format!("{all},{next}"))));
        let keep = |state: &Cow<'_, str>| {
            !state.is_empty() && state.len() <= STATE_BYTES_MAX && state.bytes().all(|b| matches!(b, 0x20..=0x7e))
        };
        Some(Self { parent, state: state.filter(keep) })
    }

    /// The event with this context as its attributes, unless it brought one of its own.
    pub(super) fn add_to(&self, event: Event) -> Event {
        if event.attribute("traceparent").is_some() {
            return event;
        }
        let mut attributes = vec![("traceparent", self.parent)];
        attributes.extend(self.state.as_deref().map(|state| ("tracestate", state)));
        event.with_attributes(&attributes, &["tracestate"])
    }
}

/// `version "-" trace-id "-" parent-id "-" flags`, all lower-case hex, neither id zero, version not `ff`.
fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |from: usize, to: usize| {
        bytes.get(from..to).is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let not_zero = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().any(|b| *b != b'0'));
    let dash = |at: usize| bytes.get(at) == Some(&b'-');
    let length =
        bytes.len() == PARENT_BYTES || (bytes.len() > PARENT_BYTES && !text.starts_with("00") && dash(PARENT_BYTES));
    length
        && text.bytes().all(|b| matches!(b, 0x21..=0x7e))
        && !text.starts_with("ff")
        && (dash(2) && dash(35) && dash(52))
        && (hex(0, 2) && hex(3, 35) && hex(36, 52) && hex(53, PARENT_BYTES))
        && (not_zero(3, 35) && not_zero(36, 52))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SpecVersion;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn parents() {
        for good in [PARENT, &format!("01{}-extra", &PARENT[2..])] {
            assert!(is_parent(good), "{good}");
        }
        for bad in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-extra"),
            &format!("ff{}", &PARENT[2..]),
            &PARENT.replace("4bf9", "4BF9"),
            &PARENT.replace("00f067aa0ba902b7", "0000000000000000"),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &PARENT.replace('-', "_"),
        ] {
            assert!(!is_parent(bad), "{bad}");
        }
    }

    #[test]
    fn an_event_keeps_the_context_that_it_brought() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of(&headers), None);
        headers.insert("traceparent", PARENT.parse().unwrap());
        headers.append("tracestate", "a=1".parse().unwrap());
        headers.append("tracestate", "b=2".parse().unwrap());
        let context = TraceContext::of(&headers).unwrap();
        let event =
            Event::builder(SpecVersion::V1).attribute("id", "1").attribute("source", "s").attribute("type", "t");
        let plain = event.build().unwrap();
        let traced = context.add_to(plain.clone());
        assert_eq!(traced.attribute("traceparent").unwrap().value, PARENT);
        assert_eq!(traced.attribute("tracestate").unwrap().value, "a=1,b=2");
        let own = plain.with_attributes(&[("traceparent", "own")], &[]);
        assert_eq!(context.add_to(own.clone()), own);
        headers.insert("tracestate", "x".repeat(STATE_BYTES_MAX + 1).parse().unwrap());
        assert_eq!(TraceContext::of(&headers).unwrap().state, None);
    }
}
