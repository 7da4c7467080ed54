//! CloudEvents SQL v1 (CESQL): what an expression says, and its value for an event. Pure: no clock, no I/O, never the
//! body.
//!
//! *In*: an expression as text; attributes through [`Attributes`]. *Out*: an [`Expression`], or a [`Fault`] with its
//! place; a [`Value`] with [`Error`]s, or a plain yes or no. Text goes through `parse` (a grammar on winnow) to a
//! `syntax` tree, through `compile` (functions found, patterns prepared, constants folded) to a `program`, which is
//! walked for each event. *Invariants*: nothing panics and no stack overflows, whatever the text (see [`NESTING_MAX`] and
//! [`crate::filter::CESQL_CHARS_MAX`]); an operator or function one of whose operands failed has the zero value of its
//! type and that operand's errors; asking whether an event passes allocates nothing unless a function makes new text.
//! *Not here*: where attributes come from.

mod compile;
mod expression;
mod fault;
mod function;
mod parse;
mod pattern;
mod program;
mod required;
mod syntax;
mod value;

#[cfg(test)]
mod tests;

pub use expression::{Evaluation, Expression};
pub use fault::{Error, ErrorKind, Fault};
pub use parse::NESTING_MAX;
pub use required::Required;
pub use value::{Type, Value};

/// Where the attributes of an event are looked up.
pub trait Attributes {
    /// The value of an attribute by its lower-case name: an integer or a boolean where the event says so, else its text.
    fn attribute(&self, name: &str) -> Option<Value<'_>>;
}
