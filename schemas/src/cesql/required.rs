//! What an event must be like to pass, in the one form that an index can use.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{Link, Node, Step};
use super::syntax::Binary;
use super::value::Value;

/// For each attribute name, the texts of which one must be its value; empty where nothing of the kind is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required<'n>(BTreeMap<&'n str, BTreeSet<&'n str>>);

impl<'n> Required<'n> {
    /// That an attribute has one of these values.
    pub fn one_of(name: &'n str, values: impl IntoIterator<Item = &'n str>) -> Self {
        Self(BTreeMap::from([(name, values.into_iter().collect())]))
    }

    /// What is required where both hold. Of two sets for one name either is true; the smaller one says more.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (name, values) in other.0 {
            let kept = self.0.entry(name).or_insert_with(|| values.clone());
            if values.len() < kept.len() {
                *kept = values;
            }
        }
        self
    }

    /// What is required where at least one of them holds.
    #[must_use]
    pub fn or(mut self, mut other: Self) -> Self {
        self.0.retain(|name, values| match other.0.remove(name) {
            Some(more) => {
                values.extend(more);
                true
            }
            None => false,
        });
        self
    }

    /// The same under other names.
    #[must_use]
    pub fn renamed(self, name_of: impl Fn(&'n str) -> &'n str) -> Self {
        let renamed = self.0.into_iter().map(|(name, values)| Self(BTreeMap::from([(name_of(name), values)])));
        renamed.fold(Self::default(), Self::and)
    }

    /// Names and their possible values.
    pub fn iter(&self) -> impl Iterator<Item = (&'n str, &BTreeSet<&'n str>)> {
        self.0.iter().map(|(name, values)| (*name, values))
    }
}

/// What a part requires of an event to be true.
pub(super) fn of(node: &Node) -> Required<'_> {
    match &node.step {
        Step::Chain(first, links) => match (&first.step, links.as_slice()) {
            (Step::Attribute(name), [Link { operator: Binary::Equal, right, .. }]) => {
                text(right).map(|text| Required::one_of(name, [text])).unwrap_or_default()
            }
            _ => chain(first, links),
        },
        Step::In { operand, negated: false, set } => match &operand.step {
            Step::Attribute(name) => {
                // An attribute that is an integer or a boolean casts them to its own type, and texts that are neither fail.
                let plain = |text: &&str| text.parse::<i32>().is_err() && !is_boolean(text);
                let texts: Option<Vec<&str>> = set.iter().map(|node| text(node).filter(plain)).collect();
                texts.map(|texts| Required::one_of(name, texts)).unwrap_or_default()
            }
            _ => Required::default(),
        },
        _ => Required::default(),
    }
}

fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn chain<'n>(first: &'n Node, links: &'n [Link]) -> Required<'n> {
    let logic = |link: &Link| matches!(link.operator, Binary::And | Binary::Or | Binary::Xor);
    if !links.iter().all(logic) {
        return Required::default();
    }
    links.iter().fold(of(first), |left, link| match link.operator {
        Binary::And => left.and(of(&link.right)),
        _ => left.or(of(&link.right)),
    })
}

/// A constant text.
fn text(node: &Node) -> Option<&str> {
    match &node.step {
        Step::Constant(Value::String(text), errors) if errors.is_empty() => Some(text),
        _ => None,
    }
}
