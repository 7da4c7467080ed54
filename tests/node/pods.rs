//! The node itself: pods run, and a person can look into them; Services and their names work.

use std::time::Instant;

use tests::cluster::{Cluster, Namespace};
use tests::harness::eventually;

use crate::kubectl::said;
use crate::setup::{listener, node};

/// Sends an event from a pod of `from` to a URL, from which anything will do for an answer; true if there was one.
fn sent(namespace: &Namespace<'_>, from: &str, url: &str, id: &str) -> bool {
    let exec = ["exec", from, "--", "reveille", "send", "--ingress", url, "--id", id, "--type", "t", "--source", "s"];
    let output = namespace.kubectl(&exec).unwrap();
    // A listener answers 200, which `send` takes for no ingress.
    said(&output).contains("HTTP 200 OK")
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_and_reach_each_other_by_address_and_name() {
    let Some(cluster) = node().await else { return };
    let namespace = cluster.namespace("pods").unwrap();
    namespace.apply(&listener("one", 1)).unwrap();
    namespace.apply(&listener("two", 2)).unwrap();
    for deployment in ["one", "two"] {
        namespace.await_condition("deployment", deployment, "Available", "True").unwrap();
    }
    let address = namespace.kubectl(&["get", "service", "two", "-o", "jsonpath={.spec.clusterIP}"]).unwrap();
    let address = String::from_utf8(address.stdout).unwrap();
    let name = namespace.name();
    let urls = [address, "two".to_owned(), format!("two.{name}"), format!("two.{name}.svc.cluster.local")];
    for (n, host) in urls.iter().enumerate() {
        // The node learns a Service's address some time after its pods are ready.
        eventually(&format!("an answer from {host}"), || {
            std::future::ready(
                sent(&namespace, "deploy/one", &format!("http://{host}"), &format!("id-{n}")).then_some(()),
            )
        })
        .await;
    }
    let logs = namespace.kubectl(&["logs", "--selector", "app=two", "--tail", "-1"]).unwrap();
    let logs = said(&logs);
    for n in 0..urls.len() {
        assert!(logs.contains(&format!("\"id\":\"id-{n}\"")), "{logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_within_a_moment() {
    let Some(cluster) = node().await else { return };
    let namespace = cluster.namespace("cold").unwrap();
    namespace.apply(&listener("sleeper", 0)).unwrap();
    namespace.await_condition("deployment", "sleeper", "Available", "True").unwrap();
    let begin = Instant::now();
    assert!(namespace.kubectl(&["scale", "deployment/sleeper", "--replicas=1"]).unwrap().status.success());
    namespace.wait("deployment/sleeper", "jsonpath={.status.readyReplicas}=1").unwrap();
    println!("cold start of a pod, from the command to ready: {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_keeps_its_settings() {
    let Some(cluster) = node().await else { return };
    let setting = |path: &str| {
        let inside = cluster.command("cat".as_ref()).arg(path).output().unwrap();
        (std::fs::read_to_string(path).unwrap(), String::from_utf8(inside.stdout).unwrap())
    };
    // What the kubelet wants, and would have set.
    let (machine, inside) = setting("/proc/sys/kernel/panic_on_oops");
    assert_eq!(inside, "1\n");
    if machine == inside {
        println!("this machine has the setting that the kubelet wants: nothing to see");
    }
    for left in ["/var/log/containers", "/var/lib/kubelet", "/var/lib/cni/results"] {
        let own = Cluster::command(cluster, "ls".as_ref()).args(["-d", left]).output().unwrap();
        if own.status.success() {
            assert!(!std::path::Path::new(left).exists(), "{left} is on the machine");
        }
    }
}
