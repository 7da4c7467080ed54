//! The files of the tree, and which of their lines are tests.

use std::collections::BTreeSet;
use std::path::Path;

use super::code;

/// Directories that are not part of the project: build output, data, version control, fetched packages.
const SKIPPED: [&str; 4] = [".git", "target", "data", "node_modules"];

/// One text file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path from the root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
    /// The same with comments and literals blanked, where it is Rust.
    pub code: String,
}

impl Source {
    /// A file.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { code::only_code(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Whether it is Rust.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Name of the crate's directory.
    #[must_use]
    pub fn crate_name(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Whether the whole file is test code of a crate: it, or a module above it, is declared under `#[cfg(test)]`.
    #[must_use]
    pub fn is_test(&self, modules: &BTreeSet<String>) -> bool {
        self.path.ends_with("/tests.rs")
            || modules.iter().any(|module| {
                self.path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            })
    }

    /// Byte ranges of the items under `#[cfg(test)]`.
    fn test_items(&self) -> Vec<(usize, usize)> {
        let mut items: Vec<(usize, usize)> = Vec::new();
        for (at, attribute) in self.code.match_indices("#[cfg(") {
            let inside = self.code.get(at + attribute.len()..).unwrap_or_default();
            let is_test = inside.starts_with("test)") || inside.starts_with("all(test,");
            let nested = items.last().is_some_and(|(_, end)| at < *end);
            if is_test && !nested {
                items.push((at, code::item_end(&self.code, at)));
            }
        }
        items
    }

    /// `code` with the items under `#[cfg(test)]` blanked too.
    #[must_use]
    pub fn shipped_code(&self) -> String {
        let items = self.test_items();
        let blank = |at: usize, c: char| c != '\n' && items.iter().any(|(start, end)| (*start..*end).contains(&at));
        self.code.char_indices().map(|(at, c)| if blank(at, c) { ' ' } else { c }).collect()
    }

    /// Number of lines that belong to no item under `#[cfg(test)]`.
    #[must_use]
    pub fn shipped_lines(&self) -> usize {
        let of_tests: usize = self
            .test_items()
            .iter()
            .map(|(start, end)| code::line_of(&self.code, *end) - code::line_of(&self.code, *start) + 1)
            .sum();
        self.text.lines().count() - of_tests
    }
}

/// Paths (without `.rs`) of the modules that are declared as `#[cfg(test)] mod x;`.
pub(super) fn test_modules(sources: &[Source]) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let stem = source.path.trim_end_matches(".rs");
        let (parent, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let base = if matches!(name, "mod" | "lib" | "main") { parent } else { stem };
        for (start, end) in source.test_items() {
            let item = source.code.get(start..end).unwrap_or_default();
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
                modules.insert(format!("{base}/{}", name.1.trim()));
            }
        }
    }
    modules
}

/// Reads every text file below `root`; files that are not UTF-8 are left out.
pub(super) fn read_tree(root: &Path) -> std::io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let skipped = entry.file_name().to_str().is_none_or(|name| SKIPPED.contains(&name));
            if kind.is_dir() && !skipped {
                pending.push(entry.path());
            } else if kind.is_file() && !skipped {
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                if let Ok(text) = std::fs::read_to_string(&path) {
                    sources.push(Source::new(&relative, &text));
                }
            }
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { x.unwrap() }\n}\nfn c() {}\n";

    #[test]
    fn test_items_are_left_out() {
        let source = Source::new("broker/src/x.rs", SAMPLE);
        assert_eq!(source.shipped_lines(), 2);
        let shipped = source.shipped_code();
        assert!(!shipped.contains("unwrap"));
        assert!(shipped.contains("fn c()"));
        assert_eq!(shipped.lines().count(), SAMPLE.lines().count());
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_known() {
        let sources = [
            Source::new("broker/src/log/mod.rs", "#[cfg(test)]\nmod suite;\nmod real;\n"),
            Source::new("broker/src/log/memory.rs", "#[cfg(test)]\npub(crate) mod cases;\n"),
        ];
        let modules = test_modules(&sources);
        for (path, expected) in [
            ("broker/src/log/suite.rs", true),
            ("broker/src/log/suite/more.rs", true),
            ("broker/src/log/memory/cases.rs", true),
            ("broker/src/log/real.rs", false),
            ("broker/src/log/suites.rs", false),
            ("broker/src/log/segment/tests.rs", true),
        ] {
            assert_eq!(Source::new(path, "").is_test(&modules), expected, "{path}");
        }
    }
}
