//! Triggers that fall behind: they read the log by themselves, catch up, and bother nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Rig, delivered, retryable, trigger, typed};
use crate::dispatch::DispatchLimits;
use crate::log::EventLog;
use crate::matching::Filter;
use crate::triggers::{StartPosition, TriggerEntry};

fn of_type(name: &str, ty: &str) -> TriggerEntry {
    let attributes = BTreeMap::from([("type".to_owned(), ty.to_owned())]);
    TriggerEntry { filter: Filter::compile(Some(&attributes), None).unwrap(), ..trigger(name) }
}

fn assert_each_once(rig: &Rig, name: &str, count: usize) {
    let mut ids: Vec<usize> = rig.ids_of(name).iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..count), "{name} has {} of {count}", ids.len());
}

#[tokio::test(start_paused = true)]
async fn a_slow_trigger_leaves_and_comes_back_without_a_gap() {
    for limits in [
        DispatchLimits { window_events: 8, feed_events: 4, ..DispatchLimits::default() },
        DispatchLimits { window_events: 64, feed_events: 1, ..DispatchLimits::default() },
        // Less than one event: each is kept only because nothing else is.
        DispatchLimits { trigger_bytes: 1, ..DispatchLimits::default() },
        DispatchLimits { total_bytes: 1, window_events: 32, ..DispatchLimits::default() },
    ] {
        let mut rig =
            Rig::new(|to, _, _| (Duration::from_millis(if to == "http://slow" { 7 } else { 0 }), delivered()));
        rig.limits = limits;
        rig.start(vec![TriggerEntry { concurrency: 2, ..trigger("slow") }, trigger("quick")]);
        let mut next = 0;
        // Bursts and pauses: it detaches in the bursts and rejoins in the pauses.
        for burst in [1, 50, 3, 400, 1, 1, 90, 2000, 5] {
            rig.publish_numbers(next..next + burst).await;
            next += burst;
            rig.until("the quick one has all", |rig| rig.count("quick") == next).await;
            if burst < 100 {
                rig.until_settled("slow").await;
            }
        }
        rig.until_settled("slow").await;
        rig.until_settled("quick").await;
        assert_each_once(&rig, "slow", next);
        assert_each_once(&rig, "quick", next);
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_while_workers_join_misses_nothing() {
    let mut rig = Rig::new(|_, event, _| {
        let number: u64 = event.id().parse().unwrap();
        (Duration::from_micros(number % 7 * 300), delivered())
    });
    rig.limits = DispatchLimits { window_events: 16, feed_events: 8, ..DispatchLimits::default() };
    rig.publish_numbers(0..500).await;
    let names: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    rig.start(names.iter().map(|name| TriggerEntry { concurrency: 4, ..trigger(name) }).collect());
    for number in 500..3000 {
        rig.publish_numbers(number..number + 1).await;
        if number % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for name in &names {
        rig.until_settled(name).await;
        assert_each_once(&rig, name, 3000);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_triggers_of_which_one_matches_stay_cheap() {
    let mut rig = Rig::willing();
    let mut triggers: Vec<TriggerEntry> =
        (0..10_000).map(|number| of_type(&format!("idle-{number}"), &format!("never-{number}"))).collect();
    triggers.push(of_type("one", "wanted"));
    // The yardstick: asking every Trigger about a thousandth of the events, on this machine, now.
    let began = std::time::Instant::now();
    let event = typed("0", "wanted", "s");
    let asked = (0..10).map(|_| triggers.iter().filter(|entry| entry.filter.matches(&event)).count()).sum::<usize>();
    assert_eq!(asked, 10);
    let all_by_asking = began.elapsed() * 1000;
    rig.start(triggers);
    rig.until("all have begun", |rig| rig.status("one").is_some() && rig.board.all().len() == 10_001).await;
    let began = std::time::Instant::now();
    for round in 0..20 {
        rig.publish((0..500).map(|n| typed(&(round * 500 + n).to_string(), "wanted", "s")).collect()).await;
    }
    rig.until("all are delivered", |rig| rig.count("one") == 10_000).await;
    let took = began.elapsed();
    assert!(took < all_by_asking / 10, "{took:?} against {all_by_asking:?} for asking each about each");
    // Those that match nothing move too, so that retention is not held back.
    let end = rig.events.bounds().next;
    rig.until("idle ones move on", |rig| rig.status("idle-9999").unwrap().floor == end).await;
    assert!(rig.board.all().iter().all(|(_, status)| status.floor == end));
    rig.drain(Duration::from_secs(1)).await;
    let cursor = rig.cursor("idle-77").await.unwrap();
    assert_eq!((cursor.scanned, cursor.unsettled.len()), (end, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_window_stops_only_itself_and_memory_stays_bounded() {
    let mut rig = Rig::new(|to, _, _| match to {
        "http://down" => (Duration::ZERO, retryable(503)),
        _ => (Duration::ZERO, delivered()),
    });
    rig.limits = DispatchLimits { window_events: 100, feed_events: 10, ..DispatchLimits::default() };
    rig.start(vec![trigger("down"), trigger("fine")]);
    rig.publish_numbers(0..5000).await;
    rig.until("the healthy one has all", |rig| rig.count("fine") == 5000).await;
    rig.until("its trouble shows", |rig| rig.status("down").is_some_and(|status| status.failing)).await;
    let down = rig.status("down").unwrap();
    assert!(down.unsettled <= 100 && down.retrying <= 100, "{down:?}");
    assert!(down.last_error.is_some_and(|error| error == "HTTP 503"));
    rig.until_settled("down").await;
    assert_eq!(rig.letters().await.len(), 5000);
}

#[tokio::test(start_paused = true)]
async fn retention_waits_for_the_slowest() {
    let mut rig = Rig::new(|to, _, _| match to {
        "http://stuck" => (Duration::ZERO, retryable(503)),
        _ => (Duration::ZERO, delivered()),
    });
    rig.retention.bytes = Some(1);
    let mut stuck = trigger("stuck");
    stuck.delivery.retry = 5;
    rig.start(vec![trigger("fine"), stuck.clone()]);
    rig.publish_numbers(0..1000).await;
    rig.until("the healthy one has all", |rig| rig.status("fine").is_some_and(|s| s.floor.0 == 1000)).await;
    rig.dispatcher().trim_now().await;
    assert_eq!(rig.events.bounds().first.0, 0);
    rig.until_settled("stuck").await;
    rig.dispatcher().trim_now().await;
    assert!(rig.events.bounds().first.0 > 900);
    // A hard limit takes what is not delivered too; the Trigger goes on behind it.
    rig.set(vec![TriggerEntry { start: StartPosition::Latest, ..trigger("fine") }]);
    rig.drain(Duration::ZERO).await;
    rig.publish_numbers(1000..2000).await;
    let forced = crate::log::Retention { discard_above_bytes: Some(1), ..rig.retention };
    rig.events.trim(crate::log::Offset(0), forced, rig.now()).await.unwrap();
    let first = usize::try_from(rig.events.bounds().first.0).unwrap();
    assert!(first > 1000);
    rig.start(vec![trigger("fine")]);
    rig.until_settled("fine").await;
    assert_eq!(rig.seen_by("fine").len(), 1000 + (2000 - first));
    assert!(rig.metrics.encode().unwrap().contains(&format!(
        "reveille_log_discarded_records_total{{namespace=\"ns\",broker=\"default\"}} {}",
        first - 1000
    )));
}
