//! A Kubernetes namespace of one test, so that many tests can share a cluster.

use std::net::IpAddr;
use std::process::Output;

use anyhow::ensure;

use super::{Cluster, NODE};

/// A Kubernetes namespace of one test; its deletion is asked for, not awaited, when it is dropped.
#[derive(Debug)]
pub struct Namespace<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) name: String,
}

impl Namespace<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Applies manifests to it as administrator; they need not name a namespace.
    ///
    /// # Errors
    /// When the API server refuses one; the text is kubectl's.
    pub fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.cluster.apply_with(&["--namespace", &self.name], yaml)
    }

    /// Runs the real kubectl as administrator, in this namespace.
    ///
    /// # Errors
    /// When it cannot be run; that it fails is in the output.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.cluster.kubectl(&[&["--namespace", &self.name], args].concat())
    }

    /// A pod, with the label `app`, that looks as if it ran and were ready at `ip`: where there is no kubelet, this is
    /// what gives a Service its endpoints. `ip` must not be a loopback address; nothing listens there by this.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn pretend_pod(&self, name: &str, app: &str, ip: IpAddr) -> anyhow::Result<()> {
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\n\
             spec: {{nodeName: {NODE}, containers: [{{name: main, image: none}}]}}\n"
        ))?;
        let status = serde_json::json!({"status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let patch = status.to_string();
        let output = self.kubectl(&["patch", "pod", name, "--subresource=status", "--type=merge", "-p", &patch])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// [`Cluster::await_condition`] in this namespace.
    ///
    /// # Errors
    /// As there.
    pub fn await_condition(&self, kind: &str, name: &str, condition: &str, status: &str) -> anyhow::Result<()> {
        self.cluster.await_condition(kind, &self.name, name, condition, status)
    }

    /// [`Cluster::wait`] in this namespace.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, object: &str, until: &str) -> anyhow::Result<()> {
        self.cluster.wait(&self.name, object, until)
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
