//! Installing and uninstalling on a node of the test's own: whatever was there, nothing of Reveille is left.

use tests::cluster::{Cluster, Namespace, SYSTEM};
use tests::harness::{Publisher, Sample, eventually};

use crate::kubectl::{REPOSITORY, done};
use crate::record::Record;
use crate::setup::{BROKER, listener, trigger};

/// What is in the cluster that is not part of Kubernetes, by kind and name.
fn traces(cluster: &Cluster) -> Vec<String> {
    let kinds = "namespaces,crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                 validatingadmissionpolicybindings,persistentvolumeclaims,leases,pods";
    let all = done(cluster, &["get", kinds, "--all-namespaces", "-o", "name"], "");
    let ours = |line: &&str| line.contains("reveille") || line.contains("eventing.knative.dev");
    all.lines().filter(ours).map(str::to_owned).collect()
}

/// Publishes an event and waits until the subscriber in the pod has it.
async fn delivers(cluster: &Cluster, namespace: &Namespace<'_>) {
    namespace.apply(BROKER).unwrap();
    namespace.apply(&listener("orders", 1)).unwrap();
    namespace.apply(&trigger("orders")).unwrap();
    namespace.await_condition("trigger", "orders", "Ready", "True").unwrap();
    namespace.await_condition("deployment", "orders", "Available", "True").unwrap();
    let record = Record::start(cluster, namespace.name());
    let url = format!("http://{}/{}/default", cluster.reach_ingress().unwrap(), namespace.name());
    let publisher = Publisher::new(&url);
    eventually("the broker to take an event", || async {
        (publisher.binary(&Sample::new("a")).await.ok()?.code == 202).then_some(())
    })
    .await;
    eventually("its delivery", || std::future::ready(record.taken().iter().any(|taken| taken.id == "a").then_some(())))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_can_be_uninstalled() {
    if !Cluster::possible_or_skip() {
        return;
    }
    let cluster = &Cluster::node().await.unwrap();
    cluster.load_reveille().await.unwrap();
    cluster.offer_volume("data").unwrap();
    for kustomization in ["deploy", "deploy/overlays/try"] {
        assert_eq!(traces(cluster), [""; 0], "before {kustomization}");
        cluster.install_reveille(kustomization).unwrap();
        let claims = done(cluster, &["-n", SYSTEM, "get", "persistentvolumeclaims", "-o", "name"], "");
        assert_eq!(claims.lines().count(), usize::from(kustomization == "deploy"), "{claims}");
        let namespace = cluster.namespace("shop").unwrap();
        delivers(cluster, &namespace).await;
        // With Brokers and Triggers in use: they go first, and nothing may hold them.
        let path = format!("{REPOSITORY}/{kustomization}");
        done(cluster, &["delete", "--timeout=60s", "-k", &path], "");
        assert_eq!(traces(cluster), [""; 0], "after {kustomization}");
    }
}
