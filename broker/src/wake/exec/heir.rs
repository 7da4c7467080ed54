//! What ends a command when the broker cannot any more: a shell that waits at the end of a pipe. However the broker
//! ends, `kill -9` included, the system closes the pipe, and the shell kills the command's process group.
//!
//! *Invariants*: the shell is there before the command, so that only the moment between the command's start and the
//! note of its number is not covered; it is killed before its pipe is closed, so it never acts while the broker lives.
//! *Not here*: the command's own end ([`super::child`]). Linux could signal a child at its parent's death, but that one
//! child only, and at the death of the thread that started it.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use rustix::process::Pid;
use tokio::process::{Child, Command};

/// Reads the number of the group, waits for the end of the pipe, kills the group.
const SCRIPT: &str = r#"read -r group || exit 0; read -r _; kill -s KILL -- "-$group""#;

/// The shell, and our end of the pipe. The order of the fields is that of their ends.
#[derive(Debug)]
pub(super) struct Heir {
    _shell: Child,
    pipe: File,
}

impl Heir {
    /// Starts the shell, for a command that is started next.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What a terminal sends to the broker is not for it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pipe = shell.stdin.take().ok_or_else(|| std::io::Error::other("the shell has no input"))?;
        Ok(Self { _shell: shell, pipe: File::from(pipe.into_owned_fd()?) })
    }

    /// Tells it whom to kill.
    pub(super) fn inherit(&mut self, group: Pid) -> std::io::Result<()> {
        writeln!(self.pipe, "{}", group.as_raw_nonzero())
    }
}
