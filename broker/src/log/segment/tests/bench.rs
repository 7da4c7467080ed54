//! Figures of the log alone. `cargo test --release -p broker --lib segment::tests::bench -- --ignored --nocapture`

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::log::contract_suite::event;
use crate::log::segment::{LogMetrics, RealFs, SegmentLog, SegmentOptions};
use crate::log::{EventLog, Offset, ReadLimit};

const FOR: Duration = Duration::from_secs(3);

struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu_seconds: f64,
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

async fn load(options: SegmentOptions, tasks: u64, batch: u64, reader: bool) -> Figures {
    let dir = tempfile::tempdir().unwrap();
    let opened =
        SegmentLog::open(Arc::new(RealFs), dir.path(), options, Clock::system(), LogMetrics::default()).unwrap();
    let log = Arc::new(opened);
    let cpu = cpu_seconds();
    let begun = Instant::now();
    let reading = reader.then(|| tokio::spawn(follow(log.clone())));
    let mut running = Vec::new();
    for task in 0..tasks {
        let log = log.clone();
        running.push(tokio::spawn(async move {
            let events: Vec<_> = (0..batch).map(|n| event(task * batch + n, 960)).collect();
            let mut latencies = Vec::new();
            while begun.elapsed() < FOR {
                let at = Instant::now();
                log.append(events.clone()).await.unwrap();
                latencies.push(at.elapsed());
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for one in running {
        latencies.extend(one.await.unwrap());
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu;
    log.close().await;
    if let Some(reading) = reading {
        assert_eq!(reading.await.unwrap(), log.bounds().next.0);
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let per_second = latencies.len() as f64 * batch as f64 / elapsed;
    Figures { per_second, p50: at(0.5), p99: at(0.99), cpu_seconds }
}

/// Reads everything as it becomes durable and returns how much that was.
async fn follow(log: Arc<SegmentLog>) -> u64 {
    let mut tail = log.tail();
    let mut at = Offset(0);
    let mut bytes = 0;
    while tail.past(at).await.is_some() {
        let page = log.read(at, ReadLimit::default()).await.unwrap();
        bytes += page.records.iter().map(|record| record.event.id().len()).sum::<usize>();
        at = page.next;
    }
    while at < log.bounds().next {
        at = log.read(at, ReadLimit::default()).await.unwrap().next;
    }
    assert!(bytes > 0);
    at.0
}

#[test]
#[ignore = "takes half a minute and says nothing in a debug build"]
fn figures_of_the_log_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("space      tasks batch reader   events/s       p50       p99   CPU s per 100,000");
    for round in 0..2 {
        for (tasks, batch, reader) in [(1, 1, false), (64, 1, false), (64, 1, true), (4, 1000, false), (4, 1000, true)]
        {
            let with = |zero_ahead_bytes| SegmentOptions { zero_ahead_bytes, ..SegmentOptions::default() };
            for (name, options) in [("reserved", with(0)), ("zeroed", SegmentOptions::default())] {
                let Figures { per_second, p50, p99, cpu_seconds } =
                    runtime.block_on(load(options, tasks, batch, reader));
                let cpu = cpu_seconds / (per_second * FOR.as_secs_f64()) * 1e5;
                println!(
                    "{name:10} {tasks:5} {batch:5} {reader:6} {per_second:10.0} {p50:>9.0?} {p99:>9.0?} {cpu:8.2} (round {round})"
                );
            }
        }
    }
}
