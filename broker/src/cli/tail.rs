//! `reveille tail`: follows a Broker's log.

use std::io::Write;

use schemas::admin::EventItem;

use super::connect::Parameter;
use super::fault::{Exit, Fault};
use super::output::ListPrinter;
use super::select::FilterArgs;
use super::view::{LogView, stream};
use crate::drain::StopSignals;

/// `tail`
#[derive(Debug, clap::Args)]
pub(super) struct TailArgs {
    /// Where to begin: `now`, `#1000`, `-10` (ten back), `-5m`, or RFC 3339
    #[arg(long, value_name = "PLACE", default_value = "now", allow_hyphen_values = true)]
    from: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    log: LogView,
}

/// Prints events as they are appended, until SIGINT, SIGTERM, `--limit` or the broker's end.
pub(super) async fn run(args: TailArgs, out: &mut impl Write) -> Result<(), Fault> {
    let mut parameters: Vec<Parameter> = vec![("from", args.from)];
    parameters.extend(args.filter.parameters()?);
    let mut signals = StopSignals::install()?;
    let mut printer = ListPrinter::live(args.log.view.output.form, out);
    let admin = args.log.view.connect()?;
    let mut lines = tokio::select! {
        biased;
        _ = signals.asked() => return printer.finish("events"),
        lines = stream(&admin, &args.log.broker, "tail", &parameters) => lines?,
    };
    let mut count = 0;
    let stopped = loop {
        let item = tokio::select! {
            biased;
            _ = signals.asked() => break true,
            item = lines.next::<EventItem>() => item?,
        };
        let Some(item) = item else { break false };
        printer.item(item)?;
        count += 1;
    };
    printer.finish("events")?;
    lines.finish()?;
    match args.filter.limit {
        _ if stopped => Ok(()),
        Some(limit) if count >= limit => Ok(()),
        _ => Err(Fault::new(Exit::Unreachable, "the broker ended the stream: it is stopping; run the command again")),
    }
}
