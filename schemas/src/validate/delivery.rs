//! Delivery blocks.

use super::destination;
use super::node::{Faults, Node, kind_of, shown};
use crate::duration;

const FIELDS: [&str; 7] =
    ["deadLetterSink", "retry", "timeout", "backoffPolicy", "backoffDelay", "retryAfterMax", "format"];

pub(super) fn check(block: &Node<'_>, faults: &mut Faults) {
    if !block.is_object(&FIELDS, faults) {
        return;
    }
    if let Some(sink) = block.field("deadLetterSink") {
        destination::check(&sink, faults);
    }
    if let Some(retry) = block.field("retry") {
        let sound = retry.value.as_i64().is_some_and(|count| (0..=i64::from(i32::MAX)).contains(&count));
        if !sound {
            let given = if retry.value.is_number() { retry.value.to_string() } else { kind_of(retry.value).to_owned() };
            faults.at(&retry, format!("is {given}; give a whole number of retries, 0 or more"));
        }
    }
    if let Some(timeout) = block.field("timeout")
        && check_duration(&timeout, faults) == Some(true)
    {
        faults.at(&timeout, "is zero; give a duration above zero, such as PT30S, or leave it out");
    }
    for name in ["backoffDelay", "retryAfterMax"] {
        if let Some(length) = block.field(name) {
            check_duration(&length, faults);
        }
    }
    check_word(block, "backoffPolicy", &["linear", "exponential"], faults);
    check_word(block, "format", &["json", "binary"], faults);
}

/// Whether the duration is zero, where it is one; else reports it.
fn check_duration(node: &Node<'_>, faults: &mut Faults) -> Option<bool> {
    match duration::parse(node.text(faults)?) {
        Ok(length) => Some(length.is_zero()),
        Err(error) => {
            faults.at(node, error.to_string());
            None
        }
    }
}

fn check_word(block: &Node<'_>, name: &str, words: &[&str], faults: &mut Faults) {
    if let Some(node) = block.field(name)
        && let Some(text) = node.text(faults)
        && !words.contains(&text)
    {
        faults.at(&node, format!("`{}` is neither {}", shown(text), words.join(" nor ")));
    }
}
