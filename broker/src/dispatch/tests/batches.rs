//! Batched content mode: what goes together, and that no event pays for its company.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rig::{Rig, delivered, event, failure, retryable, trigger, typed};
use crate::deliver::Outcome;
use crate::dispatch::DispatchLimits;
use crate::dispatch::limits::BATCH_EVENTS_MAX;
use crate::event::Event;
use crate::triggers::{ContentMode, DeliveryPolicy, Order, TriggerEntry};

fn batched() -> TriggerEntry {
    TriggerEntry { content_mode: ContentMode::Batched, ..trigger("a") }
}

fn retries(retry: u32) -> DeliveryPolicy {
    DeliveryPolicy { retry, ..trigger("a").delivery }
}

/// The requests that were made, as the ids in each.
fn requests(rig: &Rig) -> Vec<Vec<String>> {
    let firsts = rig.seen().into_iter().filter(|seen| seen.company.first().is_some_and(|id| id == seen.event.id()));
    firsts.map(|seen| seen.company).collect()
}

fn numbers(ids: &[String]) -> Vec<usize> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_goes_together_up_to_the_limit() {
    let mut rig = Rig::willing();
    rig.publish_numbers(0..250).await;
    rig.start(vec![batched()]);
    rig.until_settled("a").await;
    let sizes: Vec<usize> = requests(&rig).iter().map(Vec::len).collect();
    assert_eq!(sizes, [BATCH_EVENTS_MAX, BATCH_EVENTS_MAX, 50]);
    let ids: BTreeSet<String> = rig.ids_of("a").into_iter().collect();
    assert_eq!((ids.len(), rig.count("a")), (250, 250), "each once");
    // Nothing waits for company.
    rig.publish(vec![event("alone")]).await;
    rig.until_settled("a").await;
    assert_eq!(requests(&rig).last().unwrap(), &["alone"]);
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_event_is_found_and_its_neighbours_are_delivered() {
    for (outcome, retry, letter_attempts) in
        [(Outcome::Refused(failure(Some(400))), 3, 1), (retryable(500), 3, 4), (retryable(500), 0, 1)]
    {
        let poison = outcome.clone();
        let mut rig = Rig::new(move |_, event, _| {
            (Duration::ZERO, if event.id() == "37" { poison.clone() } else { delivered() })
        });
        rig.publish_numbers(0..100).await;
        rig.start(vec![TriggerEntry { delivery: retries(retry), ..batched() }]);
        rig.until_settled("a").await;
        let letters = rig.letters().await;
        let dead: Vec<(&str, u32)> = letters.iter().map(|letter| (letter.event.id(), letter.attempts)).collect();
        assert_eq!(dead, [("37", letter_attempts)], "{outcome:?}, {retry} retries");
        let requests = requests(&rig);
        assert_eq!(requests.iter().rfind(|ids| ids.contains(&"37".to_owned())).unwrap(), &["37"]);
        let delivered: BTreeSet<usize> =
            requests.iter().filter(|ids| !ids.contains(&"37".to_owned())).flat_map(|ids| numbers(ids)).collect();
        assert_eq!(delivered.len(), 99, "{outcome:?}, {retry} retries");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_little_at_once_gets_little() {
    let mut rig = Rig::willing();
    // Too large is what has more than ten events; the script sees one event at a time, so it is told by size.
    rig.publish_numbers(0..100).await;
    rig.publish_numbers(100..1000).await;
    rig.subscriber.refuse_above(10);
    rig.start(vec![TriggerEntry { concurrency: 1, ..batched() }]);
    rig.until_settled("a").await;
    assert!(rig.letters().await.is_empty());
    let requests = requests(&rig);
    let refused = requests.iter().filter(|ids| ids.len() > 10).count();
    let taken = requests.len() - refused;
    assert!(refused * 2 < taken, "{refused} refused, {taken} taken: it does not learn");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_cannot_be_dialled_condemns_all_at_once() {
    let mut rig = Rig::new(|_, _, _| (Duration::ZERO, Outcome::Refused(failure(None))));
    rig.publish_numbers(0..100).await;
    rig.start(vec![batched()]);
    rig.until_settled("a").await;
    assert_eq!((requests(&rig).len(), rig.letters().await.len()), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn order_holds_in_and_between_batches() {
    for order in [Order::Ordered, Order::ByKey] {
        let mut rig = Rig::new(|_, event, before| {
            let number: u64 = event.id().parse().unwrap();
            let outcome = if number.is_multiple_of(17) && before < 2 { retryable(503) } else { delivered() };
            (Duration::from_millis(number * 31 % 11), outcome)
        });
        rig.limits = DispatchLimits { window_events: 50, feed_events: 20, ..DispatchLimits::default() };
        rig.start(vec![TriggerEntry { order, ..batched() }]);
        let sample = |number: usize| typed(&number.to_string(), "t", &format!("key-{}", number % 3));
        for round in 0..4 {
            rig.publish((round * 50..(round + 1) * 50).map(sample).collect::<Vec<Event>>()).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        rig.until_settled("a").await;
        let requests = requests(&rig);
        assert!(requests.iter().any(|ids| ids.len() > 5), "{order:?}: batches of one are no batches");
        let lanes = if order == Order::Ordered { 1 } else { 3 };
        for lane in 0..lanes {
            // What a request brought again comes before anything new: the highest number so far only ever goes up by
            // the next one of the lane.
            let mut next = lane;
            for number in requests.iter().flat_map(|ids| numbers(ids)).filter(|number| number % lanes == lane) {
                assert!(number <= next, "{order:?}: {number} before {next}");
                next = next.max(number + lanes);
            }
            assert!(next >= 200, "{order:?}: {next}");
        }
        assert!(rig.letters().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_to_a_batch_is_stored_once() {
    let mut rig = Rig::new(|_, event, _| {
        let reply = (event.ty() == "question").then(|| Box::new(typed("answer", "answer", "k")));
        (Duration::ZERO, Outcome::Delivered { code: 200, reply, odd_body: false })
    });
    let with_hops =
        |id: &str, hops: &str| typed(id, "question", "k").with_attributes(&[("knativebrokerttl", hops)], &[]);
    rig.publish(vec![with_hops("x", "9"), with_hops("y", "5"), with_hops("z", "7")]).await;
    rig.start(vec![batched()]);
    rig.until_settled("a").await;
    assert_eq!(requests(&rig), [vec!["x", "y", "z"], vec!["answer"]]);
    let answer = rig.seen().pop().unwrap().event;
    assert_eq!(answer.attribute("knativebrokerttl").map(|hops| hops.value), Some("4"), "one less than the fewest");
}

#[tokio::test(start_paused = true)]
async fn large_events_make_small_batches() {
    let mut rig = Rig::willing();
    let large = |id: usize| {
        let builder = Event::builder(crate::event::SpecVersion::V1).attribute("id", &id.to_string());
        let builder = builder.attribute("source", "/tests").attribute("type", "t");
        builder.body(crate::event::BodyKind::Binary, vec![0; 400 << 10].into()).build().unwrap()
    };
    rig.publish((0..5).map(large).collect()).await;
    rig.start(vec![batched()]);
    rig.until_settled("a").await;
    let sizes: Vec<usize> = requests(&rig).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
}
