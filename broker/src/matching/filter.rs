//! Compiled filters: asking whether an event passes, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::cesql::Expression;

use super::compile::{self, Clause, FilterFault};
use super::lookup;
use crate::event::Event;

/// Attribute values gathered on the stack in one pass over the block. Filters that name more attributes (hardly
/// any) walk the block once per comparison instead.
const SLOTS: usize = 16;

/// A Trigger's filter, compiled. Cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Arc<Program>);

/// Whether an event matched, and the clause that decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the Trigger wants the event.
    pub matched: bool,
    /// Path of the deciding clause, such as `filters[0].prefix.type`; of several that had to hold together, their
    /// parent (`filters[0].all`); `filter` where the Trigger wants everything.
    pub clause: String,
}

/// The attributes a filter looks at, and the tree of comparisons on them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Canonical names, by slot.
    pub(super) names: Vec<Box<str>>,
    pub(super) root: Node,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    Test(Test),
    All { path: Box<str>, children: Vec<Node> },
    Any { path: Box<str>, children: Vec<Node> },
    Not(Box<Node>),
    Cesql { path: Box<str>, expression: Box<Expression> },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) slot: usize,
    pub(super) op: Op,
    pub(super) value: Box<str>,
    pub(super) path: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Present,
    Exact,
    Prefix,
    Suffix,
}

impl Default for Filter {
    fn default() -> Self {
        Self::everything()
    }
}

impl Filter {
    /// A filter that every event passes.
    #[must_use]
    pub fn everything() -> Self {
        Self(Arc::new(Program { names: Vec::new(), root: Node::everything() }))
    }

    /// Compiles a Trigger's filter. A non-empty `filters` overrides `attributes` (`spec.filter.attributes`); the
    /// elements of `filters` must all hold; neither means everything. In `attributes`, the value `""` asks for the
    /// attribute to be there with any value. Comparisons are case-sensitive, on the canonical string form.
    ///
    /// # Errors
    /// Every fault with its path: bad attribute names, empty clauses and values, and what exceeds
    /// [`super::FILTER_DEPTH_MAX`], [`super::FILTER_TESTS_MAX`] or [`super::VALUE_BYTES_MAX`].
    pub fn compile(
        attributes: Option<&BTreeMap<String, String>>,
        filters: Option<&[Clause]>,
    ) -> Result<Self, Vec<FilterFault>> {
        compile::compile(attributes, filters).map(|program| Self(Arc::new(program)))
    }

    /// Whether the Trigger wants the event. Allocates nothing, unless a function of CESQL makes new text.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let program = &*self.0;
        if program.names.len() > SLOTS {
            let value = |slot: usize| program.names.get(slot).and_then(|name| lookup::value(event, name));
            return program.root.passes(event, &value);
        }
        let mut values = [None; SLOTS];
        let mut missing = program.names.len();
        if missing > 0 {
            for (name, value) in lookup::visible(event) {
                let slot = program.names.iter().zip(&mut values).find(|(wanted, _)| ***wanted == *name);
                if let Some((_, slot @ None)) = slot {
                    *slot = Some(value);
                    missing -= 1;
                    if missing == 0 {
                        break;
                    }
                }
            }
        }
        program.root.passes(event, &|slot| values.get(slot).copied().flatten())
    }

    /// Whether the Trigger wants the event, and which clause decided it.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Verdict {
        let program = &*self.0;
        let values = |slot: usize| program.names.get(slot).and_then(|name| lookup::value(event, name));
        let (matched, path) = program.root.decide(event, &values);
        Verdict { matched, clause: path.to_owned() }
    }

    pub(super) fn program(&self) -> &Program {
        &self.0
    }
}

impl Node {
    pub(super) fn everything() -> Self {
        Self::All { path: "filter".into(), children: Vec::new() }
    }

    fn passes<'e>(&self, event: &Event, value: &impl Fn(usize) -> Option<&'e str>) -> bool {
        match self {
            Self::Test(test) => test.passes(value(test.slot)),
            Self::All { children, .. } => children.iter().all(|child| child.passes(event, value)),
            Self::Any { children, .. } => children.iter().any(|child| child.passes(event, value)),
            Self::Not(child) => !child.passes(event, value),
            Self::Cesql { expression, .. } => expression.passes(event),
        }
    }

    /// As [`Node::passes`], with the path of the clause that decided.
    fn decide<'e>(&self, event: &Event, value: &impl Fn(usize) -> Option<&'e str>) -> (bool, &str) {
        match self {
            Self::Test(test) => (test.passes(value(test.slot)), &test.path),
            Self::All { path, children } => {
                Self::decide_list(path, children, &|child| child.decide(event, value), false)
            }
            Self::Any { path, children } => {
                Self::decide_list(path, children, &|child| child.decide(event, value), true)
            }
            Self::Not(child) => {
                let (passed, path) = child.decide(event, value);
                (!passed, path)
            }
            Self::Cesql { path, expression } => (expression.passes(event), path),
        }
    }

    /// One child that answers `deciding` decides alone; otherwise all of them did together.
    fn decide_list<'n>(
        path: &'n str,
        children: &'n [Node],
        decide: &impl Fn(&'n Node) -> (bool, &'n str),
        deciding: bool,
    ) -> (bool, &'n str) {
        if let [only] = children {
            return decide(only);
        }
        let decisions = children.iter().map(decide);
        decisions.into_iter().find(|(passed, _)| *passed == deciding).unwrap_or((!deciding, path))
    }
}

impl Test {
    fn passes(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match self.op {
            Op::Present => !value.is_empty(),
            Op::Exact => *value == *self.value,
            Op::Prefix => value.starts_with(&*self.value),
            Op::Suffix => value.ends_with(&*self.value),
        }
    }
}

#[cfg(test)]
mod tests;
