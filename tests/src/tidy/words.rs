//! Words: `unwrap`, names that say nothing, missing module docs, and what no file may mention.

use super::{Offence, Source, code};

/// Names that gather what has no home.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

/// Text that says where a file was written, or binds the project to one package host. They are put together here
/// so that this file does not mention them itself.
pub(super) fn banned() -> Vec<String> {
    let places = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]];
    let hosts = [
        ["registry.npm", "js.org"],
        ["index.crat", "es.io"],
        ["static.crat", "es.io"],
        ["files.python", "hosted.org"],
        ["pypi", ".org"],
        ["proxy.gol", "ang.org"],
    ];
    places.iter().chain(&hosts).map(|parts| parts.concat()).collect()
}

/// Lines that mention one of `banned`.
pub(super) fn forbidden(source: &Source, banned: &[String]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for word in banned.iter().filter(|word| line.contains(word.as_str())) {
            offences.push(Offence::new(&source.path, index + 1, format!("mentions `{word}`: no file may")));
        }
    }
    offences
}

/// A module whose name says nothing.
pub(super) fn module_name(source: &Source) -> Option<Offence> {
    let name = source
        .path
        .trim_end_matches(".rs")
        .split('/')
        .find(|part| EMPTY_NAMES.iter().any(|empty| part.eq_ignore_ascii_case(empty)))?;
    Some(Offence::new(&source.path, 0, format!("module `{name}`: name it by what it holds")))
}

/// A file that does not begin with its module doc.
pub(super) fn module_doc(source: &Source, in_tests: bool) -> Option<Offence> {
    let missing = !in_tests && !source.text.trim_start().starts_with("//!");
    missing.then(|| Offence::new(&source.path, 1, "begin with a module doc: `//! what it is responsible for`"))
}

/// `unwrap()` outside tests. In the crate `tests` the assertions themselves are tests; clippy sees the rest.
pub(super) fn unwraps(source: &Source, in_tests: bool) -> Vec<Offence> {
    if in_tests || source.crate_name() == "tests" {
        return Vec::new();
    }
    let shipped = source.shipped_code();
    let called = |at: &usize| {
        let before = shipped.get(..*at).unwrap_or_default().trim_end();
        before.ends_with('.') || before.ends_with("::")
    };
    code::words(&shipped, "unwrap")
        .filter(called)
        .map(|at| {
            let message = "`unwrap` outside tests: return an error, or `expect(\"why it cannot fail\")`";
            Offence::new(&source.path, code::line_of(&shipped, at), message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_text_is_found_in_any_file() {
        let word = ["/wo", "rk/"].concat();
        let source = Source::new("README.md", &format!("fine\nsee {word}x\n"));
        let offences = forbidden(&source, &banned());
        assert_eq!(offences.iter().map(|o| o.line).collect::<Vec<_>>(), [2]);
        assert!(forbidden(&Source::new("README.md", "nothing/work here"), &banned()).is_empty());
    }

    #[test]
    fn empty_names_are_found() {
        for (path, bad) in [
            ("broker/src/utils.rs", true),
            ("broker/src/log/helpers/mod.rs", true),
            ("broker/src/log/reader.rs", false),
            ("broker/src/commonality.rs", false),
        ] {
            assert_eq!(module_name(&Source::new(path, "")).is_some(), bad, "{path}");
        }
    }

    #[test]
    fn module_docs_are_asked_for() {
        for (text, in_tests, bad) in
            [("//! Doc.\nfn f() {}", false, false), ("fn f() {}", false, true), ("fn f() {}", true, false)]
        {
            assert_eq!(module_doc(&Source::new("broker/src/x.rs", text), in_tests).is_some(), bad, "{text}");
        }
    }

    #[test]
    fn unwraps_are_found_outside_tests_only() {
        for (path, text, lines) in [
            ("broker/src/x.rs", "fn f() {\n    x.unwrap();\n    y\n        .unwrap();\n}", vec![2, 4]),
            ("broker/src/x.rs", "fn f() { x.map(Option::unwrap) }", vec![1]),
            ("broker/src/x.rs", "// x.unwrap()\nfn f() { x.unwrap_or(1); g(\".unwrap()\") }", vec![]),
            ("broker/src/x.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }", vec![]),
            ("tests/tests/x.rs", "fn f() { x.unwrap() }", vec![]),
        ] {
            let found: Vec<_> = unwraps(&Source::new(path, text), false).iter().map(|o| o.line).collect();
            assert_eq!(found, lines, "{text}");
        }
    }
}
