//! `reveille bench`: publishes as fast as the broker takes it, and says how fast that was and what came out.
//!
//! *Inputs*: a [`LoadPlan`]. *Outputs*: a [`LoadReport`] and, with a subscriber, a [`Delivery`]. *Invariants*: the
//! generator does as little per request as it can, so that it measures the server and not itself. [`load`] works
//! against every HTTP server that answers 2xx, and [`Counter`] counts what any sender of its events delivers.

mod counter;
mod load;
mod message;
mod show;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

pub use self::counter::{Counter, Delivery};
pub use self::load::{LoadReport, load};
use crate::config::Period;

/// How events are put into requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Attributes in headers, data as body.
    Binary,
    /// One JSON document per request.
    Structured,
    /// A JSON array of events per request.
    Batch,
}

/// When a load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// After this many events; a batch is not cut for it.
    Events(u64),
    /// After this long.
    After(Duration),
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadPlan {
    /// Where to: `http://host:port/path`.
    pub url: String,
    /// In which content mode.
    pub mode: Mode,
    /// Over how many connections, each with one request under way.
    pub connections: u16,
    /// Until when.
    pub stop: Stop,
    /// Bytes of data in each event, at least 2.
    pub size_bytes: usize,
    /// Events per request in [`Mode::Batch`]; the other modes send one.
    pub batch: usize,
    /// Name of this run, which every id begins with: letters and digits.
    pub run: String,
}

impl LoadPlan {
    /// 64 connections, 1 KiB in binary mode.
    #[must_use]
    pub fn new(url: &str, stop: Stop) -> Self {
        let run = "bench".to_owned();
        Self { url: url.to_owned(), mode: Mode::Binary, connections: 64, stop, size_bytes: 1024, batch: 1, run }
    }

    /// Events in one request.
    #[must_use]
    pub fn batch_events(&self) -> usize {
        match self.mode {
            Mode::Batch => self.batch.max(1),
            Mode::Binary | Mode::Structured => 1,
        }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Publish as fast as the broker accepts, and report rates, latencies, losses and duplicates
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  reveille bench --duration PT30S --connections 64
  reveille bench --mode batch --batch 100 --count 1000000
  reveille bench --count 100000 --subscriber-addr 127.0.0.1:8099    (with a Trigger whose subscriber is that address)")]
pub struct BenchArgs {
    /// The broker's ingress; with a path, that is posted to as it is
    #[arg(long, env = "REVEILLE_INGRESS", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Namespace of the Broker
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Name of the Broker
    #[arg(long, default_value = "default")]
    broker: String,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// How long to send: PT30S, 30s, 5m
    #[arg(long, default_value = "PT10S", conflicts_with = "count")]
    duration: Period,
    /// Send this many events instead
    #[arg(long)]
    count: Option<u64>,
    /// Bytes of data in each event
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(2..=16_000_000))]
    size: u32,
    /// Events per request with --mode batch
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    batch: u16,
    /// Content mode
    #[arg(long, value_enum, default_value = "binary")]
    mode: Mode,
    /// Also be a subscriber at this address, and check for losses and duplicates
    #[arg(long)]
    subscriber_addr: Option<SocketAddr>,
    /// With --subscriber-addr: how long to wait for events once none comes any more
    #[arg(long, default_value = "PT10S")]
    settle: Period,
    /// How to print the result
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl BenchArgs {
    fn plan(&self) -> anyhow::Result<LoadPlan> {
        let url: http::Uri = self.url.parse().with_context(|| format!("`{}` is no URL", self.url))?;
        let url = match url.path() {
            "/" | "" => format!("{}/{}/{}", self.url.trim_end_matches('/'), self.namespace, self.broker),
            _ => self.url.clone(),
        };
        let run = uuid::Uuid::new_v4().simple().to_string();
        Ok(LoadPlan {
            url,
            mode: self.mode,
            connections: self.connections,
            stop: self.count.map_or(Stop::After(self.duration.0), Stop::Events),
            size_bytes: usize::try_from(self.size)?,
            batch: usize::from(self.batch),
            run: run.chars().take(8).collect(),
        })
    }
}

/// Runs `reveille bench`.
///
/// # Errors
/// When the address makes no sense, when not one event was accepted, and when accepted events did not arrive; the
/// report is printed in the last two cases as well.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let plan = args.plan()?;
    let counter = match args.subscriber_addr {
        Some(address) => {
            let counter = Counter::start(address, &plan).await;
            Some(counter.with_context(|| format!("cannot listen at {address}; choose another --subscriber-addr"))?)
        }
        None => None,
    };
    let report = load(plan.clone()).await?;
    let delivery = match &counter {
        Some(counter) => Some(counter.settle(&report, plan.batch_events(), args.settle.0).await),
        None => None,
    };
    show::print(&plan, &report, delivery.as_ref(), args.output)?;
    if report.events == 0 {
        let why = report.errors.keys().next().map_or("nothing was sent", String::as_str);
        anyhow::bail!("{} accepted no event ({why}); is the broker up, and does it have this Broker?", plan.url);
    }
    match delivery.map_or(0, |delivery| delivery.missing) {
        0 => Ok(()),
        missing => anyhow::bail!("{missing} accepted events did not arrive; `reveille triggers ls` shows the lag"),
    }
}
