//! `kill -9` at random moments, with publishers and flaky subscribers running, and an account at the end: nothing
//! acknowledged is lost, nothing is invented, no cursor was ahead, and only what was settled within the flush window
//! before a kill is delivered twice.
//!
//! `REVEILLE_CRASH_ROUNDS` says how many kills (50), `REVEILLE_CRASH_SEED` repeats the moments of an earlier run; the
//! seed of each run is printed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is what a test is for")]

#[path = "../crash/load.rs"]
mod load;
#[path = "../crash/oracle.rs"]
mod oracle;
#[path = "../crash/rounds.rs"]
mod rounds;

use std::path::Path;
use std::time::Duration;

use oracle::{History, Sink};
use tests::harness::{Home, TriggerManifest};

/// Kills of a run that says nothing else.
const ROUNDS: usize = 50;

/// The broker's flush interval (1 s) and as much again for a machine that is busy with other things.
const FLUSH_WINDOW: Duration = Duration::from_millis(2500);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_that_was_acknowledged() {
    let kills = setting("REVEILLE_CRASH_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let seed = setting("REVEILLE_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("REVEILLE_CRASH_SEED={seed} REVEILLE_CRASH_ROUNDS={kills}");
    let mut rng = fastrand::Rng::with_seed(seed);

    let home = Home::new();
    let delivery = "retry: 30, backoffPolicy: linear, backoffDelay: PT0.02S";
    let flaky = load::flaky(rng.fork(), "never-refused").await;
    let refusing = load::flaky(rng.fork(), "7").await;
    let ordered = load::steady().await;
    home.trigger(&TriggerManifest::new("flaky", &flaky.url()).delivery(delivery));
    home.trigger(&TriggerManifest::new("refusing", &refusing.url()).delivery(delivery));
    let in_order = TriggerManifest::new("ordered", &ordered.url()).annotation("reveille.dev/delivery-order", "ordered");
    home.trigger(&in_order.delivery(delivery));

    let binary = Path::new(env!("CARGO_BIN_EXE_reveille-under-test"));
    let run = rounds::run(binary, &home, [&flaky, &refusing, &ordered], &mut rng, kills).await;
    let sink = |name: &str, subscriber: &tests::harness::Subscriber| Sink {
        name: name.to_owned(),
        ordered: name == "ordered",
        taken: load::taken(subscriber),
        dead: run.dead_letters.get(&format!("default/{name}")).cloned().unwrap_or_default(),
    };
    let history = History {
        attempted: run.attempted,
        acknowledged: run.acknowledged,
        log: run.log,
        kills: run.kills,
        sinks: vec![sink("flaky", &flaky), sink("refusing", &refusing), sink("ordered", &ordered)],
    };
    println!("{}", history.summary());
    assert_eq!(history.kills.len(), kills);
    assert!(history.acknowledged.len() > kills, "hardly anything was published: {}", history.summary());
    assert!(history.sinks.iter().any(|sink| !sink.dead.is_empty()), "no dead letter: {}", history.summary());
    let faults = history.faults(FLUSH_WINDOW);
    assert!(
        faults.is_empty(),
        "seed {seed}: {} faults, first of them:\n{}",
        faults.len(),
        faults[..faults.len().min(20)].join("\n")
    );
}
