//! What every [`EventLog`] must pass. An engine's own tests call [`run`] with a way to make empty logs.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{AppendError, EventLog, Health, Offset, Page, ReadError, ReadLimit, Retention};
use crate::clock::UnixMicros;
use crate::event::{BodyKind, Event, SpecVersion};

/// An empty log under test.
pub(crate) struct Fixture {
    /// The log.
    pub(crate) log: Arc<dyn EventLog>,
    /// Its clock, in microseconds; begins above zero.
    pub(crate) time: Arc<AtomicU64>,
    /// Lives as long as the log (a directory).
    #[allow(dead_code, reason = "held for its drop")]
    pub(crate) held: Box<dyn Any + Send>,
}

/// Runs every check, each on a log of its own.
pub(crate) async fn run(make: impl Fn() -> Fixture) {
    offsets_are_dense_and_batches_whole(&make()).await;
    concurrent_batches_keep_their_order(&make()).await;
    pages_obey_their_limit(&make()).await;
    what_is_read_is_what_was_appended(&make()).await;
    the_tail_follows_the_durable_end(&make()).await;
    time_finds_the_first_record_not_before_it(&make()).await;
    append_times_never_go_back(&make()).await;
    retention_spares_what_is_not_settled(&make()).await;
    retention_discards_above_the_hard_limit(&make()).await;
    a_closed_log_takes_no_more(&make()).await;
}

/// An event with a body of so many bytes.
pub(crate) fn event(n: u64, body_bytes: usize) -> Event {
    let body: Vec<u8> = (0..body_bytes).map(|at| (n as usize * 31 + at) as u8).collect();
    Event::builder(SpecVersion::V1)
        .attribute("id", &n.to_string())
        .attribute("source", "/contract")
        .attribute("type", &format!("t{}", n % 3))
        .body(BodyKind::Binary, Bytes::from(body))
        .build()
        .unwrap()
}

fn events(range: std::ops::Range<u64>) -> Vec<Event> {
    range.map(|n| event(n, 100)).collect()
}

async fn read_all(log: &dyn EventLog, from: Offset, limit: ReadLimit) -> Page {
    let mut all = Page { records: Vec::new(), next: from, lost: Vec::new() };
    loop {
        let page = log.read(all.next, limit).await.unwrap();
        if page.next == all.next {
            return all;
        }
        all.next = page.next;
        all.records.extend(page.records);
        all.lost.extend(page.lost);
    }
}

fn ids(page: &Page) -> Vec<u64> {
    page.records.iter().map(|record| record.event.id().parse().unwrap()).collect()
}

async fn offsets_are_dense_and_batches_whole(fixture: &Fixture) {
    let log = &fixture.log;
    assert_eq!(log.bounds().next, Offset(0));
    let empty = log.append(Vec::new()).await.unwrap();
    assert_eq!((empty.first, empty.count), (Offset(0), 0));
    let mut next = 0;
    for count in [1_u64, 7, 1, 300, 2] {
        let appended = log.append(events(next..next + count)).await.unwrap();
        assert_eq!((appended.first, appended.count), (Offset(next), count));
        next += count;
        assert_eq!(log.bounds().next, Offset(next));
    }
    assert_eq!(log.bounds().first, Offset(0));
    let page = read_all(log.as_ref(), Offset(0), ReadLimit::default()).await;
    assert_eq!(ids(&page), (0..next).collect::<Vec<_>>());
    assert!(page.lost.is_empty());
}

async fn concurrent_batches_keep_their_order(fixture: &Fixture) {
    let tickets: Vec<_> = (0..200).map(|n| fixture.log.append(events(n * 3..n * 3 + 3))).collect();
    for (n, ticket) in (0..).zip(tickets) {
        assert_eq!(ticket.await.unwrap().first, Offset(n * 3));
    }
}

async fn pages_obey_their_limit(fixture: &Fixture) {
    let log = &fixture.log;
    log.append((0..50).map(|n| event(n, 1000)).collect()).await.unwrap();
    let records = |records| ReadLimit { records, bytes: usize::MAX };
    let bytes = |bytes| ReadLimit { records: usize::MAX, bytes };
    for (from, limit, expected) in [
        (0, records(10), 0..10),
        (45, records(10), 45..50),
        (3, records(0), 3..4),
        (3, bytes(0), 3..4),
        (0, bytes(5 * event(0, 1000).size_bytes()), 0..5),
        (50, records(10), 50..50),
        (70, records(10), 70..70),
    ] {
        let page = log.read(Offset(from), limit).await.unwrap();
        assert_eq!(ids(&page), expected.clone().collect::<Vec<_>>(), "{limit:?} from {from}");
        assert_eq!(page.next, Offset(expected.end), "{limit:?} from {from}");
    }
}

