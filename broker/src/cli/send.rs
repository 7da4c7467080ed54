//! `reveille send`: publishes events.

mod input;
mod publish;

use std::io::Write;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::ValueEnum;

use super::connect::{BrokerArgs, http_client, parse_url};
use super::fault::{Exit, Fault};
use publish::{Publisher, Tally};

/// Content mode of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Attributes in headers, data as body
    Binary,
    /// One JSON document
    Structured,
    /// A JSON array of events
    Batch,
}

/// `send`
#[derive(Debug, clap::Args)]
pub(super) struct SendArgs {
    /// The broker's ingress
    #[arg(
        long,
        visible_alias = "url",
        value_name = "URL",
        env = "REVEILLE_INGRESS",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(super) ingress: String,
    #[command(flatten)]
    pub(super) broker: BrokerArgs,
    /// File of events in the CloudEvents JSON format, one a line, or what `events export` wrote; `-` is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["ty", "source", "id", "subject", "data", "attr", "count"])]
    pub(super) file: Option<PathBuf>,
    /// Attribute `type`
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "file")]
    pub(super) ty: Option<String>,
    /// Attribute `source`
    #[arg(long, required_unless_present = "file")]
    pub(super) source: Option<String>,
    /// Attribute `id` [default: a new one for each event]
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Attribute `subject`
    #[arg(long)]
    pub(super) subject: Option<String>,
    /// The data itself, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub(super) data: Option<String>,
    /// Attribute `datacontenttype` of --data
    #[arg(long, value_name = "MEDIA TYPE", default_value = "application/json")]
    pub(super) content_type: String,
    /// Any other attribute; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) attr: Vec<String>,
    /// Content mode
    #[arg(long, value_enum, default_value = "binary")]
    pub(super) mode: Mode,
    /// Events per request, which makes the mode `batch` [default with --mode batch: 100]
    #[arg(long, value_name = "N")]
    pub(super) batch: Option<NonZeroU32>,
    /// Events per second at the most
    #[arg(long, value_name = "N")]
    pub(super) rate: Option<NonZeroU32>,
    /// How often to send the event
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) count: NonZeroU64,
}

/// Events per request in batch mode, where nobody says otherwise: enough to spread the cost of a request.
const BATCH_DEFAULT: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");

/// Publishes, and tells how many were accepted.
pub(super) async fn run(args: SendArgs, out: &mut impl Write) -> Result<(), Fault> {
    let mut url = parse_url(&args.ingress, "--ingress")?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([&args.broker.namespace, &args.broker.broker]);
    }
    let mode = if args.batch.is_some() { Mode::Batch } else { args.mode };
    let group = if mode == Mode::Batch { args.batch.unwrap_or(BATCH_DEFAULT).get() } else { 1 };
    let mut publisher = Publisher::new(http_client()?, url, mode, args.rate);
    let mut source = input::open(&args)?;
    let mut group_events = Vec::new();
    let mut unreadable = 0_u64;
    loop {
        let next = source.next();
        match next {
            Some(Ok(event)) => group_events.push(event),
            Some(Err(fault)) => {
                eprintln!("error: {fault}");
                unreadable += 1;
            }
            None if group_events.is_empty() => break,
            None => {}
        }
        let full = group_events.len() >= usize::try_from(group).unwrap_or(usize::MAX);
        if full || (source.is_done() && !group_events.is_empty()) {
            publisher.send(std::mem::take(&mut group_events)).await?;
        }
    }
    summarise(publisher.tally(), unreadable, out)
}

fn summarise(tally: &Tally, unreadable: u64, out: &mut impl Write) -> Result<(), Fault> {
    let Tally { accepted, refused, worst, seconds } = tally;
    let noun = if *accepted == 1 { "event" } else { "events" };
    writeln!(out, "accepted {accepted} {noun} in {:.1} ms", seconds * 1e3)?;
    out.flush()?;
    match (refused, unreadable, worst) {
        (0, 0, _) => Ok(()),
        (0, unreadable, _) => Err(Fault::new(Exit::Failed, format!("{unreadable} lines are no events; see above"))),
        (refused, _, worst) => {
            let message = format!("the broker refused {refused} events; the reasons are above");
            Err(Fault::new(worst.unwrap_or(Exit::Refused), message))
        }
    }
}
