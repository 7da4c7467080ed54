//! What the controller says of Triggers and what they lead to.

use tests::cluster::{Cluster, condition, message};
use tests::harness::eventually;

use super::controller_setup::{Stage, service, to_service, trigger};

#[tokio::test(flavor = "multi_thread")]
async fn t6_d1_a_trigger_follows_the_service_that_it_refers_to() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "follows").await;
    let controller = stage.start().await;
    stage.broker().await;
    stage.apply(&trigger("one", "default", &to_service("test")));
    let missing = stage.trigger("one", "False", "NotFound").await;
    assert_eq!(missing["status"].get("subscriberUri"), None, "{missing}");
    let words = message(&missing, "Ready");
    assert!(words.contains("Service `test`") && words.contains("create it, or correct the name"), "{words}");

    stage.apply(&service("test"));
    let found = stage.trigger("one", "True", "").await;
    let url = format!("http://test.{}.svc.cluster.local", stage.namespace.name());
    assert_eq!(found["status"]["subscriberUri"].as_str().unwrap().trim_end_matches('/'), url);

    stage.delete("service", "test");
    let gone = stage.trigger("one", "False", "NotFound").await;
    assert_eq!(gone["status"].get("subscriberUri"), None, "{gone}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t17_an_address_of_an_unknown_scheme_is_ready_with_a_warning() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "scheme").await;
    let controller = stage.start().await;
    stage.broker().await;
    stage.apply(&trigger("odd", "default", "{uri: \"bad://uri\"}"));
    let odd = stage.trigger("odd", "True", "").await;
    assert_eq!(odd["status"]["subscriberUri"], "bad://uri");
    let resolved = condition(&odd, "SubscriberResolved").unwrap();
    assert_eq!((&resolved["status"], &resolved["reason"]), (&"True".into(), &"UnsupportedScheme".into()));
    let about = "jsonpath={.items[?(@.involvedObject.name==\"odd\")].reason}";
    eventually("the Event", || async {
        let events = stage.namespace.kubectl(&["get", "events", "-o", about]).unwrap();
        String::from_utf8(events.stdout).unwrap().contains("UnsupportedScheme").then_some(())
    })
    .await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_another_namespace_is_refused() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "across").await;
    let controller = stage.start().await;
    stage.broker().await;
    // This one exists.
    let subscriber = "{ref: {apiVersion: v1, kind: Service, name: kubernetes, namespace: default}}";
    stage.apply(&trigger("across", "default", subscriber));
    let refused = stage.trigger("across", "False", "CrossNamespaceReference").await;
    assert_eq!(refused["status"].get("subscriberUri"), None, "{refused}");
    let words = message(&refused, "Ready");
    assert!(words.contains("as spec.subscriber.uri"), "{words}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_trigger_stops_no_other() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    let crds = [tests::cluster::without_schema("Broker"), tests::cluster::without_schema("Trigger")];
    let stage = Stage::with_crds(&cluster, "malformed", &[&crds[0], &crds[1]]).await;
    for (name, subscriber) in [("bad", "{uri: 7}"), ("worse", "[1, 2]"), ("good", "{uri: \"http://a.example\"}")] {
        stage.apply(&trigger(name, "default", subscriber));
    }
    let controller = stage.start().await;
    stage.broker().await;
    stage.trigger("good", "True", "").await;
    for name in ["bad", "worse"] {
        let bad = stage.trigger(name, "False", "InvalidSubscriber").await;
        assert!(message(&bad, "Ready").contains("spec.subscriber"), "{bad}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t16_a_wrong_expression_is_told_with_a_caret_until_it_is_mended() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "cesql").await;
    let controller = stage.start().await;
    stage.broker().await;
    let filtered = |expression: &str| {
        let rest = format!("{{uri: \"http://a.example\"}}, filters: [{{not: {{cesql: \"{expression}\"}}}}]");
        trigger("filtered", "default", &rest)
    };
    stage.apply(&filtered("type == 'a'"));
    let wrong = stage.trigger("filtered", "False", "InvalidFilter").await;
    let words = message(&wrong, "FilterValid");
    assert!(words.starts_with("spec.filters[0].not.cesql: "), "{words}");
    assert!(words.ends_with("not `=`\n  type == 'a'\n        ^"), "{words}");
    stage.apply(&filtered("type = 'a'"));
    stage.trigger("filtered", "True", "").await;
    controller.stop().await;
}
