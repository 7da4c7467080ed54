//! What the fuzz targets run, shared with a bounded run on the stable toolchain (`tests/fuzz_smoke.rs`).
//!
//! Each body takes arbitrary bytes and states what must hold of them: a decoder refuses or accepts, never panics, and
//! what it accepts survives being written and read again. `tests/fuzz` makes a cargo-fuzz target of each.

use broker::clock::UnixMicros;
use broker::event::decode::{decode_batch, decode_binary, decode_structured};
use broker::event::encode::{BATCH_JSON, STRUCTURED_JSON, encode_batch, encode_binary, encode_structured};
use broker::event::{BlockError, BodyKind, Event, SpecVersion, json};
use broker::log::segment::footer::decode_footer;
use broker::log::segment::format::{
    FileHeader, NewFrame, SegmentId, decode_file_header, decode_frame, encode_file_header, encode_frame,
};
use broker::log::segment::record::split_record;
use broker::log::{LogId, Offset};
use broker::names::BrokerKey;
use broker::state::checkpoint::decode_checkpoint;
use broker::state::codec::{decode_cursor, encode_cursor};
use broker::state::{Cursor, Phase, Unsettled};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemas::cesql::{ErrorKind, Expression, Value};

/// One body with inputs to begin from.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the cargo-fuzz target.
    pub name: &'static str,
    /// What is run.
    pub body: fn(&[u8]),
    /// Inputs that get past the first checks.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target there is.
pub const TARGETS: [Target; 8] = [
    Target { name: "binary", body: binary, seeds: binary_seeds },
    Target { name: "structured", body: structured, seeds: structured_seeds },
    Target { name: "batch", body: batch, seeds: batch_seeds },
    Target { name: "block", body: block, seeds: block_seeds },
    Target { name: "frame", body: frame, seeds: frame_seeds },
    Target { name: "cursor", body: cursor, seeds: cursor_seeds },
    Target { name: "checkpoint", body: checkpoint, seeds: checkpoint_seeds },
    Target { name: "cesql", body: cesql, seeds: cesql_seeds },
];

/// A binary-mode message: lines `name: value`, an empty line, the body.
pub fn binary(input: &[u8]) {
    let end = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(end);
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let value = HeaderValue::from_bytes(value.trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            headers.append(name, value);
        }
    }
    let body = Bytes::copy_from_slice(body.get(2..).unwrap_or_default());
    let Ok(event) = decode_binary(&headers, body) else { return };
    let (out, body) = encode_binary(&event);
    let again = decode_binary(&out, body).expect("what was written in binary mode reads again");
    assert_eq!(again, event);
    survives_json(&event);
}

/// A structured-mode body.
pub fn structured(input: &[u8]) {
    let Ok(event) = decode_structured(STRUCTURED_JSON, Bytes::copy_from_slice(input)) else { return };
    let again = decode_structured(STRUCTURED_JSON, encode_structured(&event)).expect("what was written reads again");
    assert_eq!(again, event);
    let (headers, body) = encode_binary(&event);
    let binary = decode_binary(&headers, body).expect("a structured event can be sent in binary mode");
    assert_eq!(binary.body(), event.body());
    assert_eq!((binary.id(), binary.source(), binary.ty()), (event.id(), event.source(), event.ty()));
}

/// A batched body.
pub fn batch(input: &[u8]) {
    let Ok(events) = decode_batch(BATCH_JSON, Bytes::copy_from_slice(input)) else { return };
    let again = decode_batch(BATCH_JSON, encode_batch(&events)).expect("what was written reads again");
    assert_eq!(again, events);
}

/// An attribute block as it could lie on a damaged disk: a length byte, so much of the block, then the body.
pub fn block(input: &[u8]) {
    let Some((length, rest)) = input.split_first() else { return };
    let (block, body) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok(event) = Event::from_parts(Bytes::copy_from_slice(block), Bytes::copy_from_slice(body)) else { return };
    assert!(!event.id().is_empty() && !event.source().is_empty() && !event.ty().is_empty());
    assert_eq!(event.detach(), event);
    let _ = encode_binary(&event);
    let shown = json::to_raw_json(&event);
    assert_ne!(shown.get(), "null", "whatever is stored can be shown");
    assert_eq!(event.with_attributes(&[("x", "1")], &[]).attribute("x").map(|x| x.value.to_owned()), Some("1".into()));
}

