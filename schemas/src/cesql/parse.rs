//! The grammar, on winnow. From loose to tight: `AND OR XOR` (one level), comparisons, `+ -`, `* / %`, `LIKE` and `IN`,
//! `NOT` and `-`, then literals, attributes, functions, `EXISTS` and parentheses. Equals are taken from left to right.
//!
//! Alternatives differ in their first token, so nothing is read twice and time is linear in the length. Recursion is
//! counted, see [`NESTING_MAX`].

use winnow::ascii::digit1;
use winnow::combinator::{alt, not, opt, repeat, terminated};
use winnow::error::{ErrMode, ParserError};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location as _, Stateful};
use winnow::token::{any, literal, one_of, take_while};

use super::fault::{ErrorKind, Fault};
use super::syntax::{Binary, Link, Syntax, Term, Unary};
use crate::filter::CESQL_CHARS_MAX;

/// Deepest nesting of parentheses, arguments, `NOT` and `-`: far more than a person can read, and little stack.
pub const NESTING_MAX: usize = 32;

/// Words that are no attributes and no functions.
const KEYWORDS: [&str; 9] = ["AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"];

/// The text that is left, with the levels that are open.
type Input<'i> = Stateful<LocatingSlice<&'i str>, usize>;

type Parsed<T> = ModalResult<T, Failure>;

/// What winnow carries: silent while other alternatives are tried, a fault when there are none.
#[derive(Debug)]
struct Failure(Option<Fault>);

impl<'i> ParserError<Input<'i>> for Failure {
    type Inner = Self;

    fn from_input(_: &Input<'i>) -> Self {
        Self(None)
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Syntax, Fault> {
    if let Some((at, _)) = text.char_indices().nth(CESQL_CHARS_MAX) {
        let message = format!("is longer than {CESQL_CHARS_MAX} characters; split it, or use several filters");
        return Err(Fault { at, kind: ErrorKind::Parse, message });
    }
    let mut input = Input { input: LocatingSlice::new(text), state: 0 };
    let whole = |input: &mut Input<'_>| {
        space.parse_next(input)?;
        let syntax = logic(input)?;
        if input.input.is_empty() { Ok(syntax) } else { Err(expected(input, "an operator or the end")) }
    };
    whole(&mut input).map_err(|error| {
        let failure = error.into_inner().ok().and_then(|Failure(fault)| fault);
        failure.unwrap_or_else(|| fault(input.current_token_start(), "cannot be read from here on"))
    })
}

fn fault(at: usize, message: impl Into<String>) -> Fault {
    Fault { at, kind: ErrorKind::Parse, message: message.into() }
}

fn refuse(at: usize, message: impl Into<String>) -> ErrMode<Failure> {
    ErrMode::Cut(Failure(Some(fault(at, message))))
}

/// Refuses what stands here, naming what should.
fn expected(input: &Input<'_>, what: &str) -> ErrMode<Failure> {
    let rest: &str = &input.input;
    let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    let found = match (rest.get(..length).unwrap_or_default(), rest.chars().next()) {
        ("", None) => "the end".to_owned(),
        ("", Some(c)) => format!("`{c}`"),
        (word, _) => format!("`{}`", word.chars().take(40).collect::<String>()),
    };
    refuse(input.current_token_start(), format!("{what} is expected here, not {found}"))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn space(input: &mut Input<'_>) -> Parsed<()> {
    take_while(0.., [' ', '\t', '\r', '\n']).void().parse_next(input)
}

fn symbol<'i>(text: &'static str) -> impl FnMut(&mut Input<'i>) -> Parsed<()> {
    move |input| terminated(literal(text), space).void().parse_next(input)
}

fn word<'i>(input: &mut Input<'i>) -> Parsed<&'i str> {
    terminated(take_while(1.., is_word), space).parse_next(input)
}

fn keyword<'i>(text: &'static str) -> impl FnMut(&mut Input<'i>) -> Parsed<()> {
    move |input| word.verify(|word: &str| word.eq_ignore_ascii_case(text)).void().parse_next(input)
}

/// One level deeper.
fn nested<T>(input: &mut Input<'_>, inner: impl FnOnce(&mut Input<'_>) -> Parsed<T>) -> Parsed<T> {
    deep_enough(input, 1)?;
    input.state += 1;
    let result = inner(input);
    input.state -= 1;
    result
}

