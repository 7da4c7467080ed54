use schemas::validate::{parse_broker, parse_trigger};
use serde_json::{Value, json};

use super::*;

const DEFAULTS: Defaults = Defaults {
    retention: Retention { age: Some(Duration::from_secs(60)), bytes: None, discard_above_bytes: Some(7) },
    dead_letters: Retention { age: Some(Duration::from_secs(90)), bytes: None, discard_above_bytes: None },
    concurrency: 64,
};
const SINCE: UnixMicros = UnixMicros(1_000);

fn broker(annotations: Value, delivery: Value) -> BrokerPart {
    let object = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
        "metadata": {"name": "default", "annotations": annotations}, "spec": {"delivery": delivery},
    });
    broker_part(&parse_broker(&object).unwrap(), Lookup::Nobody).unwrap()
}

fn read(annotations: Value, spec: Value) -> Result<TriggerPart, Vec<Fault>> {
    let mut full = json!({"broker": "default", "subscriber": {"uri": "http://localhost:8081/x"}});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
        "metadata": {"name": "t", "annotations": annotations}, "spec": full,
    });
    trigger_part(&parse_trigger(&object).unwrap(), Lookup::Nobody)
}

fn entry(broker: &BrokerPart, annotations: Value, spec: Value) -> TriggerEntry {
    let trigger = read(annotations, spec).unwrap();
    let table = table([broker], [&trigger], DEFAULTS, |_| SINCE);
    let entry = &table.brokers[&"default/default".parse().unwrap()];
    entry.triggers[&"default/t".parse().unwrap()].as_ref().clone()
}

fn plain(spec: Value) -> TriggerEntry {
    entry(&broker(json!({}), Value::Null), json!({}), spec)
}

#[test]
fn delivery_falls_back_as_knative_does() {
    let check = |of_broker: Value, of_trigger: Value, retry: u32, delay_ms: u64, sink: Option<&str>| {
        let row = entry(&broker(json!({}), of_broker.clone()), json!({}), json!({"delivery": of_trigger}));
        let case = format!("{of_broker} {of_trigger}");
        assert_eq!(row.delivery.retry, retry, "{case}");
        assert_eq!(row.delivery.backoff_delay, Duration::from_millis(delay_ms), "{case}");
        assert_eq!(row.delivery.dead_letter_sink.as_ref().map(Recipient::shown), sink, "{case}");
    };
    let dead = |host: &str| json!({"deadLetterSink": {"uri": format!("http://{host}")}});
    check(Value::Null, Value::Null, 10, 200, None);
    check(json!({}), Value::Null, 0, 0, None);
    check(Value::Null, json!({}), 0, 0, None);
    check(json!({"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT1S"}), Value::Null, 3, 1000, None);
    check(json!({"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT1S"}), json!({"retry": 5}), 5, 0, None);
    check(Value::Null, json!({"retry": 5, "backoffDelay": "PT1S"}), 5, 0, None);
    check(Value::Null, json!({"retry": 5, "backoffPolicy": "exponential"}), 5, 0, None);
    check(dead("b"), Value::Null, 0, 0, Some("http://b"));
    check(dead("b"), json!({"retry": 1}), 1, 0, Some("http://b"));
    check(dead("b"), dead("t"), 0, 0, Some("http://t"));
}

#[test]
fn delivery_fields_are_read() {
    let policy =
        plain(json!({"delivery": {"timeout": "PT2S", "retryAfterMax": "PT0S", "backoffPolicy": "linear"}})).delivery;
    assert_eq!((policy.timeout, policy.retry_after_max), (Duration::from_secs(2), Some(Duration::ZERO)));
    assert_eq!(policy.backoff, Backoff::Linear);
    let policy = plain(json!({})).delivery;
    assert_eq!((policy.timeout, policy.retry_after_max), (Duration::from_secs(60), None));
    assert_eq!(policy.backoff, Backoff::Exponential);
}

#[test]
fn annotations_are_read() {
    let with = |name: &str, value: &str| {
        entry(&broker(json!({}), Value::Null), json!({format!("reveille.dev/{name}"): value}), json!({}))
    };
    let start = |value: &str| with("start", value).start;
    assert_eq!(plain(json!({})).start, StartPosition::At(SINCE));
    assert_eq!(start("earliest"), StartPosition::Earliest);
    assert_eq!(start("latest"), StartPosition::Latest);
    assert_eq!(start("resume"), StartPosition::Resume(SINCE));
    assert_eq!(start("#12"), StartPosition::Offset(Offset(12)));
    assert_eq!(start("1970-01-01T00:00:01Z"), StartPosition::At(UnixMicros(1_000_000)));
    assert_eq!(plain(json!({})).order, Order::Unordered);
    assert_eq!(with("delivery-order", "by-key").order, Order::ByKey);
    assert_eq!(with("delivery-order", "ordered").order, Order::Ordered);
    assert_eq!(with("concurrency", "3").concurrency, 3);
    assert_eq!(plain(json!({})).concurrency, 64);
    assert_eq!(with("reply", "strict").reply, ReplyMode::Strict);
    assert_eq!(plain(json!({})).reply, ReplyMode::Lenient);
}