/// What a log file may hold at any position: headers, frames, records, footers; and a sound frame around these bytes,
/// in which no byte can change unnoticed.
pub fn frame(input: &[u8]) {
    let _ = decode_file_header(input);
    let _ = decode_footer(input);
    records(input);
    if let Ok(frame) = decode_frame(input) {
        assert!(frame.payload.len() < input.len());
        records(frame.payload);
    }
    let Ok(event) = event_with(input) else { return };
    let written =
        NewFrame { segment: SegmentId(7), base: Offset(9), appended: UnixMicros(1), durable_up_to: Offset(9) };
    let mut bytes = encode_frame(&written, std::iter::once(&event), 0).expect("a short event");
    let read = decode_frame(&bytes).expect("what was written reads again");
    let (record, rest) = split_record(read.payload).expect("one record");
    assert_eq!((record.block, record.body, rest), (&event.block()[..], &event.body()[..], &[][..]));
    let at = crc32c(input) as usize % bytes.len();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= input.first().copied().unwrap_or(0).max(1);
    }
    assert!(decode_frame(&bytes).is_err(), "byte {at} changed unnoticed");
}

fn records(mut bytes: &[u8]) {
    while let Ok((record, rest)) = split_record(bytes) {
        assert!(rest.len() < bytes.len());
        let _ = record.check(SegmentId(7), Offset(9));
        bytes = rest;
    }
}

fn event_with(body: &[u8]) -> Result<Event, BlockError> {
    Event::builder(SpecVersion::V1)
        .attribute("id", "1")
        .attribute("source", "/s")
        .attribute("type", "t")
        .body(BodyKind::Binary, Bytes::copy_from_slice(body))
        .build()
}

/// A stored cursor.
pub fn cursor(input: &[u8]) {
    let Ok(cursor) = decode_cursor(input) else { return };
    assert_eq!(decode_cursor(&encode_cursor(&cursor)), Ok(cursor));
}

/// A checkpoint file, and one whose only frame has these bytes as its payload. Damage is left out and counted.
pub fn checkpoint(input: &[u8]) {
    let contents = decode_checkpoint(input);
    assert!(contents.damaged_bytes <= input.len());
    assert!(contents.damaged_bytes == input.len() || !contents.entries.is_empty());
    let behind = decode_checkpoint(&[&[0], input].concat());
    assert_eq!(behind.entries, contents.entries, "frames are found again behind damage");
    let frame = checkpoint_frame(input);
    let framed = decode_checkpoint(&frame);
    assert!(framed.damaged_bytes <= frame.len());
}

/// A CESQL expression: refused at a place in the text, or evaluated to one and the same thing in both ways.
pub fn cesql(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let event = event_with(b"").expect("it has what it must have");
    let event = event.with_attributes(&[("subject", "a.b%_🦀"), ("n", "-7"), ("yes", "TRUE")], &[]);
    match Expression::parse(text) {
        Ok(expression) => {
            let given = expression.evaluate(&event);
            let passes = given.value == Value::Boolean(true) && given.errors.is_empty();
            assert_eq!(expression.passes(&event), passes);
            for (name, values) in expression.required().iter() {
                let value = event.attribute(name).map(|attribute| attribute.value);
                assert!(!passes || value.is_some_and(|value| values.contains(value)), "requires {name}");
            }
            let faults = Expression::filter(text).err().unwrap_or_default();
            assert!(!passes || faults.iter().all(|fault| fault.kind == ErrorKind::MissingFunction));
        }
        Err(fault) => {
            assert!(text.is_char_boundary(fault.at));
            assert!(fault.shown(text).ends_with('^'));
        }
    }
}

/// A frame as the checkpoint's documentation has it.
fn checkpoint_frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_le_bytes();
    let crc = crc32c(&[&length, payload].concat()).to_le_bytes();
    [b"RvC\x01", &length, &crc, payload].concat()
}

/// CRC32C bit by bit, so that the seeds do not lean on the code under test.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Binary events have bodies of their own, which JSON carries as base64 or as they are.
fn survives_json(event: &Event) {
    let again = decode_structured(STRUCTURED_JSON, encode_structured(event)).expect("what was written reads again");
    let empty_or_encoded = event.body().is_empty() || event.attribute("datacontentencoding").is_some();
    // JSON text sheds the white space around it.
    assert!(empty_or_encoded || again.body().trim_ascii() == event.body().trim_ascii());
    assert_eq!(again.id(), event.id());
}

fn binary_seeds() -> Vec<Vec<u8>> {
    [
        "ce-specversion:1.0\nce-id:1\nce-source:/s\nce-type:t\n\nbody",
        "ce-specversion:1.0\nce-id:1\nce-source:/s%20%E2%82%AC\nce-type:t\nce-time:2020-01-01T01:00:00.123+02:00\nce-ext:\"a \\\"b\\\"\"\ncontent-type:application/json; charset=utf-8\n\n {\"a\" : 1} ",
        "ce-specversion:0.3\nce-id:1\nce-source:urn:a\nce-type:t\nce-datacontentencoding:base64\nce-schemaurl:https://a/b\n\nAAH/",
        "ce-specversion:1.0\nce-id:100%\nce-source:?\nce-type:t\nce-dataschema:a:b\nce-subject:%C3%A9\nce-ext:%C0%A0\n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

const EVENTS: [&str; 4] = [
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"z":1,"a":[12345678901234567890.12,null,"\u00e9"]}}"#,
    r#"{"data":"te\nxt","datacontenttype":"text/plain","specversion":"1.0","type":"t","source":"/s","id":"1","int":-5,"yes":true,"none":null}"#,
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAEC/w==","time":"2020-01-01T00:00:00Z"}"#,
    r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","datacontentencoding":"base64","data":"AAEC","schemaurl":"https://a/b"}"#,
];

