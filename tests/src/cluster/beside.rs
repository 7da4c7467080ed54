//! Programs beside a cluster: on this machine's network, as a user's own are, but with the cluster's end.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::Cluster;

/// Mounts the file that stands first over the system's, then becomes the program that follows.
pub(super) const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

impl Cluster {
    /// `program` outside the cluster's network, where it reaches [`Cluster::server_url`] and the servers of a test. It
    /// ends with the cluster and reads [`Cluster::hosts`] in place of `/etc/hosts`.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub fn beside(&self, program: &Path) -> anyhow::Result<Command> {
        let hosts = self.hosts_written()?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--pid", "unshare", "--mount", "sh", "-c", WITH_HOSTS]);
        command.arg(hosts).arg(program);
        Ok(command)
    }

    /// The file of [`Cluster::hosts`], with the system's names if nothing is in it yet.
    pub(super) fn hosts_written(&self) -> anyhow::Result<PathBuf> {
        let hosts = self.hosts();
        if !hosts.exists() {
            std::fs::copy("/etc/hosts", &hosts).with_context(|| format!("{}", hosts.display()))?;
        }
        Ok(hosts)
    }

    /// Names of hosts that programs beside the cluster know: what a test appends is known at once.
    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.directory.join("hosts")
    }
}
