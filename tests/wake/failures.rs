//! Wakes that do not work: the reason is told, the events wait, and it goes on by itself after the repair.

use tests::cluster::Cluster;
use tests::harness::{Answer, BrokerProcess, eventually};

use super::stage::{Night, publish, workload};

async fn told(night: &Night<'_>, broker: &BrokerProcess, reason: &str) -> String {
    eventually(&format!("the Trigger to say {reason}"), || async {
        let item = broker.trigger_in(night.stage.namespace.name(), "orders").await?;
        item.last_error.filter(|error| error.starts_with(reason))
    })
    .await
}

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
    let words = told(&night, &broker, "AmbiguousWakeTarget").await;
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
    told(&night, &broker, "NotWakeable").await;
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
    let words = told(&night, &broker, "WakeForbidden").await;
    assert!(words.contains("ServiceAccount"), "{words}");
    nothing_was_used_up(&night, &broker).await;
    cluster.apply(include_str!("../../deploy/base/roles.yaml")).unwrap();
    night.awake("orders").await;
    let pod = night.pod(|_| Answer::code(200));
    night.ready("orders", &[&pod]);
    pod.wait_for(1).await;
}
