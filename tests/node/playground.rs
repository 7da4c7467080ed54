//! The playground, as a person uses it: started, looked into, ended with Ctrl-C.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tests::harness::eventually;

use crate::setup::Turn;

/// What the line that names its kubeconfig begins with.
const EXPORT: &str = "export KUBECONFIG=";

#[tokio::test(flavor = "multi_thread")]
async fn the_playground_has_reveille_and_ends_with_ctrl_c() {
    // Two nodes at once are much for a small machine.
    let Some(turn) = Turn::take().await else { return };
    let mut playground =
        Command::new(env!("CARGO_BIN_EXE_playground")).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(playground.stdout.take().unwrap()).lines().map_while(Result::ok);
    let kubeconfig = lines.find_map(|line| line.trim().strip_prefix(EXPORT).map(str::to_owned)).unwrap();
    let kubectl = |args: &[&str]| {
        let kubectl = turn.cluster.programs().join("kubectl");
        let output = Command::new(kubectl).args(args).env("KUBECONFIG", &kubeconfig).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pods = kubectl(&["-n", "reveille-system", "get", "pods"]);
    assert_eq!(pods.matches("1/1     Running").count(), 3, "{pods}");
    kill_process(Pid::from_child(&playground), Signal::INT).unwrap();
    let ended = playground.wait().unwrap();
    assert!(ended.success(), "{ended}");
    let directory = Path::new(&kubeconfig).parent().unwrap();
    eventually("the end of the playground", || std::future::ready((!directory.exists()).then_some(()))).await;
}
