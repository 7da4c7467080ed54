use cloudevents::binding::http::to_event;
use cloudevents::{EventBuilder as _, EventBuilderV03, EventBuilderV10};

use super::*;
use crate::event::decode::{decode_binary, decode_structured};
use crate::event::encode::{STRUCTURED_JSON, encode_binary, encode_structured};

/// Events that the SDK represents as they are.
fn samples() -> Vec<SdkEvent> {
    let base = || EventBuilderV10::new().id("1").source("/s").ty("t");
    vec![
        base().build().unwrap(),
        base()
            .subject("sub")
            .time("2020-01-01T00:00:00.5Z")
            .extension("text", "x")
            .extension("flag", true)
            .extension("count", 7)
            .data("application/json", serde_json::json!({"a": [1, 2.5, null]}))
            .build()
            .unwrap(),
        base().data_with_schema("text/plain", "https://example.com/s", "hello").build().unwrap(),
        base().data("application/octet-stream", vec![0_u8, 159, 146, 150]).build().unwrap(),
        EventBuilderV03::new().id("1").source("/s").ty("t").data("text/xml", "<a/>").build().unwrap(),
    ]
}

#[test]
fn conversion_there_and_back_is_identity() {
    for event in samples() {
        let ours = Event::try_from(&event).unwrap();
        assert_eq!(SdkEvent::try_from(&ours).unwrap(), event);
    }
}

#[test]
fn what_the_sdk_writes_as_json_is_read_and_the_other_way_round() {
    for event in samples() {
        let ours = decode_structured(STRUCTURED_JSON, serde_json::to_vec(&event).unwrap().into()).unwrap();
        assert_eq!(SdkEvent::try_from(&ours).unwrap(), event);
        let theirs: SdkEvent = serde_json::from_slice(&encode_structured(&ours)).unwrap();
        assert_eq!(theirs, event);
    }
}

#[test]
fn what_the_sdk_sends_in_binary_mode_is_read_and_the_other_way_round() {
    for event in samples() {
        let (parts, body) = http::Request::<Option<Vec<u8>>>::try_from(event.clone()).unwrap().into_parts();
        let body = bytes::Bytes::from(body.unwrap_or_default());
        let ours = decode_binary(&parts.headers, body.clone()).unwrap();
        assert_eq!(ours.id(), event.id());
        assert_eq!(ours.body(), &body);
        let (headers, body) = encode_binary(&ours);
        let theirs = to_event(&headers, body.to_vec()).unwrap();
        let again = Event::try_from(&theirs).unwrap();
        assert_eq!(again.time().is_some(), event.time().is_some());
        assert_eq!(again.subject(), event.subject());
        assert_eq!(again.attribute("count").map(|a| a.value), ours.attribute("count").map(|a| a.value));
        assert_eq!(again.body(), ours.body());
    }
}

#[test]
fn what_the_specification_refuses_is_refused_of_the_sdk_too() {
    for (event, attribute) in [
        (EventBuilderV10::new().id("").source("/s").ty("t").build().unwrap(), "id"),
        (EventBuilderV10::new().id("1").source("/s").ty("t").extension("my_ext", 1).build().unwrap(), "my_ext"),
        (EventBuilderV10::new().id("1").source("/s").ty("t").extension("n", i64::MAX).build().unwrap(), "n"),
    ] {
        assert_eq!(Event::try_from(&event).unwrap_err().attribute_name(), Some(attribute));
    }
}