#[test]
fn content_modes() {
    let check = |annotation: Option<&str>, format: Option<&str>, expected: ContentMode| {
        let annotations = annotation.map_or_else(|| json!({}), |mode| json!({"reveille.dev/content-mode": mode}));
        let row = entry(&broker(json!({}), Value::Null), annotations, json!({"delivery": {"format": format}}));
        assert_eq!(row.content_mode, expected, "{annotation:?} {format:?}");
    };
    check(None, None, ContentMode::Binary);
    check(None, Some("binary"), ContentMode::Binary);
    check(None, Some("json"), ContentMode::Structured);
    check(Some("binary"), Some("json"), ContentMode::Binary);
    check(Some("structured"), None, ContentMode::Structured);
    check(Some("batched"), Some("json"), ContentMode::Batched);
}

#[test]
fn retention_comes_from_the_broker_or_the_flags() {
    let annotations = json!({
        "reveille.dev/retention-age": "P1D",
        "reveille.dev/retention-bytes": "1Ki",
        "reveille.dev/dead-letter-bytes": "2Ki",
    });
    let table = table([&broker(annotations, Value::Null)], [], DEFAULTS, |_| SINCE);
    let retention = table.brokers.values().next().unwrap().retention;
    assert_eq!(retention.age, Some(Duration::from_secs(86_400)));
    assert_eq!(retention.bytes, Some(1024));
    assert_eq!(retention.discard_above_bytes, Some(7));
    let letters = table.brokers.values().next().unwrap().dead_letters;
    assert_eq!((letters.age, letters.bytes), (Some(Duration::from_secs(90)), Some(2048)));
}

#[test]
fn commands_need_an_address_on_this_machine() {
    let check = |uri: &str, address: Option<&str>| {
        let annotations = json!({"reveille.dev/exec": "run me", "reveille.dev/idle-period": "PT5S"});
        let part = read(annotations, json!({"subscriber": {"uri": uri}}));
        match address {
            Some(address) => {
                let Some(WakeTarget::Exec(exec)) = part.unwrap().wake else { panic!("no command for {uri}") };
                assert_eq!((exec.address.as_str(), exec.command.as_str()), (address, "run me"), "{uri}");
                assert_eq!(exec.idle_period, Some(Duration::from_secs(5)));
                assert_eq!(exec.wake_timeout, Duration::from_secs(60));
            }
            None => {
                let faults = part.unwrap_err();
                assert_eq!(faults[0].path, "metadata.annotations[reveille.dev/exec]", "{uri}");
                assert!(faults[0].message.contains("http://localhost:8081/"), "{uri}");
            }
        }
    };
    check("http://localhost:9000/x", Some("localhost:9000"));
    check("http://LOCALHOST", Some("LOCALHOST:80"));
    check("https://127.0.0.5/", Some("127.0.0.5:443"));
    check("http://[::1]:81", Some("[::1]:81"));
    check("http://example.com/", None);
    check("http://10.0.0.1:80/", None);
    check("ftp://localhost/", None);
    assert_eq!(plain(json!({})).wake, None);
}

#[test]
fn references_need_kubernetes() {
    let reference = json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}});
    let faults =
        read(json!({}), json!({"subscriber": reference, "delivery": {"deadLetterSink": reference}})).unwrap_err();
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["spec.subscriber.ref", "spec.delivery.deadLetterSink.ref"]);
    assert!(faults[0].message.contains("needs Kubernetes"));
}

#[test]
fn filters_are_compiled_and_fail_closed() {
    let filters = json!([{"any": [{"prefix": {"type": "a."}}, {"not": {"suffix": {"source": "z"}}}]}]);
    let written = plain(json!({"filters": filters})).filter;
    assert_eq!(written, plain(json!({"filters": filters, "filter": {"attributes": {"type": "x"}}})).filter);
    assert_ne!(written, Filter::everything());
    assert_eq!(plain(json!({"filter": {}})).filter, Filter::everything());
    assert_eq!(plain(json!({"filters": []})).filter, Filter::everything());
    assert_ne!(plain(json!({"filters": [], "filter": {"attributes": {"type": "x"}}})).filter, Filter::everything());
    // Past the validation, as an object might come from an API server with other rules.
    let mut object = parse_trigger(&json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "t"},
        "spec": {"broker": "default", "subscriber": {"uri": "http://x"}, "filters": [{"exact": {"type": "a"}}]},
    }))
    .unwrap();
    for (change, path) in [
        (json!({"exact": {"type": "a"}, "prefix": {"type": "a"}}), "spec.filters[0]"),
        (json!({}), "spec.filters[0]"),
        (json!({"not": {"all": [{"cesql": "TRUE AND"}]}}), "spec.filters[0].not.all[0].cesql"),
        (json!({"sql": "NOSUCH()"}), "spec.filters[0].sql"),
        (json!({"sql": "TRUE", "cesql": "TRUE"}), "spec.filters[0]"),
        (json!({"exact": {"TYPE": "a"}}), "spec.filters[0].exact.TYPE"),
        (json!({"not": {"any": []}}), "spec.filters[0].not.any"),
    ] {
        object.spec.filters = vec![serde_json::from_value(change.clone()).unwrap()];
        let faults = trigger_part(&object, Lookup::Nobody).unwrap_err();
        assert_eq!(faults[0].path, path, "{change}: {faults:?}");
    }
}

#[test]
fn triggers_without_their_broker_are_left_out() {
    let trigger = read(json!({}), json!({"broker": "other"})).unwrap();
    let table = table([&broker(json!({}), Value::Null)], [&trigger], DEFAULTS, |_| SINCE);
    assert_eq!(table.brokers.len(), 1);
    assert!(table.brokers.values().all(|broker| broker.triggers.is_empty()));
}
