//! HTTP messages to events: binary, structured and batched content mode.
//!
//! *Inputs*: headers and a whole body. *Outputs*: [`Event`]s whose bodies are slices of the message's body, never
//! copies (but for base64 and escaped text, which have to be decoded). *Invariants*: what is returned is a legal
//! CloudEvent of version 1.0 or 0.3; a batch is read whole or refused whole; no input panics. *Not here*: limits on
//! the size of messages, which the server applies while it reads them.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::fault::{AttributeFault, DataFault, DecodeError, quoted};
use super::media_type::{self, Mode};
use super::{BodyKind, Event, EventBuilder, SpecVersion, ValueKind, json, percent, rules};

/// Most attributes that one event may have, extensions included, `specversion` and `datacontenttype` apart. Ten times
/// what real events carry, and small enough that looking for repeated names stays cheap.
pub const ATTRIBUTES_MAX: usize = 128;

/// Most events in one batch: with the default request limit of 16 MiB, an average of 1 KiB each. It bounds the memory
/// that a batch of tiny events takes beyond its own bytes.
pub const BATCH_EVENTS_MAX: usize = 16_384;

const PREFIX: &str = "ce-";
const SPECVERSION: &str = "specversion";

/// What a message held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// One event, in binary or structured mode.
    One(Event),
    /// A batch, which may be empty.
    Batch(Vec<Event>),
}

impl Decoded {
    /// The events, in their order.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        match self {
            Self::One(event) => vec![event],
            Self::Batch(events) => events,
        }
    }
}

/// Reads a message in the content mode that its `Content-Type` announces.
///
/// # Errors
/// [`DecodeError`] names the attribute, and in a batch the event, that is at fault.
pub fn decode(headers: &HeaderMap, body: Bytes) -> Result<Decoded, DecodeError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let content_type = content_type.unwrap_or_default();
    match media_type::mode(content_type) {
        Mode::Binary => decode_binary(headers, body).map(Decoded::One),
        Mode::Structured => decode_structured(content_type, body).map(Decoded::One),
        Mode::Batch => decode_batch(content_type, body).map(Decoded::Batch),
        Mode::Unsupported => Err(unsupported(content_type)),
    }
}

/// Reads one event in the JSON format.
///
/// # Errors
/// As [`decode`]; a `content_type` other than `application/cloudevents+json` is not supported here.
pub fn decode_structured(content_type: &str, body: Bytes) -> Result<Event, DecodeError> {
    check_format(content_type, Mode::Structured)?;
    json::read_event(&body)
}

/// Reads a batch of events in the JSON format.
///
/// # Errors
/// As [`decode`]; a `content_type` other than `application/cloudevents-batch+json` is not supported here.
pub fn decode_batch(content_type: &str, body: Bytes) -> Result<Vec<Event>, DecodeError> {
    check_format(content_type, Mode::Batch)?;
    json::read_batch(&body)
}

fn check_format(content_type: &str, expected: Mode) -> Result<(), DecodeError> {
    if media_type::mode(content_type) != expected {
        return Err(unsupported(content_type));
    }
    match media_type::charset(content_type) {
        Some(charset) if !charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("utf8") => {
            Err(DecodeError::UnsupportedCharset(quoted(charset)))
        }
        _ => Ok(()),
    }
}

fn unsupported(content_type: &str) -> DecodeError {
    DecodeError::UnsupportedFormat(quoted(media_type::essence(content_type)))
}

/// Reads one event whose attributes are `ce-` headers and whose data is the body.
///
/// # Errors
/// As [`decode`].
pub fn decode_binary(headers: &HeaderMap, body: Bytes) -> Result<Event, DecodeError> {
    let version = binary_version(headers)?;
    let repeats = headers.len() != headers.keys_len();
    let mut builder = Event::builder(version);
    let mut attributes = 0_usize;
    let mut base64 = false;
    for (header, value) in headers {
        let name = match header.as_str().strip_prefix(PREFIX) {
            Some(SPECVERSION) => continue,
            Some("datacontenttype") => {
                return Err(DecodeError::attribute("datacontenttype", AttributeFault::ContentTypeHeader));
            }
            Some(name) => name,
            None if header == CONTENT_TYPE => "datacontenttype",
            None => continue,
        };
        attributes += usize::from(header != CONTENT_TYPE);
        if attributes > ATTRIBUTES_MAX {
            return Err(DecodeError::TooManyAttributes { limit: ATTRIBUTES_MAX });
        }
        let repeated = repeats && headers.get_all(header).iter().nth(1).is_some();
        push_header(&mut builder, name, value, version, repeated)
            .map_err(|fault| DecodeError::attribute(name, fault))?;
        base64 |= name == "datacontentencoding" && version == SpecVersion::V03;
    }
    let kind = match body.is_empty() {
        true => BodyKind::None,
        // The body is base64 text and goes on as such, together with the attribute that says so.
        false if base64 && json::is_base64(&body) => BodyKind::Text,
        false if base64 => return Err(DecodeError::Data(DataFault::Base64)),
        false => BodyKind::Binary,
    };
    finish(builder.body(kind, body))
}

fn push_header(
    builder: &mut EventBuilder,
    name: &str,
    value: &HeaderValue,
    version: SpecVersion,
    repeated: bool,
) -> Result<(), AttributeFault> {
    if repeated {
        return Err(AttributeFault::Repeated);
    }
    rules::check_name(name)?;
    let raw = value.as_bytes();
    if name == "datacontenttype" {
        let value = std::str::from_utf8(raw).map_err(|_| AttributeFault::NotUtf8)?;
        rules::check_value(name, value, version)?;
        builder.push(name, value, ValueKind::String);
        return Ok(());
    }
    let value = percent::decode(raw).ok_or(AttributeFault::NotUtf8)?;
    rules::check_value(name, &value, version)?;
    builder.push(name, &value, ValueKind::String);
    Ok(())
}

/// The version, which has to be known before any other attribute can be read.
fn binary_version(headers: &HeaderMap) -> Result<SpecVersion, DecodeError> {
    let mut values = headers.get_all("ce-specversion").iter();
    let Some(value) = values.next() else {
        let any = headers.keys().any(|name| name.as_str().starts_with(PREFIX));
        return Err(match any {
            true => DecodeError::attribute(SPECVERSION, AttributeFault::Missing),
            false => DecodeError::NotAnEvent,
        });
    };
    if values.next().is_some() {
        return Err(DecodeError::attribute(SPECVERSION, AttributeFault::Repeated));
    }
    let value = percent::decode(value.as_bytes())
        .ok_or_else(|| DecodeError::attribute(SPECVERSION, AttributeFault::NotUtf8))?;
    version(&value)
}

/// The version that the value of `specversion` names.
pub(super) fn version(value: &str) -> Result<SpecVersion, DecodeError> {
    match value {
        "1.0" => Ok(SpecVersion::V1),
        "0.3" => Ok(SpecVersion::V03),
        other => Err(DecodeError::attribute(SPECVERSION, AttributeFault::Version(quoted(other)))),
    }
}

/// Builds an event of attributes that have been checked; what can still be wrong is that one is missing.
pub(super) fn finish(builder: EventBuilder) -> Result<Event, DecodeError> {
    use super::BlockError;
    builder.build().map_err(|error| match error {
        BlockError::Missing(name) => DecodeError::attribute(name, AttributeFault::Missing),
        BlockError::Length(name) => DecodeError::attribute(&name, AttributeFault::LongName),
        BlockError::Damaged { .. } | BlockError::Version(_) => DecodeError::NotAnEvent,
    })
}

#[cfg(test)]
mod tests;
