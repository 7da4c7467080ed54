//! The broker as a process of its own, on a directory of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Cli, DEADLINE, Home, Publisher, eventually, http_client};

/// Stderr kept of a process, in bytes: enough for the end of a story.
const STDERR_BYTES_KEPT: usize = 256 * 1024;

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    quiet: bool,
    within: Option<Within>,
}

/// Another network namespace to run in.
#[derive(Clone)]
pub struct Within {
    /// A program and its arguments that run what is appended to them there.
    pub enter: Vec<OsString>,
    /// From an address there to one by which it is reached from here.
    pub reach: Arc<dyn Fn(SocketAddr) -> SocketAddr + Send + Sync>,
}

impl std::fmt::Debug for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Within").field("enter", &self.enter).finish_non_exhaustive()
    }
}

/// A broker that did not come up.
#[derive(Debug)]
pub struct StartError {
    /// How it ended; `None` when it had to be killed.
    pub status: Option<ExitStatus>,
    /// What it said.
    pub stderr: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the broker did not come up ({:?}):\n{}", self.status, self.stderr)
    }
}

impl std::error::Error for StartError {}

impl Launch {
    /// `binary serve` on the directories of `home`, on free ports.
    #[must_use]
    pub fn new(binary: &Path, home: &Home) -> Self {
        Self::from(binary, home).arg("--manifests", home.manifests())
    }

    /// The same with Brokers and Triggers from the cluster that a kubeconfig leads to.
    #[must_use]
    pub fn kube(binary: &Path, home: &Home, kubeconfig: &Path) -> Self {
        let mut launch = Self::from(binary, home).flag("--kube");
        launch.env.push(("KUBECONFIG", kubeconfig.into()));
        launch
    }

    fn from(binary: &Path, home: &Home) -> Self {
        let launch =
            Self { binary: binary.to_owned(), args: vec!["serve".into()], env: Vec::new(), quiet: false, within: None };
        let free = "127.0.0.1:0";
        launch
            .arg("--data", home.data())
            .arg("--ingress-addr", free)
            .arg("--health-addr", free)
            .arg("--admin-addr", free)
            .flag("--print-addrs")
    }

    /// Adds a flag with a value; the last one given wins.
    #[must_use]
    pub fn arg(mut self, flag: &str, value: impl Into<OsString>) -> Self {
        if let Some(at) = self.args.iter().position(|arg| arg == flag) {
            self.args.drain(at..=at + 1);
        }
        self.args.extend([flag.into(), value.into()]);
        self
    }

    /// Adds a flag without a value.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.args.push(flag.into());
        self
    }

    /// Runs it in another network namespace.
    #[must_use]
    pub fn within(mut self, within: Within) -> Self {
        self.within = Some(within);
        self
    }

    /// Does not print what the broker said when it is dropped.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`] when it ends, or is not ready within the deadline.
    ///
    /// # Panics
    /// When the binary cannot be run at all.
    pub async fn start(&self) -> Result<BrokerProcess, StartError> {
        self.spawn().ready().await
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    /// When the binary cannot be run at all.
    #[must_use]
    pub fn spawn(&self) -> Starting {
        let enter = self.within.iter().flat_map(|within| &within.enter);
        let mut line = enter.cloned().chain([self.binary.clone().into()]);
        let mut command = Command::new(line.next().expect("the binary, if nothing else"));
        command.args(line).args(&self.args).env_clear().kill_on_drop(true);
        for kept in ["PATH", "HOME", "RUST_BACKTRACE", "RUST_LOG", "TMPDIR"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the broker's binary can be run");
        let stderr = Stderr::default();
        let reading = tokio::spawn(stderr.clone().fill(child.stderr.take().expect("stderr is piped")));
        let (found, addresses) = oneshot::channel();
        tokio::spawn(find_addresses(child.stdout.take().expect("stdout is piped"), found));
        let (binary, within) = (self.binary.clone(), self.within.clone());
        Starting { child, stderr, reading, addresses, binary, quiet: self.quiet, within }
    }
}

/// A broker that has been started and may not be ready yet. Killed when dropped.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    stderr: Stderr,
    reading: JoinHandle<()>,
    addresses: oneshot::Receiver<schemas::admin::Addresses>,
    binary: PathBuf,
    quiet: bool,
    within: Option<Within>,
}

impl Starting {
    /// Waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`] when it ends, or is not ready within the deadline.
    pub async fn ready(mut self) -> Result<BrokerProcess, StartError> {
        let Ok(Ok(addresses)) = timeout(DEADLINE, &mut self.addresses).await else {
            let status = timeout(DEADLINE, self.child.wait()).await.ok().and_then(Result::ok);
            let _ = self.child.start_kill();
            let _ = timeout(DEADLINE, self.reading).await;
            return Err(StartError { status, stderr: self.stderr.text() });
        };
        let Self { child, stderr, binary, quiet, within, .. } = self;
        let addresses = match within {
            None => addresses,
            Some(within) => {
                let reach = |address: &str| (within.reach)(address.parse().expect("an address")).to_string();
                let [ingress, health, admin] = [addresses.ingress, addresses.health, addresses.admin];
                schemas::admin::Addresses { ingress: reach(&ingress), health: reach(&health), admin: reach(&admin) }
            }
        };
        let broker = BrokerProcess { child, stderr, addresses, binary, quiet };
        eventually("/ready", || async { broker.is_ready().await.then_some(()) }).await;
        Ok(broker)
    }

