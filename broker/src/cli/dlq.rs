//! `reveille dlq`: dead letters.

use std::io::Write;

use clap::Subcommand;
use schemas::admin::DeadLetterItem;

use super::connect::Parameter;
use super::fault::Fault;
use super::view::LogView;

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    /// List dead letters: which event, which Trigger, and why
    #[command(
        before_help = "Examples:\n  reveille dlq ls\n  reveille dlq ls --trigger orders --reason RetriesExhausted -o json"
    )]
    Ls(ListArgs),
}

/// `dlq ls`
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only of this Trigger: NAME or NAMESPACE/NAME
    #[arg(long)]
    trigger: Option<String>,
    /// Only for this reason, such as RetriesExhausted
    #[arg(long)]
    reason: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    log: LogView,
}

/// Runs a verb.
pub(super) async fn run(command: DlqCommand, out: &mut impl Write) -> Result<(), Fault> {
    let DlqCommand::Ls(args) = command;
    let mut parameters: Vec<Parameter> = Vec::new();
    parameters.extend(args.trigger.map(|trigger| ("trigger", trigger)));
    parameters.extend(args.reason.map(|reason| ("reason", reason)));
    parameters.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    args.log.list::<DeadLetterItem>("dead-letters", &parameters, "dead letters", out).await
}
