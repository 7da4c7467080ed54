//! What both kinds have in common: `apiVersion`, `kind` and names.

use super::node::{Faults, Node, kind_of, shown};
use crate::broker::API_VERSION;

/// Longest name accepted, in bytes (Kubernetes' limit for object names).
const NAME_BYTES_MAX: usize = 253;

pub(super) fn check(root: &Node<'_>, kind: &str, faults: &mut Faults) {
    if !root.is_object(&["apiVersion", "kind", "metadata", "spec", "status"], faults) {
        return;
    }
    if root.field("apiVersion").is_none() {
        faults.add("apiVersion", format!("is missing; write {API_VERSION}"));
    }
    root.expect_text("apiVersion", API_VERSION, faults);
    if root.field("kind").is_none() {
        faults.add("kind", format!("is missing; write {kind}"));
    }
    root.expect_text("kind", kind, faults);
    let Some(metadata) = root.field("metadata") else {
        faults.add("metadata.name", "is missing");
        return;
    };
    if !metadata.value.is_object() {
        faults.at(&metadata, format!("is {}; give metadata.name", kind_of(metadata.value)));
        return;
    }
    metadata.required_name("name", faults);
    if let Some(namespace) = metadata.field("namespace") {
        check_name(&namespace, faults);
    }
}

/// Reports what is no name of an object or namespace.
pub(super) fn check_name(node: &Node<'_>, faults: &mut Faults) {
    let Some(name) = node.text(faults) else { return };
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let bytes = name.as_bytes();
    let sound = bytes.len() <= NAME_BYTES_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(inner)
        && !name.contains("..");
    if !sound {
        faults.at(
            node,
            format!(
                "`{}` is no Kubernetes name; use 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-' and '.', beginning and ending \
                 with a letter or digit",
                shown(name)
            ),
        );
    }
}
