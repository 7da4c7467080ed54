//! What tests do inside the cluster's network namespace: addresses of pods that there are none of, servers at them,
//! and a broker that reaches them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::beside::WITH_HOSTS;
use super::start::{SERVER, kubeconfig_text};
use super::{Cluster, relay, run};
use crate::harness::Within;

impl Cluster {
    /// Gives the namespace one more address, such as `10.99.1.7` or `fd99::7`. It blocks the thread for a moment.
    ///
    /// # Errors
    /// When it is no address, or is there already.
    pub fn add_address(&self, address: &str) -> anyhow::Result<()> {
        // Without `nodad` an address of IPv6 cannot be listened at for a moment, until the kernel has looked for others.
        let (whole, more): (_, &[&str]) = if address.contains(':') { ("128", &["nodad"]) } else { ("32", &[]) };
        let whole = format!("{address}/{whole}");
        run(self.command("ip".as_ref()).args(["address", "add", &whole, "dev", "lo"]).args(more)).map(drop)
    }

    /// A listener inside, at `10.99.1.7:8080` for instance; it works from any thread.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn listen_inside(&self, address: &str) -> anyhow::Result<tokio::net::TcpListener> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.init))?;
        let address = address.to_owned();
        // Sockets stay in the namespace that they were made in, and a thread that moved does not come back.
        let made = std::thread::spawn(move || -> anyhow::Result<TcpListener> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = TcpListener::bind(&address).with_context(|| address.clone())?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = made.join().map_err(|_| anyhow!("the thread ended early"))??;
        Ok(tokio::net::TcpListener::from_std(listener)?)
    }

    /// Where a broker is to run that shall reach what is inside.
    #[must_use]
    pub fn within(&self) -> Within {
        let init = self.init;
        let enter = ["nsenter", "--target", &init.to_string(), "--net", "--"].map(Into::into).to_vec();
        let reach = move |inside: SocketAddr| relay::start(init, inside).expect("a relay into the cluster");
        Within { enter, reach: Arc::new(reach) }
    }

    /// The same for a broker that also reads [`Cluster::hosts`] in place of `/etc/hosts`.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub fn within_knowing_hosts(&self) -> anyhow::Result<Within> {
        let hosts = self.hosts_written()?;
        let mut within = self.within();
        within.enter.extend(["unshare", "--mount", "sh", "-c", WITH_HOSTS].map(Into::into));
        within.enter.push(hosts.into());
        Ok(within)
    }

    /// A kubeconfig as that of [`Cluster::kubeconfig_as`], for processes inside.
    ///
    /// # Errors
    /// When the API server gives no token.
    pub fn kubeconfig_inside_as(&self, namespace: &str, account: &str) -> anyhow::Result<PathBuf> {
        let token = self.kubectl(&["create", "token", account, "--namespace", namespace])?;
        ensure!(token.status.success(), "no token: {}", String::from_utf8_lossy(&token.stderr));
        let path = self.directory.join(format!("{namespace}-{account}-inside.yaml"));
        let token = String::from_utf8(token.stdout)?;
        std::fs::write(&path, kubeconfig_text(&format!("https://{SERVER}"), token.trim_end()))?;
        Ok(path)
    }
}
