//! Cursors: start positions, restarts, Triggers that come, change and go.

use std::time::Duration;

use tokio::time::Instant;

use super::rig::{Rig, broker, delivered, event, key, retryable, trigger};
use crate::clock::UnixMicros;
use crate::log::{EventLog, LogId, Offset};
use crate::state::{Cursor, StateStore};
use crate::triggers::{StartPosition, Target, TriggerEntry};

#[tokio::test(start_paused = true)]
async fn attempts_and_due_times_survive() {
    let mut rig = Rig::new(|_, _, _| (Duration::ZERO, retryable(503)));
    let mut entry = trigger("a");
    entry.delivery.backoff_delay = Duration::from_secs(100);
    rig.start(vec![entry.clone()]);
    rig.publish(vec![event("1")]).await;
    rig.until("two attempts were made", |rig| rig.seen().len() == 2).await;
    rig.drain(Duration::from_secs(1)).await;
    let saved = rig.cursor("a").await.unwrap();
    assert_eq!((saved.floor(), saved.unsettled[0].attempts), (Offset(0), 2));
    let wait = saved.unsettled[0].due.since(rig.now());
    assert!(wait >= Duration::from_secs(200) && wait <= Duration::from_secs(220), "{wait:?}");
    // A third of the wait passes while the broker is down.
    rig.pass_wall_time(Duration::from_secs(70));
    let began = Instant::now();
    rig.start(vec![entry]);
    rig.until_settled("a").await;
    let seen = rig.seen();
    assert_eq!(seen.len(), 4, "four in all, not four more");
    let waited = seen[2].at - began;
    assert!(waited >= Duration::from_secs(130) && waited < Duration::from_secs(151), "{waited:?}");
    assert_eq!(rig.letters().await[0].attempts, 4);
}

