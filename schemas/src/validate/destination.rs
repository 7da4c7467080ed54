//! Destinations and references. The scheme of a `uri` is not checked: what cannot be delivered becomes a dead letter.

use super::node::{Faults, Node};
use super::{metadata, nearest};
use crate::destination::{URI_CHARS_MAX, is_absolute};

/// Longest certificate accepted, in characters: many times the size of a usual one.
const CERTIFICATE_CHARS_MAX: usize = 65_536;

pub(super) fn check(node: &Node<'_>, faults: &mut Faults) {
    if !node.is_object(&["ref", "uri", "CACerts", "audience"], faults) {
        return;
    }
    let reference = node.field("ref");
    let uri = node.field("uri");
    if reference.is_none() && uri.is_none() {
        faults.at(node, "has neither ref nor uri; give one of them");
    }
    if let Some(reference) = &reference {
        check_reference(reference, faults);
    }
    if let Some(uri) = &uri {
        check_uri(uri, reference.is_some(), faults);
    }
    if let Some(certificate) = node.field("CACerts")
        && let Some(text) = certificate.short_text(CERTIFICATE_CHARS_MAX, faults)
        && uri.is_some()
        && !is_one_certificate(text)
    {
        faults.at(&certificate, "is not one PEM certificate (-----BEGIN CERTIFICATE----- … -----END CERTIFICATE-----)");
    }
    if let Some(audience) = node.field("audience") {
        audience.short_text(1024, faults);
    }
}

fn check_uri(uri: &Node<'_>, with_reference: bool, faults: &mut Faults) {
    let Some(text) = uri.short_text(URI_CHARS_MAX, faults) else { return };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        faults.at(uri, "has spaces or control characters; percent-encode them, such as %20");
    }
    match (is_absolute(text), with_reference) {
        (true, true) => faults.at(uri, "is absolute and stands beside ref; give one of the two, or a relative uri"),
        (false, false) => faults.at(uri, "is relative; without ref, write it whole, such as http://host/path"),
        (true, false) if !has_host(text) => faults.at(uri, "has no host; write it whole, such as http://host/path"),
        _ => {}
    }
}

/// Whether something stands where the host of an absolute address is.
fn has_host(uri: &str) -> bool {
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    !host.is_empty() && !host.starts_with(':')
}

/// Checks a reference to an object.
pub(super) fn check_reference(node: &Node<'_>, faults: &mut Faults) {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "name", "namespace", "address"];
    if !node.value.is_object() {
        node.is_object(&KNOWN, faults);
        return;
    }
    for (name, field) in node.fields() {
        if name == "group" {
            faults.at(&field, "is not supported; write group and version into apiVersion, such as apps/v1");
        } else if !KNOWN.contains(&name) {
            let fix = nearest(name, KNOWN).map_or_else(
                || format!("known here: {}", KNOWN.join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            );
            faults.at(&field, format!("is unknown; {fix}"));
        }
    }
    for name in ["apiVersion", "kind"] {
        node.required_text(name, faults);
    }
    node.required_name("name", faults);
    if let Some(namespace) = node.field("namespace") {
        metadata::check_name(&namespace, faults);
    }
    if let Some(address) = node.field("address") {
        address.short_text(253, faults);
    }
}

/// Whether a text is one PEM certificate, by its form.
fn is_one_certificate(text: &str) -> bool {
    let body = text
        .trim()
        .strip_prefix("-----BEGIN CERTIFICATE-----")
        .and_then(|rest| rest.strip_suffix("-----END CERTIFICATE-----"));
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') || c.is_ascii_whitespace();
    // Every X.509 certificate is a DER SEQUENCE longer than 255 bytes: 0x30 0x82, in base64 `MII`.
    body.is_some_and(|body| body.chars().all(base64) && body.trim_start().starts_with("MI"))
}
