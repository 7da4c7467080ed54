//! A broker and a controller at work on one cluster, each under its own ServiceAccount of `deploy/base`.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use schemas::admin::{Addresses, List, TriggerItem};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tests::cluster::{Cluster, Namespace};
use tests::harness::{Publisher, Sample, Subscriber, eventually, http_client};
use tokio::sync::OnceCell;

use crate::installed::installed;
use crate::kubectl::done;

const SYSTEM: &str = "reveille-system";
const FREE_PORT: &str = "127.0.0.1:0";
/// What is shown of each program's log where a test failed.
const LOG_LINES: usize = 60;

/// The two programs, which tests share; they end with the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    broker: Addresses,
}

/// A namespace of one test, in which the two programs are at work.
pub(crate) struct Scene<'a> {
    pub(crate) namespace: Namespace<'a>,
    pub(crate) cluster: &'a Cluster,
    client: kube::Client,
    programs: Programs,
}

impl Scene<'static> {
    /// On the cluster that all tests of a binary share; `None` where there can be none.
    pub(crate) async fn new(prefix: &str) -> Option<Self> {
        static PROGRAMS: OnceCell<Programs> = OnceCell::const_new();
        let cluster = installed().await?;
        let programs = PROGRAMS.get_or_init(|| Programs::start(cluster)).await;
        Some(Self::on(cluster, programs, prefix).await)
    }
}

impl<'a> Scene<'a> {
    pub(crate) async fn on(cluster: &'a Cluster, programs: &Programs, prefix: &str) -> Self {
        let (namespace, client) = (cluster.namespace(prefix).unwrap(), cluster.client().await.unwrap());
        Self { namespace, cluster, client, programs: programs.clone() }
    }

    /// `kubectl apply -f -`.
    pub(crate) fn apply(&self, yaml: &str) {
        self.namespace.apply(yaml).unwrap();
    }

    /// `kubectl` in the namespace, which must succeed; its standard output.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        done(self.cluster, &[&["--namespace", self.namespace.name()], args].concat(), "")
    }

    /// The Broker `default`, with this `spec` (YAML) and ready.
    pub(crate) async fn broker(&self, spec: &str) -> Value {
        self.apply(&crate::installed::broker("default", "Reveille", spec));
        self.ready("brokers", "default", "True", "").await
    }

    /// A Trigger of that Broker; `rest` is YAML that follows the Broker's name in `spec`.
    pub(crate) fn trigger(&self, name: &str, rest: &str) {
        self.apply(&trigger(name, rest));
    }

    /// An object of one of our kinds as it is now.
    pub(crate) async fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.namespace.get(&self.client, plural, name).await
    }

    /// Waits until `Ready` is `status` for `reason` (any where it is empty) and the object's present generation.
    pub(crate) async fn ready(&self, plural: &str, name: &str, status: &str, reason: &str) -> Value {
        self.namespace.ready(&self.client, plural, name, status, reason).await
    }

    /// The address that the Broker's status gives, for publishers.
    pub(crate) async fn publisher(&self) -> Publisher {
        let broker = self.ready("brokers", "default", "True", "").await;
        Publisher::new(broker["status"]["address"]["url"].as_str().unwrap())
    }

    /// What the broker says of a Trigger; `None` while it has none of that name.
    pub(crate) async fn item(&self, name: &str) -> Option<TriggerItem> {
        let items: List<TriggerItem> = self.admin("/api/v1/triggers").await;
        items.items.into_iter().find(|item| item.namespace == self.namespace.name() && item.name == name)
    }

    /// Waits until everything that the Trigger's Broker has is settled by it.
    pub(crate) async fn settled(&self, name: &str) -> TriggerItem {
        eventually(&format!("{name} to settle everything"), || async {
            self.item(name).await.filter(|item| item.lag.events == 0 && item.in_flight == 0)
        })
        .await
    }

    async fn admin<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = http_client().get(format!("http://{}{path}", self.programs.broker.admin)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// A Service that leads to a subscriber on this machine: its name is known, and its port is the subscriber's.
    pub(crate) fn service(&self, name: &str, subscriber: &Subscriber) {
        let host = format!("{name}.{}.svc.cluster.local", self.namespace.name());
        let mut hosts = File::options().append(true).open(self.cluster.hosts()).unwrap();
        hosts.write_all(format!("127.0.0.1 {host}\n").as_bytes()).unwrap();
        let port = subscriber.addr().port();
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        ));
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // They go with the cluster; the test runner shows this where the test failed.
        for name in ["broker", "controller"] {
            let log = std::fs::read_to_string(self.cluster.directory().join(format!("{name}.err"))).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let (_, end) = lines.split_at(lines.len().saturating_sub(LOG_LINES));
            println!("--- the end of what the {name} said ---\n{}", end.join("\n"));
        }
    }
}

