//! However a test process ends, nothing of its cluster is left.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tests::cluster::Cluster;
use tests::harness::eventually;

/// Set for a second process of this test binary: it starts a cluster and holds it.
const HOLDER: &str = "REVEILLE_TEST_HOLDS_A_CLUSTER";
/// What the holder's line begins with; the directory of the cluster and the namespace of its processes follow.
const HELD: &str = "held: ";

/// Processes whose process namespace is this one.
fn processes_in(namespace: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    // A process may end while it is looked at.
    let inside = processes
        .filter(|path| std::fs::read_link(path.join("ns/pid")).is_ok_and(|link| link.to_string_lossy() == namespace));
    inside.map(|path| std::fs::read_to_string(path.join("comm")).unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_test_process_leaves_nothing_behind() {
    let Some(name) = std::thread::current().name().map(str::to_owned) else { panic!("tests have named threads") };
    if std::env::var_os(HOLDER).is_some() {
        let cluster = Cluster::control_plane().await.unwrap();
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
    let before = held.as_ref().map(|(_, namespace)| processes_in(namespace)).unwrap_or_default();
    holder.kill().unwrap();
    let ended = holder.wait().unwrap();
    let (directory, namespace) = held.expect("the holder says what it holds");
    assert_eq!(ended.signal(), Some(9), "{ended}");
    for program in ["etcd", "kube-apiserver", "kube-controller"] {
        assert!(before.iter().any(|name| name.starts_with(program)), "{program} ran: {before:?}");
    }
    eventually("the end of the cluster's processes", || {
        std::future::ready(processes_in(&namespace).is_empty().then_some(()))
    })
    .await;
    assert!(!directory.exists(), "{} is left", directory.display());
}
