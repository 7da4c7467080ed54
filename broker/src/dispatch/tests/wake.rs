//! Subscribers that sleep: their events wait, and use no attempts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::rig::{Rig, delivered, event, failure, trigger};
use crate::deliver::{Failure, Outcome};
use crate::triggers::{ExecSpec, TriggerEntry, WakeTarget};
use crate::wake::WakeState;

fn sleeper() -> TriggerEntry {
    let exec = ExecSpec {
        command: "true".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        idle_period: None,
        wake_timeout: Duration::from_secs(30),
    };
    TriggerEntry { wake: Some(WakeTarget::Exec(exec)), ..trigger("a") }
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_one_wake() {
    let mut rig = Rig::new(|_, _, _| (Duration::from_millis(10), delivered()));
    rig.alarm.takes_ms.store(5_000, Ordering::SeqCst);
    rig.start(vec![sleeper()]);
    rig.until("it has begun", |rig| rig.status("a").is_some()).await;
    assert_eq!(rig.status("a").unwrap().wake, Some(WakeState::Asleep));
    let began = Instant::now();
    rig.publish_numbers(0..200).await;
    rig.until("it is being woken", |rig| rig.status("a").unwrap().wake == Some(WakeState::Waking)).await;
    assert_eq!(rig.status("a").unwrap().in_flight, 0);
    rig.until("it is up", |rig| rig.alarm.held.load(Ordering::SeqCst) == 1).await;
    rig.until_settled("a").await;
    assert_eq!(rig.seen().len(), 200);
    assert!(rig.seen().iter().all(|seen| seen.at - began >= Duration::from_secs(5)));
    assert_eq!(rig.alarm.asked.load(Ordering::SeqCst), 1);
    rig.until("it may sleep again", |rig| rig.alarm.held.load(Ordering::SeqCst) == 0).await;
    assert!(rig.metrics.encode().unwrap().contains("reveille_wakes_total{namespace=\"ns\",trigger=\"a\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_fails_keeps_the_events_and_says_why() {
    let mut rig = Rig::willing();
    rig.alarm.broken.store(true, Ordering::SeqCst);
    rig.start(vec![sleeper()]);
    rig.publish_numbers(0..5).await;
    rig.until("it says so", |rig| rig.status("a").is_some_and(|status| status.wake == Some(WakeState::Failed))).await;
    let status = rig.status("a").unwrap();
    assert!(status.failing && status.last_error.is_some_and(|error| error.contains("CrashLoop")));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = rig.alarm.asked.load(Ordering::SeqCst);
    assert!((20..=30).contains(&asked), "with growing pauses: {asked} times");
    let counted = format!("reveille_wake_failures_total{{namespace=\"ns\",trigger=\"a\"}} {asked}");
    assert!(rig.metrics.encode().unwrap().contains(&counted));
    assert!(rig.seen().is_empty());
    rig.alarm.broken.store(false, Ordering::SeqCst);
    rig.until_settled("a").await;
    assert_eq!(rig.seen().len(), 5);
    assert!(rig.letters().await.is_empty());
    rig.until("it has recovered", |rig| !rig.status("a").unwrap().failing).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_died_is_woken_again_without_using_attempts() {
    let broken_off = || Outcome::Retryable(Failure { unreachable: false, ..failure(None) });
    for (refusals, attempts) in [(1, 2), (3, 4), (usize::MAX, 4 + 4 * 3)] {
        let mut rig = Rig::new(move |_, _, before| {
            let nobody = if before == 0 { broken_off() } else { Outcome::Retryable(failure(None)) };
            (Duration::ZERO, if before < refusals { nobody } else { delivered() })
        });
        rig.start(vec![sleeper()]);
        rig.publish(vec![event("1")]).await;
        rig.until_settled("a").await;
        // Each of the four attempts that count is preceded by three that do not.
        assert_eq!(rig.seen().len(), attempts);
        assert!(rig.alarm.asked.load(Ordering::SeqCst) > refusals.min(3));
        let letters = rig.letters().await;
        assert_eq!(letters.len(), usize::from(refusals == usize::MAX));
        assert!(letters.iter().all(|letter| letter.attempts == 4));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_or_a_timeout_of_one_that_is_awake_counts() {
    for (code, takes) in [(Some(503), Duration::ZERO), (None, Duration::from_secs(60))] {
        let mut rig =
            Rig::new(move |_, _, _| (takes, Outcome::Retryable(Failure { unreachable: false, ..failure(code) })));
        rig.start(vec![sleeper()]);
        rig.publish(vec![event("1")]).await;
        rig.until_settled("a").await;
        assert_eq!(rig.seen().len(), 4, "{code:?}");
    }
}
