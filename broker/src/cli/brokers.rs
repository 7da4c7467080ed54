//! `reveille brokers`: Brokers and the extent of their logs.

use std::io::Write;

use clap::Subcommand;
use schemas::admin::BrokerItem;

use super::connect::Parameter;
use super::fault::Fault;
use super::show::{bytes, moment};
use super::view::View;

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
    view: View,
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
    view: View,
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
            let what = "Brokers here; -A looks in all namespaces";
            args.view.list::<BrokerItem>(&["brokers"], &args.scope.parameters(), what, out).await
        }
        BrokersCommand::Show(args) => {
            args.view.one(&["brokers", &args.namespace, &args.name], &[], describe, out).await
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
