use std::path::Path;

use super::*;

#[test]
fn committed_definitions_are_current() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for (name, text) in files().unwrap() {
        let committed = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(
            committed == text,
            "schemas/crds/{name} is out of date; run: cargo run -p schemas --features crdgen --bin crdgen"
        );
    }
}

#[test]
fn yaml_reads_back_as_the_definition() {
    for (definition, (name, text)) in [broker(), trigger()].iter().zip(files().unwrap()) {
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(&read, definition, "{name}");
        let typed: CustomResourceDefinition = serde_json::from_value(read).unwrap();
        assert_eq!(typed.spec.group, "eventing.knative.dev");
    }
}

/// The rules of a structural schema that the API server checks first.
#[test]
fn schemas_are_structural() {
    fn walk(path: &str, schema: &Value) {
        let Some(map) = schema.as_object() else { panic!("{path}: no object") };
        for word in ["$ref", "anyOf", "oneOf", "allOf", "definitions", "const"] {
            assert!(!map.contains_key(word), "{path} has {word}");
        }
        assert!(map.contains_key("type"), "{path} has no type");
        assert!(
            !(map.contains_key("properties") && map.contains_key("additionalProperties")),
            "{path} has both properties and additionalProperties"
        );
        if path.starts_with("spec") {
            assert!(
                map.get("description").is_some_and(|text| !text.as_str().unwrap_or_default().is_empty())
                    || path.ends_with("[]")
                    || path.ends_with("{}"),
                "{path} is not described"
            );
        }
        for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if path.is_empty() && name == "metadata" {
                continue;
            }
            walk(&format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), property);
        }
        if let Some(items) = map.get("items") {
            walk(&format!("{path}[]"), items);
        }
        if let Some(values) = map.get("additionalProperties") {
            walk(&format!("{path}{{}}"), values);
        }
    }
    for definition in [broker(), trigger()] {
        walk("", definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap());
    }
}

/// An upper bound of the API server's estimate: every rule costs what its text could cost once, times the limits of
/// the lists around it. Its limits: 10 million for a rule, 100 million for a definition.
#[test]
fn rules_stay_within_the_cost_budget() {
    fn walk(schema: &Value, times: u64, total: &mut u64) {
        let map = schema.as_object().unwrap();
        for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
            let text = rule["rule"].as_str().unwrap();
            let properties = map.get("maxProperties").and_then(Value::as_u64).unwrap_or(1);
            // A match of a URI of 4 × 8192 bytes against a pattern costs 3,300 × 8; all else a few per operator.
            let once = if text.contains("uri.matches") { 30_000 } else { 30 * properties };
            assert!(once * times < 10_000_000, "{text} × {times}");
            *total += once * times;
        }
        if map.contains_key("x-kubernetes-validations") && map.get("type") == Some(&json!("object")) {
            assert!(map.contains_key("properties") || map.contains_key("maxProperties"));
        }
        for property in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(property.1, times, total);
        }
        if let Some(items) = map.get("items") {
            walk(items, times * map.get("maxItems").and_then(Value::as_u64).unwrap_or(1_000_000), total);
        }
    }
    for definition in [broker(), trigger()] {
        let mut total = 0;
        let root = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
        walk(root, 1, &mut total);
        assert!(total < 100_000_000 && total > 0, "{total}");
    }
}

/// A policy repeats what a definition says, for where Knative's definitions are installed.
#[test]
fn policies_repeat_the_patterns() {
    for kind in ["broker", "trigger"] {
        let path = format!("../deploy/base/policies/{kind}.yaml");
        let policy = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        assert!(policy.contains(crate::delivery::ISO_8601), "{kind}");
    }
}

#[test]
fn defaults_stand_in_for_a_webhook() {
    let spec = broker().pointer(&format!("{ROOT}/spec/default")).cloned();
    assert_eq!(spec, Some(json!({})));
    let delivery = broker().pointer(&format!("{ROOT}/spec/properties/delivery/default")).cloned();
    assert_eq!(delivery, Some(json!({"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"})));
    assert_eq!(trigger().pointer(&format!("{ROOT}/spec/properties/delivery/default")), None, "the Broker's holds then");
    assert_eq!(trigger().pointer(&format!("{ROOT}/spec/properties/filter/default")), Some(&json!({})));
    let columns = trigger().pointer("/spec/versions/0/additionalPrinterColumns").cloned().unwrap();
    let names: Vec<_> = columns.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names.get(..5).unwrap(), ["Broker", "Subscriber_URI", "Age", "Ready", "Reason"]);
}
