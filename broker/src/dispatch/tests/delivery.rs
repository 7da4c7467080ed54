//! Attempts, retries and independence of Triggers (checklist L5 to L21).

use std::time::Duration;

use tokio::time::Instant;

use super::rig::{Rig, delivered, event, failure, retryable, trigger, typed};
use crate::dead_letter::Reason;
use crate::deliver::Outcome;
use crate::event::HOPS_ATTRIBUTE;
use crate::matching::Filter;
use crate::triggers::{Backoff, DeliveryPolicy, TriggerEntry};

/// One event, one Trigger with `retry: 3`; the first `failures` attempts come to `outcome`.
async fn check(outcome: Outcome, failures: usize, attempts: usize, letter: Option<(Reason, Option<u16>)>) {
    let told = outcome.clone();
    let mut rig =
        Rig::new(move |_, _, before| (Duration::ZERO, if before < failures { told.clone() } else { delivered() }));
    rig.start(vec![trigger("a")]);
    rig.publish(vec![event("1")]).await;
    rig.until_settled("a").await;
    assert_eq!(rig.seen().len(), attempts, "{outcome:?} × {failures}");
    let letters = rig.letters().await;
    let got: Vec<_> = letters.iter().map(|letter| (letter.reason, letter.code)).collect();
    assert_eq!(got, Vec::from_iter(letter), "{outcome:?} × {failures}");
    let counted = |letter: &crate::dead_letter::DeadLetter| usize::try_from(letter.attempts).unwrap();
    assert!(letters.iter().all(|letter| counted(letter) == attempts && letter.error_dest == "http://a"));
    assert!(letters.iter().all(|letter| letter.event == event("1")));
}

#[tokio::test(start_paused = true)]
async fn attempts_follow_the_outcome() {
    let all = usize::MAX;
    for code in [200, 202, 204, 299] {
        check(Outcome::Delivered { code, reply: None, odd_body: false }, all, 1, None).await;
    }
    for code in [400, 401, 403, 405, 410, 413, 422, 301, 302, 307] {
        check(Outcome::Refused(failure(Some(code))), all, 1, Some((Reason::Refused, Some(code)))).await;
    }
    check(Outcome::Refused(failure(None)), all, 1, Some((Reason::BadAddress, None))).await;
    for code in [404, 408, 409, 429, 500, 502, 503, 599] {
        check(retryable(code), all, 4, Some((Reason::RetriesExhausted, Some(code)))).await;
        check(retryable(code), 3, 4, None).await;
        check(retryable(code), 1, 2, None).await;
    }
    check(Outcome::Retryable(failure(None)), all, 4, Some((Reason::RetriesExhausted, None))).await;
}

