//! Import direction: data moves one way, so a stage never names a stage before or beside it.

use super::{Offence, Source, code};

/// What may be named from everywhere: values without behaviour of their own, and the metrics handle.
const GROUND: [&str; 4] = ["names", "clock", "event", "metrics"];

/// For each module of the broker, which modules it may name besides itself and (where it is none of them) [`GROUND`].
/// An entry with `::` allows only paths that begin with it.
const ALLOWED: [(&str, &[&str]); 22] = [
    ("names", &[]),
    ("clock", &[]),
    ("event", &[]),
    // Labels are names.
    ("metrics", &["names"]),
    ("log", &[]),
    ("matching", &[]),
    // Cursors count in offsets of the log, and the checkpoint file is written through its file system; state never
    // reads a log.
    ("state", &["log::Offset", "log::LogId", "log::segment::fs"]),
    // A table entry holds compiled filters, a start offset and a retention.
    ("triggers", &["matching", "state", "log::Offset", "log::Retention", "apiserver"]),
    // What a Trigger's table entry says about its subscriber.
    ("deliver", &["triggers"]),
    // An attempt through an endpoint is an attempt.
    ("resolve", &["triggers", "deliver", "apiserver"]),
    // A subscriber is awake when it has an endpoint.
    ("wake", &["triggers", "resolve", "apiserver"]),
    // Tells of wakes what the status board shows.
    ("conditions", &["triggers", "wake", "dispatch::status", "apiserver"]),
    ("apiserver", &[]),
    ("dead_letter", &["log", "triggers", "deliver", "state"]),
    ("dispatch", &["log", "matching", "state", "triggers", "wake", "deliver", "dead_letter"]),
    // Ingress and dispatch meet only at the log.
    ("ingress", &["log"]),
    // Reads everything and changes nothing but what a verb of the CLI asks for; never a concrete engine.
    ("admin", &["log", "matching", "state", "triggers", "wake", "deliver", "dead_letter", "dispatch"]),
    // Reads what the parts say of themselves, and changes the log filter.
    ("health", &["log", "state", "dispatch::status", "telemetry"]),
    ("drain", &[]),
    // What is kept where a Broker does not say is an option.
    ("config", &["log::Retention"]),
    ("telemetry", &["config"]),
    // The CLI speaks to the admin API. `serve` and `demo` start the broker in this process; `log verify` and
    // `log dump` read segment files without one; `--help` and `serve` share the configuration; signals end all verbs.
    ("cli", &["config", "app", "drain", "telemetry", "log::segment::inspect", "log::Offset"]),
];

/// Real engines behind a seam; the composition root alone chooses among them.
const CONCRETE: [&str; 11] = [
    "log::segment",
    "log::memory",
    "state::sled",
    "state::checkpoint",
    "deliver::http",
    "resolve::feed",
    "wake::exec",
    "wake::scale",
    "conditions::ConditionWriter",
    "triggers::manifests",
    "triggers::kube",
];

/// Modules that may name everything: they put the parts together.
const ROOTS: [&str; 3] = ["app", "lib", "main"];

/// Paths of a file that go against the direction.
pub(super) fn direction(source: &Source, in_tests: bool) -> Vec<Offence> {
    if in_tests {
        return Vec::new();
    }
    source.path.strip_prefix("broker/src/").map_or_else(Vec::new, |path| in_broker(source, path))
}

/// Which members of this workspace a member may depend on; all others are refused.
const MEMBERS: [(&str, &[&str]); 4] = [
    ("schemas/", &[]),
    ("broker/", &["schemas"]),
    ("trigger-controller/", &["schemas"]),
    ("deploy/image/", &["broker", "trigger-controller"]),
];

/// Dependencies of a manifest on members of this workspace that are against the direction.
pub(super) fn dependencies(manifest: &Source) -> Vec<Offence> {
    let Some((_, allowed)) = MEMBERS.iter().find(|(member, _)| manifest.path == format!("{member}Cargo.toml")) else {
        return Vec::new();
    };
    let mut offences = Vec::new();
    let mut section = "";
    for (index, line) in manifest.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let member = matches!(name, "schemas" | "broker" | "trigger-controller" | "image" | "tests");
        if section.contains("dependencies") && member && !allowed.contains(&name) {
            offences.push(Offence::new(&manifest.path, index + 1, format!("must not depend on `{name}`")));
        }
    }
    offences
}

fn in_broker(source: &Source, path: &str) -> Vec<Offence> {
    let stem = path.trim_end_matches(".rs");
    let place: Vec<&str> = stem.trim_end_matches("/mod").split('/').collect();
    let Some(own) = place.first().copied().filter(|own| !ROOTS.contains(own)) else {
        return Vec::new();
    };
    let shipped = source.shipped_code();
    let mut offences = Vec::new();
    for (at, named) in named_paths(&shipped, &place) {
        if let Err(message) = judge(own, &named) {
            offences.push(Offence::new(&source.path, code::line_of(&shipped, at), message));
        }
    }
    offences
}