fn deep_enough(input: &Input<'_>, more: usize) -> Parsed<()> {
    if input.state + more <= NESTING_MAX {
        return Ok(());
    }
    let message = format!("is nested deeper than {NESTING_MAX} levels; split it, or use several filters");
    Err(refuse(input.current_token_start(), message))
}

/// Operands of one level and the operators between them.
fn chain<'i>(
    input: &mut Input<'i>,
    operand: fn(&mut Input<'i>) -> Parsed<Syntax>,
    operator: fn(&mut Input<'i>) -> Parsed<Binary>,
) -> Parsed<Syntax> {
    let first = operand(input)?;
    let link = (operator.with_span(), operand);
    let links: Vec<Link> = repeat(0.., link.map(|((operator, span), right)| Link { operator, at: span.start, right }))
        .parse_next(input)?;
    if links.is_empty() {
        return Ok(first);
    }
    Ok(Syntax { at: first.at, term: Term::Chain(Box::new(first), links) })
}

fn logic(input: &mut Input<'_>) -> Parsed<Syntax> {
    chain(input, comparison, |input| {
        alt((keyword("AND").value(Binary::And), keyword("OR").value(Binary::Or), keyword("XOR").value(Binary::Xor)))
            .parse_next(input)
    })
}

fn comparison(input: &mut Input<'_>) -> Parsed<Syntax> {
    chain(input, sum, |input| {
        alt((
            symbol("=").value(Binary::Equal),
            symbol("!=").value(Binary::NotEqual),
            symbol("<>").value(Binary::NotEqual),
            symbol("<=").value(Binary::LessOrEqual),
            symbol("<").value(Binary::Less),
            symbol(">=").value(Binary::GreaterOrEqual),
            symbol(">").value(Binary::Greater),
        ))
        .parse_next(input)
    })
}

fn sum(input: &mut Input<'_>) -> Parsed<Syntax> {
    chain(input, product, |input| {
        alt((symbol("+").value(Binary::Add), symbol("-").value(Binary::Subtract))).parse_next(input)
    })
}

fn product(input: &mut Input<'_>) -> Parsed<Syntax> {
    chain(input, membership, |input| {
        alt((
            symbol("*").value(Binary::Multiply),
            symbol("/").value(Binary::Divide),
            symbol("%").value(Binary::Remainder),
        ))
        .parse_next(input)
    })
}

/// An operand with any number of `LIKE` and `IN` behind it.
fn membership(input: &mut Input<'_>) -> Parsed<Syntax> {
    let mut operand = unary(input)?;
    let mut levels = 0;
    loop {
        let is_like = alt((keyword("LIKE").value(true), keyword("IN").value(false)));
        let Some((negated, is_like)) = opt((opt(keyword("NOT")), is_like)).parse_next(input)? else {
            return Ok(operand);
        };
        levels += 1;
        deep_enough(input, levels)?;
        let (at, negated, inner) = (operand.at, negated.is_some(), Box::new(operand));
        let term = if is_like {
            let pattern = opt(text).parse_next(input)?;
            let pattern = pattern.ok_or_else(|| expected(input, "a pattern in quotes, such as 'a%',"))?;
            Term::Like { operand: inner, negated, pattern }
        } else {
            Term::In { operand: inner, negated, set: set(input)? }
        };
        operand = Syntax { at, term };
    }
}

fn set(input: &mut Input<'_>) -> Parsed<Vec<Syntax>> {
    if opt(symbol("(")).parse_next(input)?.is_none() {
        return Err(expected(input, "a set, such as ('a', 'b'),"));
    }
    list(input)
}

/// One expression or more, with commas between, up to the closing parenthesis.
fn list(input: &mut Input<'_>) -> Parsed<Vec<Syntax>> {
    let mut items = vec![nested(input, logic)?];
    loop {
        let end = alt((symbol(",").value(false), symbol(")").value(true)));
        match opt(end).parse_next(input)? {
            Some(true) => return Ok(items),
            Some(false) => items.push(nested(input, logic)?),
            None => return Err(expected(input, "`,` or `)`")),
        }
    }
}

fn unary(input: &mut Input<'_>) -> Parsed<Syntax> {
    let at = input.current_token_start();
    if let Some(number) = opt(integer).parse_next(input)? {
        return Ok(Syntax { at, term: Term::Integer(number) });
    }
    let operator = alt((keyword("NOT").value(Unary::Not), symbol("-").value(Unary::Negate)));
    match opt(operator).parse_next(input)? {
        Some(operator) => Ok(Syntax { at, term: Term::Unary(operator, Box::new(nested(input, unary)?)) }),
        None => primary(input),
    }
}

fn primary(input: &mut Input<'_>) -> Parsed<Syntax> {
    let at = input.current_token_start();
    if opt(symbol("(")).parse_next(input)?.is_some() {
        let inner = nested(input, logic)?;
        return match opt(symbol(")")).parse_next(input)? {
            Some(()) => Ok(inner),
            None => Err(expected(input, "an operator or `)`")),
        };
    }
    if let Some(text) = opt(text).parse_next(input)? {
        return Ok(Syntax { at, term: Term::Text(text) });
    }
    let value = "an attribute, a literal, a function or `(`";
    let before = *input;
    let Some(word) = opt(word).parse_next(input)? else { return Err(expected(input, value)) };
    let term = match word.to_ascii_uppercase().as_str() {
        "TRUE" => Term::Boolean(true),
        "FALSE" => Term::Boolean(false),
        "EXISTS" => Term::Exists(attribute(input)?),
        keyword if KEYWORDS.contains(&keyword) => return Err(expected(&before, value)),
        name => match opt(symbol("(")).parse_next(input)? {
            None => Term::Attribute(attribute_name(word, at)?),
            Some(()) => call(input, name, at)?,
        },
    };
    Ok(Syntax { at, term })
}

fn call(input: &mut Input<'_>, name: &str, at: usize) -> Parsed<Term> {
    let letters = name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if !letters || name.starts_with('_') {
        let message = format!("`{name}` is no name of a function: a letter, then letters and `_` only");
        return Err(refuse(at, message));
    }
    let empty = opt(symbol(")")).parse_next(input)?.is_some();
    let arguments = if empty { Vec::new() } else { list(input)? };
    Ok(Term::Call { name: name.to_owned(), arguments })
}

/// What `EXISTS` asks for.
fn attribute(input: &mut Input<'_>) -> Parsed<String> {
    let before = *input;
    let at = input.current_token_start();
    match opt(word).parse_next(input)? {
        Some(word) if !KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) => attribute_name(word, at),
        _ => Err(expected(&before, "the name of an attribute")),
    }
}

