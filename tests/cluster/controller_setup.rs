//! A controller on a real API server, with the rights that it has in a cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tests::cluster::{Cluster, Namespace, Write};
use tests::harness::{DEADLINE, eventually, http_client};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

const CRDS: [&str; 2] =
    [include_str!("../../schemas/crds/broker.yaml"), include_str!("../../schemas/crds/trigger.yaml")];
const RIGHTS: [&str; 3] = [
    include_str!("../../deploy/base/namespace.yaml"),
    include_str!("../../deploy/base/roles.yaml"),
    include_str!("../../deploy/base/access.yaml"),
];
const SYSTEM: &str = "reveille-system";
const ACCOUNT: &str = "reveille-controller";
/// Long enough for a busy machine, short enough to wait for.
const LEASE: &str = "PT10S";

/// A namespace for a test, and the cluster to itself: one Lease and one set of objects are all controllers'.
pub(crate) struct Stage<'a> {
    pub(crate) namespace: Namespace<'a>,
    cluster: &'a Cluster,
    client: kube::Client,
    kubeconfig: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl<'a> Stage<'a> {
    /// With the CRDs of this repository.
    pub(crate) async fn new(cluster: &'a Cluster, prefix: &str) -> Self {
        Self::with_crds(cluster, prefix, &CRDS).await
    }

    pub(crate) async fn with_crds(cluster: &'a Cluster, prefix: &str, crds: &[&str]) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        crds.iter().chain(&RIGHTS).for_each(|yaml| cluster.apply(yaml).unwrap());
        for crd in ["brokers", "triggers"] {
            let crd = format!("customresourcedefinition/{crd}.eventing.knative.dev");
            cluster.wait("default", &crd, "condition=Established").unwrap();
        }
        // The last test's controller was killed; nobody need wait for its Lease to run out.
        let freed = ["delete", "lease", ACCOUNT, "--namespace", SYSTEM, "--ignore-not-found"];
        assert!(cluster.kubectl(&freed).unwrap().status.success());
        cluster.apply(&broker_pods(true)).unwrap();
        let kubeconfig = cluster.kubeconfig_as(SYSTEM, ACCOUNT).unwrap();
        let (namespace, client) = (cluster.namespace(prefix).unwrap(), cluster.client().await.unwrap());
        Self { namespace, cluster, client, kubeconfig, _turn: turn }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same for another of the accounts that `deploy/base` makes.
    pub(crate) fn kubeconfig_of(&self, account: &str) -> PathBuf {
        self.cluster.kubeconfig_as(SYSTEM, account).unwrap()
    }

    /// Starts a controller that has read what there is.
    pub(crate) async fn start(&self) -> ControllerProcess {
        ControllerProcess::start(&self.kubeconfig).await
    }

    /// Applies what is outside of the test's own namespace.
    pub(crate) fn apply_system(&self, yaml: &str) {
        self.cluster.apply(yaml).unwrap();
    }

    pub(crate) fn apply(&self, yaml: &str) {
        self.namespace.apply(yaml).unwrap();
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        let output = self.namespace.kubectl(&["delete", kind, name]).unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// An object as it is now; `None` where there is none.
    pub(crate) async fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.namespace.get(&self.client, plural, name).await
    }

    /// Waits until `Ready` is `status` for `reason` (any where it is empty) and the object's present generation.
    pub(crate) async fn ready(&self, plural: &str, name: &str, status: &str, reason: &str) -> Value {
        self.namespace.ready(&self.client, plural, name, status, reason).await
    }

    pub(crate) async fn trigger(&self, name: &str, status: &str, reason: &str) -> Value {
        self.ready("triggers", name, status, reason).await
    }

    /// The Broker `default`, ready.
    pub(crate) async fn broker(&self) -> Value {
        self.apply(&broker("default", "Reveille"));
        self.ready("brokers", "default", "True", "").await
    }

    pub(crate) fn client(&self) -> &kube::Client {
        &self.client
    }

    /// What the controller wrote in this namespace.
    pub(crate) async fn writes(&self) -> Vec<Write> {
        let user = format!("system:serviceaccount:{SYSTEM}:{ACCOUNT}");
        let picked = |write: &Write| write.user == user && write.namespace == self.namespace.name();
        self.cluster.audit_writes(picked).await.unwrap()
    }
}

pub(crate) fn broker(name: &str, class: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\n\
         metadata: {{name: {name}, annotations: {{eventing.knative.dev/broker.class: {class}}}}}\nspec: {{}}\n"
    )
}

/// A Trigger; `subscriber` is YAML.
pub(crate) fn trigger(name: &str, broker: &str, subscriber: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\n\
         spec: {{broker: {broker}, subscriber: {subscriber}}}\n"
    )
}

/// A subscriber that is a Service.
pub(crate) fn to_service(name: &str) -> String {
    format!("{{ref: {{apiVersion: v1, kind: Service, name: {name}}}}}")
}

pub(crate) fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n")
}

/// What Kubernetes says of the broker's pods, which no test of the controller alone has.
pub(crate) fn broker_pods(ready: bool) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: reveille-broker-test, namespace: {SYSTEM}, labels: {{kubernetes.io/service-name: reveille-broker}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: {ready}}}}}]\n"
    )
}

/// A running controller. Killed when dropped; what it said is printed then.
pub(crate) struct ControllerProcess {
    child: Child,
    health: String,
    said: tempfile::NamedTempFile,
}

impl ControllerProcess {
    pub(crate) async fn start(kubeconfig: &Path) -> Self {
        Self::start_with(kubeconfig, &[]).await
    }

    /// With further flags.
    pub(crate) async fn start_with(kubeconfig: &Path, flags: &[&str]) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reveille-controller-under-test"));
        command.args(["--health-addr", "127.0.0.1:0", "--print-addrs", "--lease-duration", LEASE]);
        command.args(["--namespace", SYSTEM, "--cluster-domain", "cluster.local"]).args(flags);
        command.env_clear().env("KUBECONFIG", kubeconfig).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended: {}", std::fs::read_to_string(said.path()).unwrap()));
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let controller = Self { child, health: addresses["health"].as_str().unwrap().to_owned(), said };
        eventually("the controller to be ready", || async {
            let answer = http_client().get(format!("http://{}/ready", controller.health)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        controller
    }

    pub(crate) async fn is_leader(&self) -> bool {
        let answer = http_client().get(format!("http://{}/metrics", self.health)).send().await.unwrap();
        answer.text().await.unwrap().lines().any(|line| line == "reveille_controller_leader 1")
    }

    /// Processor time that it has used so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id().unwrap())).unwrap();
        // Behind the name, which may hold anything: user and system time are fields 14 and 15 of the whole.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// How often it has lost the lead.
    pub(crate) fn losses(&self) -> usize {
        std::fs::read_to_string(self.said.path()).unwrap().matches("no longer the leader").count()
    }

    pub(crate) async fn leads(&self) {
        eventually("the controller to lead", || async { self.is_leader().await.then_some(()) }).await;
    }

    /// Stops it as Kubernetes does; the lead is free then.
    pub(crate) async fn stop(mut self) {
        let id = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let status = timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    pub(crate) async fn kill9(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for ControllerProcess {
    fn drop(&mut self) {
        // The test runner shows it where the test failed.
        let said = std::fs::read_to_string(self.said.path()).unwrap_or_default();
        println!("--- stderr of the controller ---\n{said}---");
    }
}
