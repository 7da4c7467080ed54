//! A real Kubernetes for tests, at two levels. The *control plane*: etcd, kube-apiserver with RBAC and audit log,
//! kube-controller-manager; nothing runs pods. The *node*: scheduler, containerd, runc, kubelet, kube-proxy, CoreDNS too.
//!
//! *Inputs*: the programs that `tests/cluster/install` built. *Outputs*: clients and kubeconfigs for it.
//! *Invariants*: it lives in namespaces and a control group of its own and ends with the test process, however that
//! ends; its directory goes with it.

mod audit;
mod availability;
mod beside;
mod definition;
mod image;
mod inside;
mod installed;
mod namespace;
mod node;
mod object;
mod proxy;
mod relay;
mod start;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};
use tokio::sync::OnceCell;

pub use audit::Write;
pub use definition::without_schema;
pub use image::{build_image, buildah};
pub use installed::SYSTEM;
pub use namespace::Namespace;
pub use object::{condition, message};
pub use proxy::{ApiProxy, Fault};

use crate::harness::{DEADLINE, eventually};

/// The one Node. At the level of the control plane nothing runs on it, but pods that name it count for EndpointSlices.
const NODE: &str = "node";
/// While this file exists the API server is not started.
const DOWN: &str = "apiserver.down";
/// What a test that fails shows of each log.
const LOG_LINES: usize = 20;
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// How much of a Kubernetes a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    ControlPlane,
    Node,
}

/// A running cluster. Dropping it ends it.
#[derive(Debug)]
pub struct Cluster {
    level: Level,
    /// Holds the cluster from outside, and clears away after it.
    holder: Child,
    init: u32,
    programs: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
}

impl Cluster {
    /// Starts a control plane of the caller's own.
    ///
    /// # Errors
    /// When this machine cannot make namespaces (not root), the programs cannot be built, or one does not start.
    pub async fn control_plane() -> anyhow::Result<Self> {
        let cluster = Self::start(Level::ControlPlane).await?;
        cluster.apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\n"))?;
        Ok(cluster)
    }

