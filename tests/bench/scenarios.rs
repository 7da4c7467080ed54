//! What is run, in which order: each yardstick right beside what it is a yardstick for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use broker::cli::bench::Stop;
use tests::harness::{BrokerProcess, Home, Launch, TriggerManifest};
use tokio::time::Instant;

use crate::Effort;
use crate::child::{Server, client_alone};
use crate::disk::{self, Disk};
use crate::figures::{Figures, Ingest, Rate};
use crate::generator::{Load, load};
use crate::machine;
use crate::matching;

/// Connections at which ingest is measured.
const CONNECTIONS: [u16; 4] = [1, 16, 64, 256];

/// Connections of every other scenario.
const BUSY: u16 = 64;

/// How long deliveries may go on after publishing has ended.
const CATCH_UP: Duration = Duration::from_secs(120);

/// Where and how thoroughly.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The broker's binary.
    pub(crate) broker: PathBuf,
    /// A directory on a real disk.
    pub(crate) directory: PathBuf,
    /// How much of everything.
    pub(crate) effort: Effort,
}

impl Setting {
    async fn broker(&self, home: &Home) -> anyhow::Result<BrokerProcess> {
        Ok(Launch::new(&self.broker, home).quiet().start().await?)
    }

    fn home(&self) -> Home {
        Home::below(&self.directory)
    }

    /// Loads one Broker or yardstick for one run, after a warm-up.
    async fn run(&self, url: &str, connections: u16, batch: usize) -> anyhow::Result<Rate> {
        let plan = |run| Load { url: url.to_owned(), connections, batch, stop: Stop::After(run) };
        load(plan(self.effort.warm_up)).await?;
        Ok(load(plan(self.effort.run)).await?.rate)
    }
}

/// Measures everything.
pub(crate) async fn all(setting: &Setting) -> anyhow::Result<Figures> {
    progress("filters");
    let filters = matching::all(setting.effort.warm_up)?;
    let disk = disk_alone(setting)?;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        rows.push(ingest(setting, connections).await?);
    }
    let batched = batched(setting).await?;
    let (client, forward) = without_log(setting).await?;
    let (one_subscriber, cpu_per_100k) = delivered(setting, 1).await?;
    let (ten_subscribers, _) = delivered(setting, 10).await?;
    let resident = backlog(setting).await?;
    let backlog = setting.effort.backlog;
    Ok(Figures {
        disk,
        ingest: rows,
        batched,
        client,
        forward,
        one_subscriber,
        ten_subscribers,
        cpu_per_100k,
        filters,
        backlog,
        resident,
    })
}

fn disk_alone(setting: &Setting) -> anyhow::Result<Disk> {
    progress("the disk alone");
    let rounds = (0..setting.effort.rounds).map(|_| disk::sync_loop(&setting.directory, setting.effort.run));
    let mut rounds = rounds.collect::<anyhow::Result<Vec<Disk>>>()?;
    rounds.sort_by(|a, b| a.p50.total_cmp(&b.p50));
    rounds.get(rounds.len() / 2).copied().context("no round was run")
}

fn progress(what: &str) {
    eprintln!("measuring: {what}");
}

fn median(mut values: Vec<Rate>) -> anyhow::Result<Rate> {
    values.sort_by(|a, b| a.events.total_cmp(&b.events));
    values.get(values.len() / 2).copied().context("no round was run")
}

async fn ingest(setting: &Setting, connections: u16) -> anyhow::Result<Ingest> {
    progress(&format!("ingest at {connections} connections"));
    let (mut axum, mut reveille) = (Vec::new(), Vec::new());
    for _ in 0..setting.effort.rounds {
        let server = Server::start(&["accept"]).await?;
        axum.push(setting.run(&server.url(), connections, 1).await?);
        drop(server);
        let home = setting.home();
        let broker = setting.broker(&home).await?;
        reveille.push(setting.run(broker.publisher("default").url(), connections, 1).await?);
        broker.sigterm().await;
    }
    Ok(Ingest { connections, axum: median(axum)?, reveille: median(reveille)? })
}

