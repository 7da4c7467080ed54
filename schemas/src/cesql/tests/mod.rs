//! The language, rule by rule, and against a second evaluator.

mod filters;
mod generated;
mod grammar;
mod second;
mod semantics;

use std::collections::BTreeMap;

use super::*;

/// An event as a list of attributes.
#[derive(Debug, Clone, Default)]
struct Sample(BTreeMap<String, Value<'static>>);

impl Attributes for Sample {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name).map(Value::borrowed)
    }
}

fn sample(attributes: &[(&str, &str)]) -> Sample {
    let required = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "a.b")];
    let all = required.iter().chain(attributes);
    Sample(all.map(|(name, value)| ((*name).to_owned(), Value::String((*value).to_owned().into()))).collect())
}

/// A value as the rows of tests write it.
trait Expected {
    fn value(self) -> Value<'static>;
}

impl Expected for bool {
    fn value(self) -> Value<'static> {
        Value::Boolean(self)
    }
}

impl Expected for i32 {
    fn value(self) -> Value<'static> {
        Value::Integer(self)
    }
}

impl Expected for &'static str {
    fn value(self) -> Value<'static> {
        Value::String(self.into())
    }
}

/// What an expression gives for an event, and which errors. Whether it passes follows from that.
#[track_caller]
fn check_on(event: &Sample, text: &str, value: impl Expected, errors: &[ErrorKind]) {
    let expression = Expression::parse(text).unwrap_or_else(|fault| panic!("{}", fault.shown(text)));
    let given = expression.evaluate(event);
    let kinds: Vec<ErrorKind> = given.errors.iter().map(|error| error.kind).collect();
    let value = value.value();
    assert_eq!((&given.value, kinds.as_slice()), (&value, errors), "{text}: {:?}", given.errors);
    assert_eq!(expression.passes(event), value == Value::Boolean(true) && errors.is_empty(), "{text}");
}

#[track_caller]
fn check(text: &str, value: impl Expected) {
    check_on(&sample(&[]), text, value, &[]);
}

#[track_caller]
fn fails(text: &str, value: impl Expected, errors: &[ErrorKind]) {
    check_on(&sample(&[]), text, value, errors);
}
