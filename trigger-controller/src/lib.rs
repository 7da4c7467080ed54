//! `reveille-controller` reconciles Broker and Trigger objects on Kubernetes: `watch` ▸ `world` (pure index) ▸ `plan`
//! (pure) ▸ `status` (compare) ▸ `reconcile` (write); `lease` says who may write.
//!
//! Its one entry is [`main`], for a program of its own and for one that holds several.

mod config;
mod controller;
mod error;
mod events;
mod health;
mod lease;
mod metrics;
mod plan;
mod queue;
mod reconcile;
mod resolve;
mod run;
mod status;
mod telemetry;
mod validate;
mod watch;
mod world;

use std::process::ExitCode;

use clap::Parser;

/// Reads the command line, starts logging and the runtime, runs the controller.
#[must_use]
pub fn main() -> ExitCode {
    let config = config::Config::parse().completed();
    if config.print_config {
        return report(serde_saphyr::to_string(&config).map(|yaml| print!("{yaml}")).map_err(Into::into));
    }
    let times = match config.times() {
        Ok(times) => times,
        Err(faults) => {
            eprintln!("error: {faults}");
            return ExitCode::from(2);
        }
    };
    report(start(config, times))
}

fn start(config: config::Config, times: config::Times) -> anyhow::Result<()> {
    telemetry::init(config.log_format, &config.log_level)?;
    // An error means that a provider is installed already, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run::run(config, times))
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
