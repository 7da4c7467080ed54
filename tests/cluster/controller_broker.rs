//! What the controller says of Brokers, and of those that are not its own.

use tests::cluster::{Cluster, condition, message};

use super::controller_setup::{ControllerProcess, Stage, broker, service, trigger};

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
    // Ours come later in the same watches.
    stage.broker().await;
    stage.apply(&trigger("others", "other", "{uri: \"http://a.example\"}"));
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
    stage.trigger("early", "False", "BrokerDoesNotExist").await;
    stage.broker().await;
    stage.trigger("early", "True", "").await;
    stage.delete("broker", "default");
    stage.trigger("early", "False", "BrokerDoesNotExist").await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_b8_t2_t7_a_broker_and_its_triggers_wait_for_its_dead_letter_sink() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "sink").await;
    let controller = stage.start().await;
    let sink = "{delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead}}}}";
    stage.apply(&broker("default", "Reveille").replace("spec: {}", &format!("spec: {sink}")));
    stage.apply(&trigger("one", "default", "{uri: \"http://a.example\"}"));
    let waiting = stage.ready("brokers", "default", "False", "NotFound").await;
    assert_eq!(waiting["status"].get("deadLetterSinkUri"), None, "{waiting}");
    assert!(message(&waiting, "Ready").contains("Service `dead`"), "{waiting}");
    stage.trigger("one", "False", "NotFound").await;

    stage.apply(&service("dead"));
    let url = format!("http://dead.{}.svc.cluster.local", stage.namespace.name());
    for (plural, name) in [("brokers", "default"), ("triggers", "one")] {
        let object = stage.ready(plural, name, "True", "").await;
        assert_eq!(object["status"]["deadLetterSinkUri"].as_str().unwrap().trim_end_matches('/'), url);
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_broker_without_a_class_gets_ours_where_it_is_the_default() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "unclassed").await;
    let bare = |name: &str| format!("apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: {name}}}\n");
    let controller = stage.start().await;
    stage.apply(&bare("bare"));
    stage.broker().await;
    let class =
        |object: &serde_json::Value| object["metadata"]["annotations"]["eventing.knative.dev/broker.class"].clone();
    let left = stage.get("brokers", "bare").await.unwrap();
    assert_eq!((class(&left), condition(&left, "Ready")), (serde_json::Value::Null, None), "nobody's default");
    controller.stop().await;
    let controller = ControllerProcess::start_with(stage.kubeconfig(), &["--default-class"]).await;
    let claimed = stage.ready("brokers", "bare", "True", "").await;
    assert_eq!(class(&claimed), "Reveille");
    controller.stop().await;
}
