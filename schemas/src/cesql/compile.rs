//! From the tree to a program: functions found, patterns prepared, and everything computed that no event can change.
//!
//! Constants are computed by the evaluator itself, with their errors, so a literal means the same at both times.

use super::Attributes;
use super::fault::{Error, ErrorKind, Fault};
use super::function::Function;
use super::pattern::Pattern;
use super::program::{Link, Node, Run, Step};
use super::syntax::{self, Binary, Syntax, Term, Unary};
use super::value::{Type, Value};

/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];

/// Compiles a tree; the faults are functions that there are not.
///
/// # Errors
/// A pattern that cannot be prepared.
pub(super) fn compile(syntax: Syntax) -> Result<(Node, Vec<Fault>), Fault> {
    let mut compiler = Compiler::default();
    let root = compiler.node(syntax)?;
    Ok((root, compiler.faults))
}

#[derive(Debug, Default)]
struct Compiler {
    faults: Vec<Fault>,
}

impl Compiler {
    fn node(&mut self, Syntax { at, term }: Syntax) -> Result<Node, Fault> {
        let step = match term {
            Term::Boolean(value) => Step::Constant(Value::Boolean(value), Vec::new()),
            Term::Integer(value) => Step::Constant(Value::Integer(value), Vec::new()),
            Term::Text(text) => Step::Constant(Value::String(text.into()), Vec::new()),
            Term::Attribute(name) => Step::Attribute(name.into()),
            Term::Exists(name) if REQUIRED.contains(&name.as_str()) => Step::Constant(Value::Boolean(true), Vec::new()),
            Term::Exists(name) => Step::Exists(name.into()),
            Term::Unary(operator, operand) => Step::Unary(operator, Box::new(self.node(*operand)?)),
            Term::Chain(first, links) => return self.chain(*first, links),
            Term::Like { operand, negated, pattern } => {
                let pattern = Pattern::new(&pattern);
                let pattern = pattern.map_err(|message| Fault { at, kind: ErrorKind::Parse, message })?;
                Step::Like { operand: Box::new(self.node(*operand)?), negated, pattern: Box::new(pattern) }
            }
            Term::In { operand, negated, set } => {
                let operand = Box::new(self.node(*operand)?);
                Step::In { operand, negated, set: self.nodes(set)? }
            }
            Term::Call { name, arguments } => match Function::find(&name, arguments.len()) {
                Ok(function) => Step::Call(function, self.nodes(arguments)?),
                Err(message) => {
                    self.faults.push(Fault { at, kind: ErrorKind::MissingFunction, message: message.clone() });
                    Step::Unknown(message.into())
                }
            },
        };
        Ok(folded(Node { at, step }))
    }

    fn nodes(&mut self, list: Vec<Syntax>) -> Result<Vec<Node>, Fault> {
        list.into_iter().map(|syntax| self.node(syntax)).collect()
    }

    /// Operators from the left whose operands are constants are applied at once; so are those whose right operand is never
    /// looked at.
    fn chain(&mut self, first: Syntax, links: Vec<syntax::Link>) -> Result<Node, Fault> {
        let at = first.at;
        let mut first = self.node(first)?;
        let mut kept: Vec<Link> = Vec::new();
        for syntax::Link { operator, at: place, right } in links {
            let link = Link { operator, at: place, right: self.node(right)? };
            let known = match &first.step {
                Step::Constant(value, errors) => {
                    is_constant(&link.right) || is_decided(operator, value, !errors.is_empty())
                }
                _ => false,
            };
            if known && kept.is_empty() {
                first = computed(&Node { at, step: Step::Chain(Box::new(first), vec![link]) });
            } else {
                kept.push(link);
            }
        }
        if kept.is_empty() {
            return Ok(first);
        }
        Ok(Node { at, step: Step::Chain(Box::new(first), kept) })
    }
}

