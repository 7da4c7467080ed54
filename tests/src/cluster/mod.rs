//! A real Kubernetes control plane for tests: etcd, kube-apiserver with RBAC and audit log, kube-controller-manager.
//!
//! *Inputs*: the programs that `tests/cluster/install` built. *Outputs*: clients and kubeconfigs for it.
//! *Invariants*: it lives in namespaces of its own and ends with the test process, however that ends; its directory
//! goes with it. *Not here*: a node; nothing runs pods.

mod audit;
mod availability;
mod beside;
mod definition;
mod inside;
mod namespace;
mod proxy;
mod relay;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, anyhow, bail, ensure};
use tokio::sync::OnceCell;

pub use audit::Write;
pub use definition::without_schema;
pub use namespace::Namespace;
pub use proxy::{ApiProxy, Fault};

use crate::harness::{DEADLINE, eventually};

/// Where the API server listens, inside.
const SERVER: &str = "10.99.0.1:6443";
/// The administrator's token; it is of use only to who reaches the namespace or the relay.
const ADMIN_TOKEN: &str = "reveille-test-admin";
/// Only writes are recorded: they are what tests count.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
    - {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}\n";
/// The one Node object. Nothing runs on it, but pods that name it count for EndpointSlices.
const NODE: &str = "node";
/// While this file exists the API server is not started.
const DOWN: &str = "apiserver.down";
/// What a test that fails shows of each log.
const LOG_LINES: usize = 20;
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct Cluster {
    unshare: Child,
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
        let programs = run(&mut Command::new(format!("{REPOSITORY}/tests/cluster/install")))?;
        let programs = PathBuf::from(String::from_utf8(programs.stdout)?.trim_end());
        let directory = tempfile::Builder::new().prefix("reveille-cluster-").tempdir()?;
        prepare(directory.path())?;
        let mut unshare = Command::new("unshare")
            .args(availability::UNSHARE)
            .arg("sh")
            .arg(format!("{REPOSITORY}/tests/src/cluster/init.sh"))
            .args([&programs, directory.path()])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run unshare")?;
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = eventually("the cluster's first process", || {
            let ended = unshare.try_wait().ok().flatten();
            std::future::ready(match ended {
                Some(status) => Some(Err(anyhow!("unshare ended with {status}; see what it said above"))),
                None => first_child(&children).map(Ok),
            })
        })
        .await?;
        let address = relay::start(init, SERVER.parse()?)?;
        // From here on the cluster's first process removes it.
        let directory = directory.keep();
        let cluster = Self { unshare, init, programs, directory, address };
        cluster.write_kubeconfig(&cluster.kubeconfig(), &cluster.server_url(), ADMIN_TOKEN)?;
        cluster.api_server_is_ready().await?;
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
        Ok(Namespace { cluster: self, name })
    }

    /// The ends of the logs, which go with the cluster; the test runner shows them where a test failed.
    fn print_logs(&self) {
        for name in ["etcd.log", "apiserver.log", "controller-manager.log"] {
            let log = std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let (_, end) = lines.split_at(lines.len().saturating_sub(LOG_LINES));
            eprintln!("the end of {name}:\n{}", end.join("\n"));
        }
    }

    fn write_kubeconfig(&self, path: &Path, server: &str, token: &str) -> anyhow::Result<()> {
        std::fs::write(path, kubeconfig_text(server, token)).with_context(|| format!("{}", path.display()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        // Its end is what the first process waits for.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

fn first_child(children: &str) -> Option<u32> {
    std::fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
}

/// What the programs read at their start.
fn prepare(directory: &Path) -> anyhow::Result<()> {
    let key = directory.join("service-account.key");
    run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
    let public = directory.join("service-account.pub");
    run(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).arg("-out").arg(public))?;
    std::fs::write(directory.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,1,\"system:masters\"\n"))?;
    std::fs::write(directory.join("audit-policy.yaml"), AUDIT_POLICY)?;
    let inside = kubeconfig_text(&format!("https://{SERVER}"), ADMIN_TOKEN);
    std::fs::write(directory.join("admin-inside.yaml"), inside)?;
    Ok(())
}

/// The certificate is the API server's own and made at its start, for addresses other than the relay's.
fn kubeconfig_text(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: test, user: {{token: \"{token}\"}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    )
}

/// Runs a program to its end; what it said is the error when it fails.
fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
