//! What is wrong with an expression, and what goes wrong with an event.

use std::fmt;

/// Most characters of an expression shown on either side of a fault: a line of a terminal.
const SHOWN_CHARS: usize = 60;

/// Something wrong with an expression, whatever the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, in bytes from the beginning of the expression.
    pub at: usize,
    /// The kind of error that it is.
    pub kind: ErrorKind,
    /// What is wrong, in plain words, with what to write instead.
    pub message: String,
}

impl Fault {
    /// The message, and below it the line of the expression with a caret under the fault.
    #[must_use]
    pub fn shown(&self, expression: &str) -> String {
        let (before, after) = expression.split_at_checked(self.at).unwrap_or((expression, ""));
        let before: Vec<char> = before.rsplit('\n').next().unwrap_or_default().chars().collect();
        let mut after: Vec<char> = after.split('\n').next().unwrap_or_default().trim_end().chars().collect();
        let cut = before.len().saturating_sub(SHOWN_CHARS);
        let head: String = before.iter().skip(cut).copied().map(printable).collect();
        let head = if cut > 0 { format!("…{head}") } else { head };
        let long = after.len() > SHOWN_CHARS;
        after.truncate(SHOWN_CHARS);
        let tail: String = after.into_iter().map(printable).collect();
        let more = if long { "…" } else { "" };
        let indent = " ".repeat(head.chars().count());
        format!("{}\n  {head}{tail}{more}\n  {indent}^", self.message)
    }
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// The kinds of errors of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The text is no expression.
    Parse,
    /// A division by zero, or a result that 32 bits do not hold.
    Math,
    /// A value that cannot be cast to the type that is needed.
    Cast,
    /// The event has no such attribute.
    MissingAttribute,
    /// There is no such function with so many arguments.
    MissingFunction,
    /// A function that cannot work with its arguments.
    FunctionEvaluation,
    /// All else.
    Generic,
}

/// Something that went wrong while an expression was evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Of which kind.
    pub kind: ErrorKind,
    /// Where, in bytes from the beginning of the expression.
    pub at: usize,
    /// What went wrong, in plain words.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Takes the errors of one evaluation.
pub(super) trait Sink {
    /// Whether every error is wanted; otherwise evaluation may end at the first.
    const ALL: bool;

    /// Takes an error.
    fn note(&mut self, kind: ErrorKind, at: usize, message: impl FnOnce() -> String);
}

impl Sink for Vec<Error> {
    const ALL: bool = true;

    fn note(&mut self, kind: ErrorKind, at: usize, message: impl FnOnce() -> String) {
        self.push(Error { kind, at, message: message() });
    }
}

/// For those who only ask whether there was an error.
#[derive(Debug)]
pub(super) struct Unheard;

impl Sink for Unheard {
    const ALL: bool = false;

    fn note(&mut self, _: ErrorKind, _: usize, _: impl FnOnce() -> String) {}
}
