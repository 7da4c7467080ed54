//! Installing with `kubectl apply -k`: what comes up is admitted, may do what it must and nothing else, and goes
//! without a trace.

use tests::cluster::Cluster;
use tests::harness::eventually;

use crate::installed::{apply, installed};
use crate::kubectl::{REPOSITORY, done, said};

#[tokio::test(flavor = "multi_thread")]
async fn every_kustomization_is_valid() {
    let Some(cluster) = installed().await else { return };
    for kustomization in ["deploy", "deploy/overlays/try", "deploy/overlays/knative"] {
        let manifests = done(cluster, &["kustomize", &format!("{REPOSITORY}/{kustomization}")], "");
        // Where it is installed already a StatefulSet's volumes cannot change, so this asks for another one.
        let manifests =
            manifests.replace("name: reveille-broker\n", &format!("name: {}\n", kustomization.replace('/', "-")));
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = cluster.kubectl_stdin(&args, &manifests).unwrap();
        assert!(output.status.success(), "{kustomization}: {}", said(&output));
        assert!(!said(&output).contains("Warning: would violate"), "{kustomization}: {}", said(&output));
        let definitions = manifests.matches("kind: CustomResourceDefinition").count();
        assert_eq!(definitions, if kustomization.ends_with("knative") { 0 } else { 2 });
        assert_eq!(manifests.contains("volumeClaimTemplates"), !kustomization.ends_with("try"));
    }
}

/// The pods that Kubernetes makes of the templates get past pod security `restricted`, which is in force.
#[tokio::test(flavor = "multi_thread")]
async fn pods_are_admitted_as_restricted() {
    let Some(cluster) = installed().await else { return };
    eventually("two pods of the controller and one of the broker", || async {
        let pods = done(cluster, &["-n", "reveille-system", "get", "pods", "-o", "name"], "");
        (pods.matches("/reveille-controller-").count() == 2 && pods.contains("pod/reveille-broker-0")).then_some(())
    })
    .await;
    let careless = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: reveille-system}\n\
                    spec: {containers: [{name: c, image: i}]}\n";
    let output = cluster.kubectl_stdin(&["create", "-f", "-"], careless).unwrap();
    assert!(!output.status.success() && said(&output).contains("restricted"), "{}", said(&output));
}

/// Verb, resource, and further arguments.
type Action = (&'static str, &'static str, &'static [&'static str]);

const SYSTEM: &[&str] = &["-n", "reveille-system"];
const ELSEWHERE: &[&str] = &["-n", "default"];
const EVERYWHERE: &[&str] = &["--all-namespaces"];
const SCALE: &[&str] = &["--subresource=scale", "--all-namespaces"];
const STATUS: &[&str] = &["--subresource=status", "--all-namespaces"];
const BROKERS: &str = "brokers.eventing.knative.dev";
const TRIGGERS: &str = "triggers.eventing.knative.dev";
const LEASE: &str = "leases.coordination.k8s.io/reveille-controller";

/// What both programs need.
const BOTH: [Action; 5] = [
    ("list", BROKERS, EVERYWHERE),
    ("watch", BROKERS, EVERYWHERE),
    ("get", TRIGGERS, EVERYWHERE),
    ("watch", TRIGGERS, EVERYWHERE),
    ("patch", TRIGGERS, STATUS),
];

/// What the broker alone needs.
const BROKER: [Action; 8] = [
    ("list", "endpointslices.discovery.k8s.io", EVERYWHERE),
    ("watch", "endpointslices.discovery.k8s.io", EVERYWHERE),
    ("list", "pods", EVERYWHERE),
    ("watch", "replicasets.apps", EVERYWHERE),
    ("get", "deployments.apps", SCALE),
    ("patch", "deployments.apps", SCALE),
    ("get", "statefulsets.apps", SCALE),
    ("patch", "statefulsets.apps", SCALE),
];

/// What the controller alone needs.
const CONTROLLER: [Action; 11] = [
    ("patch", BROKERS, EVERYWHERE),
    ("patch", BROKERS, STATUS),
    ("watch", "services", EVERYWHERE),
    ("list", "deployments.apps", EVERYWHERE),
    ("list", "statefulsets.apps", EVERYWHERE),
    ("create", "events", EVERYWHERE),
    ("patch", "events.events.k8s.io", EVERYWHERE),
    ("create", "leases.coordination.k8s.io", SYSTEM),
    ("get", LEASE, SYSTEM),
    ("update", LEASE, SYSTEM),
    ("patch", LEASE, SYSTEM),
];

