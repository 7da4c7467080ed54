//! What may lie at the top of the repository.

use std::path::Path;

use super::Offence;

/// Everything a newcomer meets first; anything else has a home further down.
const TOP: [&str; 17] = [
    ".ci",
    ".editorconfig",
    ".gitignore",
    ".rustfmt.toml",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "broker",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "schemas",
    "test",
    "tests",
    "trigger-controller",
];

/// Left by git, cargo and a broker that ran here; `.gitignore` names them.
const UNTRACKED: [&str; 3] = [".git", "target", "data"];

/// Entries of the top directory that are not on the list.
pub(super) fn top_level(root: &Path) -> std::io::Result<Vec<Offence>> {
    let names: std::io::Result<Vec<String>> =
        std::fs::read_dir(root)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    Ok(unexpected(&names?))
}

fn unexpected(names: &[String]) -> Vec<Offence> {
    names
        .iter()
        .filter(|name| !TOP.contains(&name.as_str()) && !UNTRACKED.contains(&name.as_str()))
        .map(|name| Offence::new(name, 0, "does not belong at the top; the list is in tests/src/tidy/layout.rs"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_found() {
        let names = ["Cargo.toml", "notes.txt", "target"].map(str::to_owned);
        assert_eq!(unexpected(&names).iter().map(|o| o.path.as_str()).collect::<Vec<_>>(), ["notes.txt"]);
    }
}
