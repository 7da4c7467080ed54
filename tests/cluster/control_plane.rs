//! The test cluster itself: it comes up, refuses who has no rights, and leaves nothing behind.

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use tests::cluster::Cluster;

/// The cluster that these tests share; `None`, said in one line, where there can be none. In CI that is a failure.
async fn cluster() -> Option<&'static Cluster> {
    if !rustix::process::geteuid().is_root() && std::env::var_os("CI").is_none() {
        println!("skipped: a cluster needs root");
        return None;
    }
    Some(Cluster::shared_control_plane().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_may_do_nothing_until_a_role_says_so() {
    let Some(cluster) = cluster().await else { return };
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
    let Some(cluster) = cluster().await else { return };
    let output = cluster.command("ip".as_ref()).args(["address", "show", "dev", "lo"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("10.99.0.1/32"), "{output:?}");
}
