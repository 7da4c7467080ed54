//! `reveille`: reads the command line, makes the runtime, runs the sub-command.

use clap::Parser;

#[derive(Parser)]
enum Cli {
    /// Runs the broker
    Serve(broker::config::ServeConfig),
}

fn main() -> anyhow::Result<()> {
    let Cli::Serve(config) = Cli::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(broker::app::run(config))
}
