//! Installing and uninstalling: whatever was there, nothing of Reveille is left.

use tests::cluster::{Cluster, SYSTEM};
use tests::harness::{Publisher, Sample, eventually};

use crate::kubectl::done;
use crate::setup::{Stage, Turn};

/// What is in the cluster that is Reveille's, by kind and name.
fn traces(cluster: &Cluster) -> Vec<String> {
    let kinds = "namespaces,crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                 validatingadmissionpolicybindings,persistentvolumeclaims,leases,pods";
    let all = done(cluster, &["get", kinds, "--all-namespaces", "-o", "name"], "");
    let ours = |line: &&str| line.contains("reveille") || line.contains("eventing.knative.dev");
    all.lines().filter(ours).map(str::to_owned).collect()
}

/// Publishes an event and waits until a subscriber in a pod has it.
async fn delivers(stage: &Stage) {
    stage.subscriber("orders", 1);
    let publisher = Publisher::new(&format!("http://{}/{}/default", stage.ingress, stage.namespace.name()));
    eventually("the broker to take an event", || async {
        (publisher.binary(&Sample::new("a")).await.ok()?.code == 202).then_some(())
    })
    .await;
    eventually("its delivery", || {
        std::future::ready(stage.record.taken().iter().any(|taken| taken.id == "a").then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_can_be_uninstalled() {
    let Some(mut turn) = Turn::take().await else { return };
    let cluster = turn.cluster;
    for (kustomization, claims) in [("deploy", 1), ("deploy/overlays/try", 0)] {
        if claims == 1 {
            // It may be there, with all that other tests did to it.
            turn.installed();
        } else {
            turn.install(kustomization);
        }
        let found = done(cluster, &["-n", SYSTEM, "get", "persistentvolumeclaims", "-o", "name"], "");
        assert_eq!(found.lines().count(), claims, "{found}");
        let stage = Stage::on(turn, "uninstall");
        delivers(&stage).await;
        turn = stage.turn;
        // With Brokers and Triggers in use: they go with their definitions, and nothing may hold them.
        turn.uninstall(kustomization);
        assert_eq!(traces(cluster), [""; 0], "after {kustomization}");
    }
}