#[tokio::test(start_paused = true)]
async fn draining_lets_attempts_finish_and_repeats_nothing() {
    let mut rig = Rig::new(|_, _, _| (Duration::from_millis(50), delivered()));
    rig.start(vec![TriggerEntry { concurrency: 8, ..trigger("a") }]);
    rig.publish_numbers(0..1000).await;
    rig.until("it is under way", |rig| rig.seen().len() >= 100).await;
    rig.drain(Duration::from_secs(10)).await;
    let before = rig.seen().len();
    assert!(before < 200);
    rig.start(vec![trigger("a")]);
    rig.until_settled("a").await;
    let mut ids: Vec<usize> = rig.ids_of("a").iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..1000), "each once, over the restart");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finished_by_the_deadline_is_delivered_again() {
    let mut rig = Rig::new(|_, _, _| (Duration::from_secs(50), delivered()));
    rig.start(vec![trigger("a")]);
    rig.publish_numbers(0..10).await;
    rig.until("it is under way", |rig| rig.seen().len() == 10).await;
    let began = Instant::now();
    rig.drain(Duration::from_secs(5)).await;
    assert!(began.elapsed() < Duration::from_secs(7));
    assert_eq!(rig.cursor("a").await.unwrap().floor(), Offset(0));
    rig.start(vec![trigger("a")]);
    rig.until_settled("a").await;
    assert_eq!(rig.seen().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_crash_repeats_at_most_the_flush_interval() {
    let mut rig = Rig::new(|_, _, _| (Duration::from_millis(10), delivered()));
    rig.start(vec![TriggerEntry { concurrency: 1, ..trigger("a") }]);
    rig.publish_numbers(0..1000).await;
    rig.until("it is half done", |rig| rig.seen().len() >= 500).await;
    rig.crash();
    let done = rig.seen().len();
    rig.start(vec![trigger("a")]);
    rig.until_settled("a").await;
    let repeated = rig.seen().len() - 1000;
    assert!(repeated <= 102, "{repeated} of {done} were repeated; a second has 100 deliveries");
    let mut ids = rig.ids_of("a");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000, "none was missed");
}

/// Five events a second apart; which of them a new Trigger gets.
async fn check_start(start: impl Fn(u64) -> StartPosition, expected: &[&str]) {
    let mut rig = Rig::willing();
    let begin = rig.now().0;
    for number in 0..4 {
        rig.publish_numbers(number..number + 1).await;
        rig.pass_wall_time(Duration::from_secs(1));
    }
    let entry = TriggerEntry { start: start(begin), ..trigger("a") };
    rig.start(vec![entry.clone()]);
    rig.until("it has begun", |rig| rig.status("a").is_some()).await;
    rig.publish_numbers(4..5).await;
    rig.until_settled("a").await;
    assert_eq!(rig.ids_of("a"), expected, "{:?}", entry.start);
    let began: u64 = expected[0].parse().unwrap();
    rig.crash();
    rig.start(vec![TriggerEntry { start: StartPosition::Earliest, ..entry.clone() }]);
    rig.publish_numbers(5..6).await;
    rig.until_settled("a").await;
    assert_eq!(rig.status("a").unwrap().began, Offset(began), "where it began outlives a restart");
}

#[tokio::test(start_paused = true)]
async fn start_positions() {
    check_start(|_| StartPosition::Earliest, &["0", "1", "2", "3", "4"]).await;
    check_start(|_| StartPosition::Latest, &["4"]).await;
    check_start(|_| StartPosition::Offset(Offset(3)), &["3", "4"]).await;
    check_start(|begin| StartPosition::At(UnixMicros(begin + 2_000_000)), &["2", "3", "4"]).await;
    check_start(|begin| StartPosition::At(UnixMicros(begin + 1_999_999)), &["2", "3", "4"]).await;
    check_start(|begin| StartPosition::At(UnixMicros(begin + 90_000_000)), &["4"]).await;
    check_start(|begin| StartPosition::Resume(UnixMicros(begin)), &["0", "1", "2", "3", "4"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_trigger_stops_and_may_be_resumed() {
    for (start, expected) in
        [(StartPosition::Resume(UnixMicros(0)), vec!["0", "1", "2", "3"]), (StartPosition::Latest, vec!["0", "1", "3"])]
    {
        let mut rig = Rig::willing();
        let entry = TriggerEntry { start, ..trigger("a") };
        rig.start(vec![TriggerEntry { start: StartPosition::Earliest, ..entry.clone() }]);
        rig.publish_numbers(0..2).await;
        rig.until_settled("a").await;
        rig.set(vec![]);
        rig.until("it is gone", |rig| rig.status("a").is_none()).await;
        assert_eq!(rig.cursor("a").await.unwrap().retired, Some(rig.now()));
        assert!(!rig.metrics.encode().unwrap().contains("trigger=\"a\""), "its metrics are gone too");
        rig.publish_numbers(2..3).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        rig.set(vec![entry]);
        rig.until("it has begun again", |rig| rig.status("a").is_some()).await;
        rig.publish_numbers(3..4).await;
        rig.until_settled("a").await;
        assert_eq!(rig.ids_of("a"), expected);
        let cursor = rig.cursor("a").await.unwrap();
        let began = if start == StartPosition::Latest { 3 } else { 0 };
        assert_eq!((cursor.retired, cursor.began), (None, Offset(began)));
    }
}

#[tokio::test(start_paused = true)]
async fn retired_cursors_go_after_a_day() {
    let mut rig = Rig::willing();
    rig.start(vec![trigger("a"), trigger("b")]);
    rig.publish_numbers(0..2).await;
    rig.until_settled("a").await;
    rig.set(vec![trigger("b")]);
    rig.until("it is gone", |rig| rig.status("a").is_none()).await;
    for (passes_h, there) in [(23, true), (2, false)] {
        rig.pass_wall_time(Duration::from_secs(passes_h * 3600));
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        assert_eq!(rig.cursor("a").await.is_some(), there, "after {passes_h} more hours");
    }
    assert!(rig.cursor("b").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_changed_trigger_goes_on_with_its_new_settings() {
    let mut rig = Rig::willing();
    rig.start(vec![trigger("a")]);
    rig.publish_numbers(0..3).await;
    rig.until_settled("a").await;
    let moved = Target::from("http://elsewhere".to_owned());
    rig.set(vec![TriggerEntry { subscriber: moved.into(), ..trigger("a") }]);
    // A change reaches the worker by itself; nothing tells when, so it is given a moment.
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.publish_numbers(3..6).await;
    rig.until_settled("a").await;
    assert_eq!(
        (rig.ids_of("a"), rig.ids_of("elsewhere")),
        (vec!["0".into(), "1".into(), "2".into()], vec!["3".into(), "4".into(), "5".into()],)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cursor_beyond_the_log_does_not_wait_for_it() {
    let mut rig = Rig::willing();
    rig.publish_numbers(0..3).await;
    let cursor = Cursor {
        incarnation: None,
        broker: broker(),
        log: LogId::default(),
        began: Offset(0),
        scanned: Offset(100),
        unsettled: Vec::new(),
        retired: None,
    };
    rig.store.save_cursor(&key("a"), cursor);
    rig.start(vec![trigger("a")]);
    rig.until("it has begun", |rig| rig.status("a").is_some()).await;
    rig.publish_numbers(3..5).await;
    rig.until_settled("a").await;
    assert_eq!(rig.ids_of("a"), ["3", "4"]);
    assert_eq!(rig.events.bounds().next, Offset(5));
}
