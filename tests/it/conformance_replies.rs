//! What Knative demands of replies and dead letters (RP, X), where no other test has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tests::harness::{Answer, Home, Received, Sample, Subscriber, TriggerManifest};

use super::{accepted, start};

/// An answer that holds an event.
fn reply(id: &str, ty: &str) -> Answer {
    let answer = Answer::code(200).header("ce-specversion", "1.0").header("ce-id", id);
    answer.header("ce-source", "/replies").header("ce-type", ty)
}

#[tokio::test]
async fn p1_a_structured_reply_reaches_all_that_want_it_its_author_too() {
    let home = Home::new();
    let body = r#"{"specversion":"1.0","id":"r","source":"/replies","type":"r","data":{"a" :1}}"#;
    let author = Subscriber::scripted(move |received| match received.id() {
        "r" => Answer::code(204),
        _ => Answer::code(200).header("content-type", "application/cloudevents+json").body(body),
    })
    .await;
    let other = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("author", &author.url()));
    home.trigger(&TriggerManifest::new("other", &other.url()).attributes("type: r"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("q")).await);
    assert_eq!(other.wait_for(1).await[0].body, r#"{"a" :1}"#);
    author.wait_for(2).await;
    broker.settled("author").await;
    assert_eq!((author.ids(), other.ids()), (vec!["q".to_owned(), "r".to_owned()], vec!["r".to_owned()]));
}

#[tokio::test]
async fn p2_p3_neither_a_202_with_an_event_nor_an_empty_200_is_a_reply() {
    let home = Home::new();
    let late = Subscriber::scripted(|_| Answer { code: 202, ..reply("no", "no") }).await;
    let empty = Subscriber::start().await;
    let all = Subscriber::start().await;
    for (name, subscriber) in [("late", &late), ("empty", &empty)] {
        home.trigger(&TriggerManifest::new(name, &subscriber.url()).attributes("type: q"));
    }
    home.trigger(&TriggerManifest::new("all", &all.url()));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("q").ty("q")).await);
    for name in ["late", "empty", "all"] {
        broker.settled(name).await;
        assert_eq!(broker.trigger(name).await.unwrap().dead_letters, 0, "{name}");
    }
    assert_eq!((late.ids().len(), empty.ids().len(), all.ids()), (1, 1, vec!["q".to_owned()]));
}

#[tokio::test]
async fn p4_a_broken_reply_is_a_failed_delivery() {
    let home = Home::new();
    let broken = Subscriber::scripted(|received| match received.earlier {
        0 => Answer::code(200).header("content-type", "application/cloudevents+json").body("{"),
        1 => Answer::code(200).header("ce-specversion", "1.0").header("ce-id", "without-source"),
        _ => Answer::code(204),
    })
    .await;
    let delivery = "retry: 2, backoffPolicy: linear, backoffDelay: PT0.01S";
    home.trigger(&TriggerManifest::new("t", &broken.url()).delivery(delivery));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("q")).await);
    assert_eq!(broken.wait_for(3).await.len(), 3);
    broker.settled("t").await;
    assert_eq!((broken.ids().len(), broker.trigger("t").await.unwrap().dead_letters), (3, 0));
}

#[tokio::test]
async fn p6_a_kill_while_a_reply_is_stored_loses_it_not() {
    let home = Home::new();
    let asked = Subscriber::scripted(|received| reply(&format!("r-{}", received.id()), "r")).await;
    let answered = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("asked", &asked.url()).attributes("type: q"));
    home.trigger(&TriggerManifest::new("answered", &answered.url()).attributes("type: r"));
    let mut broker = start(&home).await;
    for round in 0..5 {
        let asked_before = asked.received().len();
        accepted(broker.publisher("default").binary(&Sample::new(&format!("{round}")).ty("q")).await);
        // At once after the subscriber has seen it: the reply is under way, or stored, or neither.
        asked.wait_for(asked_before + 1).await;
        broker.kill9().await;
        broker = start(&home).await;
        tests::harness::eventually("the reply", || {
            std::future::ready(answered.ids().contains(&format!("r-{round}")).then_some(()))
        })
        .await;
    }
}

#[tokio::test]
async fn p8_p9_a_chain_of_transformations_keeps_large_bodies_and_each_its_own_kind() {
    let home = Home::new();
    let body: Bytes = (0..36_864_u32).map(|n| (n % 253) as u8).collect();
    let large = body.clone();
    let first = Subscriber::scripted(move |_| {
        reply("two", "second").header("content-type", "application/octet-stream").body(large.clone())
    })
    .await;
    let second = Subscriber::scripted(|_| reply("three", "third")).await;
    let third = Subscriber::start().await;
    for (ty, subscriber) in [("first", &first), ("second", &second), ("third", &third)] {
        let trigger = TriggerManifest::new(ty, &subscriber.url());
        home.trigger(&trigger.filters(&format!("[{{exact: {{type: {ty}}}}}]")));
    }
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("one").ty("first")).await);
    third.wait_for(1).await;
    for ty in ["first", "second", "third"] {
        broker.settled(ty).await;
    }
    assert_eq!(
        (first.ids(), second.ids(), third.ids()),
        (vec!["one".into()], vec!["two".into()], vec!["three".into()])
    );
    assert_eq!(second.received()[0].body, body);
}

/// What the sink gets of an event whose subscriber answers like this.
async fn letter(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Received {
    let home = Home::new();
    let (sink, subscriber) = (Subscriber::start().await, Subscriber::scripted(answer).await);
    let delivery = format!("retry: 1, deadLetterSink: {{uri: \"{}\"}}", sink.url());
    home.trigger(&TriggerManifest::new("t", &subscriber.url()).delivery(&delivery));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let letter = sink.wait_for(1).await.remove(0);
    broker.settled("t").await;
    assert_eq!((sink.received().len(), letter.header("kn-namespace")), (1, "default"));
    assert_eq!(letter.header("ce-knativeerrordest"), subscriber.url());
    assert!(broker.is_ready().await);
    letter
}

#[tokio::test]
async fn x1_x4_an_event_for_nobody_ends_in_the_sink_with_the_address() {
    let letter = letter(|_| Answer::drop_connection()).await;
    assert_eq!(letter.header("ce-knativeerrorcode"), "500");
}

#[tokio::test]
async fn x5_the_sink_is_told_code_and_body() {
    let said = letter(|_| Answer::code(422).body("no such order")).await;
    assert_eq!(said.header("ce-knativeerrorcode"), "422");
    assert_eq!(said.header("ce-knativeerrordata"), STANDARD.encode("no such order"));
    let silent = letter(|_| Answer::code(422)).await;
    assert_eq!((silent.header("ce-knativeerrorcode"), silent.header("ce-knativeerrordata")), ("422", ""));
}

#[tokio::test]
async fn x6_long_binary_and_many_lined_error_bodies_do_no_harm() {
    let binary: Bytes = (0..=255).cycle().take(2_000).collect();
    let rows = [Bytes::from("x".repeat(2_000)), binary, Bytes::from("line\r\nInjected: header\n\n".repeat(100))];
    for body in rows {
        let sent = body.clone();
        let letter = letter(move |_| Answer::code(503).body(sent.clone())).await;
        assert_eq!((letter.id(), letter.header("ce-knativeerrorcode")), ("a", "503"));
        let data = STANDARD.decode(letter.header("ce-knativeerrordata")).unwrap();
        assert!(!data.is_empty() && body.starts_with(&data), "{} bytes", data.len());
        assert!(!letter.headers.contains_key("injected"));
    }
}
