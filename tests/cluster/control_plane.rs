//! The test cluster itself: it comes up, refuses who has no rights, and leaves nothing behind.

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, PostParams};
use tests::cluster::{Cluster, Write};
use tests::harness::eventually;

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

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_counted_by_who_and_what() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let namespace = cluster.namespace("audit").unwrap();
    namespace.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: writer}\n").unwrap();
    let writer = cluster.client_as(namespace.name(), "writer").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(writer, namespace.name());
    let mut map = ConfigMap::default();
    map.metadata.name = Some("settings".to_owned());
    let params = PostParams { field_manager: Some("writer".to_owned()), ..PostParams::default() };
    maps.create(&params, &map).await.unwrap_err();
    namespace.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n").unwrap();

    // Kubernetes itself puts a map into each namespace.
    let here = |write: &Write| {
        write.namespace == namespace.name() && write.resource == "configmaps" && write.name != "kube-root-ca.crt"
    };
    let writes = cluster.audit_writes(here).await.unwrap();
    let [refused, applied] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!(refused.user, format!("system:serviceaccount:{}:writer", namespace.name()));
    assert_eq!((refused.verb.as_str(), refused.code), ("create", 403));
    assert_eq!(refused.name, "", "the API server refused before it read the body");
    assert_eq!(refused.field_manager.as_deref(), Some("writer"));
    assert_eq!((applied.user.as_str(), applied.name.as_str(), applied.code), ("admin", "settings", 201));
    assert!(applied.user_agent.starts_with("kubectl/"), "{applied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_endpoints() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let namespace = cluster.namespace("endpoints").unwrap();
    namespace
        .apply(
            "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\n\
             spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}\n",
        )
        .unwrap();
    namespace.pretend_pod("shop-0", "shop", "10.88.0.1".parse().unwrap()).unwrap();
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client().await.unwrap(), namespace.name());
    let of_shop = ListParams::default().labels("kubernetes.io/service-name=shop");
    let endpoint = eventually("an endpoint of the Service", async || {
        let found = slices.list(&of_shop).await.unwrap();
        found.items.into_iter().flat_map(|slice| slice.endpoints).next()
    })
    .await;
    assert_eq!(endpoint.addresses, ["10.88.0.1"]);
    assert_eq!(endpoint.conditions.unwrap().ready, Some(true));
}