    /// Kills it as [`BrokerProcess::kill9`] does, however far it has come, and waits until it is gone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill9(mut self) {
        self.child.kill().await.expect("the broker can be killed");
    }
}

/// Reads lines until one tells the addresses, and goes on reading so that the pipe never fills.
async fn find_addresses(stdout: impl AsyncRead + Unpin, found: oneshot::Sender<schemas::admin::Addresses>) {
    let mut lines = BufReader::new(stdout).lines();
    let mut found = Some(found);
    while let Ok(Some(line)) = lines.next_line().await {
        if let (Ok(addresses), Some(found)) = (serde_json::from_str(&line), found.take()) {
            let _ = found.send(addresses);
        }
    }
}

/// The end of what a process wrote to stderr.
#[derive(Debug, Clone, Default)]
struct Stderr(Arc<Mutex<String>>);

impl Stderr {
    async fn fill(self, stderr: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if text.len() > STDERR_BYTES_KEPT {
                text.clear();
                text.push_str("[…]\n");
            }
            text.push_str(&line);
            text.push('\n');
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running broker. Killed when dropped; what it said is printed then.
#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
    stderr: Stderr,
    addresses: schemas::admin::Addresses,
    binary: PathBuf,
    quiet: bool,
}

impl BrokerProcess {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &schemas::admin::Addresses {
        &self.addresses
    }

    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// A publisher to one of its Brokers in the namespace `default`.
    #[must_use]
    pub fn publisher(&self, broker: &str) -> Publisher {
        self.publisher_in("default", broker)
    }

    /// A publisher to one of its Brokers in any namespace.
    #[must_use]
    pub fn publisher_in(&self, namespace: &str, broker: &str) -> Publisher {
        Publisher::new(&format!("http://{}/{namespace}/{broker}", self.addresses.ingress))
    }

    /// Its CLI, pointed at it.
    #[must_use]
    pub fn cli(&self) -> Cli {
        Cli::new(&self.binary, &format!("http://{}", self.addresses.admin))
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether `/ready` says so.
    pub async fn is_ready(&self) -> bool {
        let answer = http_client().get(format!("http://{}/ready", self.addresses.health)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// What `/ready` says of a part; `None` where it says nothing.
    ///
    /// # Panics
    /// When it does not answer with JSON.
    pub async fn ready_part(&self, name: &str) -> Option<serde_json::Value> {
        let report: serde_json::Value = serde_json::from_str(&self.health("ready").await).expect("/ready is JSON");
        report.get("parts")?.as_array()?.iter().find(|part| part.get("name").is_some_and(|of| of == name)).cloned()
    }

    /// `/metrics`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> String {
        self.health("metrics").await
    }

    async fn health(&self, path: &str) -> String {
        let url = format!("http://{}/{path}", self.addresses.health);
        let answer = http_client().get(url).send().await.expect("the health port answers");
        answer.text().await.expect("its answer is text")
    }

    /// The sum of a metric's samples over all labels; 0 when there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let values = text.lines().filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let found = sample.split('{').next()?;
            (found == name).then(|| value.parse::<f64>().ok()).flatten()
        });
        values.sum()
    }

    /// A body of the admin API.
    ///
    /// # Panics
    /// When it does not answer with JSON of that shape.
    pub async fn admin<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let url = format!("http://{}{path}", self.addresses.admin);
        let answer = http_client().get(&url).send().await.expect("the admin API answers");
        let status = answer.status();
        let body = answer.text().await.expect("the admin API answers with text");
        serde_json::from_str(&body).unwrap_or_else(|error| unreachable!("{url}: {status}: {error}: {body}"))
    }

    /// A Trigger's entry of the admin API; `None` while it is not there.
    pub async fn trigger(&self, name: &str) -> Option<schemas::admin::TriggerItem> {
        let list: schemas::admin::List<schemas::admin::TriggerItem> = self.admin("/api/v1/triggers").await;
        list.items.into_iter().find(|item| item.name == name)
    }

    /// The same for a Trigger of any namespace.
    pub async fn trigger_in(&self, namespace: &str, name: &str) -> Option<schemas::admin::TriggerItem> {
        let list: schemas::admin::List<schemas::admin::TriggerItem> = self.admin("/api/v1/triggers").await;
        list.items.into_iter().find(|item| item.namespace == namespace && item.name == name)
    }

    /// Waits until a Trigger exists and everything that matches it is settled.
    pub async fn settled(&self, trigger: &str) {
        eventually(&format!("Trigger {trigger} to settle everything"), || async {
            let item = self.trigger(trigger).await?;
            (item.lag.events == 0 && item.in_flight == 0).then_some(())
        })
        .await;
    }

    /// Kills it as a power cut of the process would: no signal handler runs.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill9(mut self) {
        self.child.kill().await.expect("the broker can be killed");
    }

    /// Asks it to stop, waits, and tells how it ended.
    pub async fn sigterm(self) -> ExitStatus {
        self.ask_to_stop();
        self.ended().await
    }

    /// Waits until it has ended, and tells how.
    ///
    /// # Panics
    /// When it does not end within the deadline.
    pub async fn ended(mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.expect("the broker stops in time").expect("it can be waited for")
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Panics
    /// When the process has ended already.
    pub fn ask_to_stop(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let id = id.expect("the broker runs");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal can be sent");
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // The test runner shows it where the test failed.
        if self.quiet {
            return;
        }
        println!("--- stderr of the broker ---\n{}---", self.stderr.text());
    }
}
