//! Finds the matching filters of many at about the cost of those that match.
//!
//! A filter that can only pass when some attribute equals one of a few known values is kept under these values;
//! an event's attributes then lead straight to it. Filters without such a condition are asked one by one.

use std::collections::{BTreeSet, HashMap};

use schemas::cesql::Required;

use super::filter::{Filter, Node, Op};
use super::lookup;
use crate::event::Event;

/// Filters with what they stand for (a Trigger, say), ready to be asked all at once.
#[derive(Debug, Clone)]
pub struct Index<T> {
    items: Vec<(T, Filter)>,
    /// Attribute name, then value, to positions in `items`.
    keyed: HashMap<Box<str>, HashMap<Box<str>, Vec<usize>>>,
    /// Positions of those that have to be asked every time.
    others: Vec<usize>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { items: Vec::new(), keyed: HashMap::new(), others: Vec::new() }
    }
}

impl<T: Clone> Index<T> {
    /// Builds an index over `items`.
    #[must_use]
    pub fn build(items: Vec<(T, Filter)>) -> Self {
        let conditions: Vec<Required<'_>> = items.iter().map(|(_, filter)| conditions_of(filter)).collect();
        let mut popular: HashMap<(&str, &str), usize> = HashMap::new();
        for (name, values) in conditions.iter().flat_map(Required::iter) {
            for value in values {
                *popular.entry((name, value)).or_default() += 1;
            }
        }
        let mut keyed: HashMap<Box<str>, HashMap<Box<str>, Vec<usize>>> = HashMap::new();
        let mut others = Vec::new();
        for (position, conditions) in conditions.iter().enumerate() {
            // Of several conditions, the one shared with the fewest other filters separates best.
            let company = |values: &BTreeSet<&str>, name: &str| -> usize {
                values.iter().filter_map(|value| popular.get(&(name, *value))).sum()
            };
            let Some((name, values)) = conditions.iter().min_by_key(|(name, values)| company(values, name)) else {
                others.push(position);
                continue;
            };
            let by_value = keyed.entry((*name).into()).or_default();
            for value in values {
                by_value.entry((*value).into()).or_default().push(position);
            }
        }
        Self { items, keyed, others }
    }

    /// Appends to `found` every item whose filter the event passes, each once, in no particular order.
    pub fn matching(&self, event: &Event, found: &mut Vec<T>) {
        for (item, filter) in self.candidates(event) {
            if filter.matches(event) {
                found.push(item.clone());
            }
        }
    }

    /// The items that have to be asked about this event.
    fn candidates(&self, event: &Event) -> impl Iterator<Item = &(T, Filter)> {
        let keyed = lookup::visible(event).filter_map(|(name, value)| {
            let positions = self.keyed.get(name)?.get(value)?;
            // An attribute that comes twice counts once, or its filters would be found twice.
            let counts = lookup::value(event, name).is_some_and(|first| std::ptr::eq(first, value));
            counts.then_some(positions)
        });
        keyed.flatten().chain(&self.others).filter_map(|position| self.items.get(*position))
    }
}

/// For each attribute name, the values of which one must be there for a filter to pass.
fn conditions_of(filter: &Filter) -> Required<'_> {
    let program = filter.program();
    conditions(&program.root, &program.names)
}

fn conditions<'n>(node: &'n Node, names: &'n [Box<str>]) -> Required<'n> {
    match node {
        Node::Test(test) => match names.get(test.slot) {
            Some(name) if test.op == Op::Exact => Required::one_of(name, [&*test.value]),
            _ => Required::default(),
        },
        Node::All { children, .. } => {
            children.iter().map(|child| conditions(child, names)).fold(Required::default(), Required::and)
        }
        Node::Any { children, .. } => {
            let children = children.iter().map(|child| conditions(child, names));
            children.reduce(Required::or).unwrap_or_default()
        }
        Node::Not(_) => Required::default(),
        Node::Cesql { expression, .. } => expression.required().renamed(lookup::canonical),
    }
}

#[cfg(test)]
mod tests;
