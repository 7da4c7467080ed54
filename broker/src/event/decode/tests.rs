use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::event::encode::{BATCH_JSON, STRUCTURED_JSON, encode_batch, encode_binary, encode_structured};
use crate::event::json;

fn headers(rows: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in rows {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        map.append(HeaderName::try_from(*name).unwrap(), value);
    }
    map
}

fn binary(extra: &[(&str, &str)]) -> Result<Event, DecodeError> {
    let mut map = headers(&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")]);
    for (name, value) in &headers(extra) {
        map.append(name, value.clone());
    }
    decode_binary(&map, Bytes::from_static(b"body"))
}

fn structured(text: &str) -> Result<Event, DecodeError> {
    decode_structured(STRUCTURED_JSON, Bytes::copy_from_slice(text.as_bytes()))
}

/// A 1.0 event whose further members are `members`.
fn with(members: &str) -> Result<Event, DecodeError> {
    structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#))
}

fn value<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    event.attribute(name).map(|attribute| attribute.value)
}

fn fault(name: &str, fault: AttributeFault) -> DecodeError {
    DecodeError::attribute(name, fault)
}

#[test]
fn a_binary_message_is_read_byte_for_byte() {
    let body = Bytes::from_static(b"{\"z\": 1,\n \"a\": 12345678901234567890.12}");
    let map = headers(&[
        ("CE-SpecVersion", "1.0"),
        ("Ce-Id", "a-1"),
        ("ce-source", "/s%20t"),
        ("ce-type", "com.example"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-time", "2020-01-01T01:00:00.1230000+02:00"),
        ("Content-Type", "application/foo+json; charset=utf-8"),
        ("ce-quoted", "\"a b\""),
        ("ce-percent", "100%"),
        ("x-other", "1"),
    ]);
    let event = decode_binary(&map, body.clone()).unwrap();
    assert_eq!(event.id(), "a-1");
    assert_eq!(event.source(), "/s t");
    assert_eq!(event.subject(), Some("Euro €"));
    assert_eq!(event.time(), Some("2020-01-01T01:00:00.1230000+02:00"));
    assert_eq!(event.datacontenttype(), Some("application/foo+json; charset=utf-8"));
    assert_eq!(value(&event, "quoted"), Some("a b"));
    assert_eq!(value(&event, "percent"), Some("100%"));
    assert_eq!(value(&event, "x-other"), None);
    assert_eq!(event.body().as_ptr(), body.as_ptr(), "the body is shared");
    assert_eq!(event.body_kind(), BodyKind::Binary);
}

#[test]
fn faulty_headers_are_refused_by_name_and_reason() {
    use AttributeFault as F;
    for (extra, expected) in [
        (&[("ce-my_ext", "x")][..], fault("my_ext", F::Name)),
        (&[("ce-", "x")], fault("", F::Name)),
        (&[("ce-data", "x")], fault("data", F::Data)),
        (&[("ce-datacontenttype", "text/plain")], fault("datacontenttype", F::ContentTypeHeader)),
        (&[("content-type", " ")], fault("datacontenttype", F::Blank)),
        (&[("content-type", "a/b"), ("content-type", "c/d")], fault("datacontenttype", F::Repeated)),
        (&[("ce-ext", "1"), ("ce-ext", "1")], fault("ext", F::Repeated)),
        (&[("ce-id", "2")], fault("id", F::Repeated)),
        (&[("ce-specversion", "1.0")], fault("specversion", F::Repeated)),
        (&[("ce-ext", "%C0%A0")], fault("ext", F::NotUtf8)),
        (&[("ce-ext", "%0A")], fault("ext", F::Character(10))),
        (&[("ce-ext", "a\tb")], fault("ext", F::Character(9))),
        (&[("ce-time", "yesterday")], fault("time", F::NotTimestamp)),
        (&[("ce-subject", "%20")], fault("subject", F::Blank)),
        (&[("ce-dataschema", "relative")], fault("dataschema", F::NotAbsoluteUri)),
    ] {
        assert_eq!(binary(extra), Err(expected), "{extra:?}");
    }
    let many: Vec<_> = (3..=ATTRIBUTES_MAX).map(|n| (format!("ce-x{n}"), "v")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(binary(&many), Err(DecodeError::TooManyAttributes { limit: ATTRIBUTES_MAX }));
}

#[test]
fn required_attributes_are_required_in_headers() {
    use AttributeFault as F;
    let all = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    for (missing, name) in [(0, "specversion"), (1, "id"), (2, "source"), (3, "type")] {
        let mut rows = all.to_vec();
        rows.remove(missing);
        assert_eq!(decode_binary(&headers(&rows), Bytes::new()), Err(fault(name, F::Missing)));
        if name != "specversion" {
            rows.push((all[missing].0, "%20"));
            assert_eq!(decode_binary(&headers(&rows), Bytes::new()), Err(fault(name, F::Blank)));
        }
    }
    assert_eq!(decode_binary(&HeaderMap::new(), Bytes::new()), Err(DecodeError::NotAnEvent));
    for version in ["19.0", "9000.1", "1", "", "0.2"] {
        let mut rows = all.to_vec();
        rows[0].1 = version;
        let error = decode_binary(&headers(&rows), Bytes::new()).unwrap_err();
        assert_eq!(error, fault("specversion", F::Version(version.to_owned())));
    }
}

#[test]
fn version_0_3_is_kept() {
    let rows =
        [("ce-specversion", "0.3"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-schemaurl", "a:b")];
    let event = decode_binary(&headers(&rows), Bytes::new()).unwrap();
    assert_eq!((event.spec_version(), event.dataschema()), (SpecVersion::V03, Some("a:b")));
    assert_eq!(event.body_kind(), BodyKind::None);
    let (out, _) = encode_binary(&event);
    assert_eq!(out, headers(&rows));

    let text =
        r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","datacontentencoding":"base64","data":"AAH/"}"#;
    let event = structured(text).unwrap();
    assert_eq!((event.body_kind(), &event.body()[..]), (BodyKind::Binary, &[0, 1, 255][..]));
    assert_eq!(structured(std::str::from_utf8(&encode_structured(&event)).unwrap()).unwrap(), event);

    let mut encoded = headers(&rows);
    encoded.insert("ce-datacontentencoding", HeaderValue::from_static("base64"));
    let wrong = decode_binary(&encoded, Bytes::from_static(b"AAH-/"));
    assert_eq!(wrong, Err(DecodeError::Data(DataFault::Base64)));
    let event = decode_binary(&encoded, Bytes::from_static(b"AAH/")).unwrap();
    assert_eq!(encode_binary(&event), (encoded, Bytes::from_static(b"AAH/")), "the text goes on as it came");
    let again = structured(std::str::from_utf8(&encode_structured(&event)).unwrap()).unwrap();
    assert_eq!(&again.body()[..], [0, 1, 255]);
}

#[test]
fn data_keeps_its_form() {
    for (members, kind, body) in [
        ("", BodyKind::None, ""),
        (r#","data":null"#, BodyKind::Json, "null"),
        (
            r#","data": {"z" : 1,"a":12345678901234567890.12} "#,
            BodyKind::Json,
            r#"{"z" : 1,"a":12345678901234567890.12}"#,
        ),
        (r#","data":"text""#, BodyKind::Json, r#""text""#),
        (r#","datacontenttype":"application/json","data":"{\"a\":1}""#, BodyKind::Json, r#""{\"a\":1}""#),
        (r#","datacontenttype":"application/foo+json; charset=utf-8","data":{"a":1}"#, BodyKind::Json, r#"{"a":1}"#),
        (r#","data":"text","datacontenttype":"text/plain""#, BodyKind::Text, "text"),
        (r#","datacontenttype":"text/xml","data":"<a>\u00e9\n</a>""#, BodyKind::Text, "<a>é\n</a>"),
        (r#","datacontenttype":"text/plain","data":"""#, BodyKind::Text, ""),
        (r#","datacontenttype":"text/plain","data":5"#, BodyKind::Json, "5"),
        (r#","data_base64":"AAEC""#, BodyKind::Binary, "\u{0}\u{1}\u{2}"),
        (r#","data_base64":"AAE""#, BodyKind::Binary, "\u{0}\u{1}"),
        (r#","data_base64":"\/\/8A""#, BodyKind::Binary, ""),
        (r#","data_base64":null,"data":1"#, BodyKind::Json, "1"),
    ] {
        let event = with(members).unwrap();
        assert_eq!(event.body_kind(), kind, "{members}");
        if !members.contains(r"\/") {
            assert_eq!(event.body(), body, "{members}");
        }
        let again = decode_structured(STRUCTURED_JSON, encode_structured(&event)).unwrap();
        assert_eq!(again, event, "{members}");
    }
}

#[test]
fn json_data_is_a_slice_of_the_message() {
    let text = Bytes::from(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#);
    let event = decode_structured(STRUCTURED_JSON, text.clone()).unwrap();
    assert_eq!(event.body().as_ptr(), text[text.len() - 8..].as_ptr());
}

#[test]
fn faulty_json_events_are_refused_by_name_and_reason() {
    use AttributeFault as F;
    for (members, expected) in [
        (r#","Bad-Name":"x""#, fault("Bad-Name", F::Name)),
        (r#","my_ext":1"#, fault("my_ext", F::Name)),
        (r#","":1"#, fault("", F::Name)),
        (r#","ext":1,"ext":1"#, fault("ext", F::Repeated)),
        (r#","ext":null,"ext":null"#, fault("ext", F::Repeated)),
        (r#","\u0069d":"2""#, fault("id", F::Repeated)),
        (r#","data":1,"data":1"#, fault("data", F::Repeated)),
        (r#","subject":1"#, fault("subject", F::NotString)),
        (r#","subject":"""#, fault("subject", F::Blank)),
        (r#","ext":{}"#, fault("ext", F::NotScalar)),
        (r#","ext":[]"#, fault("ext", F::NotScalar)),
        (r#","ext":2147483648"#, fault("ext", F::NotInteger)),
        (r#","ext":1.0"#, fault("ext", F::NotInteger)),
        (r#","ext":"\ud800""#, fault("ext", F::Escape)),
        (r#","ext":"\u0000""#, fault("ext", F::Character(0))),
        (r#","ext":"\uffff""#, fault("ext", F::Character(0xffff))),
        (r#","time":"2020""#, fault("time", F::NotTimestamp)),
        (r#","dataschema":"/x""#, fault("dataschema", F::NotAbsoluteUri)),
        (r#","data":1,"data_base64":"AA==""#, DecodeError::Data(DataFault::Both)),
        (r#","data_base64":"!""#, DecodeError::Data(DataFault::Base64)),
        (r#","data_base64":1"#, DecodeError::Data(DataFault::NotString)),
        (r#","datacontenttype":"text/plain","data":"\udfff""#, DecodeError::Data(DataFault::Escape)),
    ] {
        assert_eq!(with(members), Err(expected), "{members}");
    }
    let missing = structured(r#"{"specversion":"1.0","id":"1","source":"/s"}"#);
    assert_eq!(missing, Err(fault("type", F::Missing)));
    let blank = structured(r#"{"specversion":"1.0","id":" ","source":"/s","type":"t"}"#);
    assert_eq!(blank, Err(fault("id", F::Blank)));
    for (text, expected) in [
        (r#"{"id":"1"}"#, F::Missing),
        (r#"{"specversion":null}"#, F::Missing),
        (r#"{"specversion":1.0}"#, F::NotString),
        (r#"{"specversion":"19.0"}"#, F::Version("19.0".to_owned())),
    ] {
        assert_eq!(structured(text), Err(fault("specversion", expected)), "{text}");
    }
    // id, source and type count, datacontenttype and data do not.
    let many = |count: usize| -> String { (3..count).map(|n| format!(r#","x{n}":1"#)).collect() };
    let full = with(&format!(r#"{},"datacontenttype":"a/json","data":1"#, many(ATTRIBUTES_MAX))).unwrap();
    let (map, body) = encode_binary(&full);
    assert!(decode_binary(&map, body).is_ok(), "what one mode takes, the other does");
    for count in [ATTRIBUTES_MAX + 1, ATTRIBUTES_MAX + 9] {
        assert_eq!(with(&many(count)), Err(DecodeError::TooManyAttributes { limit: ATTRIBUTES_MAX }));
    }
    for broken in ["", "{", "[]", "1", "\"x\"", "{\"a\":01}", "{\"a\":\"\u{1}\"}", "\u{feff}{}"] {
        assert!(matches!(structured(broken), Err(DecodeError::Json(_))), "{broken:?}: {:?}", structured(broken));
    }
    let junk = structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"} x"#);
    assert!(matches!(junk, Err(DecodeError::Json(_))));
    let latin1 = decode_structured(STRUCTURED_JSON, Bytes::from_static(b"{\"a\":\"\xe9\"}"));
    assert_eq!(latin1, Err(DecodeError::NotUtf8 { at: 6 }));
}

#[test]
fn typed_values_keep_their_type() {
    let event = with(r#","int":-7,"yes":true,"no":false,"text":"7","unset":null"#).unwrap();
    for (name, text, kind) in [
        ("int", "-7", ValueKind::Integer),
        ("yes", "true", ValueKind::Boolean),
        ("no", "false", ValueKind::Boolean),
        ("text", "7", ValueKind::String),
    ] {
        let attribute = event.attribute(name).unwrap();
        assert_eq!((attribute.value, attribute.kind), (text, kind));
    }
    assert!(event.attribute("unset").is_none());
    let text = encode_structured(&event);
    assert!(text.ends_with(br#","int":-7,"yes":true,"no":false,"text":"7"}"#), "{text:?}");
}

#[test]
fn the_content_type_decides_on_the_mode() {
    let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    let batch = format!("[{event},{event}]");
    let of = |content_type: &str, body: &str| {
        decode(&headers(&[("content-type", content_type), ("ce-id", "9")]), Bytes::copy_from_slice(body.as_bytes()))
    };
    assert_eq!(of("Application/CloudEvents+JSON", event).unwrap().into_events()[0].id(), "1");
    assert!(of("application/cloudevents+json; charset=\"UTF-8\"", event).is_ok());
    let two = of("application/CloudEvents-Batch+json", &batch).unwrap();
    assert!(matches!(&two, Decoded::Batch(events) if events.len() == 2));
    assert_eq!(of("application/cloudevents-batch+json", " [ ] "), Ok(Decoded::Batch(Vec::new())));
    for (content_type, expected) in [
        ("application/cloudevents+avro", DecodeError::UnsupportedFormat("application/cloudevents+avro".to_owned())),
        ("application/cloudevents", DecodeError::UnsupportedFormat("application/cloudevents".to_owned())),
        ("application/cloudevents+json; charset=latin1", DecodeError::UnsupportedCharset("latin1".to_owned())),
        ("text/plain", fault("specversion", AttributeFault::Missing)),
    ] {
        assert_eq!(of(content_type, event), Err(expected), "{content_type}");
    }
    assert!(matches!(of("application/cloudevents-batch+json", event), Err(DecodeError::Json(_))));
    assert!(matches!(of("application/cloudevents+json", &batch), Err(DecodeError::Json(_))));
}

#[test]
fn a_fault_in_a_batch_names_the_event() {
    let good = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    let of = |text: String| decode_batch(BATCH_JSON, Bytes::from(text)).unwrap_err();
    let error = of(format!(r#"[{good},{good},{{"specversion":"1.0","id":"","source":"/s","type":"t"}}]"#));
    assert_eq!((error.index(), error.attribute_name()), (Some(2), Some("id")));
    assert_eq!(error.to_string(), "event 2 of the batch: attribute `id` is empty or blank");
    assert_eq!(of(format!("[{good},5]")).index(), Some(1));
    assert_eq!(of(format!("[{good},{{]")).index(), Some(1));
    assert_eq!(of(format!("[{good}] x")).index(), None);
    let many = vec![good; BATCH_EVENTS_MAX + 1].join(",");
    assert_eq!(of(format!("[{many}]")), DecodeError::TooManyEvents { limit: BATCH_EVENTS_MAX });
}

#[test]
fn binary_bodies_become_json_data_where_they_are_json() {
    let of = |content_type: &str, body: &'static str| {
        let rows = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("content-type", content_type),
        ];
        let event = decode_binary(&headers(&rows), Bytes::from_static(body.as_bytes())).unwrap();
        String::from_utf8(encode_structured(&event).to_vec()).unwrap()
    };
    assert!(of("application/json", r#"{"a" : 1}"#).ends_with(r#","data":{"a" : 1}}"#));
    assert!(of("Application/X+JSON;v=1", "1").ends_with(r#","data":1}"#));
    assert!(of("application/json", "{broken").ends_with(r#","data_base64":"e2Jyb2tlbg=="}"#));
    assert!(of("text/plain", "hi").ends_with(r#","data_base64":"aGk="}"#));
    assert!(of("application/json", "").ends_with(r#""datacontenttype":"application/json"}"#));
}

#[test]
fn json_without_a_media_type_gets_one_in_binary_mode() {
    let (map, body) = encode_binary(&with(r#","data":[1]"#).unwrap());
    assert_eq!(map.get("content-type").unwrap(), "application/json");
    assert_eq!(body, "[1]");
    let (map, _) = encode_binary(&with(r#","data_base64":"AA==""#).unwrap());
    assert!(map.get("content-type").is_none());
}

#[test]
fn hand_made_events_can_always_be_shown() {
    let event = with("").unwrap();
    let odd = Event::builder(SpecVersion::V1)
        .attribute("id", "1")
        .attribute("source", "/s")
        .attribute("type", "t")
        .typed_attribute("n", "not a number", ValueKind::Integer)
        .body(BodyKind::Json, Bytes::from_static(b"{not json"))
        .build()
        .unwrap();
    assert_eq!(json::to_json_value(&odd)["data_base64"], "e25vdCBqc29u");
    assert_eq!(json::to_json_value(&odd)["n"], "not a number");
    assert_eq!(json::to_json_value(&event)["id"], "1");
    assert_eq!(json::from_json_slice(json::to_raw_json(&event).get().as_bytes()), Ok(event));
}

fn legal_text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| {
        let legal = |c: &char| rules::check_value("x", c.encode_utf8(&mut [0; 4]), SpecVersion::V1).is_ok();
        text.chars().filter(legal).collect()
    })
}

fn arbitrary_event() -> impl Strategy<Value = Event> {
    let extension = ("[a-z0-9]{1,20}", legal_text(), any::<Option<i32>>(), any::<Option<bool>>());
    let data = prop_oneof![
        Just(("text/plain".to_owned(), BodyKind::None, Vec::new())),
        any::<Vec<u8>>().prop_map(|bytes| ("application/octet-stream".to_owned(), BodyKind::Binary, bytes)),
        any::<String>().prop_map(|text| ("text/plain".to_owned(), BodyKind::Text, text.into_bytes())),
        any::<(String, i64, f64)>().prop_map(|(key, number, float)| {
            let json = serde_json::json!({ key: [number, float, null] }).to_string();
            ("application/json".to_owned(), BodyKind::Json, json.into_bytes())
        }),
    ];
    let required = (legal_text(), legal_text(), any::<bool>());
    (required, data, prop::collection::btree_map("ext[a-z0-9]{1,16}", extension, 0..6)).prop_map(
        |((id, subject, v1), (content_type, kind, body), extensions)| {
            let version = if v1 { SpecVersion::V1 } else { SpecVersion::V03 };
            let mut builder = Event::builder(version)
                .attribute("id", &format!("i{id}"))
                .attribute("source", "urn:s")
                .attribute("type", "t")
                .attribute("subject", &format!("s{subject}"))
                .attribute("datacontenttype", &content_type);
            for (name, (_, text, integer, boolean)) in &extensions {
                builder = match (integer, boolean) {
                    (Some(number), _) => builder.typed_attribute(name, &number.to_string(), ValueKind::Integer),
                    (_, Some(flag)) => builder.typed_attribute(name, &flag.to_string(), ValueKind::Boolean),
                    _ => builder.attribute(name, text),
                };
            }
            builder.body(kind, Bytes::from(body)).build().unwrap()
        },
    )
}

/// The event as binary mode carries it: every attribute a string, the data mere bytes.
fn as_strings(event: &Event) -> (Vec<(String, String)>, Bytes) {
    let mut attributes: Vec<_> =
        event.attributes().map(|attribute| (attribute.name.to_owned(), attribute.value.to_owned())).collect();
    attributes.sort();
    (attributes, event.body().clone())
}

proptest! {
    #[test]
    fn structured_mode_loses_nothing(event in arbitrary_event()) {
        let again = decode_structured(STRUCTURED_JSON, encode_structured(&event)).unwrap();
        prop_assert_eq!(again, event);
    }

    #[test]
    fn batched_mode_loses_nothing(events in prop::collection::vec(arbitrary_event(), 0..5)) {
        prop_assert_eq!(decode_batch(BATCH_JSON, encode_batch(&events)).unwrap(), events);
    }

    #[test]
    fn binary_mode_loses_only_types(event in arbitrary_event()) {
        let (map, body) = encode_binary(&event);
        let again = decode_binary(&map, body).unwrap();
        prop_assert_eq!(as_strings(&again), as_strings(&event));
        prop_assert_eq!(again.spec_version(), event.spec_version());
        let (map_again, body_again) = encode_binary(&again);
        prop_assert_eq!((map_again, body_again), encode_binary(&event));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), content_type in ".{0,40}") {
        let _ = decode_structured(STRUCTURED_JSON, Bytes::from(bytes.clone()));
        let _ = decode_batch(BATCH_JSON, Bytes::from(bytes.clone()));
        let _ = decode_batch(&content_type, Bytes::from(bytes));
    }

    #[test]
    fn arbitrary_headers_never_panic(rows in prop::collection::vec(("[a-z0-9_-]{0,8}", any::<Vec<u8>>()), 0..8)) {
        let mut map = headers(&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")]);
        for (name, value) in rows {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(format!("ce-{name}")), HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        if let Ok(event) = decode_binary(&map, Bytes::new()) {
            let (out, _) = encode_binary(&event);
            prop_assert_eq!(decode_binary(&out, Bytes::new()).unwrap(), event);
        }
    }
}
