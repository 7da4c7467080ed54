//! The test cluster itself: it comes up, refuses who has no rights, and leaves nothing behind.

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use tests::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_may_do_nothing_until_a_role_says_so() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let namespace = cluster.namespace("rbac").unwrap();
    let admin = cluster.client().await.unwrap();
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("nobody".to_owned());
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace.name());
    accounts.create(&PostParams::default(), &account).await.unwrap();

    let nobody = cluster.client_as(namespace.name(), "nobody").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(nobody, namespace.name());
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("nobody"), "{refused}");
    Api::<ConfigMap>::namespaced(admin, namespace.name()).list(&ListParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_inside_reach_the_api_server() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let output = cluster.command("ip".as_ref()).args(["address", "show", "dev", "lo"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("10.99.0.1/32"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_are_at_work_and_conditions_can_be_awaited() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let namespace = cluster.namespace("conditions").unwrap();
    namespace.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n").unwrap();
    namespace.wait("configmap/settings", "jsonpath={.data.color}=blue").unwrap();
    namespace
        .apply(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: idle}\nspec:\n  replicas: 0\n  \
             selector: {matchLabels: {app: idle}}\n  template:\n    metadata: {labels: {app: idle}}\n    \
             spec: {containers: [{name: main, image: none}]}\n",
        )
        .unwrap();
    namespace.await_condition("deployment", "idle", "Available", "True").unwrap();
    assert!(namespace.kubectl(&["delete", "deployment", "idle"]).unwrap().status.success());
    namespace.wait("deployment/idle", "delete").unwrap();
}
