//! Whether this machine can hold a test cluster at all, and what a test does if not.
//!
//! *Inputs*: who runs the tests, what the kernel allows, the variable `CI`. *Outputs*: go on, skip or fail.
//! *Invariants*: a skip is said in one line that the test runner does not swallow; in CI there are no skips.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// The flags that give a cluster its namespaces; one kill of the first process inside ends all the others.
pub(super) const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];

/// True if a test that needs a cluster may go on, false if it is to return at once.
///
/// # Panics
/// When it can do neither.
pub(super) fn go_on() -> bool {
    let skipped = skipped(obstacle(), std::env::var_os("CI").is_some()).expect("the reason is in the message");
    if let Some(reason) = &skipped {
        // Not `eprintln!`: the test runner keeps to itself what a test that passes printed with it.
        let _ = writeln!(std::io::stderr(), "skipped: no test cluster can run here: {reason}");
    }
    skipped.is_none()
}

/// Why no cluster can run here, or `None` if one can.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let tried = Command::new("unshare").args(UNSHARE).arg("true").stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Why a test is skipped, if it is; an error is a skip where none is allowed (`ci`).
fn skipped(obstacle: Option<String>, ci: bool) -> Result<Option<String>, String> {
    match obstacle {
        Some(reason) if ci => Err(format!("no test cluster can run here, and in CI none may be skipped: {reason}")),
        obstacle => Ok(obstacle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_a_failure_in_ci_only() {
        let obstacle = || Some("no root".to_owned());
        assert_eq!(skipped(None, true), Ok(None));
        assert_eq!(skipped(None, false), Ok(None));
        assert_eq!(skipped(obstacle(), false), Ok(obstacle()));
        assert!(skipped(obstacle(), true).unwrap_err().contains("no root"));
    }
}
