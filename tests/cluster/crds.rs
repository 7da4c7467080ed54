//! Brokers and Triggers as the API server takes them: defaults, refusals with field and fix, what may change, and what
//! a person sees. The ids are those of Knative's conformance list.

use schemas::crd;
use serde_json::{Value, json};
use tests::cluster::Cluster;

use crate::installed::{apply, broker, installed, refused, trigger};
use crate::kubectl::done;

const SUBSCRIBER: &str = "subscriber: {uri: 'http://a/'}";
const CREATE: [&str; 4] = ["create", "--dry-run=server", "-f", "-"];
const CLASS: &str = "eventing.knative.dev/broker.class";

/// The arguments, in a namespace.
fn within<'a>(namespace: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    ["-n", namespace].iter().chain(args).copied().collect()
}

/// A Trigger of the Broker `default` with this besides.
fn with(rest: &str) -> String {
    trigger(&format!("{{broker: default, {SUBSCRIBER}, {rest}}}"))
}

/// Triggers that both the definition and the policy refuse, with words of the field and of the fix; by id.
fn faulty_triggers() -> Vec<(&'static str, String, &'static [&'static str])> {
    let sent_to = |subscriber: &str| trigger(&format!("{{broker: default, subscriber: {subscriber}}}"));
    let names: &[&str] = &["spec.filters", "a lower-case letter"];
    let one: &[&str] = &["spec.filters", "exactly one of exact, prefix"];
    let delivery = |block: &str| with(&format!("delivery: {{{block}}}"));
    vec![
        ("T13", trigger(&format!("{{{SUBSCRIBER}}}")), &["spec", "exactly one of broker and brokerRef"]),
        (
            "T13",
            trigger(&format!("{{broker: a, brokerRef: {{name: b}}, {SUBSCRIBER}}}")),
            &["spec", "exactly one of broker and brokerRef"],
        ),
        ("T16", with("filters: [{exact: {a: b}, suffix: {a: c}}]"), one),
        ("T16", with("filters: [{any: [{all: [{exact: {a: b}, prefix: {a: c}}]}]}]"), one),
        ("T16", with("filters: [{}]"), one),
        ("T16", with("filters: [{cesql: 'TRUE', sql: 'TRUE'}]"), one),
        ("T16", with("filters: [{any: [{all: [{exact: {a: b}, sql: 'TRUE'}]}]}]"), one),
        ("T16", with("filters: [{prefix: {Type: b}}]"), names),
        ("T16", with("filters: [{not: {suffix: {a-b: b}}}]"), names),
        ("T16", with("filters: [{all: [{any: [{exact: {A: b}}]}]}]"), names),
        ("D5", sent_to("{}"), &["spec.subscriber", "give ref or uri"]),
        ("D5", sent_to("{uri: /relative}"), &["spec.subscriber", "absolute"]),
        (
            "D5",
            sent_to("{uri: 'http://a/', ref: {apiVersion: v1, kind: Service, name: s}}"),
            &["spec.subscriber", "together with ref"],
        ),
        ("D5", delivery("deadLetterSink: {}"), &["spec.delivery.deadLetterSink", "give ref or uri"]),
        ("T15", delivery("retry: -1"), &["spec.delivery.retry", "0"]),
        ("T15", delivery("backoffPolicy: square"), &["spec.delivery.backoffPolicy", "linear", "exponential"]),
        ("T15", delivery("backoffDelay: 200ms"), &["spec.delivery", "backoffDelay"]),
        ("T15", delivery("backoffDelay: P"), &["spec.delivery", "backoffDelay"]),
        ("T15", delivery("timeout: PT"), &["spec.delivery", "timeout"]),
        ("T15", delivery("timeout: PT0S"), &["spec.delivery.timeout", "above zero"]),
        ("T15", delivery("format: xml"), &["spec.delivery.format", "json", "binary"]),
        ("T15", delivery("retryAfterMax: '-PT1S'"), &["spec.delivery", "retryAfterMax"]),
    ]
}

/// Attributes of these names are refused.
fn refuse_names(cluster: &Cluster) {
    for name in ["SOURCE", "Source", "souRce", "'a b'", "a_b", "a-b", "'123'", "'😀'", "'a!'", "''"] {
        let manifest = with(&format!("filter: {{attributes: {{{name}: x}}}}"));
        refused(cluster, &CREATE, &manifest, &["spec.filter.attributes", "a lower-case letter"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t11_attribute_names_that_no_event_can_have_are_refused() {
    let Some(cluster) = installed().await else { return };
    refuse_names(cluster);
}

async fn refuse_faulty_triggers(id: &str) {
    let Some(cluster) = installed().await else { return };
    let of_id = faulty_triggers().into_iter().filter(|(of, ..)| *of == id);
    let count = of_id.map(|(_, manifest, words)| refused(cluster, &CREATE, &manifest, words)).count();
    assert!(count > 1, "{count} of {id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t13_a_trigger_names_one_broker() {
    refuse_faulty_triggers("T13").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t15_malformed_delivery_is_refused_with_field_and_fix() {
    refuse_faulty_triggers("T15").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t16_malformed_filters_are_refused_with_field_and_fix() {
    refuse_faulty_triggers("T16").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_a_destination_is_a_ref_or_an_absolute_uri() {
    refuse_faulty_triggers("D5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_broker_and_unknown_fields_are_refused() {
    let Some(cluster) = installed().await else { return };
    refused(cluster, &CREATE, &with("fliter: {}"), &["unknown field \"spec.fliter\""]);
    let delivery = broker("b", "Reveille", "{delivery: {backoffDelay: soon}}");
    refused(cluster, &CREATE, &delivery, &["spec.delivery.backoffDelay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_attribute_filters_are_stored_unchanged() {
    let Some(cluster) = installed().await else { return };
    let attributes = json!({
        "source": "a", "id": "b", "specversion": "c", "type": "d", "subject": "e", "time": "f", "datacontenttype": "g",
        "dataschema": "h", "aaa": "i", "c1d2e3": "", "abcdefghijklmnopqrst": "k",
    });
    let create = ["create", "--dry-run=server", "-o", "jsonpath={.spec.filter.attributes}", "-f", "-"];
    let stored = done(cluster, &create, &with(&format!("filter: {{attributes: {attributes}}}")));
    assert_eq!(serde_json::from_str::<Value>(&stored).unwrap(), attributes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_works_on_knative_is_taken() {
    let Some(cluster) = installed().await else { return };
    for manifest in [
        // T15, T17, D2
        with("delivery: {retry: 0, backoffDelay: PT0.2S, timeout: P1DT1M}"),
        trigger("{broker: default, subscriber: {uri: 'bad://uri'}}"),
        trigger("{broker: default, subscriber: {uri: /update, ref: {apiVersion: v1, kind: Service, name: test}}}"),
        with("filters: [{any: [{all: [{not: {exact: {a: b}}}]}]}]"),
        with("filters: [], delivery: null"),
        with("filters: [{cesql: 'TRUE'}, {any: [{sql: 'TRUE'}, {all: [{cesql: 'TRUE'}, {not: {sql: 'TRUE'}}]}]}]"),
    ] {
        done(cluster, &CREATE, &manifest);
    }
    done(cluster, &CREATE, &broker(&"b".repeat(63), "Reveille", "{}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_t8_defaults_are_filled_in() {
    let Some(cluster) = installed().await else { return };
    let namespace = cluster.namespace("defaults").unwrap();
    let create = within(namespace.name(), &["create", "-o", "jsonpath={.spec}", "-f", "-"]);
    let created = |manifest: &str| serde_json::from_str::<Value>(&done(cluster, &create, manifest)).unwrap();
    // B11, also without a spec; but only where the block is wholly absent.
    let shipped = json!({"delivery": {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}});
    assert_eq!(created(&broker("bare", "Reveille", "")), shipped);
    let own = created(&broker("own", "Reveille", "{delivery: {timeout: PT5S}}"));
    assert_eq!(own, json!({"delivery": {"timeout": "PT5S"}}));
    // T8
    let spec = created(&trigger(&format!("{{broker: bare, {SUBSCRIBER}}}")));
    assert_eq!(spec, json!({"broker": "bare", "filter": {}, "subscriber": {"uri": "http://a/"}}));
}

fn only_delivery_of_a_broker_changes(cluster: &Cluster, namespace: &str) {
    let apply = |manifest: &str| {
        done(cluster, &within(namespace, &["apply", "-f", "-"]), manifest);
    };
    let refuse = |manifest: &str, words: &[&str]| {
        refused(cluster, &within(namespace, &["apply", "-f", "-"]), manifest, words);
    };
    let annotate = |name: &'static str, value: &str| {
        let annotation = format!("{CLASS}{value}");
        let args = within(namespace, &["annotate", "--overwrite", "broker", name, &annotation]);
        let output = cluster.kubectl(&args).unwrap();
        (output.status.success(), crate::kubectl::said(&output))
    };
    apply(&broker("ours", "Reveille", "{delivery: {retry: 1}}"));
    apply(&broker("ours", "Reveille", "{delivery: {retry: 2}}"));
    refuse(&broker("ours", "Kafka", "{delivery: {retry: 2}}"), &[CLASS, "Immutable fields changed", "create it anew"]);
    let config = "{config: {apiVersion: v1, kind: ConfigMap, name: c}, delivery: {retry: 2}}";
    refuse(&broker("ours", "Reveille", config), &["spec.config", "Immutable fields changed"]);
    let stored = r"jsonpath={.metadata.annotations.eventing\.knative\.dev/broker\.class} {.spec}";
    let stored = done(cluster, &within(namespace, &["get", "broker", "ours", "-o", stored]), "");
    assert_eq!(stored, r#"Reveille {"delivery":{"retry":2}}"#);

    // A Broker without a class may be given one, once.
    apply("apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: bare}\n");
    // Brokers of other classes are not ours to judge, but none becomes ours.
    apply(&broker("theirs", "Kafka", "{}"));
    for (name, value, allowed) in [
        ("ours", "-", false),
        ("bare", "=Reveille", true),
        ("bare", "=Kafka", false),
        ("theirs", "=KafkaNamespaced", true),
        ("theirs", "=Reveille", false),
    ] {
        let (taken, text) = annotate(name, value);
        assert_eq!(taken, allowed, "{name}{value}: {text}");
        assert!(taken || text.contains("Immutable fields changed (-old +new): annotations"), "{text}");
    }
}

fn broker_of_a_trigger_stays(cluster: &Cluster, namespace: &str) {
    let apply = within(namespace, &["apply", "-f", "-"]);
    done(cluster, &apply, &with("filter: {}"));
    refused(
        cluster,
        &apply,
        &trigger(&format!("{{broker: other, {SUBSCRIBER}}}")),
        &["spec.broker", "Immutable fields changed (-old +new): broker, spec", "create it anew"],
    );
    let changed = "{broker: default, subscriber: {uri: 'http://b/'}, filter: {attributes: {type: a}}, \
                   filters: [{exact: {type: b}}], delivery: {retry: 4}}";
    done(cluster, &apply, &trigger(changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_b5_b10_b12_only_the_delivery_of_a_broker_of_ours_may_change() {
    let Some(cluster) = installed().await else { return };
    let namespace = cluster.namespace("changes").unwrap();
    only_delivery_of_a_broker_changes(cluster, namespace.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn t3_t4_all_but_the_broker_of_a_trigger_may_change() {
    let Some(cluster) = installed().await else { return };
    let namespace = cluster.namespace("changes").unwrap();
    broker_of_a_trigger_stays(cluster, namespace.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn get_shows_address_state_and_reason() {
    let Some(cluster) = installed().await else { return };
    let namespace = cluster.namespace("columns").unwrap();
    let run = |args: &[&str], input: &str| done(cluster, &within(namespace.name(), args), input);
    run(&["create", "-f", "-"], &broker("default", "Reveille", ""));
    run(&["create", "-f", "-"], &with("filter: {}"));
    let patch = |object: &str, status: &Value| {
        let body = json!({ "status": status }).to_string();
        run(&["patch", object, "--subresource=status", "--type=merge", "-p", &body], "");
    };
    let not_ready = json!([{"type": "Ready", "status": "False", "reason": "NotYet"}]);
    patch("broker/default", &json!({"address": {"url": "http://broker.test/x"}, "conditions": not_ready}));
    let waking = json!([
        {"type": "Ready", "status": "True"},
        {"type": "SubscriberAwake", "status": "Unknown", "reason": "Waking"},
    ]);
    patch("trigger/t", &json!({"subscriberUri": "http://a/", "conditions": waking}));
    for (kind, shown) in [
        ("brk", "NAME URL AGE READY REASON CLASS RETENTION default http://broker.test/x False NotYet Reveille"),
        ("trg", "NAME BROKER SUBSCRIBER_URI AGE READY REASON AWAKE DEAD_LETTERS t default http://a/ True Waking"),
    ] {
        let text = run(&["get", kind, "-o", "wide"], "");
        // All but the age, whatever it is.
        let words: Vec<_> =
            text.split_whitespace().filter(|word| !word.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert_eq!(words.join(" "), shown, "{text}");
    }
    let all = run(&["get", "reveille", "-o", "name"], "");
    assert_eq!(all, "broker.eventing.knative.dev/default\ntrigger.eventing.knative.dev/t\n");
    run(&["wait", "--for=condition=Ready", "--timeout=5s", "trigger/t"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_documents_the_fields() {
    let Some(cluster) = installed().await else { return };
    for (field, words) in [
        ("trigger.spec.filters", "exactly one of `exact`, `prefix`, `suffix`"),
        ("trigger.spec.subscriber.ref", "a Knative Service"),
        ("broker.spec.delivery.retry", "`retry: 3` makes four attempts"),
        ("broker.spec.delivery.backoffDelay", "`PT0.2S`"),
        ("broker.status.address", "Where to publish events to"),
    ] {
        let text = done(cluster, &["explain", field], "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{field}: {text}");
    }
}

/// Leaves of a schema what Knative's have: the fields, to which objects are pruned; nothing that checks or fills in.
fn without_rules(schema: &mut Value) {
    const KEPT: [&str; 6] =
        ["type", "properties", "items", "additionalProperties", "required", "x-kubernetes-preserve-unknown-fields"];
    let Some(map) = schema.as_object_mut() else { return };
    map.retain(|key, _| KEPT.contains(&key.as_str()));
    for (key, inner) in map.iter_mut() {
        match key.as_str() {
            "properties" => inner.as_object_mut().into_iter().flatten().for_each(|(_, field)| without_rules(field)),
            "items" | "additionalProperties" => without_rules(inner),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_do_the_work_where_knatives_definitions_are() {
    let Some(cluster) = &Cluster::own_or_skip().await else { return };
    for mut definition in [crd::broker(), crd::trigger()] {
        without_rules(definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").unwrap());
        done(cluster, &["create", "-f", "-"], &definition.to_string());
    }
    apply(cluster, "deploy/overlays/knative").await;
    for (_, manifest, words) in faulty_triggers() {
        refused(cluster, &CREATE, &manifest, &[words, &["'reveille-trigger'"]].concat());
    }
    refuse_names(cluster);
    let faulty = "{delivery: {retry: -1}}";
    refused(cluster, &CREATE, &broker("b", "Reveille", faulty), &["spec.delivery.retry", "'reveille-broker'"]);
    // Not ours to judge.
    done(cluster, &CREATE, &broker("b", "Kafka", faulty));
    let namespace = cluster.namespace("changes").unwrap();
    only_delivery_of_a_broker_changes(cluster, namespace.name());
    broker_of_a_trigger_stays(cluster, namespace.name());

    // What we add to Knative's objects lies where no schema prunes it.
    let annotated =
        with("filter: {}").replace("{name: t}", "{name: t, annotations: {reveille.dev/delivery-order: by-key}}");
    done(cluster, &["create", "-f", "-"], &annotated);
    let status = json!({"status": {"annotations": {"reveille.dev/wake-target": "apps/v1/Deployment/a"}}}).to_string();
    done(cluster, &["patch", "trigger", "t", "--subresource=status", "--type=merge", "-p", &status], "");
    let kept = "jsonpath={.metadata.annotations} {.status.annotations}";
    let kept = done(cluster, &["get", "trigger", "t", "-o", kept], "");
    let pair = r#"{"reveille.dev/delivery-order":"by-key"} {"reveille.dev/wake-target":"apps/v1/Deployment/a"}"#;
    assert_eq!(kept, pair);
}
