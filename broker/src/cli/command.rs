//! The sub-commands and their dispatch.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::bench::{self, BenchArgs};
use super::brokers::{self, BrokersCommand};
use super::completion::{self, CompletionArgs};
use super::demo::{self, DemoArgs};
use super::dlq::{self, DlqCommand};
use super::events::{self, EventsCommand};
use super::fault::{Exit, Fault};
use super::listen::{self, ListenArgs};
use super::log::{self, LogCommand};
use super::output::stdout;
use super::send::{self, SendArgs};
use super::serve;
use super::tail::{self, TailArgs};
use super::triggers::{self, TriggersCommand};
use crate::config::ServeConfig;
use crate::drain;

/// A durable CloudEvents broker, and the tools to look into it.
#[derive(Debug, Parser)]
#[command(
    name = "reveille",
    version,
    before_help = "Examples:\n  \
        reveille demo                                        see it work, on this machine\n  \
        reveille serve --manifests ./triggers                run the broker\n  \
        reveille send --type order.created --source /shop --data '{\"n\":1}'\n  \
        reveille tail                                        follow what is published\n  \
        reveille triggers ls                                 who lags, who sleeps, who fails\n  \
        reveille events show '#7'                            what became of one event"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    #[command(
        before_help = "Examples:\n  reveille serve --manifests ./triggers\n  reveille serve --manifests ./triggers --data /var/lib/reveille --retention-age 30d\n  reveille serve --manifests ./triggers --print-config"
    )]
    Serve(Box<ServeConfig>),
    /// See it work on this machine: a broker, a subscriber that sleeps, one that fails, and events
    #[command(before_help = "Examples:\n  reveille demo\n  reveille demo --data ./demo --free-ports")]
    Demo(DemoArgs),
    /// Publish events
    #[command(
        before_help = "Examples:\n  reveille send --type order.created --source /shop --data '{\"n\":1}'\n  reveille send -f events.ndjson --mode batch\n  reveille send --type ping --source /me --count 1000 --rate 50"
    )]
    Send(SendArgs),
    Listen(ListenArgs),
    /// Follow a Broker's log
    #[command(
        before_help = "Examples:\n  reveille tail\n  reveille tail --from -10 --filter type=order.created -o ndjson"
    )]
    Tail(TailArgs),
    /// Events: list, show, export
    #[command(subcommand)]
    Events(EventsCommand),
    /// Brokers and the extent of their logs
    #[command(subcommand)]
    Brokers(BrokersCommand),
    /// Triggers: lag, in flight, state
    #[command(subcommand)]
    Triggers(TriggersCommand),
    /// Dead letters
    #[command(subcommand)]
    Dlq(DlqCommand),
    Bench(BenchArgs),
    /// Log files: verify, dump
    #[command(subcommand)]
    Log(LogCommand),
    /// A script that lets your shell complete this command
    Completion(CompletionArgs),
}

impl Command {
    /// Sees to it that SIGTERM and SIGINT end the sub-command, where it does not see to that itself.
    fn obey_signals(&self) -> std::io::Result<()> {
        match self {
            Self::Serve(_) | Self::Demo(_) | Self::Listen(_) | Self::Tail(_) => Ok(()),
            Self::Send(_)
            | Self::Events(_)
            | Self::Brokers(_)
            | Self::Triggers(_)
            | Self::Dlq(_)
            | Self::Bench(_)
            | Self::Log(_)
            | Self::Completion(_) => drain::obey_as_first_process(),
        }
    }
}

impl Cli {
    /// Runs the sub-command to its end; the code to exit with.
    pub async fn run(self) -> ExitCode {
        if let Err(error) = self.command.obey_signals() {
            return Fault::new(Exit::Failed, format!("cannot wait for signals: {error}")).report();
        }
        match self.dispatch(stdout).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => fault.report(),
        }
    }

    /// Runs the sub-command; what it prints goes to what `out` makes. It is made only where it is used: a lock on
    /// stdout held by `serve` would stop every other thread that prints.
    pub(super) async fn dispatch<W: Write>(self, out: impl Fn() -> W) -> Result<(), Fault> {
        match self.command {
            Command::Serve(config) => serve::run(*config, out).await,
            Command::Demo(args) => demo::run(args, out).await,
            Command::Send(args) => send::run(args, &mut out()).await,
            Command::Listen(args) => Ok(listen::run(args).await?),
            Command::Tail(args) => tail::run(args, &mut out()).await,
            Command::Events(command) => events::run(command, &mut out()).await,
            Command::Brokers(command) => brokers::run(command, &mut out()).await,
            Command::Triggers(command) => triggers::run(command, &mut out()).await,
            Command::Dlq(command) => dlq::run(command, &mut out()).await,
            Command::Bench(args) => Ok(bench::run(args).await?),
            Command::Log(command) => log::run(command, &mut out()),
            Command::Completion(args) => completion::run(&args, Self::command(), &mut out()),
        }
    }
}
