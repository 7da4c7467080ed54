//! `reveille triggers`: how deliveries stand.

use std::io::Write;

use clap::Subcommand;
use schemas::admin::{List, TriggerItem};

use super::brokers::NamespaceArgs;
use super::connect::AdminArgs;
use super::fault::Fault;
use super::output::{ListPrinter, OutputArgs, plain, print_one};
use super::show::{bytes, length};

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
    output: OutputArgs,
    #[command(flatten)]
    admin: AdminArgs,
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
    output: OutputArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs a verb.
pub(super) async fn run(command: TriggersCommand, out: &mut impl Write) -> Result<(), Fault> {
    match command {
        TriggersCommand::Ls(args) => {
            let mut parameters = args.scope.parameters();
            parameters.extend(args.broker.iter().map(|broker| ("broker", broker.clone())));
            let admin = args.admin.connect()?;
            let list: List<TriggerItem> = admin.get(&["triggers"], &parameters).await?;
            let mut printer = ListPrinter::new(args.output.form, out);
            list.items.into_iter().try_for_each(|item| printer.item(item))?;
            printer.finish("Triggers here; -A looks in all namespaces")?;
            // A Trigger that somebody misses may be one that could not be read.
            let faults: List<String> = admin.get(&["faults"], &[]).await?;
            faults.items.iter().for_each(|fault| eprintln!("manifest left out: {}", plain(fault)));
            Ok(())
        }
        TriggersCommand::Show(args) => {
            let item: TriggerItem = args.admin.connect()?.get(&["triggers", &args.namespace, &args.name], &[]).await?;
            print_one(args.output.form, &item, out, describe)
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
