//! Order of deliveries, failures included.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Rig, delivered, retryable, trigger, typed};
use crate::dispatch::DispatchLimits;
use crate::event::Event;
use crate::triggers::{Order, TriggerEntry};

/// Events of 7 keys; every fifth fails twice, and answers take unlike times.
fn shaky() -> Rig {
    let mut rig = Rig::new(|_, event, before| {
        let number: u64 = event.id().parse().unwrap();
        let outcome = if number.is_multiple_of(5) && before < 2 { retryable(503) } else { delivered() };
        (Duration::from_millis(number * 31 % 11), outcome)
    });
    rig.limits = DispatchLimits { window_events: 50, feed_events: 20, ..DispatchLimits::default() };
    rig
}

fn events(numbers: std::ops::Range<usize>) -> Vec<Event> {
    numbers.map(|number| typed(&number.to_string(), "t", &format!("key-{}", number % 7))).collect()
}

/// Ids by key, in order of the last attempt of each; asserts that no event began before its predecessor was done.
fn by_key(rig: &Rig, key: impl Fn(&Event) -> String) -> BTreeMap<String, Vec<usize>> {
    let mut order: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for seen in rig.seen() {
        let ids = order.entry(key(&seen.event)).or_default();
        let id = seen.event.id().parse().unwrap();
        // Attempts of one event follow each other without another one of its key between them.
        if ids.last() != Some(&id) {
            ids.push(id);
        }
    }
    order
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_order_under_retries() {
    let mut rig = shaky();
    rig.start(vec![TriggerEntry { order: Order::ByKey, ..trigger("a") }]);
    for round in 0..4 {
        rig.publish(events(round * 100..(round + 1) * 100)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    rig.until_settled("a").await;
    let order = by_key(&rig, |event| event.subject().unwrap().to_owned());
    assert_eq!(order.len(), 7);
    for (key, ids) in order {
        assert!(ids.is_sorted() && ids.len() >= 57, "{key}: {ids:?}");
        assert!(ids.windows(2).all(|pair| pair[1] - pair[0] == 7), "{key}: {ids:?}");
    }
    assert!(rig.most_under_way() > 1, "keys go on beside each other");
}

#[tokio::test(start_paused = true)]
async fn ordered_is_one_at_a_time() {
    let mut rig = shaky();
    rig.start(vec![TriggerEntry { order: Order::Ordered, ..trigger("a") }]);
    rig.publish(events(0..100)).await;
    rig.until_settled("a").await;
    let order = by_key(&rig, |_| String::new());
    assert!(order[""].iter().copied().eq(0..100), "{order:?}");
    assert_eq!(rig.most_under_way(), 1);
}

#[tokio::test(start_paused = true)]
async fn order_holds_over_restarts_and_changes() {
    let mut rig = shaky();
    let entry = |order| TriggerEntry { order, ..trigger("a") };
    rig.start(vec![entry(Order::ByKey)]);
    rig.publish(events(0..200)).await;
    rig.until("some are done", |rig| rig.seen().len() > 60).await;
    rig.drain(Duration::from_secs(1)).await;
    rig.start(vec![entry(Order::ByKey)]);
    rig.until("some more are done", |rig| rig.seen().len() > 120).await;
    rig.set(vec![entry(Order::Ordered)]);
    rig.until_settled("a").await;
    let order = by_key(&rig, |event| event.subject().unwrap().to_owned());
    for (key, ids) in order {
        assert!(ids.windows(2).all(|pair| pair[1] - pair[0] == 7), "{key}: {ids:?}");
    }
    let mut unique: Vec<_> = rig.ids_of("a");
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 200);
}
