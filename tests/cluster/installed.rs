//! A control plane with `deploy/` applied, and kubectl as the user's hand on it.

use tests::cluster::Cluster;
use tests::harness::eventually;
use tokio::sync::OnceCell;

use crate::kubectl::{REPOSITORY, done, said};

/// A cluster with `deploy/` applied, which the tests of this binary share; `None` where there can be none.
pub(crate) async fn installed() -> Option<&'static Cluster> {
    static APPLIED: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::shared_or_skip().await?;
    APPLIED.get_or_init(|| apply(cluster, "deploy")).await;
    Some(cluster)
}

/// Applies a kustomization of the repository and waits until its definitions and policies are in force.
pub(crate) async fn apply(cluster: &Cluster, kustomization: &str) {
    let output = cluster.kubectl(&["apply", "-k", &format!("{REPOSITORY}/{kustomization}")]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("Warning"), "pod security and deprecations: {}", said(&output));
    for definition in ["crd/brokers.eventing.knative.dev", "crd/triggers.eventing.knative.dev"] {
        done(cluster, &["wait", "--for=condition=Established", "--timeout=60s", definition], "");
    }
    // The API server learns of a policy by a watch, a moment after it was applied.
    let nested = trigger("{broker: b, subscriber: {uri: 'http://a/'}, filters: [{any: [{all: [{exact: {A: b}}]}]}]}");
    let create = ["create", "--dry-run=server", "-f", "-"];
    eventually("the policy on Triggers", || async {
        let output = cluster.kubectl_stdin(&create, &nested).unwrap();
        said(&output).contains("'reveille-trigger'").then_some(())
    })
    .await;
    // Made under a name of its own each time round: one that slipped through before the policy was known can stay.
    eventually("the policy on Brokers", || async {
        let name = format!("probe-{:08x}", fastrand::u32(..));
        done(cluster, &["create", "-f", "-"], &broker(&name, "Reveille", ""));
        let class = "eventing.knative.dev/broker.class-";
        let output = cluster.kubectl(&["annotate", "broker", &name, class]).unwrap();
        done(cluster, &["delete", "broker", &name], "");
        said(&output).contains("'reveille-broker'").then_some(())
    })
    .await;
}

/// Runs kubectl, which must fail and say every one of `words`.
pub(crate) fn refused(cluster: &Cluster, args: &[&str], input: &str, words: &[&str]) {
    let output = cluster.kubectl_stdin(args, input).unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "kubectl {} was not refused:\n{input}{text}", args.join(" "));
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}\nfor {input}");
    }
}

/// A Trigger called `t` with this spec.
pub(crate) fn trigger(spec: &str) -> String {
    format!("apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec: {spec}\n")
}

/// A Broker of a class with this spec; without the key where it is empty.
pub(crate) fn broker(name: &str, class: &str, spec: &str) -> String {
    let spec = if spec.is_empty() { String::new() } else { format!("spec: {spec}\n") };
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\n\
         metadata: {{name: {name}, annotations: {{eventing.knative.dev/broker.class: {class}}}}}\n{spec}"
    )
}
