//! This program again, as a server of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// A yardstick server; killed when dropped.
pub(crate) struct Server {
    _child: Child,
    addr: String,
}

fn this_program(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

impl Server {
    /// Starts it and reads its address.
    pub(crate) async fn start(args: &[&str]) -> anyhow::Result<Self> {
        let mut child = this_program(args)?.spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let addr = BufReader::new(stdout).lines().next_line().await?.context("the yardstick did not start")?;
        Ok(Self { _child: child, addr })
    }

    /// `http://addr/`
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// How many events a counting server has taken.
    pub(crate) async fn count(&self) -> anyhow::Result<u64> {
        let answer = tests::harness::http_client().get(format!("{}count", self.url())).send().await?;
        Ok(answer.text().await?.parse()?)
    }

    /// Waits until a counting server has taken `count` events, and tells when that was, to 5 ms.
    pub(crate) async fn reaches(&self, count: u64, within: Duration) -> anyhow::Result<Instant> {
        let client = tests::harness::http_client();
        let deadline = Instant::now() + within;
        loop {
            let taken: u64 = client.get(format!("{}count", self.url())).send().await?.text().await?.parse()?;
            if taken >= count {
                return Ok(Instant::now());
            }
            anyhow::ensure!(Instant::now() < deadline, "{taken} of {count} events were delivered within {within:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Runs the HTTP client alone against `target`: events a second.
pub(crate) async fn client_alone(target: &str, connections: u16, run: Duration) -> anyhow::Result<f64> {
    let milliseconds = run.as_millis().to_string();
    let output = this_program(&["client", target, &connections.to_string(), &milliseconds])?.output().await?;
    let taken: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(taken / run.as_secs_f64())
}
