//! Annotations: ours by their readers in [`crate::annotations`], and the two of Knative's that it checks.

use serde_json::Value;

use super::node::{Faults, Node, kind_of, shown};
use super::{metadata, nearest};
use crate::annotations::{ALL, DEPENDENCY, INJECTION, Kind, PREFIX};

pub(super) fn check(root: &Node<'_>, kind: Kind, faults: &mut Faults) {
    let Some(annotations) = root.field("metadata").and_then(|metadata| metadata.field("annotations")) else { return };
    if !annotations.value.is_object() {
        faults.at(&annotations, format!("is {}; give names and values", kind_of(annotations.value)));
        return;
    }
    for (name, node) in annotations.fields() {
        let Some(value) = node.text(faults) else { continue };
        if name.starts_with(PREFIX) {
            check_ours(name, value, &node, kind, faults);
        } else if kind == Kind::Trigger && name == INJECTION {
            check_injection(root, value, &node, faults);
        } else if kind == Kind::Trigger && name == DEPENDENCY {
            check_dependency(root, value, &node, faults);
        }
    }
}

fn check_ours(name: &str, value: &str, node: &Node<'_>, kind: Kind, faults: &mut Faults) {
    let Some(annotation) = ALL.iter().find(|annotation| annotation.name == name) else {
        let here = || ALL.iter().filter(|annotation| annotation.kind == kind).map(|annotation| annotation.name);
        let fix = nearest(name.trim_start_matches(PREFIX), here().filter_map(|name| name.strip_prefix(PREFIX)))
            .map_or_else(
                || format!("known here: {}", here().collect::<Vec<_>>().join(", ")),
                |meant| format!("did you mean `{PREFIX}{meant}`?"),
            );
        faults.at(node, format!("is unknown; {fix}"));
        return;
    };
    if annotation.kind != kind {
        let (wrong, right) = match kind {
            Kind::Broker => ("Broker", "Trigger"),
            Kind::Trigger => ("Trigger", "Broker"),
        };
        faults.at(node, format!("means nothing on a {wrong}; put it on a {right}"));
    } else if let Some(message) = (annotation.check)(value) {
        faults.at(node, message);
    }
}

fn check_injection(root: &Node<'_>, value: &str, node: &Node<'_>, faults: &mut Faults) {
    if !matches!(value, "enabled" | "disabled") {
        faults.at(node, format!("`{}` is neither enabled nor disabled", shown(value)));
    }
    let broker = root.value.pointer("/spec/broker").and_then(Value::as_str);
    if broker.is_some_and(|broker| broker != "default") {
        faults.at(node, "works with the Broker `default` only; remove it, or set spec.broker to default");
    }
}

fn check_dependency(root: &Node<'_>, value: &str, node: &Node<'_>, faults: &mut Faults) {
    let reference: Value = match serde_json::from_str(value) {
        Ok(reference @ Value::Object(_)) => reference,
        Ok(_) | Err(_) => {
            let example = r#"{"apiVersion":"sources.knative.dev/v1","kind":"PingSource","name":"ping"}"#;
            faults.at(node, format!("is no object reference in JSON, such as {example}"));
            return;
        }
    };
    let reference = Node { path: node.path.clone(), value: &reference };
    for name in ["apiVersion", "kind"] {
        reference.required_text(name, faults);
    }
    match reference.field("name") {
        None => faults.add(&reference.path_of("name"), "is missing"),
        Some(name) => metadata::check_name(&name, faults),
    }
    let own = root.value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    if let Some(namespace) = reference.field("namespace")
        && namespace.as_text() != Some(own)
    {
        faults.at(&namespace, format!("is another namespace than the Trigger's, {}; leave it out", shown(own)));
    }
}