/// Whether module `own` may name `path` (of this crate).
fn judge(own: &str, path: &str) -> Result<(), String> {
    let top = path.split("::").next().unwrap_or_default();
    if top == own || top.is_empty() {
        return Ok(());
    }
    let begins = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let Some((_, allowed)) = ALLOWED.iter().find(|(module, _)| *module == own) else {
        return Err(format!("module `{own}` has no row in tests/src/tidy/imports.rs"));
    };
    let ground = GROUND.into_iter().filter(|_| !GROUND.contains(&own));
    if !allowed.iter().copied().chain(ground).any(begins) {
        return Err(format!("`{own}` must not name `{path}`; the table is in tests/src/tidy/imports.rs"));
    }
    let exact = allowed.iter().any(|entry| entry.contains("::") && begins(entry));
    match CONCRETE.iter().find(|concrete| begins(concrete)) {
        Some(concrete) if !exact => Err(format!("only `app` may name `{concrete}`: take its trait as an argument")),
        _ => Ok(()),
    }
}

/// Every path into this crate that `code` of the module at `place` names, from the crate's root, with its position.
fn named_paths(code: &str, place: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in code::words(code, "crate") {
        let after = code.get(at + "crate".len()..).unwrap_or_default();
        if let Some(rest) = after.strip_prefix("::") {
            expand("", rest, &mut |path| found.push((at, path)));
        }
    }
    for at in code::words(code, "super") {
        let chained = code.get(..at).is_some_and(|before| before.ends_with("super::"));
        let after = code.get(at..).unwrap_or_default();
        let mut rest = after;
        let mut up = 0;
        while let Some(further) = rest.strip_prefix("super::") {
            up += 1;
            rest = further;
        }
        let base = place.len().checked_sub(up).and_then(|depth| place.get(..depth));
        if let (false, Some(base)) = (chained || up == 0, base) {
            expand(&base.join("::"), rest, &mut |path| found.push((at, path)));
        }
    }
    found
}

/// Writes out `a::{b, c::d}` as `a::b`, `a::c::d`, each behind `prefix`.
fn expand(prefix: &str, text: &str, found: &mut dyn FnMut(String)) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0_usize;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    let part = group.get(start..at).unwrap_or_default();
                    if !part.trim().is_empty() {
                        expand(prefix, part, found);
                    }
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let word: String = text.chars().take_while(|c| code::is_word(*c)).collect();
    let path = [prefix, &word].iter().filter(|part| !part.is_empty() && **part != "self").copied().collect::<Vec<_>>();
    let path = path.join("::");
    match text.get(word.len()..).and_then(|rest| rest.strip_prefix("::")) {
        Some(rest) if !word.is_empty() => expand(&path, rest, found),
        _ => found(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, lines: &[usize]) {
        let offences = direction(&Source::new(path, text), false);
        assert_eq!(offences.iter().map(|o| o.line).collect::<Vec<_>>(), lines, "{path}: {text}: {offences:?}");
    }

    #[test]
    fn paths_against_the_direction_are_found() {
        check("broker/src/log/set.rs", "use crate::names::BrokerKey;\nuse crate::dispatch::Worker;", &[2]);
        check("broker/src/log/set.rs", "use crate::{event::Event,\n triggers::{Table, Source}};", &[1, 1]);
        check("broker/src/log/mod.rs", "fn f() { super::dispatch::run() }", &[1]);
        check("broker/src/log/segment/fs.rs", "use super::super::super::wake::Waker;", &[1]);
        check("broker/src/log/segment/fs.rs", "use super::super::Offset;\nuse super::reader;", &[]);
        check("broker/src/ingress/publish.rs", "use crate::log::EventLog;\nuse crate::triggers::Table;", &[2]);
        check("broker/src/ingress/publish.rs", "use crate::log::segment::Segments;", &[1]);
        check("broker/src/state/cursor.rs", "use crate::log::{Offset, EventLog};", &[1]);
        check("broker/src/matching/index.rs", "use crate::event::Event;\nuse crate::log::Offset;", &[2]);
        check("broker/src/clock.rs", "use crate::event::Event;", &[1]);
        check("broker/src/cli/log.rs", "use crate::log::segment::inspect::verify;\nuse crate::dispatch::Run;", &[2]);
        check("broker/src/newcomer.rs", "use crate::log::Offset;", &[1]);
    }

    #[test]
    fn the_composition_root_and_tests_may_name_all() {
        check("broker/src/app.rs", "use crate::log::segment::Segments;", &[]);
        check("broker/src/log/set.rs", "#[cfg(test)]\nmod tests { use crate::dispatch::Run; }", &[]);
        check("broker/src/log/set.rs", "// crate::dispatch\n/* crate::wake */", &[]);
        check("broker/src/dispatch/run.rs", "use crate::log::EventLog;\nuse crate::deliver::Transport;", &[]);
    }

    #[test]
    fn members_depend_in_one_direction() {
        for (path, text, lines) in [
            ("schemas/Cargo.toml", "[package]\nname = \"schemas\"\n[dependencies]\nbroker.workspace = true", vec![4]),
            ("broker/Cargo.toml", "[dependencies]\nschemas.workspace = true\n[dev-dependencies]\ntests = {}", vec![4]),
            ("tests/Cargo.toml", "[dependencies]\nbroker.workspace = true", vec![]),
        ] {
            let found: Vec<_> = dependencies(&Source::new(path, text)).iter().map(|o| o.line).collect();
            assert_eq!(found, lines, "{path}");
        }
    }
}
