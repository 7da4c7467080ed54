//! The controller when the API server refuses, fails, or is cut off.

use http::{Method, StatusCode};
use tests::cluster::{Cluster, Fault};
use tests::harness::eventually;

use super::controller_setup::{ControllerProcess, Stage, service, to_service, trigger};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_made_up_for() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "faults").await;
    let proxy = cluster.api_proxy().await.unwrap();
    let controller = ControllerProcess::start(&proxy.kubeconfig(stage.kubeconfig()).unwrap()).await;
    stage.broker().await;
    let faults = [
        ("conflict", Fault::Answer(StatusCode::CONFLICT)),
        ("error", Fault::Answer(StatusCode::INTERNAL_SERVER_ERROR)),
        ("cut", Fault::Cut),
        ("lost", Fault::LoseAnswer),
    ];
    for (name, fault) in faults {
        let before = proxy.faults();
        proxy.fail_next(2, Some(Method::PATCH), &format!("*/triggers/{name}/status*"), fault);
        stage.apply(&trigger(name, "default", "{uri: \"http://a.example\"}"));
        stage.trigger(name, "True", "").await;
        assert!(proxy.faults() > before, "{name}");
        proxy.heal();
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_watches_are_cut_is_found_afterwards() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let stage = Stage::new(cluster, "cut").await;
    let proxy = cluster.api_proxy().await.unwrap();
    let controller = ControllerProcess::start(&proxy.kubeconfig(stage.kubeconfig()).unwrap()).await;
    stage.broker().await;
    stage.apply(&service("test"));
    stage.apply(&trigger("one", "default", &to_service("test")));
    stage.trigger("one", "True", "").await;
    let before = proxy.faults();
    proxy.fail(None, "*/services?*", Fault::Cut);
    eventually("a watch to be cut", || async { (proxy.faults() > before).then_some(()) }).await;
    stage.delete("service", "test");
    proxy.heal();
    stage.trigger("one", "False", "NotFound").await;
    controller.stop().await;
}