/// What neither needs.
const NEITHER: [Action; 20] = [
    ("get", "secrets", SYSTEM),
    ("get", "secrets", EVERYWHERE),
    ("list", "configmaps", EVERYWHERE),
    ("get", "pods", EVERYWHERE),
    ("create", "pods", SYSTEM),
    ("update", "deployments.apps", SCALE),
    ("patch", "services", EVERYWHERE),
    ("patch", "deployments.apps", EVERYWHERE),
    ("delete", TRIGGERS, EVERYWHERE),
    ("patch", TRIGGERS, EVERYWHERE),
    ("update", BROKERS, STATUS),
    ("create", BROKERS, EVERYWHERE),
    ("update", "leases.coordination.k8s.io/another", SYSTEM),
    ("create", "leases.coordination.k8s.io", ELSEWHERE),
    ("get", LEASE, ELSEWHERE),
    ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io", &[]),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io", &[]),
    ("escalate", "clusterroles.rbac.authorization.k8s.io", &[]),
    ("impersonate", "users", &[]),
    ("*", "*", EVERYWHERE),
];

fn may(cluster: &Cluster, account: &str, (verb, resource, more): Action) -> bool {
    let user = format!("--as=system:serviceaccount:reveille-system:{account}");
    let args = [&["auth", "can-i", verb, resource, &user], more].concat();
    let output = cluster.kubectl(&args).unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.starts_with("yes") || answer.starts_with("no"), "{}", said(&output));
    answer.starts_with("yes")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_do_what_it_must_and_no_more() {
    let Some(cluster) = installed().await else { return };
    let rows = [
        (&BOTH[..], true, true),
        (&BROKER[..], true, false),
        (&CONTROLLER[..], false, true),
        (&NEITHER[..], false, false),
    ];
    for (actions, broker, controller) in rows {
        for action in actions {
            assert_eq!(may(cluster, "reveille-broker", *action), broker, "the broker, {action:?}");
            assert_eq!(may(cluster, "reveille-controller", *action), controller, "the controller, {action:?}");
            assert!(!may(cluster, "default", *action), "the default account, {action:?}");
        }
    }
}

/// A kind that nobody knew when Reveille was built is readable once its role carries Knative's label.
#[tokio::test(flavor = "multi_thread")]
async fn labelled_roles_open_further_kinds_to_the_controller() {
    let Some(cluster) = installed().await else { return };
    for (label, kind) in [("addressable", "gate"), ("source", "clock")] {
        let definition = format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {kind}s.example.dev}}\n\
             spec: {{group: example.dev, scope: Namespaced, names: {{kind: {kind}k, plural: {kind}s}}, versions: [\
             {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]}}\n"
        );
        let role = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n\
             metadata: {{name: {kind}s, labels: {{duck.knative.dev/{label}: \"true\"}}}}\n\
             rules: [{{apiGroups: [example.dev], resources: [{kind}s], verbs: [get, list, watch]}}]\n"
        );
        done(cluster, &["create", "-f", "-"], &definition);
        let resource = if kind == "gate" { "gates.example.dev" } else { "clocks.example.dev" };
        let action = ("watch", resource, EVERYWHERE);
        assert!(!may(cluster, "reveille-controller", action));
        done(cluster, &["create", "-f", "-"], &role);
        eventually("the aggregated role", || async { may(cluster, "reveille-controller", action).then_some(()) }).await;
        assert!(!may(cluster, "reveille-broker", action));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_taken() {
    let Some(cluster) = installed().await else { return };
    let path = format!("{REPOSITORY}/deploy/samples/kubernetes");
    let output = cluster.kubectl(&["apply", "-k", &path]).unwrap();
    assert!(output.status.success() && !said(&output).contains("Warning"), "{}", said(&output));
    let class = r"jsonpath={.metadata.annotations.eventing\.knative\.dev/broker\.class}";
    assert_eq!(done(cluster, &["-n", "shop", "get", "broker", "default", "-o", class], ""), "Reveille");
    done(cluster, &["delete", "-k", &path], "");
    // Those for one machine are of the same kinds.
    done(cluster, &["create", "--dry-run=server", "-f", &format!("{REPOSITORY}/deploy/samples")], "");
}

/// Every object that carries our label, as `kind/name`.
fn traces(cluster: &Cluster) -> String {
    let mut found = String::new();
    for namespaced in ["--namespaced=true", "--namespaced=false"] {
        let kinds = done(cluster, &["api-resources", "--verbs=list", "-o", "name", namespaced], "");
        let kinds = kinds.split_whitespace().collect::<Vec<_>>().join(",");
        let label = "--selector=app.kubernetes.io/part-of=reveille";
        found += &done(cluster, &["get", &kinds, "--all-namespaces", label, "-o", "name", "--ignore-not-found"], "");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_leaves_nothing() {
    let Some(cluster) = &Cluster::own_or_skip().await else { return };
    apply(cluster, "deploy").await;
    assert!(traces(cluster).contains("statefulset.apps/reveille-broker"), "{}", traces(cluster));
    done(cluster, &["create", "-f", "-"], &crate::installed::broker("default", "Reveille", ""));
    done(cluster, &["delete", "--timeout=60s", "-k", &format!("{REPOSITORY}/deploy")], "");
    assert_eq!(traces(cluster), "");
    let rest = "namespaces,crds,clusterroles,clusterrolebindings,validatingadmissionpolicies";
    let rest = done(cluster, &["get", rest, "-o", "name"], "");
    assert!(!rest.contains("reveille") && !rest.contains("eventing.knative.dev"), "{rest}");
}
