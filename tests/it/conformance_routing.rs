//! What Knative demands of routing and filters (RT), end to end; broker/src/matching has the same lines in memory.

use std::collections::BTreeSet;

use tests::harness::{Answer, Home, Sample, Subscriber, TriggerManifest};

use super::{accepted, start};

/// What is made of a Trigger for all events.
type Change = Box<dyn Fn(TriggerManifest) -> TriggerManifest>;

/// Publishes events to Triggers that share a subscriber, and compares who got what: pairs of Trigger and id.
async fn check(triggers: Vec<(&str, Change)>, events: &[Sample], expected: &[(&str, &str)]) {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    for (name, with) in &triggers {
        home.trigger(&with(TriggerManifest::new(name, &format!("{}{name}", subscriber.url()))));
    }
    let broker = start(&home).await;
    for event in events {
        accepted(broker.publisher("default").binary(event).await);
    }
    for (name, _) in &triggers {
        broker.settled(name).await;
    }
    let received = subscriber.received();
    let got: BTreeSet<_> = received.iter().map(|one| (one.path.trim_start_matches('/'), one.id())).collect();
    assert_eq!(got, expected.iter().copied().collect());
    assert_eq!(received.len(), expected.len(), "each once");
}

fn plain() -> Change {
    Box::new(|trigger| trigger)
}

fn filters(list: &str) -> Change {
    let list = list.to_owned();
    Box::new(move |trigger| trigger.filters(&list))
}

fn attributes(fields: &'static str) -> Change {
    Box::new(move |trigger| trigger.attributes(fields))
}

#[tokio::test]
async fn r1_r2_r3_r4_r5_r7_types_choose_their_triggers() {
    check(
        vec![
            ("all", plain()),
            ("all-too", plain()),
            ("other", attributes("type: other")),
            ("mine", attributes("type: mine")),
            ("mine-too", attributes("type: mine, source: /tests")),
        ],
        &[Sample::new("1").ty("mine")],
        &[("all", "1"), ("all-too", "1"), ("mine", "1"), ("mine-too", "1")],
    )
    .await;
}

#[tokio::test]
async fn r6_the_reply_of_one_reaches_the_other() {
    let home = Home::new();
    let asked = Subscriber::scripted(|_| {
        let reply = Answer::code(200).header("ce-specversion", "1.0").header("ce-id", "reply");
        reply.header("ce-source", "/asked").header("ce-type", "second")
    })
    .await;
    let second = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("first", &asked.url()).attributes("type: first"));
    home.trigger(&TriggerManifest::new("second", &second.url()).attributes("type: second"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a").ty("first")).await);
    assert_eq!(second.wait_for(1).await[0].id(), "reply");
    broker.settled("first").await;
    assert_eq!((asked.ids(), second.ids().len()), (vec!["a".to_owned()], 1));
}

#[tokio::test]
async fn r8_patterns_of_type_source_and_extensions_get_precisely_their_sets() {
    let mut events = Vec::new();
    for ty in ["t1", "t2"] {
        for source in ["/s1", "/s2"] {
            for extension in ["", "e1"] {
                let mut event = Sample::new(&format!("{ty}{source}{extension}")).ty(ty);
                event.source = source.to_owned();
                events.push(if extension.is_empty() {
                    event
                } else {
                    event.attribute("ext", extension).attribute("two", "2")
                });
            }
        }
    }
    let all = ["t1/s1", "t1/s1e1", "t1/s2", "t1/s2e1", "t2/s1", "t2/s1e1", "t2/s2", "t2/s2e1"];
    let patterns = [
        ("any-any", "type: \"\", source: \"\"", &all[..]),
        ("t1-any", "type: t1", &["t1/s1", "t1/s1e1", "t1/s2", "t1/s2e1"]),
        ("any-s1", "source: /s1", &["t1/s1", "t1/s1e1", "t2/s1", "t2/s1e1"]),
        ("t1-s1", "type: t1, source: /s1", &["t1/s1", "t1/s1e1"]),
        ("ext", "ext: e1", &["t1/s1e1", "t1/s2e1", "t2/s1e1", "t2/s2e1"]),
        ("ext-any", "ext: \"\"", &["t1/s1e1", "t1/s2e1", "t2/s1e1", "t2/s2e1"]),
        ("ext-two", "ext: e1, two: \"2\", type: t2", &["t2/s1e1", "t2/s2e1"]),
        ("none", "ext: e2", &[]),
    ];
    let expected: Vec<_> = patterns.iter().flat_map(|(name, _, ids)| ids.iter().map(move |id| (*name, *id))).collect();
    check(patterns.iter().map(|(name, fields, _)| (*name, attributes(fields))).collect(), &events, &expected).await;
}

#[tokio::test]
async fn f1_f2_f3_f6_f7_f8_the_dialects_and_their_combinations() {
    let four = "{exact: {type: a.b.c}}, {prefix: {type: a.}}, {suffix: {type: .c}}, {exact: {ext: x}}";
    check(
        vec![
            ("exact", filters("[{exact: {type: a.b.c, source: /tests}}]")),
            ("prefix", filters("[{prefix: {type: a.b}}]")),
            ("suffix", filters("[{suffix: {type: .c}}]")),
            ("any", filters("[{any: [{exact: {type: p}}, {exact: {type: q}}, {exact: {type: x.c}}]}]")),
            ("all", filters(&format!("[{{all: [{four}]}}]"))),
            ("list", filters(&format!("[{four}]"))),
        ],
        &[
            Sample::new("1").ty("a.b.c"),
            Sample::new("2").ty("a.b.c").attribute("ext", "x"),
            Sample::new("3").ty("x.c"),
            Sample::new("4").ty("p"),
        ],
        &[
            ("exact", "1"),
            ("exact", "2"),
            ("prefix", "1"),
            ("prefix", "2"),
            ("suffix", "1"),
            ("suffix", "2"),
            ("suffix", "3"),
            ("any", "3"),
            ("any", "4"),
            ("all", "2"),
            ("list", "2"),
        ],
    )
    .await;
}

#[tokio::test]
async fn f9_f10_f11_f12_f13_f14_f15_absence_precedence_overlap_and_case() {
    check(
        vec![
            ("missing", filters("[{all: [{exact: {type: t}}, {prefix: {ext: a}}]}]")),
            ("empty-list", Box::new(|trigger| trigger.filters("[]").attributes("type: u"))),
            ("both", Box::new(|trigger| trigger.filters("[{exact: {type: t}}]").attributes("type: u"))),
            ("overlap", filters("[{any: [{exact: {type: t}}, {exact: {type: u}}]}]")),
            ("not", filters("[{not: {exact: {ext: ab}}}]")),
            ("present", attributes("ext: \"\"")),
            ("case", filters("[{exact: {ext: AB}}]")),
        ],
        &[Sample::new("1").ty("t"), Sample::new("2").ty("t").attribute("ext", "ab"), Sample::new("3").ty("u")],
        &[
            ("missing", "2"),
            ("empty-list", "3"),
            ("both", "1"),
            ("both", "2"),
            ("overlap", "1"),
            ("overlap", "2"),
            ("overlap", "3"),
            ("not", "1"),
            ("not", "3"),
            ("present", "2"),
        ],
    )
    .await;
}
