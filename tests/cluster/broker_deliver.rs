//! `reveille serve --kube` on a real API server: Triggers that come, change, wait and go.

use broker::clock::Clock;
use tests::cluster::Cluster;
use tests::harness::{Answer, Sample, Subscriber, eventually};

use super::broker_setup::{Setup, trigger};

fn uri(subscriber: &Subscriber) -> String {
    format!("{{uri: \"{}\"}}", subscriber.url())
}

async fn publish(publisher: &tests::harness::Publisher, id: &str) {
    assert_eq!(publisher.binary(&Sample::new(id)).await.unwrap().code, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_served_from_its_creation_until_it_is_removed() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let setup = Setup::new(cluster, "served").await;
    let broker = setup.start().await;
    let (one, two) = (Subscriber::start().await, Subscriber::start().await);
    // What is published after `kubectl apply` returned is delivered, whenever the broker hears of the Trigger.
    let publisher = setup.publisher(&broker);
    eventually("the broker to serve its Broker", || async {
        (publisher.binary(&Sample::new("early")).await.ok()?.code == 202).then_some(())
    })
    .await;
    setup.trigger("one", &uri(&one));
    setup.trigger("two", &uri(&two));
    publish(&publisher, "a").await;
    for subscriber in [&one, &two] {
        eventually("the delivery", || async { subscriber.ids().contains(&"a".to_owned()).then_some(()) }).await;
    }
    let before = one.received().len();
    setup.kubectl(&["delete", "trigger", "one"]);
    setup.gone(&broker, "one").await;
    publish(&publisher, "b").await;
    eventually("the other's delivery", || async { two.ids().contains(&"b".to_owned()).then_some(()) }).await;
    assert_eq!(one.received().len(), before, "{:?}", one.ids());
    // Without its Broker there is nobody to publish to.
    setup.kubectl(&["delete", "broker", "default"]);
    eventually("its Broker to be gone", || async {
        (publisher.binary(&Sample::new("late")).await.ok()?.code == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_until_the_controller_says_where_to() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let setup = Setup::new(cluster, "unresolved").await;
    let subscriber = Subscriber::start().await;
    setup.trigger("t", "{ref: {apiVersion: v1, kind: Service, name: orders}}");
    let broker = setup.start().await;
    let waiting = format!("Service {}/orders", setup.namespace.name());
    setup.served(&broker, "t", &waiting).await;
    publish(&setup.publisher(&broker), "a").await;
    let item = || broker.trigger_in(setup.namespace.name(), "t");
    eventually("the event to wait", || async { (item().await?.lag.events == 1).then_some(()) }).await;
    assert!(item().await.unwrap().last_error.unwrap().contains("reveille-controller"));
    let status = |status: String| {
        let patch = format!("{{\"status\":{status}}}");
        setup.kubectl(&["patch", "trigger", "t", "--subresource=status", "--type=merge", "-p", &patch]);
    };
    let missing = "[{\"type\":\"SubscriberResolved\",\"status\":\"False\",\"message\":\"there is no Service orders\"}]";
    status(format!("{{\"observedGeneration\":1,\"conditions\":{missing}}}"));
    eventually("the controller's words", || async {
        item().await?.last_error?.contains("there is no Service orders").then_some(())
    })
    .await;
    assert_eq!((broker.metric("reveille_delivery_attempts_total").await, subscriber.received().len()), (0.0, 0));
    status(format!("{{\"observedGeneration\":1,\"subscriberUri\":\"{}\",\"conditions\":[]}}", subscriber.url()));
    assert_eq!(subscriber.wait_for(1).await[0].id(), "a");
    eventually("it to be settled", || async { (item().await?.lag.events == 0).then_some(()) }).await;
    assert_eq!((item().await.unwrap().dead_letters, subscriber.received().len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_created_anew_begins_with_its_own_creation() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let setup = Setup::new(cluster, "anew").await;
    let refusing = Subscriber::scripted(|_| Answer::code(503)).await;
    let willing = Subscriber::start().await;
    setup.trigger("t", &uri(&refusing));
    let broker = setup.start().await;
    setup.served(&broker, "t", &refusing.url()).await;
    let publisher = setup.publisher(&broker);
    publish(&publisher, "old").await;
    refusing.wait_for(1).await;
    // Creation is known to the second.
    let second = || Clock::system().now().0 / 1_000_000;
    let published = second();
    eventually("the next second", || async { (second() > published).then_some(()) }).await;
    let file = setup.home.path("trigger.yaml");
    std::fs::write(&file, trigger("t", &uri(&willing))).unwrap();
    setup.kubectl(&["replace", "--force", "-f", file.to_str().unwrap()]);
    publish(&publisher, "new").await;
    willing.wait_for(1).await;
    eventually("everything to be settled", || async {
        let item = broker.trigger_in(setup.namespace.name(), "t").await?;
        (item.lag.events == 0 && item.subscriber == willing.url()).then_some(())
    })
    .await;
    assert_eq!(willing.ids(), ["new"], "its former namesake's event is not its own");
}
