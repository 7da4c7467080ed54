//! Order of deliveries: `ordered`, `by-key`, and what a failure holds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::harness::{Answer, Home, Received, Sample, Subscriber, TriggerManifest};

use super::{accepted, start};

const RETRIES: &str = "retry: 10, backoffPolicy: linear, backoffDelay: PT0.02S";

fn taken(received: &[Received]) -> Vec<String> {
    received.iter().filter(|r| r.answered == 200).map(|r| r.id().to_owned()).collect()
}

#[tokio::test]
async fn ordered_means_one_at_a_time_in_log_order() {
    let home = Home::new();
    let in_flight = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counter, highest) = (in_flight.clone(), most.clone());
    let subscriber = Subscriber::scripted(move |received| {
        // The answer follows 2 ms later; an attempt that comes before that overlaps it.
        highest.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let counter = counter.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            counter.fetch_sub(1, Ordering::SeqCst);
        });
        let fails = received.earlier == 0 && received.id().ends_with('3');
        Answer::code(if fails { 500 } else { 200 }).after(Duration::from_millis(2))
    })
    .await;
    let trigger =
        TriggerManifest::new("ordered", &subscriber.url()).annotation("reveille.dev/delivery-order", "ordered");
    home.trigger(&trigger.delivery(RETRIES));
    let broker = start(&home).await;
    let batch: Vec<Sample> = (0..50).map(|n| Sample::new(&format!("n-{n}"))).collect();
    accepted(broker.publisher("default").batch(&batch).await);
    let received = subscriber.wait_for(55).await;
    assert_eq!(taken(&received), batch.iter().map(|sample| sample.id.clone()).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1, "two attempts at once");
}

#[tokio::test]
async fn by_key_holds_up_one_key_only() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|received| {
        let stuck = received.id() == "a-0" && received.earlier < 8;
        Answer::code(if stuck { 503 } else { 200 })
    })
    .await;
    let trigger = TriggerManifest::new("by-key", &subscriber.url()).annotation("reveille.dev/delivery-order", "by-key");
    home.trigger(&trigger.delivery(RETRIES));
    let broker = start(&home).await;
    let sample = |n: usize| {
        let key = if n.is_multiple_of(2) { "a" } else { "b" };
        Sample::new(&format!("{key}-{}", n / 2)).attribute("partitionkey", key)
    };
    accepted(broker.publisher("default").batch(&(0..20).map(sample).collect::<Vec<_>>()).await);
    let taken = taken(&subscriber.wait_for(28).await);
    let of = |key: &str| taken.iter().filter(|id| id.starts_with(key)).cloned().collect::<Vec<_>>();
    let expected = |key: &str| (0..10).map(|n| format!("{key}-{n}")).collect::<Vec<_>>();
    assert_eq!((of("a"), of("b")), (expected("a"), expected("b")));
    let last_b = taken.iter().position(|id| id == "b-9");
    let first_a = taken.iter().position(|id| id == "a-0");
    assert!(last_b < first_a, "key b had to wait for key a: {taken:?}");
}
