//! Reveille's broker: publish, fsynced log, match, deliver, replay; and the CLI that looks at it.
//!
//! Modules follow the data flow: [`ingress`] decodes with [`event`] and appends to [`log`];
//! [`dispatch`] reads the log's durable tail, asks [`matching`] which triggers of [`triggers`] want an
//! event, wakes ([`wake`]) and delivers ([`deliver`]), and settles cursors in [`state`].
//! Ingress and dispatch meet only at the log. `ARCHITECTURE.md` has the picture and the invariants.

pub mod admin;
pub mod apiserver;
pub mod app;
pub mod cli;
pub mod clock;
pub mod conditions;
pub mod config;
pub mod dead_letter;
pub mod deliver;
pub mod dispatch;
pub mod drain;
pub mod event;
pub mod health;
pub mod ingress;
pub mod log;
pub mod matching;
pub mod metrics;
pub mod names;
pub mod resolve;
pub mod state;
pub mod telemetry;
pub mod triggers;
pub mod wake;

use std::process::ExitCode;

use clap::Parser as _;

/// `reveille`: reads the command line, makes the runtime, runs the sub-command; the code to exit with. For a program of
/// its own and for one that holds several.
#[must_use]
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    deliver::http::tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(cli.run())
}
