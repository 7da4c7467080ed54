//! Workloads of other kinds, and those that are somebody else's.

use tests::cluster::Cluster;
use tests::harness::{Answer, eventually};

use super::stage::{Night, publish, workload};

/// A kind with a scale, of which an object need not have replicas.
const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sleepers.wake.example}
spec:
  group: wake.example
  scope: Namespaced
  names: {kind: Sleeper, plural: sleepers, singular: sleeper}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {replicas: {type: integer}}}
            status: {type: object, properties: {replicas: {type: integer}}}
";
/// As its owner gives it.
const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: wake-sleepers, labels: {reveille.dev/wake: \"true\"}}
rules: [{apiGroups: [wake.example], resources: [sleepers/scale], verbs: [get, patch]}]
";

fn sleeper(name: &str, spec: &str) -> String {
    format!("apiVersion: wake.example/v1\nkind: Sleeper\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_with_a_scale_is_woken_once_its_owner_allows_it() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    let night = Night::begin(&cluster, "custom").await;
    night.stage.apply(DEFINITION);
    cluster.wait("default", "customresourcedefinition/sleepers.wake.example", "condition=Established").unwrap();
    night.stage.apply(&sleeper("orders", "{replicas: 0}"));
    night.stage.apply(&sleeper("opaque", "{}"));
    for name in ["orders", "opaque"] {
        night.service_and_trigger(name).await;
        night.annotate("service", name, &format!("reveille.dev/wake-target=wake.example/v1/Sleeper/{name}"));
    }
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    night.served(&broker, "opaque").await;
    publish(&night.publisher(&broker), "e", 1).await;
    let words = night.told("orders", "False", "WakeForbidden").await;
    assert!(words.contains("ServiceAccount") && words.contains("Sleeper orders"), "{words}");
    cluster.apply(ROLE).unwrap();
    eventually("it to be scaled up", || async {
        let asked = night.stage.namespace.kubectl(&["get", "sleeper", "orders", "-o", "jsonpath={.spec.replicas}"]);
        (asked.ok()?.stdout == b"1").then_some(())
    })
    .await;
    let words = night.told("opaque", "False", "NotWakeable").await;
    assert!(words.contains("no replicas"), "{words}");
    for name in ["orders", "opaque"] {
        let pod = night.pod(|_| Answer::code(200));
        night.ready(name, &[&pod]);
        pod.wait_for(1).await;
        night.told(name, "True", "Awake").await;
    }
    assert_eq!(night.writes_done().await, 1, "{:?}", night.writes().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_belongs_to_somebody_is_left_to_them() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "owned").await;
    // Of any kind; the owner has to exist, or its Deployment would be collected.
    night.stage.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: revision}\n");
    let found = night.stage.namespace.kubectl(&["get", "configmap", "revision", "-o", "jsonpath={.metadata.uid}"]);
    let uid = String::from_utf8(found.unwrap().stdout).unwrap();
    let owner = format!("{{apiVersion: v1, kind: ConfigMap, name: revision, uid: {uid}, controller: true}}");
    let owned = format!("metadata: {{name: orders, ownerReferences: [{owner}]}}");
    night.stage.apply(&workload("Deployment", "orders", "orders", 0).replace("metadata: {name: orders}", &owned));
    night.service_and_trigger("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    let words = night.told("orders", "False", "ManagedByOther").await;
    assert!(words.contains("ConfigMap") && words.contains("revision"), "{words}");
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
    assert!(night.writes().await.is_empty(), "{:?}", night.writes().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_deleted_and_made_anew_is_woken_without_a_new_event() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "anew").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    night.awake("orders").await;
    night.stage.delete("deployment", "orders");
    night.told("orders", "False", "NotWakeable").await;
    night.stage.apply(&workload("Deployment", "orders", "orders", 0));
    night.awake("orders").await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
    assert_eq!(night.writes_done().await, 2, "{:?}", night.writes().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_named_before_it_is_there_is_woken_when_it_comes() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "late").await;
    night.service_and_trigger("orders").await;
    night.annotate("service", "orders", "reveille.dev/wake-target=apps/v1/Deployment/late");
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    let words = night.told("orders", "False", "WakeTargetNotFound").await;
    assert!(words.contains("Deployment late"), "{words}");
    night.stage.apply(&workload("Deployment", "late", "orders", 0));
    night.awake("late").await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
}
