//! Writes `schemas/crds/*.yaml` from the Rust types; `--check` compares instead, and fails on a difference.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("crdgen: `{other}` is unknown; run it without arguments to write, or with --check to compare");
            return ExitCode::from(2);
        }
    };
    match run(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("crdgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(check: bool) -> Result<(), String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for (name, text) in schemas::crd::files().map_err(|error| error.to_string())? {
        let path = directory.join(name);
        let committed = std::fs::read_to_string(&path).ok();
        if committed.as_deref() == Some(text.as_str()) {
            continue;
        }
        if check {
            return Err(format!("{} is out of date; run crdgen without --check and commit it", path.display()));
        }
        std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
