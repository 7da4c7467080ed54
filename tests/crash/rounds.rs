//! The rounds of the crash test: start, let it run for a random moment, kill; then let it finish and read its log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::harness::{BrokerProcess, Cli, DEADLINE, Home, Launch, Subscriber};
use tokio::time::{Instant, sleep};

use super::load::Publishers;

/// What a run left behind.
pub(super) struct Run {
    /// Ids of all events that publishers tried to publish.
    pub(super) attempted: BTreeSet<String>,
    /// Ids of those that were answered with 202.
    pub(super) acknowledged: Vec<String>,
    /// Offsets and ids in the log, as read at the end.
    pub(super) log: Vec<(u64, String)>,
    /// When the broker was dead, and its subscribers had read the last of it.
    pub(super) kills: Vec<Instant>,
    /// Ids of dead letters by Trigger.
    pub(super) dead_letters: BTreeMap<String, BTreeSet<String>>,
}

/// Kills the broker `kills` times, then lets it deliver everything to its `subscribers`.
pub(super) async fn run(
    binary: &Path,
    home: &Home,
    subscribers: [&Subscriber; 3],
    rng: &mut fastrand::Rng,
    kills: usize,
) -> Run {
    // What fifty brokers say would hide what the account says.
    let launch = Launch::new(binary, home).quiet();
    let publishers = Publishers::start();
    let mut killed = Vec::new();
    for round in 0..kills {
        // The moments to die at: mostly soon after it is ready, at times while it starts, at times after a flush.
        let moment = Duration::from_micros(rng.u64(0..200_000));
        match round % 10 {
            4 | 8 => {
                let starting = launch.spawn();
                sleep(moment).await;
                starting.kill9().await;
            }
            other => {
                let broker = start(&launch).await;
                publishers.publish_to(broker.publisher("default").url());
                sleep(if other == 9 { moment + Duration::from_millis(1300) } else { moment }).await;
                broker.kill9().await;
            }
        }
        // What a broker sent before it died may be read after that: it counts as taken before the kill.
        for subscriber in subscribers {
            subscriber.deserted().await;
        }
        killed.push(Instant::now());
    }
    let broker = start(&launch).await;
    publishers.publish_to(broker.publisher("default").url());
    sleep(Duration::from_millis(100)).await;
    let (attempted, acknowledged) = publishers.stop().await;
    for trigger in ["flaky", "refusing", "ordered"] {
        broker.settled(trigger).await;
    }
    let log = log(&broker.cli()).await;
    let dead_letters = dead_letters(&broker.cli()).await;
    assert!(broker.sigterm().await.success());
    Run { attempted, acknowledged, log, kills: killed, dead_letters }
}

/// Starts the broker; the last one may need a moment to be gone.
async fn start(launch: &Launch) -> BrokerProcess {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match launch.start().await {
            Ok(broker) => return broker,
            Err(error) => {
                let in_use = error.stderr.contains("in use");
                assert!(in_use && Instant::now() < deadline, "{error}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn items(cli: &Cli, args: &[&str]) -> Vec<Value> {
    let done = cli.run(args).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn log(cli: &Cli) -> Vec<(u64, String)> {
    let items = items(cli, &["events", "export", "--from", "#0"]).await;
    items
        .iter()
        .map(|item| (item["offset"].as_u64().unwrap(), item["event"]["id"].as_str().unwrap().to_owned()))
        .collect()
}

async fn dead_letters(cli: &Cli) -> BTreeMap<String, BTreeSet<String>> {
    let mut letters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in items(cli, &["dlq", "ls", "-o", "ndjson"]).await {
        let trigger = item["trigger"].as_str().unwrap().to_owned();
        letters.entry(trigger).or_default().insert(item["event"]["id"].as_str().unwrap().to_owned());
    }
    letters
}