fn attribute_name(word: &str, at: usize) -> Parsed<String> {
    let bad = word.bytes().all(|b| b.is_ascii_digit()) || word.contains('_');
    if bad {
        return Err(refuse(at, format!("`{word}` is no attribute name: letters and digits only, at least one letter")));
    }
    Ok(word.to_ascii_lowercase())
}

/// An integer with its sign, where one stands directly before it.
fn integer(input: &mut Input<'_>) -> Parsed<i32> {
    let at = input.current_token_start();
    let digits = (opt(one_of(['+', '-'])), digit1, not(one_of(is_word)));
    let text = terminated(digits.take(), space).parse_next(input)?;
    text.parse().map_err(|_| refuse(at, "is no integer of 32 bits: -2147483648 to 2147483647"))
}

/// A text in quotes. Only the quote itself can be escaped, by a backslash or by doubling it; every other backslash stays,
/// for patterns.
fn text(input: &mut Input<'_>) -> Parsed<String> {
    let at = input.current_token_start();
    let quote = one_of(['\'', '"']).parse_next(input)?;
    let mut text = String::new();
    loop {
        let plain: &str = take_while(0.., |c| c != quote && c != '\\').parse_next(input)?;
        text.push_str(plain);
        let next = opt(any).parse_next(input)?;
        if next == Some('\\') {
            let escaped = opt(any).parse_next(input)?;
            if escaped != Some(quote) {
                text.push('\\');
            }
            text.extend(escaped);
        } else if next == Some(quote) {
            if opt(one_of(quote)).parse_next(input)?.is_none() {
                break;
            }
            text.push(quote);
        } else {
            return Err(refuse(at, format!("the text that begins here has no closing {quote}")));
        }
    }
    space.parse_next(input)?;
    Ok(text)
}
