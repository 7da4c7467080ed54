//! `reveille triggers`: how deliveries stand.

use std::io::Write;

use clap::Subcommand;
use schemas::admin::{List, TriggerItem};

use super::brokers::NamespaceArgs;
use super::fault::Fault;
use super::output::plain;
use super::show::{bytes, length};
use super::view::View;

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum TriggersCommand {
    /// List Triggers: state, lag, in flight, dead letters, last error
    Ls(ListArgs),
    /// Show one Trigger
    Show(ShowArgs),
}

/// `triggers ls`
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only Triggers of this Broker
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    #[command(flatten)]
    scope: NamespaceArgs,
    #[command(flatten)]
    view: View,
}

/// `triggers show`
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The Trigger
    name: String,
    /// Namespace
    #[arg(short, long, env = "REVEILLE_NAMESPACE", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    view: View,
}

/// Runs a verb.
pub(super) async fn run(command: TriggersCommand, out: &mut impl Write) -> Result<(), Fault> {
    match command {
        TriggersCommand::Ls(args) => {
            let mut parameters = args.scope.parameters();
            parameters.extend(args.broker.iter().map(|broker| ("broker", broker.clone())));
            let what = "Triggers here; -A looks in all namespaces";
            args.view.list::<TriggerItem>(&["triggers"], &parameters, what, out).await?;
            // A Trigger that somebody misses may be one that could not be read.
            let faults: List<String> = args.view.connect()?.get(&["faults"], &[]).await?;
            faults.items.iter().for_each(|fault| eprintln!("manifest left out: {}", plain(fault)));
            Ok(())
        }
        TriggersCommand::Show(args) => {
            args.view.one(&["triggers", &args.namespace, &args.name], &[], describe, out).await
        }
    }
}

fn describe(item: &TriggerItem) -> String {
    let lag = &item.lag;
    let oldest = if lag.oldest_seconds > 0.0 { length(lag.oldest_seconds) } else { "-".to_owned() };
    format!(
        "Trigger:       {}/{}\nBroker:        {}\nSubscriber:    {}\nState:         {}\nLag:           {} events, about {}, oldest {oldest}\nIn flight:     {}\nRetrying:      {}\nDead letters:  {}\nLast error:    {}\n",
        item.namespace,
        item.name,
        item.broker,
        plain(&item.subscriber),
        item.state.as_str(),
        lag.events,
        bytes(lag.bytes),
        item.in_flight,
        item.retrying,
        item.dead_letters,
        plain(item.last_error.as_deref().unwrap_or("-")),
    )
}
