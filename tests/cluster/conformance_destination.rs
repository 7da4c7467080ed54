//! What Knative demands of destinations (CP-D).

use tests::harness::{Answer, Subscriber, eventually};

use crate::together_setup::{Scene, gadgets, has, publish, to};
use tests::cluster::message;

/// A subscriber that is a Gadget: a kind that nobody knew when Reveille was built.
const GADGET: &str = "ref: {apiVersion: gadgets.example.dev/v1, kind: Gadget, name: g}";

fn gadget(status: &str) -> String {
    format!("apiVersion: gadgets.example.dev/v1\nkind: Gadget\nmetadata: {{name: g}}\nstatus: {status}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_d2_a_service_and_a_path_below_it() {
    let Some(scene) = Scene::new("d2").await else { return };
    scene.broker("").await;
    scene.apply("apiVersion: v1\nkind: Service\nmetadata: {name: test}\nspec: {ports: [{port: 80}]}\n");
    let service = "ref: {apiVersion: v1, kind: Service, name: test}";
    let url = format!("http://test.{}.svc.cluster.local", scene.namespace.name());
    for (name, uri, expected) in [
        ("plain", "", url.clone()),
        ("path", ", uri: /update", format!("{url}/update")),
        ("query", ", uri: '?a=b'", format!("{url}/?a=b")),
    ] {
        scene.trigger(name, &format!("subscriber: {{{service}{uri}}}"));
        let ready = scene.ready("triggers", name, "True", "").await;
        assert_eq!(ready["status"]["subscriberUri"].as_str().unwrap().trim_end_matches('/'), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_d8_any_addressable_is_a_subscriber_wherever_its_address_moves() {
    let Some(scene) = Scene::new("d3").await else { return };
    gadgets(scene.cluster).await;
    let (one, two) = (Subscriber::start().await, Subscriber::start().await);
    scene.broker("").await;
    scene.apply(&gadget(&format!("{{address: {{url: \"{}\"}}}}", one.url())));
    scene.trigger("t", &format!("subscriber: {{{GADGET}}}"));
    let ready = scene.ready("triggers", "t", "True", "").await;
    assert_eq!(ready["status"]["subscriberUri"], one.url().as_str());
    let publisher = scene.publisher().await;
    publish(&publisher, "a", "t").await;
    has(&one, "a").await;
    scene.apply(&gadget(&format!("{{address: {{url: \"{}\"}}}}", two.url())));
    eventually("the new address to be seen", || async {
        scene.item("t").await.filter(|item| item.subscriber == two.url())
    })
    .await;
    publish(&publisher, "b", "t").await;
    has(&two, "b").await;
    assert_eq!((one.ids(), two.ids()), (vec!["a".to_owned()], vec!["b".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_an_empty_address_is_waited_for() {
    let Some(scene) = Scene::new("d4").await else { return };
    gadgets(scene.cluster).await;
    let subscriber = Subscriber::start().await;
    scene.broker("{delivery: {retry: 0}}").await;
    scene.trigger("t", &format!("subscriber: {{{GADGET}}}"));
    scene.ready("triggers", "t", "False", "NotFound").await;
    scene.apply(&gadget("{address: {url: \"\"}}"));
    let waits = scene.ready("triggers", "t", "False", "AddressNotSet").await;
    assert!(message(&waits, "Ready").contains("Gadget `g`"), "{waits}");
    let publisher = scene.publisher().await;
    publish(&publisher, "a", "t").await;
    scene.apply(&gadget(&format!("{{address: {{url: \"{}\"}}}}", subscriber.url())));
    scene.ready("triggers", "t", "True", "").await;
    has(&subscriber, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_the_list_of_addresses_comes_before_the_one() {
    let Some(scene) = Scene::new("d6").await else { return };
    gadgets(scene.cluster).await;
    scene.broker("").await;
    scene.apply(&gadget(
        "{address: {url: 'http://old.example'}, addresses: [{name: https, url: 'https://first.example'}, \
         {name: http, url: 'http://second.example/x'}]}",
    ));
    for (name, address, expected) in
        [("first", "", "https://first.example"), ("named", "http", "http://second.example/x")]
    {
        let chosen = if address.is_empty() { String::new() } else { format!(", address: {address}") };
        let subscriber = GADGET.replace("name: g", &format!("name: g{chosen}"));
        scene.trigger(name, &format!("subscriber: {{{subscriber}}}"));
        let ready = scene.ready("triggers", name, "True", "").await;
        assert_eq!(ready["status"]["subscriberUri"].as_str().unwrap().trim_end_matches('/'), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_a_broker_is_a_subscriber_and_a_dead_letter_sink() {
    let Some(scene) = Scene::new("d7").await else { return };
    let (refusing, last) = (Subscriber::scripted(|_| Answer::code(400)).await, Subscriber::start().await);
    let second = "ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: second}";
    scene.broker("").await;
    scene.apply(&crate::installed::broker("second", "Reveille", ""));
    scene.trigger("passed", &format!("filter: {{attributes: {{type: passed}}}}, subscriber: {{{second}}}"));
    let sink = format!("delivery: {{deadLetterSink: {{{second}}}}}");
    scene.trigger("dead", &format!("filter: {{attributes: {{type: dead}}}}, {}, {sink}", to(&refusing)));
    scene.apply(&crate::together_setup::trigger("last", &to(&last)).replace("broker: default", "broker: second"));
    for name in ["passed", "dead", "last"] {
        scene.ready("triggers", name, "True", "").await;
    }
    let publisher = scene.publisher().await;
    publish(&publisher, "a", "passed").await;
    publish(&publisher, "b", "dead").await;
    has(&last, "a").await;
    has(&last, "b").await;
    let received = last.received();
    let of = |id: &str| received.iter().find(|one| one.id() == id).unwrap().header("ce-knativeerrorcode");
    assert_eq!((of("a"), of("b")), ("", "400"));
}
