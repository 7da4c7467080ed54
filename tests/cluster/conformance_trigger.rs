//! What Knative demands of a Trigger (CP-T); admission is in `crds.rs`.

use std::cell::Cell;

use tests::harness::{Answer, Subscriber, eventually};

use crate::kubectl::done;
use crate::together_setup::{Scene, gadgets, has, publish, to, trigger};
use tests::cluster::{condition, message};

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_trigger_without_a_broker_waits_for_it_and_then_delivers() {
    let Some(scene) = Scene::new("t1").await else { return };
    let subscriber = Subscriber::start().await;
    scene.trigger("early", &to(&subscriber));
    let waits = scene.ready("triggers", "early", "False", "BrokerDoesNotExist").await;
    assert!(message(&waits, "Ready").contains("Broker `default`"), "{waits}");
    scene.broker("").await;
    scene.ready("triggers", "early", "True", "").await;
    publish(&scene.publisher().await, "a", "t").await;
    has(&subscriber, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_what_is_edited_is_in_force() {
    let Some(scene) = Scene::new("t4").await else { return };
    let (one, two, dead) = (Subscriber::start().await, Subscriber::start().await, Subscriber::start().await);
    let refusing = Subscriber::scripted(|_| Answer::code(400)).await;
    scene.broker("").await;
    let publisher = scene.publisher().await;
    let sink = format!("delivery: {{deadLetterSink: {{uri: \"{}\"}}}}", dead.url());
    // Each line is the Trigger as edited, a type that it must take, and where that goes.
    let rows = [
        (format!("filter: {{attributes: {{type: a}}}}, {}", to(&one)), "a", &one),
        (format!("filter: {{attributes: {{type: b}}}}, {}", to(&one)), "b", &one),
        (format!("filter: {{attributes: {{type: b}}}}, filters: [{{exact: {{type: c}}}}], {}", to(&one)), "c", &one),
        (to(&two), "d", &two),
        (format!("{}, {sink}", to(&refusing)), "e", &dead),
    ];
    for (number, (edited, ty, subscriber)) in rows.iter().enumerate() {
        scene.trigger("t", edited);
        let round = Cell::new(0);
        // The broker learns of an edit by its watch, a moment after `kubectl apply` has returned.
        eventually(&format!("the edit {number} to be in force"), || async {
            round.set(round.get() + 1);
            let id = format!("{number}-{}", round.get());
            publish(&publisher, &id, ty).await;
            scene.settled("t").await;
            subscriber.ids().contains(&id).then_some(())
        })
        .await;
    }
    assert!(one.ids().iter().all(|id| ["0", "1", "2"].contains(&id.split('-').next().unwrap())), "{:?}", one.ids());
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_t9_a_ready_trigger_has_the_address_of_the_service_in_its_own_namespace() {
    let Some(scene) = Scene::new("t9").await else { return };
    let subscriber = Subscriber::start().await;
    scene.broker("").await;
    scene.service("near", &subscriber);
    scene.trigger("t", "subscriber: {ref: {apiVersion: v1, kind: Service, name: near}}");
    let ready = scene.ready("triggers", "t", "True", "").await;
    let url = format!("http://near.{}.svc.cluster.local:{}", scene.namespace.name(), subscriber.addr().port());
    assert_eq!(ready["status"]["subscriberUri"].as_str().unwrap().trim_end_matches('/'), url);
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_triggers_own_dead_letter_sink_comes_before_its_brokers() {
    let Some(scene) = Scene::new("t7").await else { return };
    let (own, brokers) = (Subscriber::start().await, Subscriber::start().await);
    let refusing = Subscriber::scripted(|_| Answer::code(400)).await;
    scene.broker(&format!("{{delivery: {{deadLetterSink: {{uri: \"{}\"}}}}}}", brokers.url())).await;
    scene.trigger("own", &format!("{}, delivery: {{deadLetterSink: {{uri: \"{}\"}}}}", to(&refusing), own.url()));
    scene.trigger("none", &format!("{}, delivery: {{retry: 0}}", to(&refusing)));
    for (name, sink) in [("own", &own), ("none", &brokers)] {
        let ready = scene.ready("triggers", name, "True", "").await;
        assert_eq!(ready["status"]["deadLetterSinkUri"], sink.url().as_str());
    }
    publish(&scene.publisher().await, "a", "t").await;
    has(&own, "a").await;
    has(&brokers, "a").await;
    assert_eq!((own.ids().len(), brokers.ids().len()), (1, 1), "each gets its own Trigger's");
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_what_is_published_once_a_trigger_is_ready_is_delivered() {
    let Some(scene) = Scene::new("t12").await else { return };
    scene.broker("").await;
    let publisher = scene.publisher().await;
    for round in 0..10 {
        let (subscriber, name) = (Subscriber::start().await, format!("t-{round}"));
        scene.trigger(&name, &to(&subscriber));
        scene.ready("triggers", &name, "True", "").await;
        publish(&publisher, &name, "t").await;
        has(&subscriber, &name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t14_a_trigger_waits_for_what_it_depends_on() {
    let Some(scene) = Scene::new("t14").await else { return };
    gadgets(scene.cluster).await;
    scene.broker("").await;
    let dependency = r#"{"apiVersion":"gadgets.example.dev/v1","kind":"Gadget","name":"source"}"#;
    let annotated = format!("{{name: t, annotations: {{knative.dev/dependency: '{dependency}'}}}}");
    scene.apply(&trigger("t", "subscriber: {uri: 'http://a.example'}").replace("{name: t}", &annotated));
    let waits = scene.ready("triggers", "t", "False", "DependencyDoesNotExist").await;
    assert!(message(&waits, "Ready").contains("Gadget `source`"), "{waits}");
    let source = |status: &str| {
        format!(
            "apiVersion: gadgets.example.dev/v1\nkind: Gadget\nmetadata: {{name: source}}\n\
             status: {{conditions: [{{type: Ready, status: \"{status}\", reason: Because, message: of this}}]}}\n"
        )
    };
    scene.apply(&source("False"));
    let waits = scene.ready("triggers", "t", "False", "Because").await;
    assert!(message(&waits, "Ready").contains("of this"), "{waits}");
    scene.apply(&source("True"));
    scene.ready("triggers", "t", "True", "").await;
    done(scene.cluster, &["-n", scene.namespace.name(), "delete", "gadget", "source"], "");
    scene.ready("triggers", "t", "False", "DependencyDoesNotExist").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_events_for_an_address_of_an_unknown_scheme_go_to_the_dead_letter_sink() {
    let Some(scene) = Scene::new("t17").await else { return };
    let dead = Subscriber::start().await;
    scene.broker("").await;
    scene.trigger(
        "odd",
        &format!("subscriber: {{uri: 'bad://uri'}}, delivery: {{deadLetterSink: {{uri: \"{}\"}}}}", dead.url()),
    );
    let ready = scene.ready("triggers", "odd", "True", "").await;
    assert_eq!(condition(&ready, "SubscriberResolved").unwrap()["reason"], "UnsupportedScheme");
    publish(&scene.publisher().await, "a", "t").await;
    has(&dead, "a").await;
    let received = dead.received();
    let received = received.first().unwrap();
    assert_eq!(received.header("ce-knativeerrordest"), "bad://uri");
    assert_eq!(received.header("kn-namespace"), scene.namespace.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn t18_a_deleted_trigger_gets_nothing_more() {
    let Some(scene) = Scene::new("t18").await else { return };
    // With work that waits for another attempt.
    let refusing = Subscriber::scripted(|_| Answer::code(503)).await;
    let other = Subscriber::start().await;
    scene.broker("{delivery: {retry: 1000, backoffPolicy: linear, backoffDelay: PT0.02S}}").await;
    scene.trigger("gone", &to(&refusing));
    scene.trigger("stays", &to(&other));
    let publisher = scene.publisher().await;
    publish(&publisher, "a", "t").await;
    refusing.wait_for(3).await;
    scene.kubectl(&["delete", "trigger", "gone"]);
    eventually("the broker to drop it", || async { scene.item("gone").await.is_none().then_some(()) }).await;
    // What is under way may end.
    let last = Cell::new(refusing.received().len());
    eventually("it to be left alone", || async {
        let id = format!("b-{}", last.get());
        publish(&publisher, &id, "t").await;
        has(&other, &id).await;
        (last.replace(refusing.received().len()) == last.get()).then_some(())
    })
    .await;
    for number in 0..20 {
        publish(&publisher, &format!("c-{number}"), "t").await;
        has(&other, &format!("c-{number}")).await;
    }
    assert_eq!(refusing.received().len(), last.get());
}
