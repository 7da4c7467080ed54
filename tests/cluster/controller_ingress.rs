//! What the controller says of Brokers while the broker itself is down.

use tests::cluster::{Cluster, condition, message};

use super::controller_setup::{ControllerProcess, Stage, broker, broker_pods, trigger};

#[tokio::test(flavor = "multi_thread")]
async fn b2_t2_a_broker_and_its_triggers_are_ready_only_with_a_data_plane() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "ingress").await;
    stage.apply_system(&broker_pods(false));
    let controller = ControllerProcess::start_with(stage.kubeconfig(), &["--ingress-grace", "PT1S"]).await;
    stage.apply(&broker("default", "Reveille"));
    stage.apply(&trigger("one", "default", "{uri: \"http://a.example\"}"));
    let waiting = stage.ready("brokers", "default", "False", "NoReadyEndpoint").await;
    assert!(message(&waiting, "Ready").contains("kubectl -n reveille-system get pods"), "{waiting}");
    assert_eq!(condition(&waiting, "Addressable").unwrap()["status"], "True", "it has its address all the same");
    assert!(waiting["status"]["address"]["url"].is_string(), "{waiting}");
    let carried = stage.trigger("one", "False", "NoReadyEndpoint").await;
    assert_eq!(carried["status"]["subscriberUri"], "http://a.example", "{carried}");

    stage.apply_system(&broker_pods(true));
    stage.ready("brokers", "default", "True", "").await;
    stage.trigger("one", "True", "").await;

    stage.apply_system(&broker_pods(false));
    stage.ready("brokers", "default", "False", "NoReadyEndpoint").await;
    stage.trigger("one", "False", "NoReadyEndpoint").await;
    controller.stop().await;
    stage.apply_system(&broker_pods(true));
}

/// A restart of the broker is no reason to write every Broker and Trigger twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_is_back_soon_costs_no_write() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "restart").await;
    let controller = stage.start().await;
    stage.broker().await;
    stage.apply(&trigger("one", "default", "{uri: \"http://a.example\"}"));
    stage.trigger("one", "True", "").await;
    let before = stage.writes().await.len();
    for ready in [false, true, false, true] {
        stage.apply_system(&broker_pods(ready));
    }
    // What comes later has been dealt with, so all of that has been.
    stage.apply(&trigger("two", "default", "{uri: \"http://a.example\"}"));
    stage.trigger("two", "True", "").await;
    let writes = stage.writes().await;
    let again: Vec<_> = writes.iter().skip(before).filter(|write| write.name != "two").collect();
    assert!(again.is_empty(), "{again:?}");
    controller.stop().await;
}
