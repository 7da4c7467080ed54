//! Pods that go while events flow: subscribers and the broker, politely and not. Nothing that a publisher was told is
//! stored is lost, on any way.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::cluster::SYSTEM;
use tests::harness::{DEADLINE, eventually};
use tokio::time::Instant;

use crate::load::Load;
use crate::record::{Taken, faults};
use crate::setup::Stage;

/// Events before and after what a test does.
const SOME: usize = 300;
/// How often the account is made until it is right.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const BROKER: &str = "pod/reveille-broker-0";

/// Stops the load and waits until the account is right: all that was acknowledged was taken, and nothing else.
async fn settle(stage: &Stage, load: Load) {
    let failed = load.failed();
    let acknowledged = load.stop().await;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let taken = stage.record.taken();
        let faults = faults(&acknowledged, &taken);
        if faults.is_empty() {
            let (published, taken_once) = (acknowledged.len(), taken.len());
            println!("{published} acknowledged after {failed} failed attempts, {taken_once} taken");
            return;
        }
        let (count, first) = (faults.len(), faults[..faults.len().min(10)].join("\n"));
        if Instant::now() >= deadline {
            let said = stage.system(&["logs", BROKER, "--tail=20"]);
            panic!("of {} {count} faults, first of them:\n{first}\nThe broker said:\n{said}", acknowledged.len());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn pods(taken: &[Taken]) -> BTreeSet<&str> {
    taken.iter().map(|one| one.pod.as_str()).collect()
}

async fn started(prefix: &str) -> Option<(Stage, Load)> {
    let stage = Stage::new(prefix).await?;
    stage.subscriber("orders", 2);
    let load = Load::start(stage.ingress, stage.namespace.name(), "default");
    load.more(SOME).await;
    Some((stage, load))
}

/// Waits until the broker's pod is another one than `before` and ready.
async fn another_broker(stage: &Stage, before: &str) {
    eventually("another pod of the broker", || {
        let now = stage.system(&["get", BROKER, "-o", "jsonpath={.metadata.uid}", "--ignore-not-found"]);
        std::future::ready((!now.is_empty() && now != before).then_some(()))
    })
    .await;
    stage.cluster.wait(SYSTEM, BROKER, "condition=Ready").unwrap();
}

fn broker_uid(stage: &Stage) -> String {
    stage.system(&["get", BROKER, "-o", "jsonpath={.metadata.uid}"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_of_a_subscriber_loses_nothing() {
    let Some((stage, load)) = started("roll-subscriber").await else { return };
    stage.done(&["rollout", "restart", "deployment/orders"]);
    stage.done(&["rollout", "status", "--timeout=60s", "deployment/orders"]);
    // A connection to an old pod is used for as long as the pod lets it stand.
    eventually("a new pod to take events", || {
        std::future::ready((pods(&stage.record.taken()).len() > 2).then_some(()))
    })
    .await;
    load.more(SOME).await;
    settle(&stage, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_of_a_subscriber_loses_nothing() {
    let Some((stage, load)) = started("delete-subscriber").await else { return };
    let names = stage.done(&["get", "pods", "--selector", "app=orders", "-o", "name"]);
    for (pod, how) in names.lines().zip([&[][..], &["--grace-period=0", "--force"]]) {
        stage.done(&[&["delete", pod, "--wait=false"], how].concat());
        load.more(SOME).await;
    }
    stage.namespace.wait("deployment/orders", "jsonpath={.status.readyReplicas}=2").unwrap();
    settle(&stage, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_of_the_broker_loses_nothing() {
    let Some((stage, load)) = started("roll-broker").await else { return };
    let before = broker_uid(&stage);
    stage.system(&["rollout", "restart", "statefulset/reveille-broker"]);
    another_broker(&stage, &before).await;
    load.more(SOME).await;
    settle(&stage, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_pod_is_torn_away_loses_nothing() {
    let Some((stage, load)) = started("tear-broker").await else { return };
    let before = broker_uid(&stage);
    stage.system(&["delete", BROKER, "--grace-period=0", "--force"]);
    another_broker(&stage, &before).await;
    load.more(SOME).await;
    settle(&stage, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_its_pod_loses_nothing() {
    let Some((stage, load)) = started("kill-broker").await else { return };
    let restarts = || stage.system(&["get", BROKER, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]);
    let before: usize = restarts().parse().unwrap();
    let killed =
        stage.cluster.command("pkill".as_ref()).args(["-KILL", "-f", "reveille serve --kube"]).status().unwrap();
    assert!(killed.success());
    let after = format!("jsonpath={{.status.containerStatuses[0].restartCount}}={}", before + 1);
    stage.cluster.wait(SYSTEM, BROKER, &after).unwrap();
    stage.cluster.wait(SYSTEM, BROKER, "condition=Ready").unwrap();
    load.more(SOME).await;
    settle(&stage, load).await;
}
