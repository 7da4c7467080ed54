//! The level of a cluster that has a node: pods run, Services and their names work.
//!
//! *Not here*: a registry; images are brought along as archives. Network policies are taken but not enforced.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::sync::OnceCell;

use super::{Cluster, Level, NODE, availability, relay, run};
use crate::harness::{eventually, http_client};

/// Where CoreDNS says, inside, whether it knows the cluster.
const DNS_READY: &str = "10.99.0.1:8181";
/// What the kubelet's `podLogsDir` is called.
const POD_LOGS: &str = "pods";

impl Cluster {
    /// Starts a whole cluster of the caller's own, and waits until it runs pods.
    ///
    /// # Errors
    /// As [`Cluster::control_plane`].
    pub async fn node() -> anyhow::Result<Self> {
        let cluster = Self::start(Level::Node).await?;
        cluster.await_condition("node", "default", NODE, "Ready", "True")?;
        // The last to be made of what a pod needs.
        cluster.wait("default", "serviceaccount/default", "create")?;
        let url = format!("http://{}/ready", cluster.reach(DNS_READY.parse()?)?);
        let client = http_client();
        eventually("the cluster's names to be known", || async {
            client.get(&url).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        Ok(cluster)
    }

    /// The one with a node that all tests of a binary share, or `None` where there can be none: the test then returns,
    /// and stderr has a line that says why.
    ///
    /// # Panics
    /// When it does not start; and where there can be none, if the variable `CI` is set.
    pub async fn shared_node_or_skip() -> Option<&'static Self> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        if !availability::go_on() {
            return None;
        }
        Some(SHARED.get_or_init(async || Self::node().await.expect("the node starts")).await)
    }

    /// Gives the node an image from an OCI archive, under the name that the archive has for it.
    ///
    /// # Errors
    /// When it is no such archive.
    pub async fn load_image(&self, archive: &Path) -> anyhow::Result<()> {
        let images = ["-n", "k8s.io", "images"];
        let imported = run(self.command("ctr".as_ref()).args(images).arg("import").arg(archive))?;
        let said = String::from_utf8(imported.stdout)?;
        let name = said.split_whitespace().nth(1).with_context(|| format!("ctr named no image: {said}"))?;
        // The kubelet's side of containerd learns of it a moment later.
        let known = format!("name=={name},labels.\"io.cri-containerd.image\"==managed");
        eventually("the node to know the image", || {
            let listed = run(self.command("ctr".as_ref()).args(images).args(["ls", "-q", &known]));
            std::future::ready(match listed {
                Ok(listed) => (!listed.stdout.is_empty()).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            })
        })
        .await
    }

    /// The directory of what containers print: `NAMESPACE_POD_UID/CONTAINER/RESTARTS.log`. A pod's goes with the pod.
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.directory().join(POD_LOGS)
    }

    /// An address on this machine's loopback from which connections go to `target` in the cluster: a pod's address or
    /// a Service's. It costs a thread that stays until the end of the process.
    ///
    /// # Errors
    /// When it cannot be listened at.
    pub fn reach(&self, target: SocketAddr) -> anyhow::Result<SocketAddr> {
        Ok(relay::start(self.init, target)?)
    }
}
