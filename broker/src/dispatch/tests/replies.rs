//! Replies go into the Broker's log before the event they answer is settled (checklist P1 to P7).

use std::time::Duration;

use super::rig::{Rig, delivered, event, trigger, typed};
use crate::dead_letter::Reason;
use crate::deliver::Outcome;
use crate::event::Event;
use crate::event::HOPS_ATTRIBUTE;
use crate::log::{AppendError, EventLog};
use crate::matching::Filter;
use crate::triggers::TriggerEntry;

fn replying(reply: Event) -> Outcome {
    Outcome::Delivered { code: 200, reply: Some(Box::new(reply)), odd_body: false }
}

fn of_type(name: &str, ty: &str) -> TriggerEntry {
    let attributes = [("type".to_owned(), ty.to_owned())].into();
    TriggerEntry { filter: Filter::compile(Some(&attributes), None).unwrap(), ..trigger(name) }
}

#[tokio::test(start_paused = true)]
async fn a_reply_reaches_all_that_want_it() {
    let mut rig = Rig::new(|to, event, _| match (to, event.ty()) {
        ("http://author", "question") => (Duration::ZERO, replying(typed("r", "answer", "s"))),
        _ => (Duration::ZERO, delivered()),
    });
    rig.start(vec![trigger("author"), of_type("reader", "answer"), of_type("other", "question")]);
    rig.publish(vec![typed("q", "question", "s")]).await;
    rig.until("the reply arrives", |rig| rig.seen_by("reader").len() == 1).await;
    rig.until_settled("author").await;
    assert_eq!((rig.ids_of("author"), rig.ids_of("other")), (vec!["q".into(), "r".into()], vec!["q".into()]));
    let reply = &rig.seen_by("reader")[0].event;
    assert_eq!(reply.attribute(HOPS_ATTRIBUTE).unwrap().value, "254");
    assert_eq!(reply.body(), event("r").body());
    assert!(rig.metrics.encode().unwrap().contains("reveille_replies_total{namespace=\"ns\",trigger=\"author\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_reply_cannot_be_stored_is_delivered_again() {
    let mut rig = Rig::new(|_, event, _| match event.ty() {
        "question" => (Duration::ZERO, replying(typed("r", "answer", "s"))),
        _ => (Duration::ZERO, delivered()),
    });
    rig.start(vec![of_type("author", "question")]);
    rig.publish(vec![typed("q", "question", "s")]).await;
    rig.until_settled("author").await;
    rig.publish(vec![typed("q2", "question", "s")]).await;
    rig.events.fail_appends(Some(AppendError::Full("no room".to_owned())));
    rig.until("it is tried again", |rig| rig.seen_by("author").len() >= 3).await;
    let told = |error: String| error.contains("reply") && error.contains("no room");
    rig.until("it says why", |rig| rig.status("author").unwrap().last_error.is_some_and(told)).await;
    assert_eq!(rig.status("author").unwrap().floor.0, 2);
    rig.events.fail_appends(None);
    rig.until_settled("author").await;
    assert_eq!(rig.events.bounds().next.0, 4, "two questions, two answers");
    assert!(rig.letters().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_echo_ends() {
    let mut rig = Rig::new(|_, event, _| (Duration::ZERO, replying(event.with_attributes(&[], &[HOPS_ATTRIBUTE]))));
    rig.start(vec![trigger("echo")]);
    rig.publish(vec![event("1")]).await;
    rig.until("it ends", |rig| rig.dead_letters.bounds().next.0 == 1).await;
    rig.until_settled("echo").await;
    let letters = rig.letters().await;
    assert_eq!((letters[0].reason, letters[0].error_dest.as_str()), (Reason::HopLimit, "http://echo"));
    assert_eq!(letters[0].event.id(), "1");
    assert_eq!(rig.seen().len(), 255);
    assert_eq!(rig.status("echo").unwrap().dead_letters, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_event_is_counted() {
    let mut rig = Rig::new(|_, _, _| (Duration::ZERO, Outcome::Delivered { code: 200, reply: None, odd_body: true }));
    rig.start(vec![trigger("a")]);
    rig.publish_numbers(0..3).await;
    rig.until_settled("a").await;
    assert_eq!(rig.seen().len(), 3);
    assert!(rig.metrics.encode().unwrap().contains("reveille_odd_replies_total{namespace=\"ns\",trigger=\"a\"} 3"));
}
