//! `reveille events`: list, show and export what is in a Broker's log.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use schemas::admin::{EventDetail, EventItem};

use super::connect::{BrokerArgs, Parameter};
use super::fault::{Exit, Fault};
use super::output::{plain, table};
use super::select::{FilterArgs, RangeArgs};
use super::show::moment;
use super::view::{LogPlace, LogView};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// List events of a range
    #[command(
        before_help = "Examples:\n  reveille events ls --from -10\n  reveille events ls --from -2h --filter type=order.created -o ndjson\n  reveille events ls --from '#1000' --to '#2000'"
    )]
    Ls(ListArgs),
    /// Show one event, and what became of it at every Trigger
    #[command(before_help = "Examples:\n  reveille events show '#7'\n  reveille events show 0191f0a4-… -o json")]
    Show(ShowArgs),
    /// Write events of a range to a file, one JSON object a line; `reveille send -f` takes it back
    #[command(before_help = "Examples:\n  reveille events export --from -1d --out yesterday.ndjson")]
    Export(ExportArgs),
}

/// `events ls`
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    log: LogView,
}

/// `events show`
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// An event's id, or its offset as `#7`
    #[arg(value_name = "ID|#OFFSET")]
    which: String,
    /// Source of the event, where several have the id
    #[arg(long)]
    source: Option<String>,
    #[command(flatten)]
    log: LogView,
}

/// `events export`
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Where to; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    log: LogPlace,
}

/// Runs a verb.
pub(super) async fn run(command: EventsCommand, out: &mut impl Write) -> Result<(), Fault> {
    match command {
        EventsCommand::Ls(args) => {
            let parameters = parameters(&args.range, &args.filter)?;
            args.log.list::<EventItem>("events", &parameters, "events in this range", out).await
        }
        EventsCommand::Show(args) => show(&args, out).await,
        EventsCommand::Export(args) => export(&args, out).await,
    }
}

fn parameters(range: &RangeArgs, filter: &FilterArgs) -> Result<Vec<Parameter>, Fault> {
    let mut parameters = range.parameters();
    parameters.extend(filter.parameters()?);
    Ok(parameters)
}

async fn show(args: &ShowArgs, out: &mut impl Write) -> Result<(), Fault> {
    let BrokerArgs { namespace, broker } = &args.log.broker;
    let source: Vec<Parameter> = args.source.iter().map(|source| ("source", source.clone())).collect();
    let path = ["brokers", namespace, broker, "events", &args.which];
    args.log.view.one::<EventDetail>(&path, &source, describe, out).await
}

/// An event for people: its attributes and data, then a table of Triggers, then the attempts.
fn describe(detail: &EventDetail) -> String {
    let mut text = format!("Offset:    #{}\nAppended:  {}\n", detail.offset, moment(&detail.appended));
    let event: serde_json::Value = serde_json::from_str(detail.event.get()).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&event).unwrap_or_default();
    let _ = writeln!(text, "Event:\n{}\n", indent(&pretty));
    if detail.deliveries.is_empty() {
        text.push_str("The Broker has no Triggers.\n");
        return text;
    }
    let mut rows = vec![["TRIGGER", "STATE", "ATTEMPTS REMEMBERED", "LAST ERROR"].map(str::to_owned).to_vec()];
    for delivery in &detail.deliveries {
        let error = delivery.attempts.last().and_then(|attempt| attempt.error.clone());
        rows.push(vec![
            delivery.trigger.clone(),
            delivery.state.as_str().to_owned(),
            delivery.attempts.len().to_string(),
            error.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    text.push_str(&table(rows));
    let attempts = detail.deliveries.iter().flat_map(|d| d.attempts.iter().map(move |a| (&d.trigger, a)));
    let mut rows = vec![["TRIGGER", "AT", "ENDPOINT", "CODE", "SECONDS", "ERROR"].map(str::to_owned).to_vec()];
    rows.extend(attempts.map(|(trigger, attempt)| {
        vec![
            trigger.clone(),
            moment(&attempt.at),
            attempt.endpoint.clone(),
            attempt.code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            format!("{:.3}", attempt.seconds),
            attempt.error.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    if rows.len() > 1 {
        let _ = write!(text, "\n{}", table(rows));
    }
    text
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {}", plain(line))).collect::<Vec<_>>().join("\n")
}

async fn export(args: &ExportArgs, out: &mut impl Write) -> Result<(), Fault> {
    let parameters = parameters(&args.range, &args.filter)?;
    if args.out == Path::new("-") {
        return args.log.export::<EventItem>("events", &parameters, out).await.map(drop);
    }
    let cannot = |error: io::Error| {
        Fault::new(Exit::Failed, format!("cannot write {}: {error}; choose another --out", args.out.display()))
    };
    let mut file = io::BufWriter::new(File::create(&args.out).map_err(cannot)?);
    let count = args.log.export::<EventItem>("events", &parameters, &mut file).await?;
    file.into_inner().map_err(|error| cannot(error.into_error()))?.sync_all().map_err(cannot)?;
    eprintln!("Wrote {count} events to {}.", args.out.display());
    Ok(())
}
