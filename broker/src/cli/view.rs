//! The head that verbs share: which Broker, at which admin API, printed how; and the two kinds of answers, lists and
//! single things.

use std::io::Write;

use schemas::admin::List;
use serde::de::DeserializeOwned;

use super::connect::{Admin, AdminArgs, BrokerArgs, Parameter};
use super::fault::Fault;
use super::lines::Lines;
use super::output::{Form, ListPrinter, OutputArgs, Show, print_one};

/// Asks an admin API and prints the answer.
#[derive(Debug, clap::Args)]
pub(super) struct View {
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

impl View {
    /// The admin API.
    pub(super) fn connect(&self) -> Result<Admin, Fault> {
        self.admin.connect()
    }

    /// Prints a list that comes as a whole; `what` is said where it is empty.
    pub(super) async fn list<T: Show + DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[Parameter],
        what: &str,
        out: &mut impl Write,
    ) -> Result<(), Fault> {
        let list: List<T> = self.connect()?.get(path, parameters).await?;
        let mut printer = ListPrinter::new(self.output.form, out);
        list.items.into_iter().try_for_each(|item| printer.item(item))?;
        printer.finish(what)
    }

    /// Prints one thing; `describe` is its form for people.
    pub(super) async fn one<T: Show + DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[Parameter],
        describe: impl FnOnce(&T) -> String,
        out: &mut impl Write,
    ) -> Result<(), Fault> {
        let item: T = self.connect()?.get(path, parameters).await?;
        print_one(self.output.form, &item, out, describe)
    }
}

/// Which Broker's log, at which admin API.
#[derive(Debug, clap::Args)]
pub(super) struct LogPlace {
    #[command(flatten)]
    pub(super) broker: BrokerArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The same, and how to print what is found there.
#[derive(Debug, clap::Args)]
pub(super) struct LogView {
    #[command(flatten)]
    pub(super) broker: BrokerArgs,
    #[command(flatten)]
    pub(super) view: View,
}

impl LogView {
    /// Prints a list of a part of the log, such as `events`, as it comes; `what` is said where it is empty.
    pub(super) async fn list<T: Show + DeserializeOwned>(
        &self,
        part: &str,
        parameters: &[Parameter],
        what: &str,
        out: &mut impl Write,
    ) -> Result<(), Fault> {
        let lines = stream(&self.view.connect()?, &self.broker, part, parameters).await?;
        print_lines::<T>(lines, self.view.output.form, what, out).await.map(drop)
    }
}

impl LogPlace {
    /// Writes a list one object a line; how many there were.
    pub(super) async fn export<T: Show + DeserializeOwned>(
        &self,
        part: &str,
        parameters: &[Parameter],
        out: &mut impl Write,
    ) -> Result<u64, Fault> {
        let lines = stream(&self.admin.connect()?, &self.broker, part, parameters).await?;
        print_lines::<T>(lines, Form::Ndjson, part, out).await
    }
}

/// Asks for a part of a Broker's log.
pub(super) async fn stream(
    admin: &Admin,
    broker: &BrokerArgs,
    part: &str,
    parameters: &[Parameter],
) -> Result<Lines, Fault> {
    admin.stream(&["brokers", &broker.namespace, &broker.broker, part], parameters).await
}

async fn print_lines<T: Show + DeserializeOwned>(
    mut lines: Lines,
    form: Form,
    what: &str,
    out: &mut impl Write,
) -> Result<u64, Fault> {
    let mut printer = ListPrinter::new(form, out);
    let mut count = 0;
    while let Some(item) = lines.next::<T>().await? {
        printer.item(item)?;
        count += 1;
    }
    printer.finish(what)?;
    lines.finish()?;
    Ok(count)
}
