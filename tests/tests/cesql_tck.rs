//! The published test data of CESQL: one test per file, `cesql_tck_FILE`, that names each case which fails.
//!
//! The data is looked for in the folder that `CESQL_TCK` names, else in `../shared/cesql-tck` beside the repository. Without
//! it a line says so, and there is nothing to run. Which files there are is known at run time only, so these tests have a
//! `main` of their own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use broker::event::Event;
use broker::event::decode::decode_structured;
use broker::event::encode::STRUCTURED_JSON;
use schemas::cesql::{ErrorKind, Expression};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A file of test data.
#[derive(Debug, Deserialize)]
struct File {
    tests: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    expression: String,
    /// Where it is left out, any.
    result: Option<Value>,
    /// Where it is left out, none.
    error: Option<String>,
    /// Where it is left out, any.
    event: Option<Map<String, Value>>,
    #[serde(default)]
    event_overrides: Map<String, Value>,
}

fn main() -> anyhow::Result<ExitCode> {
    let named = std::env::var_os("CESQL_TCK").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cesql-tck");
    let asked_for = named.is_some();
    let folder = named.unwrap_or(beside);
    let mut all = Vec::new();
    if folder.is_dir() {
        all = files(&folder)?;
        ensure!(!all.is_empty(), "{} has no *.yaml file", folder.display());
    } else if asked_for {
        bail!("CESQL_TCK names {}, which is no folder", folder.display());
    } else {
        eprintln!("skipped: no published CESQL test data in ../shared/cesql-tck; CESQL_TCK=FOLDER names another place");
    }
    let arguments = Arguments::of(std::env::args().skip(1));
    let (wanted, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| arguments.want(name));
    if arguments.list {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(report(&wanted, others.len()))
}

/// What the standard harness would be told, as far as it matters here.
#[derive(Debug, Default)]
struct Arguments {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    ignored: bool,
}

impl Arguments {
    fn of(mut given: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--exact" => arguments.exact = true,
                "--list" => arguments.list = true,
                "--ignored" => arguments.ignored = true,
                "--skip" => arguments.skipped.extend(given.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(given.next()),
                option if option.starts_with('-') => {}
                _ => arguments.filters.push(argument),
            }
        }
        arguments
    }

    fn want(&self, name: &str) -> bool {
        let is_meant = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        let picked = self.filters.is_empty() || self.filters.iter().any(is_meant);
        picked && !self.skipped.iter().any(is_meant) && !self.ignored
    }
}

/// Runs them, and says so as the standard harness does, for those who read its output.
fn report(tests: &[(String, PathBuf)], filtered_out: usize) -> ExitCode {
    let begun = Instant::now();
    println!("\nrunning {} tests", tests.len());
    let mut failures = Vec::new();
    for (name, path) in tests {
        let result =
            std::panic::catch_unwind(|| cesql_tck_file(path)).unwrap_or_else(|_| Err(anyhow::anyhow!("panics")));
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failures.extend(result.err().map(|fault| (name, fault)));
    }
    failures.iter().for_each(|(name, fault)| println!("\n---- {name} ----\n{fault:#}"));
    failures.iter().for_each(|(name, _)| println!("\nfailed: {name}"));
    let (passed, failed) = (tests.len() - failures.len(), failures.len());
    let (verdict, code) = if failed == 0 { ("ok", ExitCode::SUCCESS) } else { ("FAILED", ExitCode::FAILURE) };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered_out} filtered out; \
         finished in {:.2}s\n",
        begun.elapsed().as_secs_f64()
    );
    code
}

/// The tests: a name and a file each.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = format!("cesql_tck_{}", path.file_stem().unwrap_or_default().to_string_lossy());
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

fn cesql_tck_file(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let file: File = serde_saphyr::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(!file.tests.is_empty(), "the file has no case");
    let failing: Vec<String> = file
        .tests
        .iter()
        .filter_map(|case| check(case).err().map(|fault| format!("{}: `{}`: {fault:#}", case.name, case.expression)))
        .collect();
    ensure!(failing.is_empty(), "{} of {} cases fail:\n{}", failing.len(), file.tests.len(), failing.join("\n"));
    Ok(())
}

fn check(case: &Case) -> anyhow::Result<()> {
    let wanted = case.error.as_deref().map(kind).transpose()?;
    let expression = match (Expression::parse(&case.expression), wanted) {
        (Err(_), Some(ErrorKind::Parse)) => return Ok(()),
        (Err(fault), _) => bail!("is refused: {}", fault.shown(&case.expression)),
        (Ok(_), Some(ErrorKind::Parse)) => bail!("is taken, although it is no expression"),
        (Ok(expression), _) => expression,
    };
    let event = event(case)?;
    let given = expression.evaluate(&event);
    let kinds: Vec<ErrorKind> = given.errors.iter().map(|error| error.kind).collect();
    match wanted {
        None => ensure!(kinds.is_empty(), "fails: {:?}", given.errors),
        Some(wanted) => ensure!(kinds.contains(&wanted), "fails with {kinds:?}, not with {wanted:?}"),
    }
    let value = match given.value {
        schemas::cesql::Value::Boolean(value) => json!(value),
        schemas::cesql::Value::Integer(value) => json!(value),
        schemas::cesql::Value::String(text) => json!(text),
    };
    if let Some(result) = &case.result {
        ensure!(value == *result, "gives {value}, not {result}");
    }
    ensure!(expression.passes(&event) == (value == json!(true) && kinds.is_empty()), "passes, or not, without reason");
    Ok(())
}

/// The event of a case, read as a publisher's would be.
fn event(case: &Case) -> anyhow::Result<Event> {
    let sample = json!({"specversion": "1.0", "id": "1", "source": "/sample", "type": "sample"});
    let mut event = case.event.clone().or_else(|| sample.as_object().cloned()).unwrap_or_default();
    event.extend(case.event_overrides.clone());
    decode_structured(STRUCTURED_JSON, serde_json::to_vec(&event)?.into()).context("the event cannot be read")
}

fn kind(name: &str) -> anyhow::Result<ErrorKind> {
    Ok(match name {
        "parse" => ErrorKind::Parse,
        "math" => ErrorKind::Math,
        "cast" => ErrorKind::Cast,
        "missingAttribute" => ErrorKind::MissingAttribute,
        "missingFunction" => ErrorKind::MissingFunction,
        "functionEvaluation" => ErrorKind::FunctionEvaluation,
        "generic" => ErrorKind::Generic,
        other => bail!("`{other}` is no kind of error"),
    })
}