/// Gaps between attempts, in milliseconds, without their jitter.
async fn gaps(policy: DeliveryPolicy, outcome: Outcome) -> Vec<u128> {
    let mut rig = Rig::new(move |_, _, _| (Duration::ZERO, outcome.clone()));
    rig.start(vec![TriggerEntry { delivery: policy, ..trigger("a") }]);
    rig.publish(vec![event("1")]).await;
    rig.until_settled("a").await;
    let at: Vec<Instant> = rig.seen().iter().map(|seen| seen.at).collect();
    at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn waits_are_as_documented() {
    let policy = |backoff, retry_after_max: Option<u64>| DeliveryPolicy {
        backoff,
        backoff_delay: Duration::from_millis(500),
        retry_after_max: retry_after_max.map(Duration::from_secs),
        ..trigger("a").delivery
    };
    let asking =
        Outcome::Retryable(crate::deliver::Failure { retry_after: Some(Duration::from_secs(2)), ..failure(Some(429)) });
    for (policy, outcome, expected) in [
        (policy(Backoff::Linear, None), retryable(500), [500, 1000, 1500]),
        (policy(Backoff::Exponential, None), retryable(500), [500, 1000, 2000]),
        (policy(Backoff::Linear, None), asking.clone(), [2000, 2000, 2000]),
        (policy(Backoff::Linear, Some(5)), asking.clone(), [2000, 2000, 2000]),
        (policy(Backoff::Linear, Some(1)), asking.clone(), [1000, 1000, 1500]),
        (policy(Backoff::Linear, Some(0)), asking, [500, 1000, 1500]),
    ] {
        let got = gaps(policy.clone(), outcome).await;
        assert_eq!(got.len(), 3);
        for (got, expected) in got.iter().zip(expected) {
            // Jitter adds up to a tenth; timers count in milliseconds.
            assert!((expected..=expected + expected / 10 + 2).contains(got), "{policy:?}: {got} for {expected}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fibonacci_of_failures_is_outlasted() {
    let mut rig = Rig::new(|_, event, before| {
        let number: usize = event.id().parse().unwrap();
        let works = [1, 2, 3, 5, 8, 13].contains(&(number + before));
        (Duration::ZERO, if works { delivered() } else { retryable(503) })
    });
    let policy = DeliveryPolicy { retry: 5, ..trigger("a").delivery };
    rig.start(vec![TriggerEntry { delivery: policy, ..trigger("a") }]);
    rig.publish_numbers(0..12).await;
    rig.until_settled("a").await;
    assert!(rig.letters().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_triggers_trouble_is_its_own() {
    let mut rig = Rig::new(|to, _, _| match to {
        "http://hangs" => (Duration::from_secs(60), retryable(500)),
        "http://refuses" => (Duration::ZERO, Outcome::Refused(failure(Some(400)))),
        "http://down" => (Duration::ZERO, Outcome::Retryable(failure(None))),
        _ => (Duration::ZERO, delivered()),
    });
    rig.start(["hangs", "refuses", "down", "fine"].map(trigger).into());
    let began = Instant::now();
    for round in 0..20 {
        rig.publish_numbers(round * 500..(round + 1) * 500).await;
    }
    rig.until("the healthy one has all", |rig| rig.count("fine") >= 10_000).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mut ids: Vec<usize> = rig.ids_of("fine").iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..10_000), "each once");
    let hanging = rig.status("hangs").unwrap();
    assert!(hanging.unsettled <= rig.limits.window_events as u64);
    rig.until_settled("refuses").await;
    assert_eq!(rig.letters().await.iter().filter(|letter| letter.trigger.name.as_str() == "refuses").count(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn concurrency_falls_under_failure_and_recovers() {
    let mut rig = Rig::new(|_, _, _| (Duration::from_millis(10), retryable(503)));
    let policy = DeliveryPolicy { retry: 0, ..trigger("a").delivery };
    rig.start(vec![TriggerEntry { delivery: policy, ..trigger("a") }]);
    rig.publish_numbers(0..200).await;
    rig.until_settled("a").await;
    assert_eq!(rig.most_under_way(), 64);
    let seen = rig.seen();
    let together = |at: Instant| seen.iter().filter(|seen| seen.at == at).count();
    assert_eq!(together(seen.last().unwrap().at), 1, "one at a time in the end");
    rig.script(|_, _, _| (Duration::from_millis(10), delivered()));
    rig.publish_numbers(1000..1400).await;
    rig.until_settled("a").await;
    let seen = rig.seen();
    let together = |at: Instant| seen.iter().filter(|seen| seen.at == at).count();
    assert!(seen.iter().any(|seen| seen.event.id().len() == 4 && together(seen.at) > 16), "back to many at once");
    assert!(
        rig.metrics
            .encode()
            .unwrap()
            .contains("reveille_delivery_attempts_total{namespace=\"ns\",trigger=\"a\",outcome=\"retryable\"} 200")
    );
}

#[tokio::test(start_paused = true)]
async fn every_trigger_gets_every_match_once() {
    let mut rig = Rig::willing();
    let mut triggers: Vec<TriggerEntry> = (0..20).map(|number| trigger(&format!("all-{number}"))).collect();
    for name in ["x", "y"] {
        let attributes = [("type".to_owned(), name.to_owned())].into();
        triggers.push(TriggerEntry { filter: Filter::compile(Some(&attributes), None).unwrap(), ..trigger(name) });
    }
    rig.start(triggers);
    rig.publish((0..300).map(|n| typed(&n.to_string(), if n % 3 == 0 { "x" } else { "y" }, "s")).collect()).await;
    for number in 0..20 {
        rig.until_settled(&format!("all-{number}")).await;
        assert_eq!(rig.seen_by(&format!("all-{number}")).len(), 300);
    }
    rig.until_settled("x").await;
    rig.until_settled("y").await;
    assert_eq!((rig.seen_by("x").len(), rig.seen_by("y").len()), (100, 200));
    assert!(rig.seen_by("x").iter().all(|seen| seen.event.ty() == "x" && seen.asked_for_reply));
    assert!(rig.seen().iter().all(|seen| seen.event.attribute(HOPS_ATTRIBUTE).is_none()));
}
