//! What the controller says of Brokers, and of those that are not its own.

use tests::cluster::Cluster;

use super::controller_setup::{Stage, broker, condition, trigger};

#[tokio::test(flavor = "multi_thread")]
async fn b1_a_broker_of_our_class_is_ready_at_an_address() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "broker").await;
    let controller = stage.start().await;
    let broker = stage.broker().await;
    let url = format!("http://reveille-broker.reveille-system.svc.cluster.local/{}/default", stage.namespace.name());
    assert_eq!(broker["status"]["address"]["url"], url.as_str());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b12_nothing_is_written_to_a_broker_of_another_class_or_its_triggers() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "class").await;
    let controller = stage.start().await;
    stage.apply(&broker("other", "MTChannelBasedBroker"));
    stage.apply(&trigger("others", "other", "{uri: \"http://a.example\"}"));
    // Ours come later in the same watches.
    stage.broker().await;
    stage.apply(&trigger("ours", "default", "{uri: \"http://a.example\"}"));
    stage.trigger("ours", "True", "").await;
    for (plural, name) in [("brokers", "other"), ("triggers", "others")] {
        let object = stage.get(plural, name).await.unwrap();
        assert_eq!(condition(&object, "Ready"), None, "{object}");
    }
    let writes = stage.writes().await;
    assert!(writes.iter().any(|write| write.name == "ours"), "{writes:?}");
    assert!(!writes.iter().any(|write| write.name.starts_with("other")), "{writes:?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_trigger_waits_for_its_broker() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "early").await;
    let controller = stage.start().await;
    stage.apply(&trigger("early", "default", "{uri: \"http://a.example\"}"));
    stage.trigger("early", "False", "").await;
    stage.broker().await;
    stage.trigger("early", "True", "").await;
    stage.delete("broker", "default");
    stage.trigger("early", "False", "").await;
    controller.stop().await;
}
