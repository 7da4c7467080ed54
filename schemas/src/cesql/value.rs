//! Values, their types, and the casts between them.

use std::borrow::Cow;
use std::fmt;

/// A type of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit signed integer.
    Integer,
    /// Text.
    String,
}

impl Type {
    /// What an operation of this type gives where it fails.
    #[must_use]
    pub fn zero(self) -> Value<'static> {
        match self {
            Self::Boolean => Value::Boolean(false),
            Self::Integer => Value::Integer(0),
            Self::String => Value::String(Cow::Borrowed("")),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::String => "a text",
        })
    }
}

/// A value: of an attribute, a literal, an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// `true` or `false`.
    Boolean(bool),
    /// A 32-bit signed integer.
    Integer(i32),
    /// Text; also URIs, timestamps and all else that has no type of its own here.
    String(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// Its type.
    #[must_use]
    pub fn type_of(&self) -> Type {
        match self {
            Self::Boolean(_) => Type::Boolean,
            Self::Integer(_) => Type::Integer,
            Self::String(_) => Type::String,
        }
    }

    /// The same value, borrowed.
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::String(text) => Value::String(Cow::Borrowed(text)),
        }
    }

    /// The same value with memory of its own.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Boolean(value) => Value::Boolean(value),
            Self::Integer(value) => Value::Integer(value),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
        }
    }

    /// Cast to a boolean; `None` for a text that is neither `true` nor `false` in any case.
    pub(super) fn to_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Integer(value) => Some(*value != 0),
            Self::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::String(_) => None,
        }
    }

    /// Cast to an integer; `None` for a text that is none, or not of 32 bits.
    pub(super) fn to_integer(&self) -> Option<i32> {
        match self {
            Self::Boolean(value) => Some(i32::from(*value)),
            Self::Integer(value) => Some(*value),
            Self::String(text) => text.parse().ok(),
        }
    }

    /// Cast to text, which always works.
    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Boolean(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::String(text) => text,
        }
    }

    /// Whether this, cast to the type of `target`, equals `target`; `None` where it cannot be cast. Allocates nothing.
    pub(super) fn equals_as(&self, target: &Value<'_>) -> Option<bool> {
        match target {
            Value::Boolean(target) => self.to_boolean().map(|value| value == *target),
            Value::Integer(target) => self.to_integer().map(|value| value == *target),
            Value::String(target) => Some(match self {
                Self::String(text) => text == target,
                Self::Boolean(value) => *target == if *value { "true" } else { "false" },
                Self::Integer(value) => is_written(*value, target),
            }),
        }
    }
}

/// Whether `text` is `value` as casts write it: no plus sign, no leading zeros.
fn is_written(value: i32, text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" && digits.len() == text.len() || digits.starts_with(|c: char| ('1'..='9').contains(&c));
    plain && text.parse() == Ok(value)
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::String(text) => f.write_str(text),
        }
    }
}
