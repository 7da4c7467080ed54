//! Events to HTTP messages: binary, structured and batched content mode.
//!
//! *Invariants*: in binary mode the body is the stored one, shared and not copied; what [`super::decode`] read comes
//! out with the same attributes and data. *Not here*: headers that are no part of the event.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

pub use super::media_type::{BATCH_JSON, STRUCTURED_JSON};
use super::{BodyKind, Event, SpecVersion, json, media_type, percent};

/// Room for the JSON format's punctuation and names around one event, in bytes; a guess that saves growing.
const JSON_OVERHEAD_BYTES: usize = 256;

/// Headers and body of a binary-mode message. `Content-Type` is among the headers if the event has a
/// `datacontenttype`, or came as JSON without one.
///
/// An attribute whose name no header can have (none that was decoded here) is left out.
#[must_use]
pub fn encode_binary(event: &Event) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(16);
    let version = match event.spec_version() {
        SpecVersion::V1 => HeaderValue::from_static("1.0"),
        SpecVersion::V03 => HeaderValue::from_static("0.3"),
    };
    headers.insert(HeaderName::from_static("ce-specversion"), version);
    for attribute in event.attributes() {
        let Some(name) = header_name(attribute.name) else { continue };
        let value = if name == CONTENT_TYPE || percent::is_plain(attribute.value) {
            HeaderValue::from_maybe_shared(event.block().slice_ref(attribute.value.as_bytes()))
        } else {
            HeaderValue::from_maybe_shared(Bytes::from(percent::encode(attribute.value)))
        };
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
    if event.body_kind() == BodyKind::Json && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::JSON));
    }
    (headers, event.body().clone())
}

fn header_name(attribute: &str) -> Option<HeaderName> {
    Some(match attribute {
        "id" => HeaderName::from_static("ce-id"),
        "source" => HeaderName::from_static("ce-source"),
        "type" => HeaderName::from_static("ce-type"),
        "subject" => HeaderName::from_static("ce-subject"),
        "time" => HeaderName::from_static("ce-time"),
        "dataschema" => HeaderName::from_static("ce-dataschema"),
        "datacontenttype" => CONTENT_TYPE,
        other => HeaderName::try_from(format!("ce-{other}")).ok()?,
    })
}

/// Body of a structured-mode message; its media type is [`STRUCTURED_JSON`].
#[must_use]
pub fn encode_structured(event: &Event) -> Bytes {
    let mut out = Vec::with_capacity(event.size_bytes() + JSON_OVERHEAD_BYTES);
    json::write_json(event, &mut out);
    Bytes::from(out)
}

/// Body of a batched message; its media type is [`BATCH_JSON`].
#[must_use]
pub fn encode_batch(events: &[Event]) -> Bytes {
    let size = events.iter().map(|event| event.size_bytes() + JSON_OVERHEAD_BYTES).sum();
    let mut out = Vec::with_capacity(size);
    out.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write_json(event, &mut out);
    }
    out.push(b']');
    Bytes::from(out)
}
