//! Subscribers and sinks whose address is not known yet, and Triggers that are created anew.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{Rig, delivered, failure, trigger};
use crate::deliver::Outcome;
use crate::log::{EventLog, Offset};
use crate::triggers::{Recipient, StartPosition, Target, TriggerEntry};

fn unresolved(why: &str) -> Recipient {
    Recipient::Unresolved { what: "Service ns/s".into(), why: why.into() }
}

fn at(host: &str) -> Recipient {
    Target::from(format!("http://{host}")).into()
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_an_address_without_attempts() {
    let mut rig = Rig::willing();
    rig.start(vec![TriggerEntry { subscriber: unresolved("there is no such Service"), ..trigger("a") }, trigger("b")]);
    rig.publish_numbers(0..2000).await;
    rig.until_settled("b").await;
    rig.until("it says why", |rig| rig.status("a").is_some_and(|status| status.failing)).await;
    let status = rig.status("a").unwrap();
    assert_eq!(status.last_error.as_deref(), Some("Service ns/s is not resolved: there is no such Service"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.seen().len(), 2000, "the other Trigger's alone");
    assert!(rig.letters().await.is_empty());
    // Another reason is no address either.
    rig.set(vec![TriggerEntry { subscriber: unresolved("it has no port"), ..trigger("a") }, trigger("b")]);
    let reason = |rig: &Rig| rig.status("a").and_then(|status| status.last_error).unwrap_or_default();
    rig.until("it says why now", |rig| reason(rig).contains("no port")).await;
    rig.set(vec![TriggerEntry { subscriber: at("s"), ..trigger("a") }, trigger("b")]);
    rig.until_settled("a").await;
    let mut ids: Vec<usize> = rig.ids_of("s").iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..2000), "each once");
    let status = rig.status("a").unwrap();
    assert_eq!((status.failing, status.last_error), (false, None));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_lost_holds_what_comes_over_a_restart() {
    let mut rig = Rig::willing();
    rig.start(vec![trigger("a")]);
    rig.publish_numbers(0..3).await;
    rig.until_settled("a").await;
    let lost = TriggerEntry { subscriber: unresolved("deleted"), ..trigger("a") };
    rig.set(vec![lost.clone()]);
    rig.until("it says so", |rig| rig.status("a").is_some_and(|status| status.failing)).await;
    rig.publish_numbers(3..6).await;
    rig.drain(Duration::from_secs(1)).await;
    assert_eq!(rig.cursor("a").await.unwrap().floor(), Offset(3));
    rig.start(vec![lost]);
    rig.until("it says so again", |rig| rig.status("a").is_some_and(|status| status.failing)).await;
    rig.set(vec![trigger("a")]);
    rig.until_settled("a").await;
    assert_eq!(rig.ids_of("a"), ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_wait_for_their_sink() {
    let mut rig = Rig::new(|to, _, _| match to {
        "http://sink" => (Duration::ZERO, delivered()),
        _ => (Duration::ZERO, Outcome::Refused(failure(Some(400)))),
    });
    let with_sink = |sink: Recipient| {
        let mut entry = trigger("a");
        entry.delivery.dead_letter_sink = Some(sink);
        entry
    };
    rig.start(vec![with_sink(unresolved("not there yet"))]);
    rig.publish_numbers(0..3).await;
    rig.until("all were tried", |rig| rig.seen_by("a").len() == 3).await;
    rig.until("all are stored", |rig| rig.dead_letters.bounds().next == Offset(3)).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((rig.seen().len(), rig.status("a").unwrap().floor), (3, Offset(0)));
    rig.set(vec![with_sink(at("sink"))]);
    rig.until_settled("a").await;
    assert_eq!((rig.seen_by("a").len(), rig.seen_by("sink").len()), (3, 3));
    assert_eq!(rig.dead_letters.bounds().next, Offset(3));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_is_created_anew_begins_anew() {
    let of = |uid: &str, start| TriggerEntry { incarnation: Some(Arc::from(uid)), start, ..trigger("a") };
    for restart in [false, true] {
        let mut rig = Rig::willing();
        rig.start(vec![of("one", StartPosition::Earliest)]);
        rig.publish_numbers(0..2).await;
        rig.until_settled("a").await;
        // The same one goes on, whatever happens in between.
        rig.set(vec![]);
        rig.until("it is gone", |rig| rig.status("a").is_none()).await;
        rig.publish_numbers(2..3).await;
        rig.set(vec![of("one", StartPosition::Latest)]);
        rig.until_settled("a").await;
        assert_eq!(rig.ids_of("a"), ["0", "1", "2"], "restart: {restart}");
        let another = of("two", StartPosition::Offset(Offset(1)));
        if restart {
            rig.drain(Duration::from_secs(1)).await;
            rig.start(vec![another]);
        } else {
            rig.set(vec![another]);
        }
        rig.until("it has begun anew", |rig| rig.ids_of("a").len() == 5).await;
        rig.until_settled("a").await;
        assert_eq!(rig.ids_of("a")[3..], ["1", "2"], "restart: {restart}");
        rig.drain(Duration::from_secs(1)).await;
        assert_eq!(rig.cursor("a").await.unwrap().incarnation.as_deref(), Some("two"));
    }
}
