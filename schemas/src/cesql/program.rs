//! Expressions, compiled, and their evaluation.
//!
//! *Invariant*: an operation one of whose operands failed gives the zero value of its type; it is evaluated all the same
//! where every error is asked for, so that they are all found.

use super::Attributes;
use super::fault::{Error, ErrorKind, Sink};
use super::function::Function;
use super::pattern::Pattern;
use super::syntax::{Binary, Unary};
use super::value::{Type, Value};

/// Most bytes of text that one call of a function may put together: as much as an event has unless the broker was told
/// otherwise. Without it a short expression could make gigabytes of one long attribute.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// A part of a compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where it begins in the text, in bytes.
    pub(super) at: usize,
    pub(super) step: Step,
}

/// What a part does.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The same for every event; with errors, it fails for every event.
    Constant(Value<'static>, Vec<Error>),
    Attribute(Box<str>),
    Exists(Box<str>),
    Unary(Unary, Box<Node>),
    /// From left to right.
    Chain(Box<Node>, Vec<Link>),
    Like {
        operand: Box<Node>,
        negated: bool,
        pattern: Box<Pattern>,
    },
    In {
        operand: Box<Node>,
        negated: bool,
        set: Vec<Node>,
    },
    Call(Function, Vec<Node>),
    /// A function that there is not, with what to say of it.
    Unknown(Box<str>),
}

/// An operator and its right operand.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) operator: Binary,
    pub(super) at: usize,
    pub(super) right: Node,
}

/// A value; `Err` where something failed, with the value that stands for it. Its errors are in the sink.
pub(super) type Outcome<'e> = Result<Value<'e>, Value<'e>>;

/// An evaluation under way.
#[derive(Debug)]
pub(super) struct Run<'e, A: ?Sized, S> {
    pub(super) event: &'e A,
    pub(super) sink: S,
}

impl<'e, A: Attributes + ?Sized, S: Sink> Run<'e, A, S> {
    /// Evaluates a part.
    pub(super) fn value(&mut self, node: &'e Node) -> Outcome<'e> {
        match &node.step {
            Step::Constant(value, errors) => self.constant(value, errors),
            Step::Attribute(name) => self.event.attribute(name).ok_or_else(|| {
                self.sink.note(ErrorKind::MissingAttribute, node.at, || format!("the event has no attribute `{name}`"));
                Type::Boolean.zero()
            }),
            Step::Exists(name) => Ok(Value::Boolean(self.event.attribute(name).is_some())),
            Step::Unary(Unary::Not, operand) => {
                let value = self.boolean(operand);
                value.map(|value| Value::Boolean(!value)).map_err(|Failed| Type::Boolean.zero())
            }
            Step::Unary(Unary::Negate, operand) => {
                let value = self.integer(operand).map_err(|Failed| Type::Integer.zero())?;
                value.checked_neg().map(Value::Integer).ok_or_else(|| self.overflow(node.at))
            }
            Step::Chain(first, links) => self.chain(first, links),
            Step::Like { operand, negated, pattern } => match self.value(operand) {
                Ok(value) => Ok(Value::Boolean(pattern.matches(&value.into_text()) != *negated)),
                Err(_) => Err(Type::Boolean.zero()),
            },
            Step::In { operand, negated, set } => {
                let found = self.is_in(operand, set);
                found.map(|found| Value::Boolean(found != *negated)).map_err(|Failed| Type::Boolean.zero())
            }
            Step::Call(function, arguments) => self.call(*function, arguments, node.at),
            Step::Unknown(message) => {
                self.sink.note(ErrorKind::MissingFunction, node.at, || message.to_string());
                Err(Type::Boolean.zero())
            }
        }
    }

    fn constant(&mut self, value: &'e Value<'static>, errors: &[Error]) -> Outcome<'e> {
        if errors.is_empty() {
            return Ok(value.borrowed());
        }
        for error in errors {
            self.sink.note(error.kind, error.at, || error.message.clone());
        }
        Err(value.borrowed())
    }

    /// Whether to stop here: something failed, and nobody asks what else does.
    fn enough(failed: bool) -> bool {
        failed && !S::ALL
    }

    fn cast_error(&mut self, at: usize, value: &Value<'_>, target: Type) {
        let shown = || value.to_string().chars().take(80).collect::<String>();
        self.sink.note(ErrorKind::Cast, at, || format!("`{}` is not {target}", shown()));
    }