async fn batched(setting: &Setting) -> anyhow::Result<Rate> {
    progress("batched ingest");
    let mut rates = Vec::new();
    for _ in 0..setting.effort.rounds {
        let home = setting.home();
        let broker = setting.broker(&home).await?;
        rates.push(setting.run(broker.publisher("default").url(), BUSY, 100).await?);
        broker.sigterm().await;
    }
    median(rates)
}

/// The HTTP client alone, and axum with the HTTP client.
async fn without_log(setting: &Setting) -> anyhow::Result<(f64, Rate)> {
    progress("the HTTP client alone, then axum and the client");
    let (mut clients, mut forwards) = (Vec::new(), Vec::new());
    for _ in 0..setting.effort.rounds {
        let subscriber = Server::start(&["count"]).await?;
        clients.push(client_alone(&subscriber.url(), BUSY, setting.effort.run).await?);
        let server = Server::start(&["forward", &subscriber.url()]).await?;
        forwards.push(setting.run(&server.url(), BUSY, 1).await?);
    }
    clients.sort_by(f64::total_cmp);
    let client = clients.get(clients.len() / 2).copied().context("no round was run")?;
    Ok((client, median(forwards)?))
}

/// Publishes for one run to a Broker with so many Triggers, and waits until everything is delivered: deliveries a
/// second from the first publish to the last delivery, and CPU-seconds of the broker for 100,000 events.
async fn delivered(setting: &Setting, subscribers: u64) -> anyhow::Result<(f64, f64)> {
    progress(&format!("ingest and delivery to {subscribers}"));
    let mut results = Vec::new();
    for _ in 0..setting.effort.rounds {
        let server = Server::start(&["count"]).await?;
        let home = setting.home();
        for n in 0..subscribers {
            home.trigger(&TriggerManifest::new(&format!("subscriber-{n}"), &format!("{}{n}", server.url())));
        }
        let broker = setting.broker(&home).await?;
        let pid = broker.id().context("the broker runs")?;
        let url = broker.publisher("default").url().to_owned();
        let plan = |run| Load { url: url.clone(), connections: BUSY, batch: 1, stop: Stop::After(run) };
        let warm = load(plan(setting.effort.warm_up)).await?;
        server.reaches(warm.accepted * subscribers, CATCH_UP).await?;
        let before = server.count().await?;
        let (cpu, begun) = (machine::cpu_seconds(pid)?, Instant::now());
        let done = load(plan(setting.effort.run)).await?;
        let ended = server.reaches(before + done.accepted * subscribers, CATCH_UP).await?;
        let cpu = machine::cpu_seconds(pid)? - cpu;
        let events = done.accepted as f64;
        results.push((events * subscribers as f64 / (ended - begun).as_secs_f64(), cpu * 100_000.0 / events));
        broker.sigterm().await;
    }
    results.sort_by(|a, b| a.0.total_cmp(&b.0));
    results.get(results.len() / 2).copied().context("no round was run")
}

/// Publishes a backlog for a subscriber that is down, and reads the broker's memory.
async fn backlog(setting: &Setting) -> anyhow::Result<u64> {
    progress("memory with a backlog");
    let home = setting.home();
    let trigger = TriggerManifest::new("down", "http://127.0.0.1:1/");
    home.trigger(&trigger.delivery("retry: 10, backoffPolicy: exponential, backoffDelay: PT60S"));
    let broker = setting.broker(&home).await?;
    let pid = broker.id().context("the broker runs")?;
    let url = broker.publisher("default").url().to_owned();
    let stop = Stop::Events(setting.effort.backlog);
    load(Load { url, connections: 16, batch: 100, stop }).await?;
    // What a moment after the load still holds is what it goes on holding.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resident = machine::resident_bytes(pid)?;
    broker.sigterm().await;
    Ok(resident)
}
