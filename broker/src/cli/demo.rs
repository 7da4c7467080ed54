//! `reveille demo`: the main job on one machine, told step by step.
//!
//! *Responsibility*: a broker in this process, sample Triggers, a subscriber that sleeps, one that fails, and events.
//! *Outputs*: a story on stdout, every line of which was read back from the running broker before it is told.
//! *Invariants*: nothing is left running or, without `--data`, on disk. *Not here*: anything the broker itself does.

mod stage;
mod story;
mod watch;

use std::io::Write;
use std::path::PathBuf;

use super::connect::{AdminArgs, http_client};
use super::fault::{Exit, Fault};
use crate::config::LogFormat;
use crate::drain::StopSignals;
use crate::{app, telemetry};
use stage::Stage;
use story::Story;
use watch::Watch;

/// `demo`
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Keep data and manifests in this directory [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// End after the story instead of staying up
    #[arg(long)]
    exit: bool,
    /// Take free ports instead of 8080, 9090 and 9091
    #[arg(long)]
    free_ports: bool,
    /// What the broker logs to stderr meanwhile; the story tells of the dead letter itself
    #[arg(long, value_name = "LEVELS", default_value = "error")]
    log_level: String,
}

/// Tells the story, and stays up until it is interrupted.
pub(super) async fn run<W: Write>(args: DemoArgs, out: impl Fn() -> W) -> Result<(), Fault> {
    let mut signals = StopSignals::install()?;
    let stage = Stage::set(args.data.as_deref(), args.free_ports)?;
    for notice in stage.notices() {
        writeln!(out(), "{notice}")?;
    }
    let telemetry = telemetry::init(LogFormat::Text, &args.log_level).map_err(anyhow::Error::from)?;
    let running = Box::pin(app::start(stage.config(), telemetry)).await?;
    let addrs = running.addrs();
    let admin = AdminArgs { admin: format!("http://{}", addrs.admin), token_file: None }.connect()?;
    let story = Story::new(&stage, &addrs, http_client()?, Watch::new(admin));
    let told = tokio::select! {
        told = Box::pin(story.tell(&out)) => told.map(|()| !args.exit),
        _ = signals.asked() => Ok(false),
    };
    if let Ok(true) = told {
        writeln!(out(), "\nCtrl-C ends it.")?;
        signals.asked().await;
    }
    let stopped = Box::pin(running.stop()).await;
    told?;
    stopped.map_err(|error| Fault::new(Exit::Failed, format!("the broker did not stop cleanly: {error:#}")))
}