fn structured_seeds() -> Vec<Vec<u8>> {
    EVENTS.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let all = format!("[{}]", EVENTS.join(" , "));
    [all.as_str(), "[]", " [ ] "].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn block_seeds() -> Vec<Vec<u8>> {
    let event = Event::builder(SpecVersion::V1)
        .attribute("id", "1")
        .attribute("source", "/s")
        .attribute("type", "t")
        .attribute("subject", "é")
        .typed_attribute("n", "7", broker::event::ValueKind::Integer)
        .body(broker::event::BodyKind::Json, Bytes::from_static(b"[1]"))
        .build();
    let event = event.expect("it has what it must have");
    let length = u8::try_from(event.block().len()).expect("a short block");
    vec![[&[length], &event.block()[..], &event.body()[..]].concat()]
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let event = event_with(b"body").expect("it has what it must have");
    let frame = NewFrame { segment: SegmentId(7), base: Offset(9), appended: UnixMicros(1), durable_up_to: Offset(9) };
    let whole = encode_frame(&frame, [&event, &event].into_iter(), 0).expect("short events");
    let payload = decode_frame(&whole).expect("a whole frame").payload.to_vec();
    let header = FileHeader { segment: SegmentId(7), base: Offset(9), created: UnixMicros(1) };
    vec![[encode_file_header(&header), whole.clone()].concat(), whole, payload]
}

fn cursor_seeds() -> Vec<Vec<u8>> {
    let event =
        |offset: u64, due: u64, phase| Unsettled { offset: Offset(offset), attempts: 3, due: UnixMicros(due), phase };
    let broker = BrokerKey::parse("default", "orders").expect("two names");
    let unsettled = vec![
        event(5, 0, Phase::Subscriber),
        event(9, 1_700_000_000_000_000, Phase::DeadLetterSink),
        event(900_000, 1_700_000_000_500_000, Phase::Subscriber),
    ];
    let cursor = Cursor {
        incarnation: Some("e0f2b1d4-uid".into()),
        broker,
        log: LogId::default(),
        began: Offset(3),
        scanned: Offset(1_000_000),
        unsettled,
        retired: None,
    };
    let retired = Cursor { unsettled: Vec::new(), retired: Some(UnixMicros(7)), ..cursor.clone() };
    vec![encode_cursor(&cursor), encode_cursor(&retired)]
}

fn cesql_seeds() -> Vec<Vec<u8>> {
    [
        "type = 't' AND subject LIKE 'a%\\_b_%' OR NOT EXISTS n",
        "-n + 2 * (3 - n) / 7 % 5 >= INT('12') XOR yes",
        "n IN (1, '-7', LENGTH(subject)) AND id NOT IN (\"it's\", 'b')",
        "CONCAT_WS(',', LEFT(subject, 2), SUBSTRING(type, -1, 1), TRIM(' x ')) <> UPPER(STRING(TRUE))",
        "((((1 = 1) = TRUE) = 'true') AND ABS(-2147483648) < BOOL('x')) OR NOSUCH(missing)",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let payload = |sequence: u8, cursor: &[u8]| [&[sequence], b"\x07default\x01t".as_slice(), cursor].concat();
    let cursor = cursor_seeds().concat();
    let kept = payload(1, &[&[1], cursor.as_slice()].concat());
    let removed = payload(2, &[0]);
    vec![[checkpoint_frame(&kept), checkpoint_frame(&removed)].concat(), kept, removed]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_what_they_say() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        let whole = decode_checkpoint(&checkpoint_seeds()[0]);
        assert_eq!((whole.entries.len(), whole.damaged_bytes), (1, 0));
        assert!(cursor_seeds().iter().all(|seed| decode_cursor(seed).is_ok()));
        assert!(structured_seeds().into_iter().all(|seed| decode_structured(STRUCTURED_JSON, seed.into()).is_ok()));
        let text = |seed: Vec<u8>| String::from_utf8(seed).unwrap();
        assert!(cesql_seeds().into_iter().all(|seed| Expression::parse(&text(seed)).is_ok()));
        assert!(batch_seeds().into_iter().all(|seed| decode_batch(BATCH_JSON, seed.into()).is_ok()));
    }
}
