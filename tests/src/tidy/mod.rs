//! Checks of the source tree that no compiler makes: lengths, import direction, `unwrap`, module docs, names,
//! what lies at the top, words that must not be there.
//!
//! *Input*: a tree of files. *Output*: offences with file and line, all of them. Every check is a function over
//! [`Source`] values, so that each is itself tested on a small bad sample. *Not here*: what clippy and
//! `missing_docs` see already.

mod code;
mod imports;
mod layout;
mod length;
mod source;
mod words;

use std::fmt;
use std::path::Path;

pub use source::Source;

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// File, relative to the root of the tree.
    pub path: String,
    /// Line, from 1; 0 where the whole file or its name offends.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Offence {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Every offence in the tree at `root`, in order of file and line.
///
/// # Errors
/// When a directory or file cannot be read.
pub fn check(root: &Path) -> std::io::Result<Vec<Offence>> {
    let sources = source::read_tree(root)?;
    let mut offences = layout::top_level(root)?;
    let tests = source::test_modules(&sources);
    let banned = words::banned();
    for source in &sources {
        offences.extend(words::forbidden(source, &banned));
        offences.extend(imports::dependencies(source));
        if source.is_rust() {
            let in_tests = source.is_test(&tests);
            offences.extend(length::file(source, in_tests));
            offences.extend(length::functions(source, in_tests));
            offences.extend(words::module_name(source));
            offences.extend(words::module_doc(source, in_tests));
            offences.extend(words::unwraps(source, in_tests));
            offences.extend(imports::direction(source, in_tests));
        }
    }
    offences.sort();
    Ok(offences)
}
