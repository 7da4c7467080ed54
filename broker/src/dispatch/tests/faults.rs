//! Logs that are damaged, late, or shorter than they were.

use std::ops::Range;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::rig::{Rig, delivered, retryable, trigger};
use crate::clock::UnixMicros;
use crate::event::Event;
use crate::log::memory::MemoryLog;
use crate::log::{
    Bounds, EventLog, Health, Offset, Page, ReadError, ReadLimit, Retention, Tail, Ticket, TrimError, Trimmed,
};

/// A log of which some records cannot be read.
#[derive(Debug)]
struct Damaged {
    log: MemoryLog,
    lost: Range<Offset>,
}

impl EventLog for Damaged {
    fn append(&self, events: Vec<Event>) -> Ticket {
        self.log.append(events)
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>> {
        async move {
            let mut page = self.log.read(from, limit).await?;
            let lost = self.lost.start.max(from)..self.lost.end.min(page.next);
            page.records.retain(|record| !lost.contains(&record.offset));
            if lost.start < lost.end {
                page.lost.push(lost);
            }
            Ok(page)
        }
        .boxed()
    }

    fn seek_time(&self, time: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        self.log.seek_time(time)
    }

    fn bounds(&self) -> Bounds {
        self.log.bounds()
    }

    fn tail(&self) -> Tail {
        self.log.tail()
    }

    fn trim(&self, to: Offset, by: Retention, now: UnixMicros) -> BoxFuture<'_, Result<Trimmed, TrimError>> {
        self.log.trim(to, by, now)
    }

    fn health(&self) -> Health {
        self.log.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_records_are_left_out_and_counted() {
    let mut rig = Rig::willing();
    rig.replace_events(|log| Damaged { log, lost: Offset(3)..Offset(6) });
    rig.start(vec![trigger("a")]);
    rig.until("it has begun", |rig| rig.status("a").is_some()).await;
    rig.publish_numbers(0..10).await;
    rig.until_settled("a").await;
    assert_eq!(rig.ids_of("a"), ["0", "1", "2", "6", "7", "8", "9"]);
    let counted = "reveille_log_damaged_records_total{namespace=\"ns\",broker=\"default\"} 3";
    assert!(rig.metrics.encode().unwrap().contains(counted));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_damaged_before_its_retry_is_left_out() {
    let mut rig = Rig::new(|_, _, before| (Duration::ZERO, if before == 0 { retryable(503) } else { delivered() }));
    rig.start(vec![trigger("a")]);
    rig.publish_numbers(0..5).await;
    rig.until("all failed once", |rig| rig.count("a") == 5).await;
    rig.drain(Duration::ZERO).await;
    rig.replace_events(|log| Damaged { log, lost: Offset(1)..Offset(2) });
    rig.start(vec![trigger("a")]);
    rig.until_settled("a").await;
    assert_eq!(rig.count("a"), 9, "four of five were tried again");
    let counted = "reveille_log_discarded_records_total{namespace=\"ns\",broker=\"default\"} 1";
    assert!(rig.metrics.encode().unwrap().contains(counted));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_opens_late_is_waited_for() {
    let mut rig = Rig::willing();
    rig.publish_numbers(0..3).await;
    let logs = rig.logs.remove(&super::rig::broker()).unwrap();
    rig.start(vec![trigger("a")]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(rig.status("a").is_none());
    rig.logs.insert(crate::log::BrokerLogs::clone(&logs));
    rig.until_settled("a").await;
    assert_eq!(rig.ids_of("a"), ["0", "1", "2"]);
    // Taken away and given back: it goes on where it was.
    rig.logs.remove(&super::rig::broker());
    rig.publish_numbers(3..4).await;
    rig.logs.insert(crate::log::BrokerLogs::clone(&logs));
    rig.until("the rest arrives", |rig| rig.count("a") == 4).await;
}
