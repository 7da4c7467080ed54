//! A broker on a real API server, with the rights that it has in a cluster and a gate between the two.

use std::net::SocketAddr;
use std::path::Path;

use tests::cluster::{Cluster, Namespace};
use tests::harness::{BrokerProcess, Home, Launch, Publisher, eventually};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, watch};

const CRDS: [&str; 2] =
    [include_str!("../../schemas/crds/broker.yaml"), include_str!("../../schemas/crds/trigger.yaml")];

/// What the broker may do, and its Broker.
const INSTALL: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: broker}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAMESPACE-broker}
rules:
- {apiGroups: [eventing.knative.dev], resources: [brokers, triggers], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAMESPACE-broker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAMESPACE-broker}
subjects: [{kind: ServiceAccount, name: broker, namespace: NAMESPACE}]
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, annotations: {eventing.knative.dev/broker.class: Reveille}}
spec: {}
";

/// Everything around a broker that is not started yet.
pub(crate) struct Setup<'a> {
    pub(crate) namespace: Namespace<'a>,
    pub(crate) home: Home,
    pub(crate) gate: Gate,
    pub(crate) launch: Launch,
}

impl<'a> Setup<'a> {
    /// On the shared cluster, with the CRDs of this repository.
    pub(crate) async fn new(cluster: &'a Cluster, prefix: &str) -> Self {
        // Two that create the same object at once are in each other's way.
        static APPLIED: OnceCell<()> = OnceCell::const_new();
        APPLIED.get_or_init(async || CRDS.iter().for_each(|crd| cluster.apply(crd).unwrap())).await;
        Self::with_crds_there(cluster, prefix).await
    }

    /// The CRDs are there, whichever they are.
    pub(crate) async fn with_crds_there(cluster: &'a Cluster, prefix: &str) -> Self {
        for crd in ["brokers", "triggers"] {
            let crd = format!("customresourcedefinition/{crd}.eventing.knative.dev");
            cluster.wait("default", &crd, "condition=Established").unwrap();
        }
        let namespace = cluster.namespace(prefix).unwrap();
        namespace.apply(&INSTALL.replace("NAMESPACE", namespace.name())).unwrap();
        let gate = Gate::before(cluster.server_url().strip_prefix("https://").unwrap().parse().unwrap()).await;
        let home = Home::new();
        let through = std::fs::read_to_string(cluster.kubeconfig_as(namespace.name(), "broker").unwrap()).unwrap();
        let through = through.replace(&cluster.server_url(), &format!("https://{}", gate.address));
        let kubeconfig = home.path("kubeconfig");
        std::fs::write(&kubeconfig, through).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_reveille-under-test"));
        let launch = Launch::kube(program, &home, &kubeconfig);
        Self { namespace, home, gate, launch }
    }

    pub(crate) async fn start(&self) -> BrokerProcess {
        self.launch.start().await.unwrap()
    }

    /// Applies a Trigger of the Broker `default`; `subscriber` is YAML.
    pub(crate) fn trigger(&self, name: &str, subscriber: &str) {
        self.namespace.apply(&trigger(name, subscriber)).unwrap();
    }

    pub(crate) fn kubectl(&self, args: &[&str]) {
        let output = self.namespace.kubectl(args).unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    pub(crate) fn publisher(&self, broker: &BrokerProcess) -> Publisher {
        broker.publisher_in(self.namespace.name(), "default")
    }

    /// Waits until the broker has a Trigger and it goes to `subscriber`.
    pub(crate) async fn served(&self, broker: &BrokerProcess, name: &str, subscriber: &str) {
        eventually(&format!("the broker to serve {name}"), || async {
            let item = broker.trigger_in(self.namespace.name(), name).await?;
            (item.subscriber == subscriber).then_some(())
        })
        .await;
    }

    pub(crate) async fn gone(&self, broker: &BrokerProcess, name: &str) {
        eventually(&format!("the broker to drop {name}"), || async {
            broker.trigger_in(self.namespace.name(), name).await.is_none().then_some(())
        })
        .await;
    }
}

pub(crate) fn trigger(name: &str, subscriber: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\n\
         spec: {{broker: default, subscriber: {subscriber}}}\n"
    )
}

/// A way to the API server that can be shut: what is open then breaks, what comes is turned away.
pub(crate) struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                tokio::spawn(async move {
                    let forward = async {
                        if let Ok(mut inside) = TcpStream::connect(target).await {
                            let _ = copy_bidirectional(&mut outside, &mut inside).await;
                        }
                    };
                    tokio::select! {
                        biased;
                        _ = is_open.wait_for(|open| !*open) => {}
                        () = forward => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    pub(crate) fn shut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}
