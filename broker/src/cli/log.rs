//! `reveille log`: looks at log files, with or without a broker running on them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use schemas::admin::EventItem;
use serde::Serialize;

use super::fault::{Exit, Fault};
use super::output::{Form, ListPrinter, OutputArgs, Show};
use super::show::bytes;
use crate::event::json::to_raw_json;
use crate::log::Offset;
use crate::log::segment::inspect::{self, InspectError, VerifyReport};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Read every byte of the logs in a directory and check every checksum; changes nothing
    #[command(
        before_help = "Examples:\n  reveille log verify ./data\n  reveille log verify ./data/logs/default/default/events -o json"
    )]
    Verify(VerifyArgs),
    /// Print what a log's files hold, as far as it can be read
    #[command(
        before_help = "Examples:\n  reveille log dump ./data/logs/default/default/events -o ndjson\n  reveille log dump ./data/logs/default/default/events --from '#100' --to '#200'"
    )]
    Dump(DumpArgs),
}

/// `log verify`
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// A log, or a directory with logs below it, such as the broker's --data
    dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// `log dump`
#[derive(Debug, clap::Args)]
pub(super) struct DumpArgs {
    /// A log's directory
    dir: PathBuf,
    /// First offset, as `#100`
    #[arg(long, value_name = "#OFFSET", value_parser = offset, default_value = "#0")]
    from: u64,
    /// Where to end, exclusive [default: the end]
    #[arg(long, value_name = "#OFFSET", value_parser = offset)]
    to: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was found in one log, for programs.
#[derive(Debug, Serialize)]
struct LogItem {
    dir: String,
    segments: usize,
    records: u64,
    bytes: u64,
    sound: bool,
    /// Offsets that cannot be read, from inclusive to exclusive.
    lost: Vec<[u64; 2]>,
}

impl Show for LogItem {
    fn heads(_: bool) -> &'static [&'static str] {
        &["LOG", "SEGMENTS", "RECORDS", "SIZE", "SOUND", "LOST"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let lost: u64 = self.lost.iter().map(|[start, end]| end.saturating_sub(*start)).sum();
        vec![
            self.dir.clone(),
            self.segments.to_string(),
            self.records.to_string(),
            bytes(self.bytes),
            if self.sound { "yes" } else { "NO" }.to_owned(),
            lost.to_string(),
        ]
    }

    fn name(&self) -> String {
        self.dir.clone()
    }
}

impl From<&VerifyReport> for LogItem {
    fn from(report: &VerifyReport) -> Self {
        Self {
            dir: report.dir.display().to_string(),
            segments: report.segments.len(),
            records: report.records(),
            bytes: report.segments.iter().map(|segment| segment.bytes).sum(),
            sound: report.is_sound(),
            lost: report.lost().iter().map(|range| [range.start.0, range.end.0]).collect(),
        }
    }
}

impl From<InspectError> for Fault {
    fn from(error: InspectError) -> Self {
        let exit = match &error {
            InspectError::NoLog { .. } => Exit::NotFound,
            InspectError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            InspectError::Io { .. } | InspectError::Output(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

/// Reads an offset, with or without its `#`.
fn offset(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('#').unwrap_or(text).parse();
    number.map_err(|_| "write # and a number, such as #100".to_owned())
}

/// Runs a verb.
pub(super) fn run(command: LogCommand, out: &mut impl Write) -> Result<(), Fault> {
    match command {
        LogCommand::Verify(args) => verify(&args, out),
        LogCommand::Dump(args) => dump(&args, out),
    }
}

fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<(), Fault> {
    let mut damaged = Vec::new();
    let mut reports = Vec::new();
    for dir in inspect::log_dirs(&args.dir)? {
        let report = inspect::verify(&dir)?;
        if !report.is_sound() {
            damaged.push(dir.display().to_string());
        }
        // A row has no room for what is wrong.
        let told = args.output.form == Form::Wide || (args.output.form == Form::Table && !report.is_sound());
        if told {
            writeln!(out, "{report}")?;
        }
        reports.push(LogItem::from(&report));
    }
    let mut printer = ListPrinter::new(args.output.form, out);
    reports.into_iter().try_for_each(|item| printer.item(item))?;
    printer.finish("logs here")?;
    if damaged.is_empty() {
        return Ok(());
    }
    let message = format!(
        "damaged: {}; the broker serves the rest, and `reveille log dump` prints what can be read",
        damaged.join(", ")
    );
    Err(Fault::new(Exit::Failed, message))
}

/// The one log at or below `dir`.
fn only_log(dir: &Path) -> Result<PathBuf, Fault> {
    let mut dirs = inspect::log_dirs(dir)?;
    match (dirs.pop(), dirs.is_empty()) {
        (Some(only), true) => Ok(only),
        (last, _) => {
            let all: Vec<_> = dirs.iter().chain(&last).map(|dir| dir.display().to_string()).collect();
            Err(Fault::usage(format!("there are several logs in {}; choose one: {}", dir.display(), all.join(", "))))
        }
    }
}

fn dump(args: &DumpArgs, out: &mut impl Write) -> Result<(), Fault> {
    let dir = only_log(&args.dir)?;
    let range = Offset(args.from)..Offset(args.to.unwrap_or(u64::MAX));
    let mut printer = ListPrinter::new(args.output.form, out);
    let mut fault = None;
    let lost = inspect::dump(&dir, range, &mut |record| {
        let item = EventItem {
            offset: record.offset.0,
            appended: record.appended.to_rfc3339(),
            event: to_raw_json(&record.event),
        };
        printer.item(item).map_err(|why| {
            fault = Some(why);
            io::Error::other("the output ended")
        })
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    let lost = lost?;
    printer.finish("events in this range")?;
    if lost.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = lost.iter().map(|range| format!("{} up to {}", range.start, range.end)).collect();
    Err(Fault::new(Exit::Failed, format!("damaged and left out: {}", list.join(", "))))
}
