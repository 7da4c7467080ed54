//! Broker and controller together: manifests as users of Knative write them, applied, edited and deleted with kubectl.

use tests::harness::{Answer, Subscriber, eventually};

use crate::together_setup::{Scene, has, publish, to};

/// What the documentation of Knative shows, but for the class.
const SHOP: &str = r#"
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: default
  annotations:
    eventing.knative.dev/broker.class: Reveille
spec:
  delivery:
    retry: 2
    backoffPolicy: linear
    backoffDelay: PT0.1S
    deadLetterSink:
      ref:
        apiVersion: v1
        kind: Service
        name: dead-letters
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: orders
  labels: {app: shop}
spec:
  broker: default
  filter:
    attributes:
      type: com.example.order.created
  subscriber:
    ref:
      apiVersion: v1
      kind: Service
      name: orders
    uri: /orders
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: audit
spec:
  broker: default
  filters:
    - any:
        - prefix: {type: com.example.}
        - suffix: {type: .deleted}
  subscriber:
    ref:
      apiVersion: v1
      kind: Service
      name: audit
"#;

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_knative_users_deliver_to_their_services() {
    let Some(scene) = Scene::new("shop").await else { return };
    let (orders, audit) = (Subscriber::start().await, Subscriber::start().await);
    let dead = Subscriber::start().await;
    scene.apply(SHOP);
    // In the order that comes to people, Services last; nothing is applied twice.
    for (name, subscriber) in [("dead-letters", &dead), ("orders", &orders), ("audit", &audit)] {
        scene.service(name, subscriber);
    }
    for name in ["orders", "audit"] {
        scene.namespace.await_condition("trigger", name, "Ready", "True").unwrap();
    }
    let publisher = scene.publisher().await;
    publish(&publisher, "order", "com.example.order.created").await;
    publish(&publisher, "other", "org.example.deleted").await;
    publish(&publisher, "none", "org.example.made").await;
    has(&audit, "order").await;
    has(&audit, "other").await;
    has(&orders, "order").await;
    for name in ["orders", "audit"] {
        assert_eq!(scene.settled(name).await.dead_letters, 0, "{name}");
    }
    assert_eq!((orders.ids(), dead.received().len()), (vec!["order".to_owned()], 0));
    let delivered = orders.received();
    let delivered = delivered.first().unwrap();
    let host = format!("orders.{}.svc.cluster.local:{}", scene.namespace.name(), orders.addr().port());
    assert_eq!((delivered.path.as_str(), delivered.header("host")), ("/orders", host.as_str()));
    assert_eq!(delivered.header("kn-namespace"), scene.namespace.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_late_gets_what_waited_for_it() {
    let Some(scene) = Scene::new("late").await else { return };
    scene.broker("{delivery: {retry: 0}}").await;
    scene.trigger("late", "subscriber: {ref: {apiVersion: v1, kind: Service, name: late}}");
    scene.ready("triggers", "late", "False", "NotFound").await;
    let publisher = scene.publisher().await;
    publish(&publisher, "a", "t").await;
    eventually("it to wait", || async { scene.item("late").await.filter(|item| item.lag.events == 1) }).await;
    let late = Subscriber::start().await;
    scene.service("late", &late);
    has(&late, "a").await;
    let item = scene.settled("late").await;
    assert_eq!((item.dead_letters, late.ids()), (0, vec!["a".to_owned()]), "waiting used no attempt");
    scene.ready("triggers", "late", "True", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_take_effect_and_deletion_ends_delivery() {
    let Some(scene) = Scene::new("edits").await else { return };
    let (one, two, always) = (Subscriber::start().await, Subscriber::start().await, Subscriber::start().await);
    scene.broker("").await;
    scene.trigger("edited", &format!("filter: {{attributes: {{type: a}}}}, {}", to(&one)));
    scene.trigger("always", &to(&always));
    let publisher = scene.publisher().await;
    publish(&publisher, "1", "a").await;
    has(&one, "1").await;
    // Another filter and another subscriber, in one edit.
    scene.trigger("edited", &format!("filter: {{attributes: {{type: b}}}}, {}", to(&two)));
    scene.ready("triggers", "edited", "True", "").await;
    eventually("the broker to have it", || async {
        scene.item("edited").await.filter(|item| item.subscriber == two.url())
    })
    .await;
    publish(&publisher, "2", "a").await;
    publish(&publisher, "3", "b").await;
    has(&two, "3").await;
    scene.settled("edited").await;
    assert_eq!((one.ids(), two.ids()), (vec!["1".to_owned()], vec!["3".to_owned()]));
    scene.kubectl(&["delete", "trigger", "edited"]);
    eventually("the broker to drop it", || async { scene.item("edited").await.is_none().then_some(()) }).await;
    publish(&publisher, "4", "b").await;
    has(&always, "4").await;
    assert_eq!(two.ids(), ["3"]);
    scene.kubectl(&["delete", "broker", "default"]);
    scene.ready("triggers", "always", "False", "BrokerDoesNotExist").await;
    eventually("publishers to be told", || async {
        (publisher.binary(&tests::harness::Sample::new("5")).await.ok()?.code == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_ask_of_kubectl_is_answered() {
    let Some(scene) = Scene::new("people").await else { return };
    let refusing = Subscriber::scripted(|_| Answer::code(400)).await;
    scene.broker("").await;
    scene.trigger("good", &to(&refusing));
    scene.trigger("bad", "subscriber: {ref: {apiVersion: v1, kind: Service, name: missing}}");
    scene.ready("triggers", "good", "True", "").await;
    scene.ready("triggers", "bad", "False", "NotFound").await;
    let listed = scene.kubectl(&["get", "brokers,triggers"]);
    let row = |name: &str| {
        let line = listed.lines().find(|line| line.split('/').nth(1).is_some_and(|end| end.starts_with(name)));
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let url = scene.publisher().await.url().to_owned();
    assert!(row("default ").contains(&url), "{listed}");
    assert!(row("good ").contains(&refusing.url()) && row("good ").contains(&"True".to_owned()), "{listed}");
    assert!(row("bad ").ends_with(&["False".to_owned(), "NotFound".to_owned()]), "{listed}");
    // Events come a moment after the status.
    let told = eventually("the Event about it", || {
        let told = scene.kubectl(&["describe", "trigger", "bad"]);
        std::future::ready(
            told.split_once("Events:").is_some_and(|(_, events)| events.contains("missing")).then_some(told),
        )
    })
    .await;
    assert!(told.contains("create it, or correct the name"), "{told}");
}
