//! The built-in functions: which there are, what they take, what they give.

use std::borrow::Cow;

use super::fault::ErrorKind;
use super::value::{Type, Value};

/// A built-in function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Int,
    Bool,
    Str,
    Length,
    Concat,
    ConcatWs,
    Lower,
    Upper,
    Trim,
    Left,
    Right,
    Substring,
    Abs,
}

/// Name, function, fewest and most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 13] = [
    ("INT", Function::Int, 1, 1),
    ("BOOL", Function::Bool, 1, 1),
    ("STRING", Function::Str, 1, 1),
    ("LENGTH", Function::Length, 1, 1),
    ("CONCAT", Function::Concat, 0, usize::MAX),
    ("CONCAT_WS", Function::ConcatWs, 1, usize::MAX),
    ("LOWER", Function::Lower, 1, 1),
    ("UPPER", Function::Upper, 1, 1),
    ("TRIM", Function::Trim, 1, 1),
    ("LEFT", Function::Left, 2, 2),
    ("RIGHT", Function::Right, 2, 2),
    ("SUBSTRING", Function::Substring, 2, 3),
    ("ABS", Function::Abs, 1, 1),
];

/// What a function gives: a value, or with an error what stands for it.
pub(super) type Given<'a> = Result<Value<'a>, (Value<'a>, ErrorKind, &'static str)>;

impl Function {
    /// The function of that upper-case name for so many arguments.
    ///
    /// # Errors
    /// What is wrong, in plain words.
    pub(super) fn find(name: &str, arguments: usize) -> Result<Self, String> {
        let Some((_, function, fewest, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let known = FUNCTIONS.map(|(known, ..)| known);
            let meant = crate::validate::nearest(name, known.iter().copied());
            let fix = meant
                .map_or_else(|| format!("there are {}", known.join(", ")), |meant| format!("did you mean `{meant}`?"));
            return Err(format!("there is no function `{}`; {fix}", name.chars().take(40).collect::<String>()));
        };
        if (*fewest..=*most).contains(&arguments) {
            return Ok(*function);
        }
        let takes = match (*fewest, *most) {
            (1, 1) => "one argument".to_owned(),
            (fewest, usize::MAX) => format!("{fewest} or more arguments"),
            (fewest, most) if fewest == most => format!("{fewest} arguments"),
            (fewest, most) => format!("{fewest} or {most} arguments"),
        };
        Err(format!("the function `{name}` takes {takes}, not {arguments}"))
    }

    /// The type of its result.
    pub(super) fn gives(self) -> Type {
        match self {
            Self::Bool => Type::Boolean,
            Self::Int | Self::Length | Self::Abs => Type::Integer,
            Self::Str | Self::Concat | Self::ConcatWs | Self::Lower | Self::Upper | Self::Trim => Type::String,
            Self::Left | Self::Right | Self::Substring => Type::String,
        }
    }

    /// The type of an argument, by its place.
    pub(super) fn takes(self, place: usize) -> Type {
        match self {
            Self::Bool => Type::Boolean,
            Self::Int | Self::Abs => Type::Integer,
            Self::Left | Self::Right | Self::Substring if place > 0 => Type::Integer,
            Self::Str | Self::Length | Self::Lower | Self::Upper | Self::Trim => Type::String,
            Self::Concat | Self::ConcatWs | Self::Left | Self::Right | Self::Substring => Type::String,
        }
    }

    /// Its result for arguments of its types, of which there are as many as [`Function::find`] allows.
    pub(super) fn call<'a>(self, arguments: Vec<Value<'a>>) -> Given<'a> {
        let mut arguments = arguments.into_iter();
        let Some(first) = arguments.next() else { return Ok(Type::String.zero()) };
        match self {
            Self::Int | Self::Bool | Self::Str => Ok(first),
            Self::Length => Ok(Value::Integer(length(&first.into_text()))),
            Self::Concat => Ok(joined("", std::iter::once(first).chain(arguments))),
            Self::ConcatWs => Ok(joined(&first.into_text(), arguments)),
            Self::Lower => Ok(Value::String(first.into_text().to_lowercase().into())),
            Self::Upper => Ok(Value::String(first.into_text().to_uppercase().into())),
            Self::Trim => {
                let text = first.into_text();
                let begin = text.len() - text.trim_start().len();
                Ok(part(text.clone(), begin, begin + text.trim().len()))
            }
            Self::Left => side(first.into_text(), count(arguments.next()), true),
            Self::Right => side(first.into_text(), count(arguments.next()), false),
            Self::Substring => {
                let position = count(arguments.next());
                substring(first.into_text(), position, arguments.next().map(|length| count(Some(length))))
            }
            Self::Abs => match count(Some(first)).checked_abs() {
                Some(value) => Ok(Value::Integer(value)),
                None => Err((Value::Integer(i32::MAX), ErrorKind::Math, "the absolute value is above 2147483647")),
            },
        }
    }
}

fn count(value: Option<Value<'_>>) -> i32 {
    value.and_then(|value| value.to_integer()).unwrap_or_default()
}

fn length(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

fn joined<'a>(delimiter: &str, values: impl Iterator<Item = Value<'a>>) -> Value<'a> {
    let texts: Vec<Cow<'a, str>> = values.map(Value::into_text).collect();
    Value::String(texts.join(delimiter).into())
}

/// A part of a text, by bytes; borrowed where the text is.
fn part(text: Cow<'_, str>, from: usize, to: usize) -> Value<'_> {
    Value::String(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(from..to).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(from..to).unwrap_or_default().to_owned()),
    })
}

/// Where, in bytes, so many characters of a text end; the text's end where it has fewer.
fn end_of(text: &str, characters: i32) -> usize {
    let characters = usize::try_from(characters).unwrap_or(0);
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

fn side(text: Cow<'_, str>, wanted: i32, left: bool) -> Given<'_> {
    if wanted < 0 {
        let message = "the number of characters is below zero";
        return Err((Value::String(text), ErrorKind::FunctionEvaluation, message));
    }
    let whole = text.len();
    if left {
        let end = end_of(&text, wanted);
        return Ok(part(text, 0, end));
    }
    let begin = end_of(&text, length(&text).saturating_sub(wanted));
    Ok(part(text, begin, whole))
}

/// Positions count from 1, below zero from the end.
fn substring(text: Cow<'_, str>, position: i32, wanted: Option<i32>) -> Given<'_> {
    let characters = length(&text);
    if position > characters || position < -characters {
        return Err((Type::String.zero(), ErrorKind::FunctionEvaluation, "the position is outside of the text"));
    }
    if wanted.is_some_and(|wanted| wanted < 0) {
        return Err((Type::String.zero(), ErrorKind::FunctionEvaluation, "the length is below zero"));
    }
    if position == 0 {
        return Ok(Type::String.zero());
    }
    let begin = if position > 0 { position - 1 } else { characters + position };
    let from = end_of(&text, begin);
    let to = wanted.map_or(text.len(), |wanted| end_of(&text, begin.saturating_add(wanted)));
    Ok(part(text, from, to))
}
