mod ahead;
mod bench;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::clock::Clock;
use crate::log::contract_suite::{self, Fixture, event};
use crate::log::{EventLog, Offset, ReadLimit};

fn small() -> SegmentOptions {
    SegmentOptions { segment_bytes: 16 << 10, allocate_bytes: 4 << 10, ..SegmentOptions::default() }
}

fn open(dir: &Path, options: SegmentOptions, clock: Clock) -> Result<SegmentLog, OpenError> {
    SegmentLog::open(Arc::new(RealFs), dir, options, clock, LogMetrics::default())
}

fn fixture(options: SegmentOptions) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicU64::new(1_000_000));
    let log = open(dir.path(), options, Clock::manual(time.clone())).unwrap();
    Fixture { log: Arc::new(log), time, held: Box::new(dir) }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    contract_suite::run(|| fixture(SegmentOptions::default())).await;
}

#[tokio::test]
async fn it_keeps_the_contract_with_tiny_segments_and_no_memory() {
    contract_suite::run(|| fixture(SegmentOptions { memory_bytes: 0, ..small() })).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 0..5 {
        let log = open(dir.path(), small(), Clock::system()).unwrap();
        assert_eq!(log.bounds().next, Offset(next), "round {round}");
        for _ in 0..20 {
            log.append(vec![event(next, 900), event(next + 1, 900)]).await.unwrap();
            next += 2;
        }
        log.close().await;
    }
    let log = open(dir.path(), small(), Clock::system()).unwrap();
    let mut at = Offset(0);
    while at < Offset(next) {
        let page = log.read(at, ReadLimit::default()).await.unwrap();
        assert!(page.lost.is_empty() && page.next > at);
        for record in &page.records {
            assert_eq!(record.event, event(record.offset.0, 900));
        }
        at = page.next;
    }
}

#[tokio::test]
async fn a_second_one_on_the_same_directory_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small(), Clock::system()).unwrap();
    let error = open(dir.path(), small(), Clock::system()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert_eq!(error.to_string().lines().count(), 1);
    log.close().await;
    open(dir.path(), small(), Clock::system()).unwrap();
}
