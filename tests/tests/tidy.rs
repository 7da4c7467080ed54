//! The source tree keeps its own rules; see `tests::tidy` for what they are.

use std::path::Path;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
    let offences = tests::tidy::check(root).expect("every file can be read");
    let list: Vec<String> = offences.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} offences:\n{}", list.len(), list.join("\n"));
}

#[test]
fn an_untidy_tree_is_refused() {
    let root = tempfile::tempdir().expect("a directory for the sample");
    let file = root.path().join("broker/src/utils.rs");
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
    std::fs::write(&file, "fn f() { x.unwrap() }\n").expect("it can be written");
    let offences = tests::tidy::check(root.path()).expect("every file can be read");
    let lines: Vec<String> = offences.iter().map(ToString::to_string).collect();
    for (index, expected) in [
        "broker/src/utils.rs:0: module `utils`",
        "broker/src/utils.rs:1: `unwrap`",
        "broker/src/utils.rs:1: begin with",
    ]
    .iter()
    .enumerate()
    {
        assert!(lines.get(index).is_some_and(|line| line.starts_with(expected)), "{lines:#?}");
    }
}

/// How many lines the conformance list has, by the letter of their ids; those of the first three are the control plane's.
const LINES: [(char, usize); 11] =
    [('B', 13), ('T', 18), ('D', 8), ('I', 16), ('L', 21), ('R', 8), ('F', 16), ('P', 9), ('X', 8), ('O', 3), ('A', 6)];
const CONTROL_PLANE: [char; 3] = ['B', 'T', 'D'];

/// All Rust code below a directory of the repository.
fn code_below(directory: &Path, code: &mut String) {
    for entry in std::fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            code_below(&path, code);
        } else if path.extension().is_some_and(|end| end == "rs") {
            code.push_str(&std::fs::read_to_string(&path).expect("code is text"));
        }
    }
}

#[test]
fn the_conformance_table_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
    let mut code = String::new();
    for directory in ["tests/cluster", "tests/it", "tests/tests", "broker/src", "trigger-controller/src"] {
        code_below(&root.join(directory), &mut code);
    }
    let table = std::fs::read_to_string(root.join("tests/CONFORMANCE.md")).expect("the table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| id"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let ids = LINES.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    assert_eq!(rows.iter().filter_map(|row| row.first()).copied().collect::<Vec<_>>(), ids.collect::<Vec<_>>());
    for row in &rows {
        let [id, state, tests] = row.as_slice() else { unreachable!("{row:?} has not three columns") };
        let tests: Vec<&str> =
            tests.split(", ").map(|test| test.trim_matches('`')).filter(|test| !test.is_empty()).collect();
        let known = *state == "held" || state.starts_with("in part: ") || state.starts_with("not yet: ");
        assert!(known && tests.is_empty() == state.starts_with("not yet: "), "{id}: {state} {tests:?}");
        for test in &tests {
            assert!(code.contains(&format!("fn {test}(")), "{id}: there is no test `{test}`");
        }
        let named = |test: &&str| test.split('_').any(|part| part == id.to_lowercase());
        let must = id.starts_with(CONTROL_PLANE);
        assert!(!must || tests.iter().any(named), "{id}: no test has it in its name");
    }
}
