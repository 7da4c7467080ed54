use serde_json::{Value, json};

use super::*;
use crate::filter::FILTER_LIST_MAX;

pub(super) fn trigger() -> Value {
    json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "orders"},
        "spec": {"broker": "default", "subscriber": {"uri": "http://localhost:8081/"}},
    })
}

pub(super) fn broker() -> Value {
    json!({"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "default"}})
}

/// The object with the value at a JSON pointer set; objects on the way are made.
pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut object;
    for part in pointer.trim_start_matches('/').split('/') {
        at = at.as_object_mut().unwrap().entry(part.replace("~1", "/")).or_insert_with(|| json!({}));
    }
    *at = value;
    object
}

fn without(mut object: Value, parent: &str, field: &str) -> Value {
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
    object
}

/// Each expected fault as `path` and a part of the message, all of them and no others.
fn check(object: &Value, expected: &[(&str, &str)]) {
    let faults = if object["kind"] == "Broker" { validate_broker(object) } else { validate_trigger(object) };
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    let wanted: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, wanted, "{faults:#?}");
    for (fault, (_, part)) in faults.iter().zip(expected) {
        assert!(fault.message.contains(part), "{fault} lacks `{part}`");
    }
    let typed = if object["kind"] == "Broker" { parse_broker(object).is_ok() } else { parse_trigger(object).is_ok() };
    assert_eq!(typed, expected.is_empty(), "the typed object must parse exactly if there is no fault");
}