    fn overflow(&mut self, at: usize) -> Value<'static> {
        self.sink.note(ErrorKind::Math, at, || "the result is no integer of 32 bits".into());
        Type::Integer.zero()
    }

    fn boolean(&mut self, node: &'e Node) -> Result<bool, Failed> {
        let value = self.value(node).map_err(|_| Failed)?;
        value.to_boolean().ok_or_else(|| self.failed_cast(node.at, &value, Type::Boolean))
    }

    fn integer(&mut self, node: &'e Node) -> Result<i32, Failed> {
        let value = self.value(node).map_err(|_| Failed)?;
        value.to_integer().ok_or_else(|| self.failed_cast(node.at, &value, Type::Integer))
    }

    fn failed_cast(&mut self, at: usize, value: &Value<'_>, target: Type) -> Failed {
        self.cast_error(at, value, target);
        Failed
    }

    fn chain(&mut self, first: &'e Node, links: &'e [Link]) -> Outcome<'e> {
        let mut left = self.value(first);
        for link in links {
            left = match link.operator {
                Binary::And | Binary::Or | Binary::Xor => self.logic(left, first.at, link),
                Binary::Equal | Binary::NotEqual => self.equality(left, first.at, link),
                Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                    let compared = self.integers(left, first.at, link);
                    let compared = compared.map(|(left, right)| Value::Boolean(compare(link.operator, left, right)));
                    compared.map_err(|Failed| Type::Boolean.zero())
                }
                Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
                    self.arithmetic(left, first.at, link)
                }
            };
        }
        left
    }

    fn logic(&mut self, left: Outcome<'e>, at: usize, link: &'e Link) -> Outcome<'e> {
        let left = match left {
            Ok(value) => value.to_boolean().ok_or_else(|| self.failed_cast(at, &value, Type::Boolean)),
            Err(_) => Err(Failed),
        };
        match (link.operator, left) {
            (Binary::And, Ok(false)) | (Binary::Or, Ok(true)) => return Ok(Value::Boolean(left == Ok(true))),
            // What failed counts as false.
            (Binary::And, Err(Failed)) => return Err(Type::Boolean.zero()),
            _ if Self::enough(left.is_err()) => return Err(Type::Boolean.zero()),
            _ => {}
        }
        match (left, self.boolean(&link.right)) {
            // Where an AND or an OR comes this far, its left operand does not matter any more.
            (Ok(left), Ok(right)) if link.operator == Binary::Xor => Ok(Value::Boolean(left != right)),
            (Ok(_), Ok(right)) => Ok(Value::Boolean(right)),
            _ => Err(Type::Boolean.zero()),
        }
    }

    fn equality(&mut self, left: Outcome<'e>, at: usize, link: &'e Link) -> Outcome<'e> {
        if Self::enough(left.is_err()) {
            return Err(Type::Boolean.zero());
        }
        let (Ok(left), Ok(right)) = (left, self.value(&link.right)) else { return Err(Type::Boolean.zero()) };
        match left.equals_as(&right) {
            Some(equal) => Ok(Value::Boolean(equal == (link.operator == Binary::Equal))),
            None => {
                self.cast_error(at, &left, right.type_of());
                Err(Type::Boolean.zero())
            }
        }
    }

    /// Both operands as integers.
    fn integers(&mut self, left: Outcome<'e>, at: usize, link: &'e Link) -> Result<(i32, i32), Failed> {
        let left = match left {
            Ok(value) => value.to_integer().ok_or_else(|| self.failed_cast(at, &value, Type::Integer)),
            Err(_) => Err(Failed),
        };
        if Self::enough(left.is_err()) {
            return Err(Failed);
        }
        let right = self.integer(&link.right);
        Ok((left?, right?))
    }

    fn arithmetic(&mut self, left: Outcome<'e>, at: usize, link: &'e Link) -> Outcome<'e> {
        let (left, right) = self.integers(left, at, link).map_err(|Failed| Type::Integer.zero())?;
        let result = match link.operator {
            Binary::Divide | Binary::Remainder if right == 0 => {
                self.sink.note(ErrorKind::Math, link.at, || "division by zero".into());
                return Err(Type::Integer.zero());
            }
            Binary::Add => left.checked_add(right),
            Binary::Subtract => left.checked_sub(right),
            Binary::Multiply => left.checked_mul(right),
            Binary::Divide => left.checked_div(right),
            // -2147483648 % -1 is 0: only the quotient, which nobody asks for, is too large.
            _ => Some(left.wrapping_rem(right)),
        };
        result.map(Value::Integer).ok_or_else(|| self.overflow(link.at))
    }

    fn is_in(&mut self, operand: &'e Node, set: &'e [Node]) -> Result<bool, Failed> {
        let wanted = self.value(operand);
        let mut failed = wanted.is_err();
        for element in set {
            if Self::enough(failed) {
                break;
            }
            match (&wanted, self.value(element)) {
                (Ok(wanted), Ok(value)) => match value.equals_as(wanted) {
                    Some(true) if !failed => return Ok(true),
                    Some(_) => {}
                    None => {
                        self.cast_error(element.at, &value, wanted.type_of());
                        failed = true;
                    }
                },
                _ => failed = true,
            }
        }
        if failed { Err(Failed) } else { Ok(false) }
    }

    fn call(&mut self, function: Function, arguments: &'e [Node], at: usize) -> Outcome<'e> {
        let mut values = Vec::with_capacity(arguments.len());
        let mut failed = false;
        let mut joined = 0;
        for (place, argument) in arguments.iter().enumerate() {
            let value = match function.takes(place) {
                Type::Boolean => self.boolean(argument).map(Value::Boolean),
                Type::Integer => self.integer(argument).map(Value::Integer),
                Type::String => self.value(argument).map(|value| Value::String(value.into_text())).map_err(|_| Failed),
            };
            failed |= value.is_err();
            if let (Function::Concat | Function::ConcatWs, Ok(Value::String(text))) = (function, &value) {
                joined += text.len();
                if joined > JOINED_BYTES_MAX {
                    let message = || format!("the text would be longer than {JOINED_BYTES_MAX} bytes");
                    self.sink.note(ErrorKind::Generic, at, message);
                    return Err(function.gives().zero());
                }
            }
            if Self::enough(failed) {
                break;
            }
            values.extend(value);
        }
        if failed {
            return Err(function.gives().zero());
        }
        function.call(values).map_err(|(value, kind, message)| {
            self.sink.note(kind, at, || message.into());
            value
        })
    }
}

/// That something failed; its errors are in the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed;

fn compare(operator: Binary, left: i32, right: i32) -> bool {
    match operator {
        Binary::Less => left < right,
        Binary::LessOrEqual => left <= right,
        Binary::Greater => left > right,
        _ => left >= right,
    }
}
