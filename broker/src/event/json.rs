//! The CloudEvents JSON format: one event as a JSON object, and batches of them.
//!
//! Reading is one pass of serde_json that keeps each member as a slice of the text; `data` is never parsed into
//! values, so numbers, order of keys and white space stay as they were published. *Invariant*: bodies of kind
//! [`BodyKind::Json`] are valid JSON text.

mod read;

use base64::Engine;
use base64::engine::general_purpose;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(super) use read::{is_base64, read_batch, read_event};

use super::{BodyKind, DecodeError, Event, SpecVersion, ValueKind, media_type};

/// Reads one event in the JSON format from text that is not shared.
///
/// # Errors
/// [`DecodeError`] names the attribute that is at fault.
pub fn from_json_slice(text: &[u8]) -> Result<Event, DecodeError> {
    read_event(&Bytes::copy_from_slice(text))
}

/// Appends the event in the JSON format, on one line.
///
/// Data goes into `data` if it is JSON or text by its media type, else into `data_base64` (0.3: base64 in `data`).
pub fn write_json(event: &Event, out: &mut Vec<u8>) {
    write_members(event, event.body_kind(), out);
}

/// Appends the event in the JSON format without its data.
pub(super) fn write_attributes(event: &Event, out: &mut Vec<u8>) {
    write_members(event, BodyKind::None, out);
}

/// The event in the JSON format as text that serde_json embeds as it is.
#[must_use]
pub fn to_raw_json(event: &Event) -> Box<RawValue> {
    let write = |kind| {
        let mut out = Vec::with_capacity(event.size_bytes() + 256);
        write_members(event, kind, &mut out);
        String::from_utf8(out).ok().and_then(|text| RawValue::from_string(text).ok())
    };
    // An event that was put together by hand may hold a "JSON" body that is none; as base64 it can be shown.
    write(event.body_kind()).or_else(|| write(BodyKind::Binary)).unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// The event in the JSON format as a value. Numbers in `data` lose what an `f64` cannot hold; where bytes matter, use
/// [`to_raw_json`].
#[must_use]
pub fn to_json_value(event: &Event) -> serde_json::Value {
    serde_json::from_str(to_raw_json(event).get()).unwrap_or_else(|_| {
        let mut out = Vec::new();
        write_members(event, BodyKind::Binary, &mut out);
        serde_json::from_slice(&out).unwrap_or(serde_json::Value::Null)
    })
}

fn write_members(event: &Event, kind: BodyKind, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"specversion\":");
    write_string(event.spec_version().as_str(), out);
    for attribute in event.attributes() {
        out.push(b',');
        write_string(attribute.name, out);
        out.push(b':');
        let bare = match attribute.kind {
            ValueKind::String => false,
            ValueKind::Integer => {
                attribute.value.parse::<i32>().is_ok_and(|number| number.to_string() == attribute.value)
            }
            ValueKind::Boolean => matches!(attribute.value, "true" | "false"),
        };
        if bare { out.extend_from_slice(attribute.value.as_bytes()) } else { write_string(attribute.value, out) }
    }
    write_data(event, kind, out);
    out.push(b'}');
}

fn write_data(event: &Event, kind: BodyKind, out: &mut Vec<u8>) {
    let body = event.body();
    let media_type = event.datacontenttype();
    let text = (kind == BodyKind::Text).then(|| std::str::from_utf8(body).ok()).flatten();
    let v03 = event.spec_version() == SpecVersion::V03;
    let encoded_already = v03 && event.attribute("datacontentencoding").is_some();
    match (kind, text) {
        (BodyKind::None, _) => {}
        (BodyKind::Json, _) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(body);
        }
        (_, Some(text)) if encoded_already || !media_type.is_none_or(media_type::is_json) => {
            out.extend_from_slice(b",\"data\":");
            write_string(text, out);
        }
        _ if media_type.is_some_and(media_type::is_json) && is_json_text(body) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(body);
        }
        _ => {
            let name: &[u8] = match v03 {
                true => b",\"datacontentencoding\":\"base64\",\"data\":\"",
                false => b",\"data_base64\":\"",
            };
            out.extend_from_slice(name);
            out.extend_from_slice(general_purpose::STANDARD.encode(body).as_bytes());
            out.push(b'"');
        }
    }
}

fn is_json_text(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string can be written to memory");
    }
}
