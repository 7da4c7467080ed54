//! The node that the tests of this binary share, with the image on it, and Reveille installed as a user installs it.

use std::net::SocketAddr;

use tests::cluster::{Cluster, Namespace, SYSTEM};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::kubectl::{REPOSITORY, done};
use crate::record::Record;

/// A node that has the image; `None` where there can be none.
pub(crate) async fn node() -> Option<&'static Cluster> {
    static LOADED: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::shared_node_or_skip().await?;
    LOADED.get_or_init(async || cluster.load_reveille().await.unwrap()).await;
    Some(cluster)
}

/// The shared node, the test's alone for as long as it holds this, and whether Reveille is installed there.
pub(crate) struct Turn {
    pub(crate) cluster: &'static Cluster,
    installed: MutexGuard<'static, Option<SocketAddr>>,
}

impl Turn {
    /// Waits for it; `None` where there can be no node.
    pub(crate) async fn take() -> Option<Self> {
        static INSTALLED: Mutex<Option<SocketAddr>> = Mutex::const_new(None);
        let cluster = node().await?;
        Some(Self { cluster, installed: INSTALLED.lock().await })
    }

    /// Sees to it that the base is installed; where the broker's Service is reached from this machine.
    pub(crate) fn installed(&mut self) -> SocketAddr {
        if let Some(ingress) = *self.installed {
            return ingress;
        }
        // The volume of an earlier claim is not given to another one.
        self.cluster.offer_volume(&format!("reveille-{:08x}", fastrand::u32(..))).unwrap();
        self.install("deploy")
    }

    /// Installs one of the kustomizations, where nothing is.
    pub(crate) fn install(&mut self, kustomization: &str) -> SocketAddr {
        self.cluster.install_reveille(kustomization).unwrap();
        let ingress = self.cluster.reach_ingress().unwrap();
        *self.installed = Some(ingress);
        ingress
    }

    /// Uninstalls it as the README says.
    pub(crate) fn uninstall(&mut self, kustomization: &str) {
        *self.installed = None;
        let path = format!("{REPOSITORY}/{kustomization}");
        done(self.cluster, &["delete", "--timeout=60s", "-k", &path], "");
    }
}

/// Reveille on the shared node, and a namespace with a Broker that is ready.
pub(crate) struct Stage {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: Namespace<'static>,
    /// Where the broker's Service is reached from this machine.
    pub(crate) ingress: SocketAddr,
    pub(crate) record: Record,
    pub(crate) turn: Turn,
}

impl Stage {
    pub(crate) async fn new(prefix: &str) -> Option<Self> {
        let mut turn = Turn::take().await?;
        turn.installed();
        Some(Self::on(turn, prefix))
    }

    /// Where Reveille is installed, in whichever way.
    pub(crate) fn on(mut turn: Turn, prefix: &str) -> Self {
        let (cluster, ingress) = (turn.cluster, turn.installed());
        let namespace = cluster.namespace(prefix).unwrap();
        namespace.apply(BROKER).unwrap();
        namespace.await_condition("broker", "default", "Ready", "True").unwrap();
        let record = Record::start(cluster, namespace.name());
        Self { cluster, namespace, ingress, record, turn }
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