async fn what_is_read_is_what_was_appended(fixture: &Fixture) {
    let log = &fixture.log;
    let kinds = [BodyKind::None, BodyKind::Binary, BodyKind::Json, BodyKind::Text];
    let written: Vec<Event> = (0..40_usize)
        .map(|n| {
            let body = event(n as u64, n * n * 20).body().clone();
            let body = if n % 4 == 0 { Bytes::new() } else { body };
            Event::builder(SpecVersion::V1)
                .attribute("type", "ü.type")
                .attribute("id", &n.to_string())
                .attribute("source", "/s")
                .attribute("ext", &"x".repeat(n * 7))
                .body(kinds[n % 4], body)
                .build()
                .unwrap()
        })
        .collect();
    for batch in written.chunks(3) {
        log.append(batch.to_vec()).await.unwrap();
    }
    let page = read_all(log.as_ref(), Offset(0), ReadLimit { records: 7, bytes: 9000 }).await;
    let read: Vec<Event> = page.records.into_iter().map(|record| record.event).collect();
    assert_eq!(read, written);
}

async fn the_tail_follows_the_durable_end(fixture: &Fixture) {
    let mut tail = fixture.log.tail();
    assert_eq!(tail.end(), Offset(0));
    let log = fixture.log.clone();
    let append = tokio::spawn(async move { log.append(events(0..5)).await });
    let end = tokio::time::timeout(Duration::from_secs(10), tail.past(Offset(4))).await.unwrap();
    assert_eq!(end, Some(Offset(5)));
    append.await.unwrap().unwrap();
    assert_eq!(tail.end(), Offset(5));
}

async fn time_finds_the_first_record_not_before_it(fixture: &Fixture) {
    let log = &fixture.log;
    let start = fixture.time.load(Ordering::Acquire);
    for n in 0..30 {
        fixture.time.store(start + n * 1000, Ordering::Release);
        log.append(vec![event(2 * n, 4000), event(2 * n + 1, 4000)]).await.unwrap();
    }
    for (time, expected) in [(0, 0), (start, 0), (start + 1, 2), (start + 15_000, 30), (start + 29_001, 60)] {
        let found = log.seek_time(UnixMicros(time)).await.unwrap();
        assert_eq!(found, Offset(expected), "{time}");
    }
    let bounds = log.bounds();
    assert_eq!((bounds.oldest, bounds.newest), (Some(UnixMicros(start)), Some(UnixMicros(start + 29_000))));
}

async fn append_times_never_go_back(fixture: &Fixture) {
    let start = fixture.time.load(Ordering::Acquire);
    fixture.log.append(events(0..1)).await.unwrap();
    fixture.time.store(start - 1000, Ordering::Release);
    assert_eq!(fixture.log.append(events(1..2)).await.unwrap().appended, UnixMicros(start));
}

async fn retention_spares_what_is_not_settled(fixture: &Fixture) {
    let log = &fixture.log;
    for n in 0..20 {
        log.append(vec![event(n, 1000)]).await.unwrap();
    }
    let now = UnixMicros(fixture.time.load(Ordering::Acquire)).after(Duration::from_secs(3600));
    let all = Retention { age: Some(Duration::from_secs(60)), bytes: Some(0), discard_above_bytes: None };
    let none = log.trim(Offset(20), Retention::default(), now).await.unwrap();
    assert_eq!((none.first, none.segments), (Offset(0), 0));
    let unsettled = log.trim(Offset(0), all, now).await.unwrap();
    assert_eq!((unsettled.first, unsettled.discarded_unsettled), (Offset(0), 0));
    let trimmed = log.trim(Offset(20), all, now).await.unwrap();
    assert_eq!((trimmed.first, trimmed.discarded_unsettled), (Offset(20), 0));
    assert!(trimmed.segments > 0 && trimmed.bytes >= 20_000);
    let bounds = log.bounds();
    assert_eq!((bounds.first, bounds.next, bounds.bytes, bounds.oldest), (Offset(20), Offset(20), 0, None));
    let below = log.read(Offset(3), ReadLimit::default()).await;
    assert_eq!(below, Err(ReadError::Trimmed { asked: Offset(3), first: Offset(20) }));
    assert_eq!(log.append(events(20..21)).await.unwrap().first, Offset(20));
    let page = log.read(Offset(20), ReadLimit::default()).await.unwrap();
    assert_eq!(ids(&page), [20]);
}

async fn retention_discards_above_the_hard_limit(fixture: &Fixture) {
    let log = &fixture.log;
    log.append(events(0..10)).await.unwrap();
    let now = UnixMicros(fixture.time.load(Ordering::Acquire));
    let hard = Retention { discard_above_bytes: Some(0), ..Retention::default() };
    let trimmed = log.trim(Offset(4), hard, now).await.unwrap();
    assert_eq!((trimmed.first, trimmed.discarded_unsettled), (Offset(10), 6));
}

async fn a_closed_log_takes_no_more(fixture: &Fixture) {
    let log = &fixture.log;
    let mut tail = log.tail();
    let queued: Vec<_> = (0..20).map(|n| log.append(events(n..n + 1))).collect();
    assert_eq!(log.health(), Health::Writable);
    log.close().await;
    for ticket in queued {
        ticket.await.unwrap();
    }
    assert_eq!(log.append(events(0..1)).await, Err(AppendError::Closed));
    assert_eq!(tail.past(Offset(20)).await, None);
    assert_eq!(tail.end(), Offset(20));
    log.close().await;
}