#[test]
fn sound_objects_pass() {
    check(&trigger(), &[]);
    check(&broker(), &[]);
    for (pointer, value) in [
        ("/metadata/name", json!("a".repeat(63))),
        ("/metadata/annotations", json!({"other.example/x": "anything"})),
        ("/spec/filter", json!({})),
        ("/spec/filter", json!({"attributes": {"type": "", "aaa": "x", "c1d2e3": "y", "a23456789012345678901": "z"}})),
        ("/spec/filter", Value::Null),
        ("/spec/filters", json!([])),
        ("/spec/filters", Value::Null),
        (
            "/spec/filters",
            json!([{"exact": {"type": "a", "source": "b"}}, {"not": {"any": [{"prefix": {"id": "x"}}]}}]),
        ),
        ("/spec/filters", json!([{"exact": {"type": "a"}, "prefix": null}])),
        ("/spec/subscriber", json!({"uri": "bad://uri"})),
        ("/spec/subscriber", json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s", "namespace": "n"}})),
        ("/spec/subscriber", json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}, "uri": "/x"})),
        (
            "/spec/subscriber",
            json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}, "CACerts": "nonsense"}),
        ),
        (
            "/spec/subscriber",
            json!({"uri": "https://h", "CACerts": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}),
        ),
        ("/spec/delivery", json!({"retry": 0, "backoffDelay": "PT0.2S", "backoffPolicy": "linear", "timeout": "PT1S"})),
        ("/spec/delivery", json!({"format": "json", "retryAfterMax": "PT0S", "backoffDelay": "PT0S"})),
        ("/spec/delivery", json!({"deadLetterSink": {"uri": "http://dead.example"}})),
        ("/status", json!({"conditions": "whatever"})),
    ] {
        check(&with(trigger(), pointer, value), &[]);
    }
    let reference = json!({"name": "default", "kind": "Broker", "apiVersion": "eventing.knative.dev/v1"});
    let by_reference = with(without(trigger(), "/spec", "broker"), "/spec/brokerRef", reference);
    check(&by_reference, &[]);
    assert_eq!(parse_trigger(&by_reference).unwrap().spec.broker_name(), Some("default"));
    check(&with(broker(), "/spec/config", json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c"})), &[]);
    check(&with(broker(), "/spec", Value::Null), &[]);
}

#[test]
fn metadata_is_checked() {
    check(&json!("text"), &[("", "give fields"), ("spec", "is missing")]);
    check(&with(trigger(), "/apiVersion", json!("v1")), &[("apiVersion", "write eventing.knative.dev/v1")]);
    check(&without(trigger(), "", "apiVersion"), &[("apiVersion", "is missing")]);
    check(&without(trigger(), "", "metadata"), &[("metadata.name", "is missing")]);
    check(&with(trigger(), "/metadata", json!([])), &[("metadata", "is a list")]);
    check(&with(trigger(), "/metadata/name", json!("Orders")), &[("metadata.name", "no Kubernetes name")]);
    check(&with(trigger(), "/metadata/name", json!(5)), &[("metadata.name", "put it in quotes: \"5\"")]);
    check(&with(trigger(), "/metadata/namespace", json!("a_b")), &[("metadata.namespace", "no Kubernetes name")]);
    check(&with(trigger(), "/sepc", json!({})), &[("sepc", "did you mean `spec`?")]);
}

#[test]
fn trigger_specs_are_checked() {
    check(&without(trigger(), "", "spec"), &[("spec", "is missing")]);
    check(&with(trigger(), "/spec", json!({})), &[("spec.broker", "is missing"), ("spec.subscriber", "is missing")]);
    check(&with(trigger(), "/spec/brokerRef", json!({"name": "b"})), &[("spec.brokerRef", "exactly one")]);
    check(&with(trigger(), "/spec/broker", json!("A b")), &[("spec.broker", "no Kubernetes name")]);
    check(&with(trigger(), "/spec/subcriber", json!({})), &[("spec.subcriber", "did you mean `subscriber`?")]);
    let foreign = json!({"name": "b", "kind": "Channel", "namespace": "elsewhere"});
    let object = with(without(trigger(), "/spec", "broker"), "/spec/brokerRef", foreign);
    check(&object, &[("spec.brokerRef.kind", "write Broker"), ("spec.brokerRef.namespace", "another namespace")]);
}

#[test]
fn every_fault_is_reported_at_once() {
    let object = with(trigger(), "/spec/delivery", json!({"retry": -1, "timeout": "5s", "backoffPolicy": "quick"}));
    let object = with(object, "/spec/filters", json!([{"exact": {"TYPE": "a"}}, {}]));
    check(
        &with(object, "/metadata/annotations", json!({"reveille.dev/concurrency": "0"})),
        &[
            ("metadata.annotations[reveille.dev/concurrency]", "from 1 to 10000"),
            ("spec.filters[0].exact.TYPE", "write `type`"),
            ("spec.filters[1]", "give exactly one of"),
            ("spec.delivery.retry", "is -1; give a whole number"),
            ("spec.delivery.timeout", "ISO 8601"),
            ("spec.delivery.backoffPolicy", "neither linear nor exponential"),
        ],
    );
}

#[test]
fn filters_are_checked() {
    let faults = |filters: Value, expected: &[(&str, &str)]| {
        check(&with(trigger(), "/spec/filters", filters), expected);
    };
    faults(json!({"exact": {}}), &[("spec.filters", "give a list")]);
    faults(json!(["exact"]), &[("spec.filters[0]", "is a text")]);
    faults(
        json!([{"exact": {"type": "a"}, "suffix": {"type": "b"}}]),
        &[("spec.filters[0]", "exact and suffix at once")],
    );
    faults(
        json!([{"exakt": {"type": "a"}}]),
        &[("spec.filters[0].exakt", "did you mean `exact`?"), ("spec.filters[0]", "no filter")],
    );
    faults(json!([{"cesql": "type = 'a'"}, {"sql": "EXISTS subject"}]), &[]);
    faults(
        json!([{"cesql": "type = 'a' AND"}, {"not": {"any": [{"sql": "type == 'a'"}]}}]),
        &[
            ("spec.filters[0].cesql", "not the end\n  type = 'a' AND\n                ^"),
            ("spec.filters[1].not.any[0].sql", "not `=`\n  type == 'a'\n        ^"),
        ],
    );
    faults(
        json!([{"cesql": "LENGHT(type) > 3 OR UPER(id) = 'A'"}]),
        &[("spec.filters[0].cesql", "did you mean `LENGTH`?"), ("spec.filters[0].cesql", "did you mean `UPPER`?")],
    );
    faults(json!([{"cesql": "1 / 0 = 1"}]), &[("spec.filters[0].cesql", "division by zero")]);
    faults(json!([{"cesql": ""}]), &[("spec.filters[0].cesql", "is expected here, not the end")]);
    faults(json!([{"cesql": true}]), &[("spec.filters[0].cesql", "put it in quotes")]);
    faults(json!([{"cesql": "TRUE", "sql": "TRUE"}]), &[("spec.filters[0]", "cesql and sql at once")]);
    let long = format!("type = '{}'", "x".repeat(5000));
    faults(json!([{"cesql": long}]), &[("spec.filters[0].cesql", "longer than 4096 characters")]);
    faults(json!([{"exact": {}}]), &[("spec.filters[0].exact", "names no attribute")]);
    faults(json!([{"prefix": {"type": ""}}]), &[("spec.filters[0].prefix.type", "is empty")]);
    faults(json!([{"exact": {"type": 5}}]), &[("spec.filters[0].exact.type", "in quotes")]);
    faults(json!([{"exact": {"type": null}}]), &[("spec.filters[0].exact.type", "has no value")]);
    faults(json!([{"any": []}]), &[("spec.filters[0].any", "is empty")]);
    faults(json!([{"all": {}}]), &[("spec.filters[0].all", "give a list")]);
    faults(
        json!([{"not": {"any": [{"suffix": {"a_b": "x"}}, {"exact": {"id": "x"}}]}}]),
        &[("spec.filters[0].not.any[0].suffix.a_b", "no attribute name")],
    );
    faults(json!(vec![json!({"exact": {"id": "x"}}); FILTER_LIST_MAX + 1]), &[("spec.filters", "at most 64")]);
    let deep = (0..40).fold(json!({"exact": {"id": "x"}}), |inner, _| json!({"not": inner}));
    let path = format!("spec.filters[0]{}", ".not".repeat(16));
    faults(json!([deep]), &[(&path, "nested deeper than 16")]);
}

#[test]
fn attribute_names_follow_knative() {
    for name in ["SOURCE", "Source", "a b", "a_b", "a-b", "123", "1a", "ä", "😀", "a.b", ""] {
        for object in [
            with(trigger(), "/spec/filter", json!({"attributes": {name: "x"}})),
            with(trigger(), "/spec/filters", json!([{"exact": {name: "x"}}])),
        ] {
            let faults = validate_trigger(&object);
            assert_eq!(faults.len(), 1, "{name}");
            assert!(faults[0].message.contains("no attribute name"), "{name}: {}", faults[0]);
        }
    }
    let object = with(trigger(), "/spec/filter", json!({"atributes": {}}));
    check(&object, &[("spec.filter.atributes", "did you mean `attributes`?")]);
}

#[test]
fn destinations_are_checked() {
    let faults = |subscriber: Value, expected: &[(&str, &str)]| {
        check(&with(trigger(), "/spec/subscriber", subscriber), expected);
    };
    let reference = json!({"apiVersion": "v1", "kind": "Service", "name": "s"});
    faults(json!({}), &[("spec.subscriber", "neither ref nor uri")]);
    faults(json!("http://x"), &[("spec.subscriber", "is a text")]);
    faults(json!({"uri": "/path"}), &[("spec.subscriber.uri", "is relative")]);
    faults(json!({"uri": ""}), &[("spec.subscriber.uri", "is relative")]);
    faults(json!({"uri": "http://"}), &[("spec.subscriber.uri", "has no host")]);
    faults(json!({"uri": "localhost:8080"}), &[("spec.subscriber.uri", "has no host")]);
    faults(json!({"uri": "http://a b"}), &[("spec.subscriber.uri", "has spaces")]);
    faults(json!({"ref": reference, "uri": "http://x"}), &[("spec.subscriber.uri", "beside ref")]);
    faults(
        json!({"ref": {}}),
        &[
            ("spec.subscriber.ref.apiVersion", "is missing"),
            ("spec.subscriber.ref.kind", "is missing"),
            ("spec.subscriber.ref.name", "is missing"),
        ],
    );
    faults(
        json!({"ref": {"group": "apps", "apiVersion": "v1", "kind": "D", "name": "d"}}),
        &[("spec.subscriber.ref.group", "into apiVersion")],
    );
    faults(json!({"uri": "https://x", "CACerts": "MII"}), &[("spec.subscriber.CACerts", "not one PEM certificate")]);
    faults(
        json!({"url": "http://x"}),
        &[("spec.subscriber.url", "did you mean `uri`?"), ("spec.subscriber", "neither")],
    );
}

#[test]
fn delivery_blocks_are_checked() {
    let faults = |field: &str, value: Value, part: &str| {
        let path = format!("spec.delivery.{field}");
        check(&with(trigger(), &format!("/spec/delivery/{field}"), value.clone()), &[(&path, part)]);
        check(&with(broker(), &format!("/spec/delivery/{field}"), value), &[(&path, part)]);
    };
    faults("retry", json!(-1), "0 or more");
    faults("retry", json!(1.5), "whole number");
    faults("retry", json!("3"), "is a text");
    faults("retry", json!(3_000_000_000_u64), "whole number");
    faults("backoffPolicy", json!("Linear"), "neither linear nor exponential");
    faults("backoffDelay", json!("200ms"), "ISO 8601");
    faults("backoffDelay", json!("-PT1S"), "negative");
    faults("backoffDelay", json!("P1M"), "months");
    faults("timeout", json!("PT0S"), "is zero");
    faults("timeout", json!(30), "in quotes");
    faults("retryAfterMax", json!("-PT1S"), "negative");
    faults("format", json!("xml"), "neither json nor binary");
    faults("retrys", json!(3), "did you mean `retry`?");
    faults("deadLetterSink", json!({}), "neither ref nor uri");
    check(&with(trigger(), "/spec/delivery", json!(3)), &[("spec.delivery", "is a number")]);
}

#[test]
fn annotations_are_checked() {
    let faults = |object: Value, name: &str, value: Value, part: Option<&str>| {
        let object = with(object, "/metadata/annotations", json!({name: value}));
        let path = format!("metadata.annotations[{name}]");
        let expected: Vec<_> = part.into_iter().map(|part| (path.as_str(), part)).collect();
        check(&object, &expected);
    };
    for (name, good, bad, part) in [
        (
            "start",
            "earliest latest resume #0 #1000 2026-01-01T00:00:00Z 2026-01-01T00:00:00+02:00",
            "first #x #-1 yesterday 1960-01-01T00:00:00Z",
            "earliest",
        ),
        ("delivery-order", "unordered by-key ordered", "fifo", "by-key"),
        ("content-mode", "binary structured batched", "json", "structured"),
        ("reply", "lenient strict", "none", "lenient"),
        ("concurrency", "1 10000", "0 10001 -1 many", "from 1 to 10000"),
        ("exec", "python3", "", "is empty"),
        ("idle-period", "PT30S P1D", "PT0S 30s", "PT30S"),
        ("wake-timeout", "PT30S", "PT0S soon", "PT30S"),
        ("port", "1 65535 http http-2", "0 65536 HTTP -x a-name-that-is-too-long", "port"),
        ("delivery-path", "auto endpoints service", "dns", "endpoints"),
    ] {
        let name = format!("reveille.dev/{name}");
        good.split(' ').for_each(|value| faults(trigger(), &name, json!(value), None));
        bad.split(' ').for_each(|value| faults(trigger(), &name, json!(value), Some(part)));
        faults(broker(), &name, json!("x"), Some("put it on a Trigger"));
    }
    for (name, good, bad) in [
        ("retention-age", "P7D PT1H", "7d PT0S P1Y"),
        ("retention-bytes", "10Gi 1000", "0 ten"),
        ("discard-above-bytes", "1.5Gi", "0 -1"),
    ] {
        let name = format!("reveille.dev/{name}");
        good.split(' ').for_each(|value| faults(broker(), &name, json!(value), None));
        bad.split(' ').for_each(|value| faults(broker(), &name, json!(value), Some("")));
        faults(trigger(), &name, json!("x"), Some("put it on a Broker"));
    }
    faults(trigger(), "reveille.dev/concurency", json!("3"), Some("did you mean `reveille.dev/concurrency`?"));
    faults(trigger(), "reveille.dev/zzz", json!("3"), Some("known here: reveille.dev/start"));
    faults(trigger(), "reveille.dev/concurrency", json!(3), Some("put it in quotes: \"3\""));
    faults(trigger(), "eventing.knative.dev/injection", json!("enabled"), None);
    faults(trigger(), "eventing.knative.dev/injection", json!("yes"), Some("neither enabled nor disabled"));
    faults(
        with(trigger(), "/spec/broker", json!("b")),
        "eventing.knative.dev/injection",
        json!("enabled"),
        Some("`default` only"),
    );
    faults(trigger(), "knative.dev/dependency", json!("x"), Some("no object reference"));
    faults(trigger(), "knative.dev/dependency", json!(r#"{"apiVersion":"v1","kind":"K","name":"n"}"#), None);
    let foreign = json!({"knative.dev/dependency": r#"{"kind":"K","name":"n","namespace":"m"}"#});
    let path = "metadata.annotations[knative.dev/dependency]";
    check(
        &with(trigger(), "/metadata/annotations", foreign),
        &[(&format!("{path}.apiVersion"), "is missing"), (&format!("{path}.namespace"), "another namespace")],
    );
}

#[test]
fn updates_keep_what_is_immutable() {
    let check = |old: &Value, new: &Value, expected: &[&str]| {
        let faults = validate_update(old, new);
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, expected);
    };
    check(&trigger(), &trigger(), &[]);
    check(&trigger(), &with(trigger(), "/spec/subscriber/uri", json!("http://other")), &[]);
    check(&trigger(), &with(trigger(), "/spec/broker", json!("other")), &["spec.broker"]);
    check(&broker(), &with(broker(), "/spec/config", json!({"name": "c"})), &["spec.config"]);
    check(&broker(), &with(broker(), "/spec/delivery/retry", json!(3)), &[]);
    let class = "metadata.annotations[eventing.knative.dev/broker.class]";
    let classed = with(broker(), "/metadata/annotations/eventing.knative.dev~1broker.class", json!("Kafka"));
    check(&broker(), &classed, &[class]);
    assert!(is_foreign(&classed) && !is_foreign(&broker()));
}

#[test]
fn typed_objects_carry_what_was_written() {
    let object =
        with(trigger(), "/spec/delivery", json!({"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT1S"}));
    let object =
        with(object, "/spec/filters", json!([{"any": [{"exact": {"type": "a"}}, {"not": {"suffix": {"id": "z"}}}]}]));
    let typed = parse_trigger(&object).unwrap();
    assert_eq!(typed.spec.broker.as_deref(), Some("default"));
    assert_eq!(typed.spec.filter, Some(crate::filter::TriggerFilter::default()));
    assert_eq!(typed.spec.filters[0].any.as_ref().unwrap().len(), 2);
    let again = serde_json::to_value(&typed).unwrap();
    assert_eq!(again["spec"]["delivery"], object["spec"]["delivery"]);
    assert_eq!(again["spec"]["filters"], object["spec"]["filters"]);
    check(&again, &[]);
}
