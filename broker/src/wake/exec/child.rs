//! One process group: `/bin/sh -c COMMAND` and whatever it starts.
//!
//! *Invariants*: when the [`Child`] is gone, so is every process of its group, however it goes, and if the whole broker
//! goes, [`Heir`] sees to that. What the command
//! writes ends up in our log, line by line, each line bounded. *Not here*: when to start or stop one.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child as Process, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::heir::Heir;
use crate::names::TriggerKey;

/// Longest part of a line of output that is logged, in bytes; longer lines are cut. As much as a person reads of one.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// How long the last output of a process that has ended is waited for; it is in the pipe already, unless some other
/// process holds the pipe open.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(200);

/// How often a group that was told to end is looked at, once its first process has ended.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// Kills what is left of a process group when dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // The group may be gone already, which is as good.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn is_alive(&self) -> bool {
        self.0.is_some_and(|pid| test_kill_process_group(pid).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A running command.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    group: Group,
    /// Ends after the group.
    _heir: Heir,
    last_line: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Child {
    /// Starts the command with `HOST`, `PORT` and `REVEILLE_TRIGGER` in its environment.
    pub(super) fn start(command: &str, host: &str, port: u16, trigger: &TriggerKey) -> std::io::Result<Self> {
        let mut heir = Heir::start()?;
        let mut process = Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .env("HOST", host)
            .env("PORT", port.to_string())
            .env("REVEILLE_TRIGGER", trigger.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let group = Group(pid);
        if let Some(pid) = pid {
            heir.inherit(pid)?;
        }
        let last_line = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::with_capacity(2);
        if let Some(stdout) = process.stdout.take() {
            readers.push(tokio::spawn(follow(stdout, "stdout", trigger.clone(), None)));
        }
        if let Some(stderr) = process.stderr.take() {
            readers.push(tokio::spawn(follow(stderr, "stderr", trigger.clone(), Some(Arc::clone(&last_line)))));
        }
        Ok(Self { process, group, _heir: heir, last_line, readers })
    }

    /// Waits until the command ends by itself, and says how.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.process.wait().await;
        let _ = timeout(OUTPUT_PATIENCE, async {
            while let Some(reader) = self.readers.last_mut() {
                let _ = reader.await;
                self.readers.pop();
            }
        })
        .await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        match line.as_str() {
            "" => format!("it ended with {status}"),
            line => format!("it ended with {status}; its last line on stderr: {line}"),
        }
    }

    /// Asks the group to end, and kills what has not within `grace`.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.group.signal(Signal::TERM);
        let gone = timeout(grace, async {
            let _ = self.process.wait().await;
            while self.group.is_alive() {
                tokio::time::sleep(GROUP_POLL).await;
            }
        });
        if gone.await.is_ok() {
            // Its number may be given to another group from now on.
            self.group.0 = None;
        } else {
            self.kill().await;
        }
    }

    /// Kills the group.
    pub(super) async fn kill(mut self) {
        self.group.signal(Signal::KILL);
        // Collects the dead process; a kill cannot be refused.
        let _ = self.process.wait().await;
    }
}

/// Logs a stream line by line; keeps the last line in `last`.
async fn follow(
    stream: impl AsyncRead + Unpin,
    name: &'static str,
    trigger: TriggerKey,
    last: Option<Arc<Mutex<String>>>,
) {
    let emit = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if !line.is_empty() {
            tracing::info!(%trigger, stream = name, line, "subscriber output");
            if let Some(last) = &last {
                line.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
    };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        let taken = match reader.fill_buf().await {
            Ok(buffer) if !buffer.is_empty() => {
                let end = memchr::memchr(b'\n', buffer);
                let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
                let room = LINE_BYTES_MAX.saturating_sub(line.len());
                line.extend_from_slice(part.get(..room).unwrap_or(part));
                if end.is_some() {
                    emit(&line);
                    line.clear();
                }
                end.map_or(buffer.len(), |end| end + 1)
            }
            _ => break,
        };
        reader.consume(taken);
    }
    emit(&line);
}