/// Whether the value of the left operand, failed or not, decides alone.
fn is_decided(operator: Binary, left: &Value<'_>, failed: bool) -> bool {
    let left = if failed { Some(false) } else { left.to_boolean() };
    match operator {
        Binary::And => left != Some(true),
        Binary::Or => left == Some(true),
        _ => false,
    }
}

fn is_constant(node: &Node) -> bool {
    matches!(node.step, Step::Constant(..))
}

/// The node, or what it always gives.
fn folded(node: Node) -> Node {
    let constant = match &node.step {
        Step::Unary(_, operand) | Step::Like { operand, .. } => is_constant(operand),
        Step::In { operand, set, .. } => is_constant(operand) && set.iter().all(is_constant),
        Step::Call(_, arguments) => arguments.iter().all(is_constant),
        Step::Unknown(_) => true,
        Step::Constant(..) | Step::Attribute(_) | Step::Exists(_) | Step::Chain(..) => false,
    };
    if constant { computed(&node) } else { node }
}

fn computed(node: &Node) -> Node {
    let mut run = Run { event: &NoEvent, sink: Vec::new() };
    let (Ok(value) | Err(value)) = run.value(node);
    Node { at: node.at, step: Step::Constant(value.into_owned(), run.sink) }
}

/// What constants are computed with; they look at nothing.
#[derive(Debug)]
struct NoEvent;

impl Attributes for NoEvent {
    fn attribute(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

/// The type of a value, where it does not depend on the event.
pub(super) fn type_of(node: &Node) -> Option<Type> {
    match &node.step {
        Step::Constant(value, _) => Some(value.type_of()),
        Step::Attribute(_) => None,
        Step::Exists(_) | Step::Like { .. } | Step::In { .. } | Step::Unknown(_) => Some(Type::Boolean),
        Step::Unary(Unary::Not, _) => Some(Type::Boolean),
        Step::Unary(Unary::Negate, _) => Some(Type::Integer),
        Step::Call(function, _) => Some(function.gives()),
        Step::Chain(_, links) => links.last().map(|link| match link.operator {
            Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => Type::Integer,
            _ => Type::Boolean,
        }),
    }
}

/// Errors that come up whatever the event, or (`needed`: the node must be true) else the event does not pass.
pub(super) fn certain_errors<'n>(node: &'n Node, needed: bool, found: &mut Vec<&'n Error>) {
    match &node.step {
        Step::Constant(_, errors) => found.extend(errors),
        Step::Attribute(_) | Step::Exists(_) | Step::Unknown(_) => {}
        Step::Unary(_, operand) | Step::Like { operand, .. } => certain_errors(operand, false, found),
        // Behind the first element it depends on what was found.
        Step::In { operand, set, .. } => {
            certain_errors(operand, false, found);
            set.iter().take(1).for_each(|element| certain_errors(element, false, found));
        }
        Step::Call(_, arguments) => arguments.iter().for_each(|argument| certain_errors(argument, false, found)),
        Step::Chain(first, links) => {
            let needed = needed && links.iter().all(|link| link.operator == Binary::And);
            certain_errors(first, needed, found);
            for link in links {
                if needed || !matches!(link.operator, Binary::And | Binary::Or) {
                    certain_errors(&link.right, needed, found);
                }
            }
        }
    }
}

/// How many times a part of the event, or a function, is looked at: a measure of how long evaluation takes.
pub(super) fn looks(node: &Node) -> usize {
    let sum = |nodes: &[Node]| nodes.iter().map(looks).sum::<usize>();
    match &node.step {
        Step::Constant(..) | Step::Unknown(_) => 0,
        Step::Attribute(_) | Step::Exists(_) => 1,
        Step::Unary(_, operand) | Step::Like { operand, .. } => looks(operand),
        Step::In { operand, set, .. } => looks(operand) + sum(set),
        Step::Call(_, arguments) => 1 + sum(arguments),
        Step::Chain(first, links) => looks(first) + links.iter().map(|link| looks(&link.right)).sum::<usize>(),
    }
}
