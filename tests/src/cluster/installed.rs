//! Reveille on a node, as a user installs it: its image, a volume, `kubectl apply -k`.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};

use super::{Cluster, REPOSITORY, build_image};

/// Where `deploy/` installs to.
pub const SYSTEM: &str = "reveille-system";
/// How long its pods may take to be ready.
const TIMEOUT: &str = "--timeout=60s";

impl Cluster {
    /// Builds the image and gives it to the node.
    ///
    /// # Errors
    /// When it cannot be built, or the node does not take it.
    pub async fn load_reveille(&self) -> anyhow::Result<()> {
        let archive = tokio::task::spawn_blocking(build_image).await.context("the build panicked")??;
        self.load_image(&archive).await
    }

    /// A volume for a broker's claim, as a machine without a storage class has it: a directory of the node's.
    ///
    /// # Errors
    /// When there is one of that name already.
    pub fn offer_volume(&self, name: &str) -> anyhow::Result<()> {
        let path = self.directory().join(name);
        std::fs::create_dir(&path)?;
        self.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  \
             capacity: {{storage: 10Gi}}\n  accessModes: [ReadWriteOnce]\n  persistentVolumeReclaimPolicy: Retain\n  \
             local: {{path: \"{}\"}}\n  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [\
             {{key: kubernetes.io/hostname, operator: In, values: [node]}}]}}]}}}}\n",
            path.display()
        ))
    }

    /// Applies one of the repository's kustomizations, with the real kubectl, and waits until all pods that it asks
    /// for are ready. It blocks the thread.
    ///
    /// # Errors
    /// When kubectl fails or warns, or the pods are not ready in time; the text says how they are.
    pub fn install_reveille(&self, kustomization: &str) -> anyhow::Result<()> {
        let said = self.succeed(&["apply", "-k", &format!("{REPOSITORY}/{kustomization}")])?;
        ensure!(!said.contains("Warning"), "{said}");
        for definition in ["brokers", "triggers"] {
            let definition = format!("crd/{definition}.eventing.knative.dev");
            self.wait("default", &definition, "condition=Established")?;
        }
        for workload in ["deployment/reveille-controller", "statefulset/reveille-broker"] {
            let ready = self.succeed(&["-n", SYSTEM, "rollout", "status", TIMEOUT, workload]);
            ready.with_context(|| {
                let pods = self.succeed(&["-n", SYSTEM, "describe", "pods"]);
                format!("{workload} is not ready; its pods: {}", pods.unwrap_or_default())
            })?;
        }
        Ok(())
    }

    /// Where the broker's Service, for publishers, is reached from this machine.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn reach_ingress(&self) -> anyhow::Result<SocketAddr> {
        let service = ["-n", SYSTEM, "get", "service", "reveille-broker", "-o", "jsonpath={.spec.clusterIP}"];
        self.reach(SocketAddr::new(self.succeed(&service)?.parse()?, 80))
    }

    /// Runs kubectl; all that it said, or an error with that if it failed.
    fn succeed(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.kubectl(args)?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", args.join(" "));
        Ok(said.into_owned())
    }
}
