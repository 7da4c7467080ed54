//! Dead letters (checklist X1 to X8).

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;

use super::rig::{Rig, delivered, event, failure, retryable, trigger};
use crate::dead_letter::Reason;
use crate::deliver::{Failure, Outcome};
use crate::log::{AppendError, EventLog, Retention};
use crate::triggers::{StartPosition, Target, TriggerEntry};

fn with_sink(name: &str) -> TriggerEntry {
    let mut entry = trigger(name);
    entry.delivery.dead_letter_sink = Some(Target::from("http://sink".to_owned()).into());
    entry
}

/// What the sink is told of an event whose every attempt comes to `outcome`.
async fn check(outcome: Outcome, code: &str, data: Option<&[u8]>) {
    let mut rig =
        Rig::new(move |to, _, _| (Duration::ZERO, if to == "http://sink" { delivered() } else { outcome.clone() }));
    rig.start(vec![with_sink("a")]);
    rig.publish(vec![event("1")]).await;
    rig.until_settled("a").await;
    let told = rig.seen_by("sink");
    assert_eq!(told.len(), 1, "exactly once");
    let value = |name: &str| told[0].event.attribute(name).map(|attribute| attribute.value.to_owned());
    assert_eq!(value("knativeerrordest").as_deref(), Some("http://a"));
    assert_eq!(value("knativeerrorcode").as_deref(), Some(code));
    let encoded = data.map(|data| base64::engine::general_purpose::STANDARD.encode(data));
    assert_eq!(value("knativeerrordata"), encoded);
    assert!(!told[0].asked_for_reply && told[0].event.body() == event("1").body());
    assert!(told[0].event.attributes().all(|attribute| !attribute.name.starts_with("reveille")));
    assert_eq!(rig.letters().await.len(), 1, "the dead-letter log has it too");
}

#[tokio::test(start_paused = true)]
async fn the_sink_is_told_why() {
    let with = |code, body: &'static [u8]| Failure { body: Bytes::from_static(body), ..failure(Some(code)) };
    check(Outcome::Refused(with(422, b"no good")), "422", Some(b"no good")).await;
    check(Outcome::Refused(with(422, b"")), "422", None).await;
    check(Outcome::Retryable(with(503, b"two\nlines\r\n\0\xff\xfe")), "503", Some(b"two\nlines\r\n\0\xff\xfe")).await;
    check(Outcome::Retryable(with(503, &[0xC3; 1024])), "503", Some(&[0xC3; 1024])).await;
    check(Outcome::Retryable(failure(None)), "500", Some(b"connection refused")).await;
    check(Outcome::Refused(failure(None)), "500", Some(b"connection refused")).await;
}

