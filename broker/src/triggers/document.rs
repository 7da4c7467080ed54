//! YAML text to JSON values that remember the line of every field.
//!
//! *In*: the text of a manifest file. *Out*: one [`Document`] or [`SyntaxFault`] for each `---` part of it.
//! *Invariants*: a part that does not parse hides no other; nothing panics, whatever the text. JSON is read as the
//! YAML that it is.

use std::collections::BTreeMap;
use std::fmt;

use schemas::validate::field_path;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// One part of a file: a value, and where its fields are.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The part as JSON.
    pub value: Value,
    /// Line of the part's first field, from 1.
    pub line: u64,
    lines: BTreeMap<String, u64>,
}

/// Why a part is no YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxFault {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1; 0 where it is not known.
    pub column: u64,
    /// What is wrong there.
    pub message: String,
}

impl Document {
    /// The line of a field, or of the nearest field above it that is written.
    #[must_use]
    pub fn line_of(&self, path: &str) -> u64 {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            let cut = path.rfind(['.', '[']);
            match cut.and_then(|at| path.get(..at)) {
                Some(parent) => path = parent,
                None => return self.line,
            }
        }
    }

    /// The elements of a list in this document, each a document of its own.
    #[must_use]
    pub fn elements(&self, field: &str) -> Vec<Document> {
        let items = self.value.get(field).and_then(Value::as_array).into_iter().flatten();
        let element = |(index, value): (usize, &Value)| {
            let prefix = format!("{field}[{index}]");
            let inner = self.lines.iter().filter_map(|(path, line)| {
                let rest = path.strip_prefix(&prefix)?;
                Some((rest.strip_prefix('.').unwrap_or(rest).to_owned(), *line))
            });
            Document { value: value.clone(), line: self.line_of(&prefix), lines: inner.collect() }
        };
        items.enumerate().map(element).collect()
    }
}

/// Reads every part of a file.
#[must_use]
pub fn parse(text: &str) -> Vec<Result<Document, SyntaxFault>> {
    parts(text).into_iter().flat_map(|(first_line, part)| parse_part(first_line, part)).collect()
}

/// The parts between lines that begin with `---`, each with the number of the lines before it. Such a line is a
/// border wherever it stands: inside a text block every line is indented.
fn parts(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut before, mut lines) = (0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        let border =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if border && at > start {
            parts.extend(text.get(start..at).map(|part| (before, part)));
            (start, before) = (at, lines);
        }
        at += line.len();
        lines += 1;
    }
    parts.extend(text.get(start..).map(|part| (before, part)));
    parts
}

fn parse_part(lines_before: u64, part: &str) -> Vec<Result<Document, SyntaxFault>> {
    // `y`, `on` and `no` are names of things here, as YAML 1.2 has it.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    match serde_saphyr::from_multiple_with_options::<Spanned<Tree>>(part, options) {
        Ok(trees) => trees
            .into_iter()
            .map(|tree| {
                let mut lines = BTreeMap::new();
                let line = lines_before + tree.referenced.line().max(1);
                let value = flatten(tree.value, "", lines_before, &mut lines);
                Ok(Document { value, line, lines })
            })
            .collect(),
        Err(error) => {
            let (line, column) = error.location().map_or((1, 0), |place| (place.line(), place.column()));
            let message = plain_message(&error);
            vec![Err(SyntaxFault { line: lines_before + line, column, message })]
        }
    }
}

/// The parser's words without the place, which is told apart.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let cut = first.split(" at line ").next().unwrap_or(first);
    let cut = cut.strip_prefix("error: ").unwrap_or(cut);
    format!("this is no YAML: {cut}")
}

/// A YAML value that knows where its parts are.
#[derive(Debug)]
enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

