//! However a test process ends, nothing of its cluster is left.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::cluster::Cluster;
use tests::harness::eventually;

/// Set for a second process of this test binary: it starts a cluster and holds it.
const HOLDER: &str = "REVEILLE_TEST_HOLDS_A_CLUSTER";
/// What the holder's line begins with; the directory of the cluster and the namespace of its processes follow.
const HELD: &str = "held: ";

/// Processes of a cluster: those in its process namespace, and those of its containers, which have namespaces of their
/// own, by its control group.
fn processes_of(namespace: &str, group: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    // A process may end while it is looked at.
    let inside = processes.filter(|path| {
        std::fs::read_link(path.join("ns/pid")).is_ok_and(|link| link.to_string_lossy() == namespace)
            || std::fs::read_to_string(path.join("cgroup")).is_ok_and(|groups| groups.contains(group))
    });
    inside.map(|path| std::fs::read_to_string(path.join("comm")).unwrap_or_default()).collect()
}

/// Control groups of this name, in any hierarchy.
fn groups(name: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|hierarchy| hierarchy.join(name));
    groups.filter(|group| group.exists()).collect()
}

/// What a cluster's control group is called, and where in mounts its directory shows.
fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_test_process_leaves_nothing_behind() {
    leaves_nothing(Cluster::control_plane, &["etcd", "kube-apiserver", "kube-controller"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_test_process_leaves_nothing_of_a_node_behind() {
    // With a pod: what a container needs is made by others than the programs that were started. Its image is missing
    // here, which leaves the sandbox.
    let with_pod = async || {
        let cluster = Cluster::node().await?;
        cluster
            .apply("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: none}]}\n")?;
        cluster.wait("default", "pod/p", "condition=PodReadyToStartContainers")?;
        Ok(cluster)
    };
    leaves_nothing(with_pod, &["containerd", "kubelet", "kube-scheduler", "kube-proxy", "coredns", "catatonit"]).await;
}

/// Starts a cluster in a second process of this test, which is then killed.
async fn leaves_nothing(start: impl AsyncFnOnce() -> anyhow::Result<Cluster>, programs: &[&str]) {
    let Some(name) = std::thread::current().name().map(str::to_owned) else { panic!("tests have named threads") };
    if std::env::var_os(HOLDER).is_some() {
        let cluster = start().await.unwrap();
        let inside = cluster.command("readlink".as_ref()).arg("/proc/self/ns/pid").output().unwrap();
        println!("{HELD}{} {}", cluster.directory().display(), String::from_utf8(inside.stdout).unwrap().trim());
        return std::future::pending().await;
    }
    if !Cluster::possible_or_skip() {
        return;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(HOLDER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).find_map(|line| {
        let (_, held) = line.split_once(HELD)?;
        let (directory, namespace) = held.split_once(' ')?;
        Some((PathBuf::from(directory), namespace.to_owned()))
    });
    let running = |(directory, namespace): &(PathBuf, String)| processes_of(namespace, &name_of(directory));
    let before = held.as_ref().map(running).unwrap_or_default();
    holder.kill().unwrap();
    let ended = holder.wait().unwrap();
    let held = held.expect("the holder says what it holds");
    assert_eq!(ended.signal(), Some(9), "{ended}");
    for program in programs {
        assert!(before.iter().any(|name| name.starts_with(program)), "{program} ran: {before:?}");
    }
    eventually("the end of the cluster's processes", || std::future::ready(running(&held).is_empty().then_some(())))
        .await;
    let (directory, name) = (&held.0, name_of(&held.0));
    eventually("the end of what it had on disk and in control groups", || {
        std::future::ready((!directory.exists() && groups(&name).is_empty()).then_some(()))
    })
    .await;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}