    /// The one that all tests of a binary share; it is started at most once and ends with the process.
    ///
    /// # Errors
    /// As [`Cluster::control_plane`].
    pub async fn shared_control_plane() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::control_plane).await
    }

    /// The shared one for a test, or `None` where there can be none: the test then returns, and stderr has a line
    /// that says why.
    ///
    /// # Panics
    /// When the control plane does not start; and where there can be none, if the variable `CI` is set.
    pub async fn shared_or_skip() -> Option<&'static Self> {
        if !Self::possible_or_skip() {
            return None;
        }
        Some(Self::shared_control_plane().await.expect("the control plane starts"))
    }

    /// The same for a test that needs a control plane of its own, for instance because it breaks it.
    ///
    /// # Panics
    /// As [`Cluster::shared_or_skip`].
    pub async fn own_or_skip() -> Option<Self> {
        if !Self::possible_or_skip() {
            return None;
        }
        Some(Self::control_plane().await.expect("the control plane starts"))
    }

    /// Whether a test that starts its cluster in another process may go on; if not, stderr has a line that says why.
    ///
    /// # Panics
    /// Where no cluster can run, if the variable `CI` is set.
    #[must_use]
    pub fn possible_or_skip() -> bool {
        availability::go_on()
    }

    /// Where its programs keep their state and their logs (`apiserver.log`, …); it is removed at the end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its programs are, and kubectl.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Its URL for processes outside; inside it is `https://10.99.0.1:6443`.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The administrator's kubeconfig, for processes outside.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.yaml")
    }

    /// A kubeconfig, for processes outside, with a token of a service account that exists.
    ///
    /// # Errors
    /// When the API server gives no token.
    pub fn kubeconfig_as(&self, namespace: &str, account: &str) -> anyhow::Result<PathBuf> {
        let token = self.kubectl(&["create", "token", account, "--namespace", namespace])?;
        ensure!(token.status.success(), "no token: {}", String::from_utf8_lossy(&token.stderr));
        let path = self.directory.join(format!("{namespace}-{account}.yaml"));
        self.write_kubeconfig(&path, &self.server_url(), String::from_utf8(token.stdout)?.trim_end())?;
        Ok(path)
    }

    /// A client with an administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        Self::client_from(&self.kubeconfig()).await
    }

    /// A client that a kubeconfig describes.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client_from(path: &Path) -> anyhow::Result<kube::Client> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
        let options = kube::config::KubeConfigOptions::default();
        Ok(kube::Client::try_from(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?)?)
    }

    /// A client with a service account's rights.
    ///
    /// # Errors
    /// When the API server gives no token.
    pub async fn client_as(&self, namespace: &str, account: &str) -> anyhow::Result<kube::Client> {
        Self::client_from(&self.kubeconfig_as(namespace, account)?).await
    }

    /// Runs the real kubectl as administrator.
    ///
    /// # Errors
    /// When it cannot be run; that it fails is in the output.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.kubectl_stdin(args, "")
    }

    /// The same with `input` on its standard input (`-f -`).
    ///
    /// # Errors
    /// When it cannot be run; that it fails is in the output.
    pub fn kubectl_stdin(&self, args: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("stdin is piped")?.write_all(input.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Applies manifests as administrator.
    ///
    /// # Errors
    /// When the API server refuses one; the text is kubectl's.
    pub fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.apply_with(&[], yaml)
    }

    fn apply_with(&self, args: &[&str], yaml: &str) -> anyhow::Result<()> {
        let output = self.kubectl_stdin(&[args, &["apply", "-f", "-"]].concat(), yaml)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until the object exists and has the condition, for its present generation. It blocks the thread, as all
    /// that runs kubectl does: the test needs `flavor = "multi_thread"` if tasks of its own are to go on meanwhile.
    ///
    /// # Errors
    /// After [`DEADLINE`]; the text shows the object as it then was.
    pub fn await_condition(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        condition: &str,
        status: &str,
    ) -> anyhow::Result<()> {
        let object = format!("{kind}/{name}");
        self.wait(namespace, &object, "create")?;
        self.wait(namespace, &object, &format!("condition={condition}={status}"))
    }

    /// Waits for what `kubectl wait --for` understands (`create`, `delete`, `jsonpath={.status.x}=y`, …) of an object,
    /// as `kind/name`. It blocks the thread.
    ///
    /// # Errors
    /// After [`DEADLINE`]; the text shows the object as it then was.
    pub fn wait(&self, namespace: &str, object: &str, until: &str) -> anyhow::Result<()> {
        let (until, timeout) = (format!("--for={until}"), format!("--timeout={}s", DEADLINE.as_secs()));
        let output = self.kubectl(&["--namespace", namespace, "wait", object, &until, &timeout])?;
        if output.status.success() {
            return Ok(());
        }
        let now = self.kubectl(&["--namespace", namespace, "get", object, "--output", "yaml"])?;
        let (said, now) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&now.stdout));
        bail!("{object} {until}: {said}\n{now}")
    }

    /// Kills the API server; it stays down until [`Cluster::start_api_server`]. Only for a cluster of the test's own.
    ///
    /// # Errors
    /// When it was not running.
    pub fn stop_api_server(&self) -> anyhow::Result<()> {
        std::fs::write(self.directory.join(DOWN), "")?;
        run(self.command("pkill".as_ref()).args(["-KILL", "-x", "kube-apiserver"])).map(drop)
    }

    /// Lets the API server start again, with all that it had stored, and waits until it is ready.
    ///
    /// # Errors
    /// When it was not stopped.
    pub async fn start_api_server(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.directory.join(DOWN)).context("the API server was not stopped")?;
        self.api_server_is_ready().await
    }

    async fn api_server_is_ready(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        eventually("the API server to be ready", || async {
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            client.request_text(request).await.ok()
        })
        .await;
        Ok(())
    }

    /// `program` inside the cluster's namespaces: it reaches `https://10.99.0.1:6443` and ends with the cluster.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--net", "--mount", "--pid"]).arg(program);
        command
    }

    /// A namespace that no other test has: `prefix` and a random end. It blocks the thread for a moment.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn namespace(&self, prefix: &str) -> anyhow::Result<Namespace<'_>> {
        let name = format!("{prefix}-{:08x}", fastrand::u32(..));
        self.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"))?;
        if self.level == Level::Node {
            // Without it no pod is admitted.
            self.wait(&name, "serviceaccount/default", "create")?;
        }
        Ok(Namespace { cluster: self, name })
    }

    /// The ends of the logs, which go with the cluster; the test runner shows them where a test failed.
    fn print_logs(&self) {
        let names = ["etcd", "apiserver", "controller-manager"].iter().chain(match self.level {
            Level::ControlPlane => &[][..],
            Level::Node => &["scheduler", "containerd", "kubelet", "kube-proxy", "coredns"],
        });
        for name in names {
            let log = std::fs::read_to_string(self.directory.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let (_, end) = lines.split_at(lines.len().saturating_sub(LOG_LINES));
            eprintln!("the end of {name}.log:\n{}", end.join("\n"));
        }
    }

    fn write_kubeconfig(&self, path: &Path, server: &str, token: &str) -> anyhow::Result<()> {
        std::fs::write(path, start::kubeconfig_text(server, token)).with_context(|| format!("{}", path.display()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // Its end is what the first process waits for.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Runs a program to its end; what it said is the error when it fails.
fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