fn flatten(tree: Tree, path: &str, before: u64, lines: &mut BTreeMap<String, u64>) -> Value {
    match tree {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(value),
        Tree::Number(value) => Value::Number(value),
        Tree::Text(value) => Value::String(value),
        Tree::List(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| {
                    let path = format!("{path}[{index}]");
                    lines.insert(path.clone(), before + item.referenced.line().max(1));
                    flatten(item.value, &path, before, lines)
                })
                .collect(),
        ),
        Tree::Map(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                let path = field_path(path, &key.value);
                lines.insert(path.clone(), before + key.referenced.line().max(1));
                let value = flatten(item.value, &path, before, lines);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Number::from_i128(value).map_or_else(|| Tree::Text(value.to_string()), Tree::Number))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(Number::from_u128(value).map_or_else(|| Tree::Text(value.to_string()), Tree::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(value).map_or_else(|| Tree::Text(value.to_string()), Tree::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_its_line() {
        let text = "# a comment\nkind: Trigger\nspec:\n  filters:\n    - exact:\n        type: a\n    - {not: {prefix: {id: x}}}\n  retry: 3\n---\n\na: 1\n\n--- # empty\n---\n{\"b\": [1, 2.5,\n null, true]}\n";
        let documents: Vec<Document> = parse(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(documents.len(), 3);
        let [first, second, third] = documents.as_slice() else { panic!() };
        assert_eq!(first.value["spec"]["filters"][1], json!({"not": {"prefix": {"id": "x"}}}));
        let check = |document: &Document, path: &str, line: u64| assert_eq!(document.line_of(path), line, "{path}");
        check(first, "", 2);
        check(first, "kind", 2);
        check(first, "spec.filters[0].exact.type", 6);
        check(first, "spec.filters[0].exact.missing", 5);
        check(first, "spec.filters[1].not.prefix.id", 7);
        check(first, "spec.retry", 8);
        check(first, "spec.missing.below", 3);
        check(first, "elsewhere", 2);
        check(second, "a", 11);
        check(third, "b[2]", 16);
        assert_eq!(third.value, json!({"b": [1, 2.5, null, true]}));
    }

    #[test]
    fn elements_of_lists_keep_their_lines() {
        let text = "kind: List\nitems:\n- kind: A\n  metadata:\n    annotations:\n      a.b/c: x\n- kind: B\n";
        let list = parse(text).remove(0).unwrap();
        let items = list.elements("items");
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [3, 7]);
        assert_eq!(items[0].line_of("metadata.annotations[a.b/c]"), 6);
        assert_eq!(items[1].line_of("kind"), 7);
    }

    #[test]
    fn a_broken_part_hides_no_other() {
        let text = "a: 1\n---\nb: [1\n---\nc: |\n  text\n---\nd: 1\nd: 2\n";
        let parsed = parse(text);
        let values: Vec<_> = parsed.iter().filter_map(|part| part.as_ref().ok()).map(|part| &part.value).collect();
        assert_eq!(values, [&json!({"a": 1}), &json!({"c": "text\n"})]);
        let faults: Vec<_> = parsed.iter().filter_map(|part| part.as_ref().err()).collect();
        assert_eq!(faults.len(), 2);
        assert!((3..=4).contains(&faults[0].line), "{faults:?}");
        assert_eq!(faults[1].line, 9, "{faults:?}");
        assert!(faults[1].message.contains("duplicate"), "{faults:?}");
        for fault in faults {
            assert!(!fault.message.contains('\n') && fault.column > 0, "{fault:?}");
        }
    }

    #[test]
    fn odd_texts_do_no_harm() {
        for text in [
            "",
            "---",
            "---\n",
            "\u{feff}a: 1",
            "\t",
            "&a [*a]",
            "? [x]\n: y",
            "a: .nan",
            "{1: 2}",
            "!!binary x",
            "%YAML 1.2\n---\na: 1\n",
            "- - - -",
            "a: 99999999999999999999999999",
        ] {
            let _ = parse(text);
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).iter().all(Result::is_err));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "[-a-z0-9:{}\\[\\]&*!|>'\"\n ,#%]{0,200}") {
            let _ = parse(&text);
        }
    }
}
