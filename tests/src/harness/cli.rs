//! The CLI as a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::DEADLINE;

/// The CLI, pointed at one broker.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: PathBuf,
    admin: String,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Finished {
    /// Stdout as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| unreachable!("{error}: {self:?}"))
    }
}

impl Cli {
    /// `binary`, with `--admin` set.
    #[must_use]
    pub fn new(binary: &Path, admin: &str) -> Self {
        Self { binary: binary.to_owned(), admin: admin.to_owned() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).env("REVEILLE_ADMIN", &self.admin).env("NO_COLOR", "1").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and leaves it running, for verbs that follow; killed when the handle is dropped.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("the CLI can be run")
    }

    /// Runs it to its end, without input.
    pub async fn run(&self, args: &[&str]) -> Finished {
        self.run_with(args, "").await
    }

    /// Runs it to its end with `input` on stdin.
    ///
    /// # Panics
    /// When it cannot be run, or does not end within the deadline.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Finished {
        let mut child = self.spawn(args);
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_owned();
        // A command that does not read its input closes the pipe; that is no fault of the test.
        tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
        let output = timeout(DEADLINE, child.wait_with_output()).await.expect("the command ends in time");
        let output = output.expect("the command can be waited for");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
