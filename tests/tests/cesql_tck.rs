//! The published test data of CESQL: one test per file, `cesql_tck_FILE`, that names each case which fails.
//!
//! The data is looked for in the folder that `CESQL_TCK` names, else in `../shared/cesql-tck` beside the repository. Without
//! it a line says so, and there is nothing to run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use broker::event::Event;
use broker::event::decode::decode_structured;
use broker::event::encode::STRUCTURED_JSON;
use libtest_mimic::{Arguments, Failed, Trial};
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

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::from_args();
    let named = std::env::var_os("CESQL_TCK").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cesql-tck");
    let asked_for = named.is_some();
    let folder = named.unwrap_or(beside);
    let mut trials = Vec::new();
    if folder.is_dir() {
        trials = files(&folder)?;
        ensure!(!trials.is_empty(), "{} has no *.yaml file", folder.display());
    } else if asked_for {
        bail!("CESQL_TCK names {}, which is no folder", folder.display());
    } else {
        eprintln!("skipped: no published CESQL test data in ../shared/cesql-tck; CESQL_TCK=FOLDER names another place");
    }
    libtest_mimic::run(&arguments, trials).exit()
}

fn files(folder: &Path) -> anyhow::Result<Vec<Trial>> {
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    let trial = |path: PathBuf| {
        let name = format!("cesql_tck_{}", path.file_stem().unwrap_or_default().to_string_lossy());
        Trial::test(name, move || run(&path))
    };
    Ok(files.into_iter().map(trial).collect())
}

fn run(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if file.tests.is_empty() {
        return Err("the file has no case".into());
    }
    let failing: Vec<String> = file
        .tests
        .iter()
        .filter_map(|case| check(case).err().map(|fault| format!("{}: `{}`: {fault:#}", case.name, case.expression)))
        .collect();
    if failing.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} cases fail:\n{}", failing.len(), file.tests.len(), failing.join("\n")).into())
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
