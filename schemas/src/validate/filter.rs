//! Filters: the legacy map, and the dialects with their nesting.

use super::node::{Faults, Node, kind_of, shown};
use crate::cesql::Expression;
use crate::filter::{DIALECTS, FILTER_ATTRIBUTES_MAX, FILTER_DEPTH_MAX, FILTER_LIST_MAX, FILTER_VALUE_CHARS_MAX};

pub(super) fn check_legacy(node: &Node<'_>, faults: &mut Faults) {
    if node.is_object(&["attributes"], faults)
        && let Some(attributes) = node.field("attributes")
    {
        check_attributes(&attributes, true, faults);
    }
}

/// Checks a list of filters, `depth` levels deep.
pub(super) fn check_list(node: &Node<'_>, depth: usize, faults: &mut Faults) {
    for element in node.elements(FILTER_LIST_MAX, faults) {
        check(&element, depth, faults);
    }
}

fn check(node: &Node<'_>, depth: usize, faults: &mut Faults) {
    if depth > FILTER_DEPTH_MAX {
        faults.at(node, format!("is nested deeper than {FILTER_DEPTH_MAX} levels"));
        return;
    }
    if !node.is_object(&DIALECTS, faults) {
        return;
    }
    let given: Vec<&str> = DIALECTS.into_iter().filter(|dialect| node.field(dialect).is_some()).collect();
    match given.as_slice() {
        [] => faults.at(node, format!("has no filter; give exactly one of {}", DIALECTS.join(", "))),
        [_] => {}
        several => faults.at(
            node,
            format!("has {} at once; give each an element of its own, or put them into `all`", several.join(" and ")),
        ),
    }
    for dialect in given {
        let Some(value) = node.field(dialect) else { continue };
        match dialect {
            "all" | "any" => {
                if value.value.as_array().is_some_and(Vec::is_empty) {
                    faults.at(&value, "is empty; give at least one filter, or leave the element out");
                }
                check_list(&value, depth + 1, faults);
            }
            "not" => check(&value, depth + 1, faults),
            "cesql" | "sql" => {
                if let Some(expression) = value.text(faults) {
                    cesql(expression).into_iter().for_each(|message| faults.at(&value, message));
                }
            }
            _ => check_attributes(&value, false, faults),
        }
    }
}

/// What is wrong with a CESQL expression that is to be a filter, each with the expression and a caret under the fault.
fn cesql(expression: &str) -> Vec<String> {
    let faults = Expression::filter(expression).err().unwrap_or_default();
    faults.iter().map(|fault| fault.shown(expression)).collect()
}

/// Checks attribute names and the values they are compared with. Only the legacy map takes empty ones: any value
/// there, nothing to compare with elsewhere.
fn check_attributes(node: &Node<'_>, legacy: bool, faults: &mut Faults) {
    let Some(map) = node.value.as_object() else {
        let example = "attribute names and values, such as `type: order.created`";
        faults.at(node, format!("is {}; give {example}", kind_of(node.value)));
        return;
    };
    if map.len() > FILTER_ATTRIBUTES_MAX {
        faults.at(node, format!("has {} attributes; at most {FILTER_ATTRIBUTES_MAX} are allowed", map.len()));
        return;
    }
    if map.is_empty() && !legacy {
        faults.at(node, "names no attribute; give at least one, such as `type: order.created`");
    }
    for (name, value) in map {
        let value = Node { path: node.path_of(name), value };
        if !is_attribute_name(name) {
            let lower = name.to_ascii_lowercase();
            let fix = if is_attribute_name(&lower) { format!("; write `{lower}`") } else { String::new() };
            faults.at(
                &value,
                format!("`{}` is no attribute name: a lower-case letter, then a-z and 0-9 only{fix}", shown(name)),
            );
        }
        if value.value.is_null() {
            faults.at(&value, "has no value; give the text to compare with");
        } else if value.short_text(FILTER_VALUE_CHARS_MAX, faults) == Some("") && !legacy {
            faults.at(&value, "is empty; give the text to compare with, or use spec.filter.attributes, where an empty value means any");
        }
    }
}

fn is_attribute_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