#[tokio::test(start_paused = true)]
async fn the_sink_is_retried_and_then_left() {
    for (failures, attempts) in [(2, 3), (usize::MAX, 4)] {
        let mut rig = Rig::new(move |to, _, before| {
            let fails = to == "http://a" || before < failures;
            (Duration::ZERO, if fails { retryable(500) } else { delivered() })
        });
        rig.start(vec![with_sink("a")]);
        rig.publish(vec![event("1")]).await;
        rig.until_settled("a").await;
        let seen = rig.seen_by("sink");
        assert_eq!((rig.seen_by("a").len(), seen.len()), (4, attempts));
        let gap = seen[1].at - seen[0].at;
        assert!(gap >= Duration::from_secs(1) && gap < Duration::from_millis(1200), "the same schedule: {gap:?}");
        assert_eq!(rig.letters().await.len(), 1);
        let given_up = rig.metrics.encode().unwrap().contains("sink_failures_total{namespace=\"ns\",trigger=\"a\"} 1");
        assert_eq!(given_up, failures > 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_does_not_hold_up_the_subscriber() {
    let mut rig = Rig::new(|to, event, _| match (to, event.id()) {
        ("http://sink", _) => (Duration::from_secs(60), delivered()),
        (_, id) if id.len() == 1 => (Duration::ZERO, Outcome::Refused(failure(Some(400)))),
        _ => (Duration::ZERO, delivered()),
    });
    let mut entry = with_sink("a");
    entry.concurrency = 4;
    entry.order = crate::triggers::Order::Ordered;
    rig.start(vec![entry]);
    let began = tokio::time::Instant::now();
    rig.publish_numbers(0..100).await;
    rig.until("all were attempted", |rig| rig.seen_by("a").len() == 100).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    rig.until_settled("a").await;
    assert_eq!(rig.seen_by("sink").len(), 10);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_settled_before_its_letter_is_stored() {
    let mut rig = Rig::new(|_, _, _| (Duration::ZERO, Outcome::Refused(failure(Some(400)))));
    rig.start(vec![trigger("a")]);
    rig.dead_letters.fail_appends(Some(AppendError::Full("no room".to_owned())));
    rig.publish(vec![event("1")]).await;
    rig.until("it was tried twice", |rig| rig.seen().len() == 2).await;
    let status = rig.status("a").unwrap();
    assert!(status.failing && status.floor.0 == 0, "{status:?}");
    assert!(status.last_error.is_some_and(|error| error.contains("no room")));
    rig.dead_letters.fail_appends(None);
    rig.until_settled("a").await;
    let letters = rig.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason, letters[0].trigger.clone()), (Reason::Refused, super::rig::key("a")));
}

#[tokio::test(start_paused = true)]
async fn a_letter_waits_for_its_sink_over_a_restart() {
    let mut rig = Rig::new(|to, _, _| match to {
        "http://sink" => (Duration::ZERO, retryable(503)),
        _ => (Duration::ZERO, Outcome::Refused(failure(Some(410)))),
    });
    rig.start(vec![with_sink("a")]);
    rig.publish_numbers(0..3).await;
    rig.until("the sink was tried", |rig| rig.seen_by("sink").len() == 3).await;
    rig.drain(Duration::from_secs(1)).await;
    rig.script(|to, _, _| (Duration::ZERO, if to == "http://sink" { delivered() } else { retryable(500) }));
    rig.start(vec![with_sink("a")]);
    rig.until_settled("a").await;
    assert_eq!(rig.seen_by("a").len(), 3, "the subscriber is not asked again");
    let told = rig.seen_by("sink");
    assert_eq!(told.len(), 6);
    assert!(told.iter().all(|seen| seen.event.attribute("knativeerrorcode").is_some_and(|a| a.value == "410")));
    assert_eq!(rig.dead_letters.bounds().next.0, 3);
}

#[tokio::test(start_paused = true)]
async fn old_letters_go_unless_their_sink_has_still_to_get_them() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let mut rig = Rig::new(|to, _, _| {
        let outcome = if to == "http://sink" { retryable(503) } else { Outcome::Refused(failure(Some(422))) };
        (Duration::ZERO, outcome)
    });
    rig.letter_retention = Retention { age: Some(DAY), bytes: Some(1), discard_above_bytes: None };
    rig.start(vec![trigger("a")]);
    rig.publish_numbers(0..10).await;
    rig.until_settled("a").await;
    rig.dispatcher().trim_now().await;
    assert_eq!(rig.letters().await.len(), 10, "too many bytes, but nobody had time to look");
    rig.pass_wall_time(2 * DAY);
    rig.dispatcher().trim_now().await;
    assert_eq!(rig.letters().await.len(), 0);
    assert!(
        rig.metrics
            .encode()
            .unwrap()
            .contains("reveille_dead_letters_expired_total{namespace=\"ns\",broker=\"default\"} 10")
    );

    let mut patient = TriggerEntry { start: StartPosition::Latest, ..with_sink("b") };
    patient.delivery.retry = u32::MAX;
    rig.set(vec![trigger("a"), patient]);
    rig.until("it has begun", |rig| rig.status("b").is_some()).await;
    rig.publish_numbers(10..11).await;
    rig.until("its letter waits", |rig| rig.status("b").is_some_and(|status| status.letters_floor.is_some())).await;
    rig.pass_wall_time(2 * DAY);
    rig.dispatcher().trim_now().await;
    assert!(rig.letters().await.iter().any(|letter| letter.trigger.name.as_str() == "b"));
    // Over a restart too.
    rig.crash();
    rig.start(vec![trigger("a"), {
        let mut patient = with_sink("b");
        patient.delivery.retry = u32::MAX;
        patient
    }]);
    rig.until("it has begun again", |rig| rig.status("b").is_some()).await;
    rig.dispatcher().trim_now().await;
    assert!(rig.letters().await.iter().any(|letter| letter.trigger.name.as_str() == "b"));
    rig.script(|_, _, _| (Duration::ZERO, delivered()));
    rig.until_settled("b").await;
    rig.dispatcher().trim_now().await;
    assert_eq!(rig.letters().await.len(), 0);
}
