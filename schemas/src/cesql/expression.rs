//! An expression, ready to be asked.

use super::Attributes;
use super::compile;
use super::fault::{Error, ErrorKind, Fault, Unheard};
use super::parse;
use super::program::{Node, Run};
use super::required::{self, Required};
use super::value::{Type, Value};

/// A compiled expression. Two are equal when they are written alike.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Box<str>,
    root: Node,
    missing_functions: Vec<Fault>,
}

/// What an expression gives for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation<'e> {
    /// The value; with errors, what stands for it.
    pub value: Value<'e>,
    /// Everything that went wrong, from left to right.
    pub errors: Vec<Error>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with the text, at the first place where it is.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (root, missing_functions) = compile::compile(parse::parse(text)?)?;
        Ok(Self { text: text.into(), root, missing_functions })
    }

    /// Reads an expression that is to decide which events pass.
    ///
    /// # Errors
    /// As [`Expression::parse`]; and what no event could pass: a function that there is not, an error that comes up
    /// whatever the event, a value that is never true.
    pub fn filter(text: &str) -> Result<Self, Vec<Fault>> {
        let expression = Self::parse(text).map_err(|fault| vec![fault])?;
        let mut faults = expression.missing_functions.clone();
        let mut errors = Vec::new();
        compile::certain_errors(&expression.root, true, &mut errors);
        for Error { kind, at, message } in errors {
            if *kind != ErrorKind::MissingFunction {
                let message = format!("no event can pass: {message}");
                faults.push(Fault { at: *at, kind: *kind, message });
            }
        }
        if let Some(kind @ (Type::Integer | Type::String)) = compile::type_of(&expression.root)
            && faults.is_empty()
        {
            let message = format!("gives {kind}, but only true passes; compare it with something");
            faults.push(Fault { at: expression.root.at, kind: ErrorKind::Generic, message });
        }
        faults.sort_by_key(|fault| fault.at);
        if faults.is_empty() { Ok(expression) } else { Err(faults) }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value for an event, and every error on the way.
    pub fn evaluate<'e>(&'e self, event: &'e (impl Attributes + ?Sized)) -> Evaluation<'e> {
        let mut run = Run { event, sink: Vec::new() };
        let (Ok(value) | Err(value)) = run.value(&self.root);
        Evaluation { value, errors: run.sink }
    }

    /// Whether the event passes: the value is true, and there was no error.
    #[must_use]
    pub fn passes(&self, event: &(impl Attributes + ?Sized)) -> bool {
        let outcome = Run { event, sink: Unheard }.value(&self.root);
        outcome == Ok(Value::Boolean(true))
    }

    /// What every event that passes has in common, as far as an index can use it.
    #[must_use]
    pub fn required(&self) -> Required<'_> {
        required::of(&self.root)
    }

    /// How often evaluation looks at the event at the most; functions count too.
    #[must_use]
    pub fn looks(&self) -> usize {
        compile::looks(&self.root)
    }
}
