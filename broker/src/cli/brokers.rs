//! `reveille brokers`: Brokers and the extent of their logs.

use std::io::Write;

use clap::Subcommand;
use schemas::admin::{BrokerItem, List};

use super::connect::{AdminArgs, Parameter};
use super::fault::Fault;
use super::output::{ListPrinter, OutputArgs, print_one};
use super::show::{bytes, moment};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum BrokersCommand {
    /// List Brokers
    Ls(ListArgs),
    /// Show one Broker
    Show(ShowArgs),
}

/// `brokers ls`
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    scope: NamespaceArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Which namespaces.
#[derive(Debug, clap::Args)]
pub(super) struct NamespaceArgs {
    /// Namespace
    #[arg(short, long, env = "REVEILLE_NAMESPACE", default_value = "default")]
    pub(super) namespace: String,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
}

/// `brokers show`
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The Broker
    #[arg(value_name = "NAME", env = "REVEILLE_BROKER", default_value = "default")]
    name: String,
    /// Namespace
    #[arg(short, long, env = "REVEILLE_NAMESPACE", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

impl NamespaceArgs {
    /// As a parameter of a request.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        if self.all_namespaces { Vec::new() } else { vec![("namespace", self.namespace.clone())] }
    }
}

/// Runs a verb.
pub(super) async fn run(command: BrokersCommand, out: &mut impl Write) -> Result<(), Fault> {
    match command {
        BrokersCommand::Ls(args) => {
            let list: List<BrokerItem> = args.admin.connect()?.get(&["brokers"], &args.scope.parameters()).await?;
            let mut printer = ListPrinter::new(args.output.form, out);
            list.items.into_iter().try_for_each(|item| printer.item(item))?;
            printer.finish("Brokers here; -A looks in all namespaces")
        }
        BrokersCommand::Show(args) => {
            let item: BrokerItem = args.admin.connect()?.get(&["brokers", &args.namespace, &args.name], &[]).await?;
            print_one(args.output.form, &item, out, describe)
        }
    }
}

fn describe(item: &BrokerItem) -> String {
    let at = |moment_text: &Option<String>| moment_text.as_deref().map_or_else(|| "-".to_owned(), moment);
    format!(
        "Broker:        {}/{}\nHealth:        {}\nOffsets:       #{} up to #{}\nSize:          {}\nOldest event:  {}\nNewest event:  {}\nTriggers:      {}\nDead letters:  {}\n",
        item.namespace,
        item.name,
        item.health,
        item.first_offset,
        item.next_offset,
        bytes(item.bytes),
        at(&item.oldest),
        at(&item.newest),
        item.triggers,
        item.dead_letters,
    )
}
