//! The benchmark: Reveille beside what bounds it, in one run, on one machine.
//!
//! `cargo run --release -p tests --bin bench` builds the broker, measures and writes `tests/bench/BENCHMARKS.md`;
//! `--quick` takes a minute and prints only. Every server is a process of its own (yardsticks too: this program again,
//! under a hidden sub-command), and one generator loads them all, so that figures differ by the server alone.

mod child;
mod disk;
mod figures;
mod generator;
mod machine;
mod matching;
mod report;
mod scenarios;
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};

/// Measures Reveille beside bare axum, a bare HTTP client and a bare disk.
#[derive(Debug, Parser)]
struct Arguments {
    /// Shorter runs, each once; the report is printed and not written
    #[arg(long)]
    quick: bool,
    /// Where logs are written while measuring; must be on a real disk
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A broker that is built already, to be measured instead of this tree's
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program is when it is started by itself.
#[derive(Debug, Subcommand)]
enum Part {
    /// Measures filters alone, and prints that
    Filters,
    /// Answers every POST with 202
    #[command(hide = true)]
    Accept,
    /// Answers every POST with 204 and counts them
    #[command(hide = true)]
    Count,
    /// Posts every event on and answers 202 when it was taken
    #[command(hide = true)]
    Forward {
        /// Where to
        target: String,
    },
    /// Posts events as fast as it can, and prints how many were taken
    #[command(hide = true)]
    Client {
        /// Where to
        target: String,
        /// Requests under way at once
        connections: u16,
        /// For how long
        milliseconds: u64,
    },
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// One run of a scenario.
    run: Duration,
    /// Before it, not counted: connections, page cache, allocator.
    warm_up: Duration,
    /// Runs of which the median counts.
    rounds: usize,
    /// Events of backlog when memory is looked at.
    backlog: u64,
}

const FULL: Effort =
    Effort { run: Duration::from_secs(4), warm_up: Duration::from_secs(1), rounds: 3, backlog: 1_000_000 };
const QUICK: Effort =
    Effort { run: Duration::from_secs(1), warm_up: Duration::from_millis(300), rounds: 1, backlog: 100_000 };

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Filters) => {
            println!("{}", report::filters(&matching::all(FULL.warm_up)?));
            Ok(())
        }
        Some(Part::Accept) => servers::accept().await,
        Some(Part::Count) => servers::count().await,
        Some(Part::Forward { target }) => servers::forward(target).await,
        Some(Part::Client { target, connections, milliseconds }) => {
            servers::client(&target, connections, Duration::from_millis(milliseconds)).await
        }
        None => measure(arguments).await,
    }
}

async fn measure(Arguments { quick, directory, broker, .. }: Arguments) -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in the repository")?;
    let broker = broker.map_or_else(|| build_broker(repository), Ok)?;
    let directory = directory.unwrap_or_else(|| repository.join("target/bench-data"));
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let effort = if quick { QUICK } else { FULL };
    let figures = scenarios::all(&scenarios::Setting { broker, directory, effort }).await?;
    let text = report::markdown(&figures, &machine::describe(), quick);
    println!("{text}");
    if !quick {
        let file = repository.join("tests/bench/BENCHMARKS.md");
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The broker as it is shipped: its own package, its own features.
fn build_broker(repository: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository).args(["build", "--quiet", "--release", "-p", "broker", "--bin", "reveille"]);
    ensure!(command.status()?.success(), "the broker does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(target.join("release/reveille"))
}
