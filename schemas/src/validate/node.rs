//! A value and where it stands, so that every fault carries its path.

use serde_json::{Map, Value};

use super::{FAULTS_MAX, Fault, metadata, nearest};

/// The faults found so far, at most [`FAULTS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault at a path.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault { path: path.to_owned(), message: message.into() });
        }
    }

    /// Notes a fault of a value.
    pub(super) fn at(&mut self, node: &Node<'_>, message: impl Into<String>) {
        self.add(&node.path, message);
    }

    pub(super) fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}

/// A value and its path.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The field's value; `None` where it is left out or null.
    pub(super) fn field(&self, name: &str) -> Option<Node<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Node { path: self.path_of(name), value })
    }

    /// The path of a field, whether it is there or not.
    pub(super) fn path_of(&self, name: &str) -> String {
        field_path(&self.path, name)
    }

    /// The fields that are not null, with their names.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        let entries = self.value.as_object().into_iter().flat_map(Map::iter);
        entries
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), Node { path: self.path_of(name), value }))
    }

    /// The elements of a list, at most as many as the limit; what is above it, and what is no list, is a fault.
    pub(super) fn elements(&self, limit: usize, faults: &mut Faults) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let items = self.value.as_array();
        match items {
            None => faults.at(self, format!("is {}; give a list", kind_of(self.value))),
            Some(items) if items.len() > limit => {
                faults.at(self, format!("has {} elements; at most {limit} are allowed", items.len()));
            }
            Some(_) => {}
        }
        let path = self.path.clone();
        let elements = items.into_iter().flatten().take(limit).enumerate();
        elements.map(move |(index, value)| Node { path: format!("{path}[{index}]"), value })
    }

    /// Whether this is an object; reports it where not, and its fields that are not known.
    pub(super) fn is_object(&self, known: &[&str], faults: &mut Faults) -> bool {
        if !self.value.is_object() {
            faults.at(self, format!("is {}; give fields: {}", kind_of(self.value), known.join(", ")));
            return false;
        }
        for (name, field) in self.fields() {
            if !known.contains(&name) {
                let meant = nearest(name, known.iter().copied());
                let fix = meant.map_or_else(
                    || format!("known here: {}", known.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                faults.at(&field, format!("is unknown; {fix}"));
            }
        }
        true
    }

    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The text; reports anything else.
    pub(super) fn text(&self, faults: &mut Faults) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            let quoted = match self.value {
                Value::Number(_) | Value::Bool(_) => format!("; put it in quotes: \"{}\"", self.value),
                _ => "; give a text".into(),
            };
            faults.at(self, format!("is {}{quoted}", kind_of(self.value)));
        }
        text
    }

    /// A text of at most `limit` characters.
    pub(super) fn short_text(&self, limit: usize, faults: &mut Faults) -> Option<&'a str> {
        let text = self.text(faults)?;
        if text.chars().nth(limit).is_some() {
            faults.at(self, format!("is longer than {limit} characters"));
        }
        Some(text)
    }

    /// Reports a field that is missing or no text or empty.
    pub(super) fn required_text(&self, name: &str, faults: &mut Faults) {
        match self.field(name) {
            None => faults.add(&self.path_of(name), "is missing"),
            Some(field) => {
                if field.text(faults) == Some("") {
                    faults.at(&field, "is empty");
                }
            }
        }
    }

    /// Reports a field that is missing or no name.
    pub(super) fn required_name(&self, name: &str, faults: &mut Faults) {
        match self.field(name) {
            None => faults.add(&self.path_of(name), "is missing"),
            Some(field) => metadata::check_name(&field, faults),
        }
    }

    /// Reports a field that is there and not `expected`.
    pub(super) fn expect_text(&self, name: &str, expected: &str, faults: &mut Faults) {
        if let Some(field) = self.field(name)
            && let Some(text) = field.text(faults)
            && text != expected
        {
            faults.at(&field, format!("is `{}`; write {expected}", shown(text)));
        }
    }
}

/// What a value is, in words.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The first part of a text, for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The path of a field of an object: `spec.filter`, or `annotations[a.b/c]` where the name is no plain word. The root's
/// own path is empty.
#[must_use]
pub fn field_path(parent: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (plain, parent.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{parent}.{name}"),
        (false, _) => format!("{parent}[{name}]"),
    }
}
