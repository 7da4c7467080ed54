//! The composition root of `reveille serve`: builds the parts, hands them to each other, starts and stops them.
//!
//! This is the only place that names concrete engines. Start-up goes along the data flow (state, logs, triggers,
//! dispatch, then the publishers' door); stopping goes the same way round, so that what was accepted is made durable
//! and what was delivered is remembered.

mod data_dir;
mod doors;
mod engine;
mod keeper;
mod listen;
mod orphans;
mod serve;
mod store;

pub use data_dir::{DataDir, DataDirError};
pub use listen::Addrs;
pub use serve::{Running, start};

use std::io::Write;

use anyhow::Context;

use crate::config::ServeConfig;
use crate::{drain, telemetry};

/// `reveille serve`: runs the broker until a signal asks it to stop.
///
/// # Errors
/// With one clear line when it cannot start (port in use, data directory, manifests), or when what it accepted could
/// not be made durable at the end.
pub async fn run(config: ServeConfig) -> anyhow::Result<()> {
    let telemetry = telemetry::init(config.log_format, &config.log_level)?;
    let print_addrs = config.print_addrs;
    // Before anything takes time, so that no signal is missed; one that comes during the start is obeyed right after.
    let mut signals = drain::StopSignals::install().context("cannot wait for signals")?;
    let running = start(config, telemetry).await?;
    let addrs = running.addrs();
    tracing::info!(ingress = %addrs.ingress, health = %addrs.health, admin = %addrs.admin, "listening");
    let early = tokio::select! {
        biased;
        () = running.until_loaded() => None,
        early = signals.asked() => Some(early),
    };
    let asked = match early {
        Some(asked) => asked,
        None => {
            tracing::info!("ready");
            if print_addrs {
                print(&addrs)?;
            }
            signals.asked().await
        }
    };
    tracing::info!(signal = asked.name(), "stopping: no new events, finishing what is under way");
    let result = running.stop().await;
    tracing::info!("stopped");
    result
}

fn print(addrs: &Addrs) -> anyhow::Result<()> {
    let line = serde_json::to_string(addrs)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write the addresses to stdout")
}
