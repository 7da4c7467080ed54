//! From clauses as written to a filter that is quick to ask.
//!
//! Everything that cannot be understood is a fault with its path: a clause that was skipped instead would let
//! events through that nobody asked for.

use std::collections::BTreeMap;

use schemas::cesql::Expression;

use super::filter::{Node, Op, Program, Test};
use super::lookup;

/// Deepest nesting of `all`, `any` and `not`. Hand-written filters stay below 5; this keeps recursion harmless.
pub const FILTER_DEPTH_MAX: usize = 16;
/// Most comparisons in one filter, looks of a CESQL expression at the event among them: ten times the longest list of types that one would write by hand, and still
/// some microseconds per event.
pub const FILTER_TESTS_MAX: usize = 512;
/// Longest value compared with, in bytes: longer than any attribute that fits into an HTTP header.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a name, as events store them.
const NAME_BYTES_MAX: usize = 255;

/// One filter clause as a person writes it, in the dialects of the CloudEvents Subscriptions API. The maps go from
/// attribute name to value; all of their entries must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// The attribute's string form equals the value.
    Exact(BTreeMap<String, String>),
    /// It begins with the value.
    Prefix(BTreeMap<String, String>),
    /// It ends with the value.
    Suffix(BTreeMap<String, String>),
    /// Every one of the clauses holds.
    All(Vec<Clause>),
    /// At least one of the clauses holds.
    Any(Vec<Clause>),
    /// The clause does not hold.
    Not(Box<Clause>),
    /// The CESQL expression is true, and evaluating it made no error.
    Cesql(String),
    /// The same, spelt as in the Subscriptions API.
    Sql(String),
}

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FilterFault {
    /// Path below `spec`, such as `filters[0].exact.type`.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Compiles `filters`, or where that is absent or empty, `filter.attributes`.
pub(super) fn compile(
    attributes: Option<&BTreeMap<String, String>>,
    filters: Option<&[Clause]>,
) -> Result<Program, Vec<FilterFault>> {
    let mut compiler = Compiler::default();
    let root = match (filters, attributes) {
        (Some(clauses), _) if !clauses.is_empty() => compiler.list("filters", clauses, 1),
        (_, Some(wanted)) if !wanted.is_empty() => compiler.attributes(wanted),
        _ => Node::everything(),
    };
    if compiler.faults.is_empty() { Ok(Program { names: compiler.names, root }) } else { Err(compiler.faults) }
}

#[derive(Debug, Default)]
struct Compiler {
    names: Vec<Box<str>>,
    tests: usize,
    faults: Vec<FilterFault>,
}

impl Compiler {
    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(FilterFault { path: path.to_owned(), message: message.into() });
    }

    fn attributes(&mut self, wanted: &BTreeMap<String, String>) -> Node {
        let path = "filter.attributes";
        let children = wanted.iter().map(|(name, value)| {
            let op = if value.is_empty() { Op::Present } else { Op::Exact };
            self.test(path, op, name, value)
        });
        Node::All { children: children.collect(), path: path.into() }
    }

    fn clause(&mut self, path: &str, clause: &Clause, depth: usize) -> Node {
        if depth > FILTER_DEPTH_MAX {
            self.fault(path, format!("nested deeper than {FILTER_DEPTH_MAX} levels; use fewer `all`, `any` and `not`"));
            return Node::everything();
        }
        match clause {
            Clause::Exact(wanted) => self.dialect(&format!("{path}.exact"), Op::Exact, wanted),
            Clause::Prefix(wanted) => self.dialect(&format!("{path}.prefix"), Op::Prefix, wanted),
            Clause::Suffix(wanted) => self.dialect(&format!("{path}.suffix"), Op::Suffix, wanted),
            Clause::All(clauses) => {
                let path = format!("{path}.all");
                self.list(&path, clauses, depth + 1)
            }
            Clause::Any(clauses) => {
                let path = format!("{path}.any");
                match self.list(&path, clauses, depth + 1) {
                    Node::All { path, children } => Node::Any { path, children },
                    other => other,
                }
            }
            Clause::Not(clause) => Node::Not(Box::new(self.clause(&format!("{path}.not"), clause, depth + 1))),
            Clause::Cesql(text) => self.cesql(&format!("{path}.cesql"), text),
            Clause::Sql(text) => self.cesql(&format!("{path}.sql"), text),
        }
    }

    fn cesql(&mut self, path: &str, text: &str) -> Node {
        match Expression::filter(text) {
            Ok(expression) => {
                self.count(path, expression.looks().max(1));
                Node::Cesql { path: path.into(), expression: Box::new(expression) }
            }
            Err(faults) => {
                faults.iter().for_each(|fault| self.fault(path, fault.shown(text)));
                Node::everything()
            }
        }
    }

    /// Counts comparisons; reports the first that are too many.
    fn count(&mut self, path: &str, more: usize) {
        let before = self.tests;
        self.tests += more;
        if before <= FILTER_TESTS_MAX && self.tests > FILTER_TESTS_MAX {
            self.fault(path, format!("more than {FILTER_TESTS_MAX} comparisons in one filter; split the Trigger"));
        }
    }

    fn list(&mut self, path: &str, clauses: &[Clause], depth: usize) -> Node {
        if clauses.is_empty() {
            self.fault(path, "is empty; give it at least one clause");
        }
        let mut children = Vec::new();
        for (at, clause) in clauses.iter().enumerate() {
            // A list beyond the limit has been reported once; going on would only repeat it.
            if self.tests > FILTER_TESTS_MAX {
                break;
            }
            children.push(self.clause(&format!("{path}[{at}]"), clause, depth));
        }
        Node::All { path: path.into(), children }
    }

    fn dialect(&mut self, path: &str, op: Op, wanted: &BTreeMap<String, String>) -> Node {
        if wanted.is_empty() {
            self.fault(path, "is empty; give it at least one attribute");
        }
        let mut children = Vec::new();
        for (name, value) in wanted {
            if value.is_empty() {
                self.fault(
                    &format!("{path}.{name}"),
                    "the value is empty, which no attribute can match; give it a value",
                );
            }
            children.push(self.test(path, op, name, value));
        }
        Node::All { path: path.into(), children }
    }

    fn test(&mut self, path: &str, op: Op, name: &str, value: &str) -> Node {
        let shown: String = name.chars().take(64).collect();
        let path = format!("{path}.{shown}");
        self.count(&path, 1);
        let lower = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let letter_first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !lower || !letter_first || name.len() > NAME_BYTES_MAX {
            self.fault(&path, "is no attribute name; use a-z and 0-9, beginning with a letter, at most 255 bytes");
        }
        if value.len() > VALUE_BYTES_MAX {
            self.fault(
                &path,
                format!("the value is longer than {VALUE_BYTES_MAX} bytes, which no attribute can match"),
            );
        }
        let name = lookup::canonical(name);
        let slot = self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        Node::Test(Test { slot, op, value: value.into(), path: path.into() })
    }
}
