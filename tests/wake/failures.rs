//! Wakes that do not work: the reason is told, the events wait, and it goes on by itself after the repair.

use tests::cluster::Cluster;
use tests::harness::{Answer, BrokerProcess, eventually};

use super::stage::{Night, publish, workload};

async fn nothing_was_used_up(night: &Night<'_>, broker: &BrokerProcess) {
    let item = broker.trigger_in(night.stage.namespace.name(), "orders").await.unwrap();
    assert_eq!((item.lag.events, item.dead_letters), (1, 0));
    assert_eq!(broker.metric("reveille_delivery_attempts_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workloads_behind_one_service_are_not_guessed_at() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "two").await;
    night.stage.apply(&workload("Deployment", "blue", "orders", 0));
    night.stage.apply(&workload("Deployment", "green", "orders", 0));
    night.service_and_trigger("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    let words = night.told("orders", "False", "AmbiguousWakeTarget").await;
    assert!(words.contains("reveille.dev/wake-target") && words.contains("green"), "{words}");
    nothing_was_used_up(&night, &broker).await;
    assert!(night.writes().await.is_empty());
    let target = "reveille.dev/wake-target=apps/v1/Deployment/green";
    let noted = night.stage.namespace.kubectl(&["annotate", "trigger", "orders", target]).unwrap();
    assert!(noted.status.success(), "{noted:?}");
    night.awake("green").await;
    assert_eq!(night.replicas("deployments", "blue").await.0, 0);
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_scaled_is_delivered_to_when_it_is_up_by_itself() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "opaque").await;
    night.service_and_trigger("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    night.told("orders", "False", "NotWakeable").await;
    nothing_was_used_up(&night, &broker).await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_is_forbidden_says_so_and_works_once_it_is_allowed() {
    let Some(cluster) = Cluster::own_or_skip().await else { return };
    let night = Night::begin(&cluster, "forbidden").await;
    night.sleeper("orders").await;
    let rule = "{\"rules\":[]}";
    let emptied = ["patch", "clusterrole", "reveille-wake-workloads", "--type=merge", "-p", rule];
    assert!(cluster.kubectl(&emptied).unwrap().status.success());
    eventually("the right to be gone", || async {
        let asked = ["auth", "can-i", "patch", "deployments.apps", "--subresource=scale", "--as"];
        let who = "system:serviceaccount:reveille-system:reveille-broker";
        let answer = cluster.kubectl(&[&asked[..], &[who, "-n", night.stage.namespace.name()]].concat()).ok()?;
        (!answer.status.success()).then_some(())
    })
    .await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    let words = night.told("orders", "False", "WakeForbidden").await;
    assert!(words.contains("ServiceAccount"), "{words}");
    nothing_was_used_up(&night, &broker).await;
    cluster.apply(include_str!("../../deploy/base/roles.yaml")).unwrap();
    night.awake("orders").await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
}

/// Every reason for which pods do not start, as the control plane would write it.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_start_are_explained_and_the_event_waits() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "pods").await;
    night.sleeper("orders").await;
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    night.awake("orders").await;
    let find = |kind: &'static str| {
        let night = &night;
        async move {
            eventually(&format!("a {kind} of the Deployment"), || async {
                let found = night.stage.namespace.kubectl(&["get", kind, "-l", "app=orders", "-o", "name"]).ok()?;
                String::from_utf8(found.stdout).ok()?.lines().next().map(str::to_owned)
            })
            .await
        }
    };
    let status = |object: &str, status: &str| {
        let patch = format!("{{\"status\":{status}}}");
        let args = ["patch", object, "--subresource=status", "--type=merge", "-p", &patch];
        let patched = night.stage.namespace.kubectl(&args).unwrap();
        assert!(patched.status.success(), "{patched:?}");
    };
    let pod = find("pods").await;
    let container = |state: &str, restarts: u32| {
        format!(
            "{{\"conditions\":[],\"containerStatuses\":[{{\"name\":\"a\",\"image\":\"none\",\"imageID\":\"\",\
             \"ready\":false,\"restartCount\":{restarts},\"state\":{state}}}]}}"
        )
    };
    let waiting = |reason: &str| {
        container(&format!("{{\"waiting\":{{\"reason\":\"{reason}\",\"message\":\"words of {reason}\"}}}}"), 0)
    };
    let unschedulable = "{\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\",\
                         \"reason\":\"Unschedulable\",\"message\":\"0/1 nodes are available\"}]}";
    for (written, reason, words) in [
        (unschedulable.to_owned(), "Unschedulable", "0/1 nodes"),
        (waiting("ImagePullBackOff"), "ImagePullFailed", "words of ImagePullBackOff"),
        (waiting("CreateContainerConfigError"), "ContainerConfigError", "words of"),
        (waiting("CrashLoopBackOff"), "CrashLoop", "kubectl logs"),
    ] {
        status(&pod, &written);
        let said = night.told("orders", "False", reason).await;
        assert!(said.contains(words), "{said}");
        nothing_was_used_up(&night, &broker).await;
    }
    let pod_ip = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod_ip]);
    pod_ip.wait_for(1).await;
    night.told("orders", "True", "Awake").await;
}

/// Quota and admission refuse the pods, not the scaling.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_refused_are_explained() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let night = Night::begin(cluster, "quota").await;
    night.sleeper("orders").await;
    // Nobody counts what is used here, so its status is written by hand; the admission of pods is the real one.
    night.stage.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: 0}}\n");
    let patch = "{\"status\":{\"hard\":{\"pods\":\"0\"},\"used\":{\"pods\":\"0\"}}}";
    let args = ["patch", "resourcequota", "none", "--subresource=status", "--type=merge", "-p", patch];
    assert!(night.stage.namespace.kubectl(&args).unwrap().status.success());
    let broker = night.start().await;
    night.served(&broker, "orders").await;
    publish(&night.publisher(&broker), "e", 1).await;
    let said = night.told("orders", "False", "PodCreateFailed").await;
    assert!(said.contains("exceeded quota"), "{said}");
    nothing_was_used_up(&night, &broker).await;
}
