//! `reveille`: reads the command line, makes the runtime, runs the sub-command.

use std::process::ExitCode;

use broker::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    broker::deliver::http::tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(cli.run())
}