impl Programs {
    /// Brokers' addresses are the broker's own, where tests reach it.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        let data = cluster.directory().join("data");
        let program = Path::new(env!("CARGO_BIN_EXE_reveille-under-test"));
        let addresses = ["--ingress-addr", FREE_PORT, "--health-addr", FREE_PORT, "--admin-addr", FREE_PORT];
        let serve = ["serve", "--kube", "--print-addrs", "--data", data.to_str().unwrap()];
        let broker: Addresses = start(cluster, "broker", program, &[&serve[..], &addresses].concat()).await;
        let program = Path::new(env!("CARGO_BIN_EXE_reveille-controller-under-test"));
        let url = format!("http://{}", broker.ingress);
        let domain = ["--cluster-domain", "cluster.local", "--ingress-url", &url];
        let args = ["--print-addrs", "--health-addr", FREE_PORT, "--namespace", SYSTEM];
        let _: Value = start(cluster, "controller", program, &[&args[..], &domain].concat()).await;
        Self { broker }
    }
}

/// Starts a program as the ServiceAccount `reveille-NAME`; what it prints first.
async fn start<T: DeserializeOwned>(cluster: &Cluster, name: &str, program: &Path, args: &[&str]) -> T {
    let kubeconfig = cluster.kubeconfig_as(SYSTEM, &format!("reveille-{name}")).unwrap();
    let [out, err] = ["out", "err"].map(|end| cluster.directory().join(format!("{name}.{end}")));
    let mut command = cluster.beside(program).unwrap();
    command.args(args).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let mut child = command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).spawn().unwrap();
    eventually(&format!("the {name} to start"), || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the {name} ended: {}", std::fs::read_to_string(&err).unwrap());
        let said = std::fs::read_to_string(&out).unwrap();
        std::future::ready(said.split_once('\n').map(|(line, _)| serde_json::from_str(line).unwrap()))
    })
    .await
}

/// A Trigger of the Broker `default`; `rest` is YAML that follows the Broker's name in `spec`.
pub(crate) fn trigger(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\n\
         spec: {{broker: default, {rest}}}\n"
    )
}

/// `subscriber` in a Trigger's `spec`: by address.
pub(crate) fn to(subscriber: &Subscriber) -> String {
    format!("subscriber: {{uri: \"{}\"}}", subscriber.url())
}

/// Installs a kind with an address that nobody knew when Reveille was built, as third parties do.
pub(crate) async fn gadgets(cluster: &Cluster) {
    static APPLIED: OnceCell<()> = OnceCell::const_new();
    let apply = async || {
        cluster.apply(GADGETS).unwrap();
        let definition = "customresourcedefinition/gadgets.gadgets.example.dev";
        cluster.wait("default", definition, "condition=Established").unwrap();
    };
    APPLIED.get_or_init(apply).await;
}

const GADGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.gadgets.example.dev}
spec:
  group: gadgets.example.dev
  scope: Namespaced
  names: {kind: Gadget, plural: gadgets, singular: gadget}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: gadgets, labels: {duck.knative.dev/addressable: "true", duck.knative.dev/source: "true"}}
rules: [{apiGroups: [gadgets.example.dev], resources: [gadgets], verbs: [get, list, watch]}]
"#;

/// Publishes one event of a type, which must be accepted.
pub(crate) async fn publish(publisher: &Publisher, id: &str, ty: &str) {
    let ack = publisher.binary(&Sample::new(id).ty(ty)).await.unwrap();
    assert_eq!(ack.code, 202, "{}", ack.body);
}

/// Waits until the subscriber has an event.
pub(crate) async fn has(subscriber: &Subscriber, id: &str) {
    eventually(&format!("the event {id}"), || {
        std::future::ready(subscriber.ids().iter().any(|one| one == id).then_some(()))
    })
    .await;
}
