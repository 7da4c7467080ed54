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
