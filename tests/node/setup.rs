//! The node that the tests of this binary share, with the image on it, and Reveille installed as a user installs it.

use std::net::SocketAddr;

use tests::cluster::{Cluster, Namespace, SYSTEM};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::kubectl::done;
use crate::record::Record;

/// A node that has the image; `None` where there can be none.
pub(crate) async fn node() -> Option<&'static Cluster> {
    static LOADED: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::shared_node_or_skip().await?;
    LOADED.get_or_init(async || cluster.load_reveille().await.unwrap()).await;
    Some(cluster)
}

/// Reveille on the shared node, the test's alone for as long as it holds this, and a namespace with a Broker that is
/// ready.
pub(crate) struct Stage {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: Namespace<'static>,
    /// Where the broker's Service is reached from this machine.
    pub(crate) ingress: SocketAddr,
    pub(crate) record: Record,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    pub(crate) async fn new(prefix: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::const_new(());
        static INSTALLED: OnceCell<SocketAddr> = OnceCell::const_new();
        let cluster = node().await?;
        let turn = TURN.lock().await;
        let ingress = *INSTALLED
            .get_or_init(async || {
                cluster.offer_volume("reveille-data").unwrap();
                cluster.install_reveille("deploy").unwrap();
                cluster.reach_ingress().unwrap()
            })
            .await;
        let namespace = cluster.namespace(prefix).unwrap();
        namespace.apply(BROKER).unwrap();
        namespace.await_condition("broker", "default", "Ready", "True").unwrap();
        let record = Record::start(cluster, namespace.name());
        Some(Self { cluster, namespace, ingress, record, _turn: turn })
    }

    /// A subscriber of so many pods, and its Trigger, ready.
    pub(crate) fn subscriber(&self, name: &str, replicas: usize) {
        self.namespace.apply(&listener(name, replicas)).unwrap();
        self.namespace.apply(&trigger(name)).unwrap();
        self.namespace.await_condition("trigger", name, "Ready", "True").unwrap();
        self.namespace
            .wait(&format!("deployment/{name}"), &format!("jsonpath={{.status.readyReplicas}}={replicas}"))
            .unwrap();
    }

    /// Runs kubectl in the test's namespace, which must succeed; its standard output.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        done(self.cluster, &[&["-n", self.namespace.name()], args].concat(), "")
    }

    /// Runs kubectl in Reveille's namespace, which must succeed; its standard output.
    pub(crate) fn system(&self, args: &[&str]) -> String {
        done(self.cluster, &[&["-n", SYSTEM], args].concat(), "")
    }
}

/// A Broker of ours.
pub(crate) const BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\n\
    metadata: {name: default, annotations: {eventing.knative.dev/broker.class: Reveille}}\n";

/// A Trigger to the Service of its own name. An attempt whose subscriber lost its network with its pod never ends by
/// itself.
pub(crate) fn trigger(name: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\n\
         spec: {{broker: default, delivery: {{timeout: PT5S, retry: 10, backoffPolicy: exponential, \
         backoffDelay: PT0.2S}}, \
         subscriber: {{ref: {{apiVersion: v1, kind: Service, name: {name}}}}}}}\n"
    )
}

/// What every container here must say of itself for the image to run as it does under pod security `restricted`.
const RESTRICTED: &str = "{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}";

/// A Deployment of `reveille listen`, one line of JSON an event, and its Service.
pub(crate) fn listener(name: &str, replicas: usize) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\n\
         spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
         terminationGracePeriodSeconds: 5\n      \
         securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}\n      \
         containers:\n      - name: listener\n        image: reveille:0.1.0\n        \
         args: [listen, --addr, \"0.0.0.0:8080\", --output, ndjson]\n        \
         ports: [{{name: http, containerPort: 8080}}]\n        \
         readinessProbe: {{tcpSocket: {{port: http}}, periodSeconds: 1}}\n        \
         securityContext: {RESTRICTED}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: http}}]}}\n"
    )
}
