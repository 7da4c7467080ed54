//! `reveille`: reads the command line, makes the runtime, runs the sub-command.

use std::process::ExitCode;

use broker::cli::Cli;
use clap::Parser;

/// Publishing makes and drops some twenty small values per event, often on different threads; this allocator spends
/// about half the time on that which the system's own does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
