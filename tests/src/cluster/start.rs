//! The start of a cluster: what its programs read, their first process, the way to the API server.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};

use super::{Cluster, Level, REPOSITORY, availability, relay, run};
use crate::harness::eventually;

/// Where the API server listens, inside.
pub(super) const SERVER: &str = "10.99.0.1:6443";
/// The administrator's token; it is of use only to who reaches the namespace or the relay.
const ADMIN_TOKEN: &str = "reveille-test-admin";
/// Only writes are recorded: they are what tests count.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
    - {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}\n";

impl Cluster {
    /// Starts the programs of a level and waits for the API server.
    pub(super) async fn start(level: Level) -> anyhow::Result<Self> {
        let programs = run(&mut Command::new(format!("{REPOSITORY}/tests/cluster/install")))?;
        let programs = PathBuf::from(String::from_utf8(programs.stdout)?.trim_end());
        let directory = tempfile::Builder::new().prefix("reveille-cluster-").tempdir()?;
        prepare(directory.path())?;
        let mut holder = Command::new("sh")
            .arg(format!("{REPOSITORY}/tests/src/cluster/outside.sh"))
            .args([&programs, directory.path()])
            .arg(match level {
                Level::ControlPlane => "control-plane",
                Level::Node => "node",
            })
            .args(availability::UNSHARE)
            .stdin(Stdio::piped())
            // Ctrl-C is for the test process, whose end the cluster sees; its holder has to clear away.
            .process_group(0)
            .spawn()
            .context("cannot run a shell")?;
        let init = eventually("the cluster's first process", || {
            let ended = holder.try_wait().ok().flatten();
            std::future::ready(match ended {
                Some(status) => Some(Err(anyhow!("it ended with {status}; see what it said above"))),
                None => first_process(holder.id()).map(Ok),
            })
        })
        .await?;
        let address = relay::start(init, SERVER.parse()?)?;
        // From here on the holder removes it.
        let directory = directory.keep();
        let cluster = Self { level, holder, init, programs, directory, address };
        cluster.write_kubeconfig(&cluster.kubeconfig(), &cluster.server_url(), ADMIN_TOKEN)?;
        cluster.api_server_is_ready().await?;
        Ok(cluster)
    }
}

/// The process that is the first one inside; between it and the holder there is `unshare`.
fn first_process(holder: u32) -> Option<u32> {
    let is_unshare = |process: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{process}/comm"));
        name.is_ok_and(|name| name.trim_end() == "unshare")
    };
    let unshare = children(holder).into_iter().find(is_unshare)?;
    children(unshare).into_iter().next()
}

fn children(process: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
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
pub(super) fn kubeconfig_text(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: \"{server}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: test, user: {{token: \"{token}\"}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    )
}
