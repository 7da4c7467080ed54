//! Reading a reply: the CloudEvent that a subscriber may put into its answer.
//!
//! *Inputs*: status and headers first ([`plan`], which says how much of the body is worth reading), then the body
//! ([`read`]). *Outputs*: a [`Content`]. *Invariants*: only a 200 holds a reply; a reply has lost any
//! `knativebrokerttl` of its own; a 202 is never looked into. *Not here*: storing replies ([`crate::dispatch`]).

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::event::decode::{self, Decoded};
use crate::event::{Event, HOPS_ATTRIBUTE};

/// Media types with this beginning announce CloudEvents, in whatever format.
const CLOUDEVENTS_TYPE: &str = "application/cloudevents";

/// What a 2xx answer held.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing, or nothing that counts.
    Nothing,
    /// A reply.
    Event(Box<Event>),
    /// Something that claims to be a CloudEvent and is none; why.
    Broken(String),
    /// A body that is no CloudEvent.
    Odd,
}

/// How much of an answer's body is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// None of it: it means nothing.
    Ignore,
    /// Only whether there is any.
    Peek,
    /// All of it: it should be a CloudEvent.
    Reply,
    /// Its beginning, for the error message.
    Beginning,
}

/// What to do with the body of an answer to an attempt that asked for a reply, or did not.
#[must_use]
pub fn plan(code: u16, headers: &HeaderMap, asked: bool) -> Plan {
    match code {
        200 if asked && claims_event(headers) => Plan::Reply,
        202 => Plan::Ignore,
        200..=299 if asked => Plan::Peek,
        200..=299 => Plan::Ignore,
        _ => Plan::Beginning,
    }
}

/// Whether the headers announce a CloudEvent. A `ce-specversion` that nobody knows announces nothing.
fn claims_event(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let structured = content_type
        .get(..CLOUDEVENTS_TYPE.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(CLOUDEVENTS_TYPE.as_bytes()));
    structured || has_version(headers)
}

fn has_version(headers: &HeaderMap) -> bool {
    let version = headers.get("ce-specversion").map(http::HeaderValue::as_bytes);
    matches!(version, Some(b"1.0" | b"0.3"))
}

/// Reads the body of an answer under [`Plan::Reply`].
#[must_use]
pub fn read(headers: &HeaderMap, body: Bytes) -> Content {
    if body.is_empty() && !has_version(headers) {
        return Content::Nothing;
    }
    match decode::decode(headers, body) {
        Ok(Decoded::One(event)) if event.attribute(HOPS_ATTRIBUTE).is_none() => Content::Event(Box::new(event)),
        Ok(Decoded::One(event)) => Content::Event(Box::new(event.with_attributes(&[], &[HOPS_ATTRIBUTE]))),
        Ok(Decoded::Batch(_)) => Content::Broken("it is a batch; a reply is one event".to_owned()),
        Err(error) => Content::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    const BINARY: &[(&str, &str)] = &[
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "s"),
        ("ce-type", "t"),
        ("content-type", "text/xml"),
    ];

    #[test]
    fn plans() {
        let none = headers(&[]);
        let structured = headers(&[("content-type", "Application/CloudEvents+JSON; charset=utf-8")]);
        let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
        let binary = headers(BINARY);
        let unknown = headers(&[("ce-specversion", "19.0")]);
        for (code, headers, asked, expected) in [
            (200, &binary, true, Plan::Reply),
            (200, &structured, true, Plan::Reply),
            (200, &batch, true, Plan::Reply),
            (200, &binary, false, Plan::Ignore),
            (200, &unknown, true, Plan::Peek),
            (200, &none, true, Plan::Peek),
            (201, &binary, true, Plan::Peek),
            (202, &binary, true, Plan::Ignore),
            (204, &none, true, Plan::Peek),
            (299, &none, false, Plan::Ignore),
            (302, &none, true, Plan::Beginning),
            (500, &binary, true, Plan::Beginning),
        ] {
            assert_eq!(plan(code, headers, asked), expected, "{code} {headers:?} {asked}");
        }
    }

    #[test]
    fn a_binary_reply_is_read_and_loses_its_ttl() {
        let mut headers = headers(BINARY);
        headers.insert("ce-knativebrokerttl", "7".parse().unwrap());
        let Content::Event(event) = read(&headers, Bytes::from_static(b"<x/>")) else { panic!("no reply") };
        assert_eq!((event.id(), event.ty(), event.body().as_ref()), ("1", "t", b"<x/>".as_slice()));
        assert!(event.attribute(HOPS_ATTRIBUTE).is_none());
    }

    #[test]
    fn broken_replies_say_why() {
        let structured = [("content-type", "application/cloudevents+json")];
        let check = |pairs: &[(&'static str, &'static str)], body: &'static str, word: &str| match read(
            &headers(pairs),
            Bytes::from_static(body.as_bytes()),
        ) {
            Content::Broken(why) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        };
        check(&structured, "{", "");
        assert_eq!(read(&headers(&structured), Bytes::new()), Content::Nothing);
        check(&structured, r#"{"specversion":"1.0","id":"1","source":"s"}"#, "type");
        check(&[("ce-specversion", "1.0"), ("ce-id", "1")], "", "source");
        check(&[("content-type", "application/cloudevents-batch+json")], "[]", "batch");
        check(&[("content-type", "application/cloudevents+avro")], "x", "avro");
    }
}
