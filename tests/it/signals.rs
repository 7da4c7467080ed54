//! Stopping as the first process of a PID namespace, which a program is in a container. The kernel keeps from it every
//! signal that it did not ask for, SIGTERM and SIGINT included.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tests::harness::{DEADLINE, Home, Publisher, Sample, Subscriber, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{program, start};

/// A command that is process 1 of a namespace of its own. Killed when dropped.
struct First {
    unshare: Child,
}

/// Whether this machine lets us make PID namespaces; says so where it does not.
async fn possible() -> bool {
    let possible = unshare(&["true"]).status().await.is_ok_and(|status| status.success());
    assert!(possible || std::env::var_os("CI").is_none(), "CI must be able to make PID namespaces");
    if !possible {
        println!("skipped: making a PID namespace needs root, or user namespaces");
    }
    possible
}

fn unshare(command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--pid", "--fork", "--kill-child"]).args(command).kill_on_drop(true);
    unshare
}

impl First {
    fn start(args: &[&str], admin: &str) -> Self {
        let program = program().to_str().unwrap();
        let mut command = unshare(&[&[program], args].concat());
        command.env("REVEILLE_ADMIN", admin).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { unshare: command.spawn().unwrap() }
    }

    /// Sends a signal to the process itself, from outside its namespace.
    async fn signal(&self, signal: Signal) {
        let parent = self.unshare.id().unwrap();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let child = eventually("the child of unshare", || async {
            std::fs::read_to_string(&children).unwrap().split_whitespace().next().map(str::to_owned)
        })
        .await;
        kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), signal).unwrap();
    }

    /// Its exit code, and the rest of what it printed.
    async fn end(mut self) -> (Option<i32>, String) {
        let (mut out, mut stdout) = (String::new(), self.unshare.stdout.take().unwrap());
        timeout(DEADLINE, stdout.read_to_string(&mut out)).await.expect("it ends").unwrap();
        let status = timeout(DEADLINE, self.unshare.wait()).await.expect("it ends").unwrap();
        (status.code(), out)
    }
}

#[tokio::test]
async fn a_subscriber_ends_cleanly_in_a_container() {
    if !possible().await {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut listen = First::start(&["listen", "-o", "ndjson", "--code", "202"], "");
        let mut complaints = BufReader::new(listen.unshare.stderr.take().unwrap()).lines();
        let told = timeout(DEADLINE, complaints.next_line()).await.expect("it tells its address").unwrap().unwrap();
        let url = told.rsplit(' ').next().unwrap();
        Publisher::new(url).series("n", 3).await;
        listen.signal(signal).await;
        let (code, printed) = listen.end().await;
        assert_eq!((code, printed.lines().count()), (Some(0), 3), "{signal:?}: {printed}");
        let sum = timeout(DEADLINE, complaints.next_line()).await.expect("it tells the sum").unwrap();
        assert_eq!(sum.as_deref(), Some("3 events"));
    }
}

#[tokio::test]
async fn following_a_log_ends_cleanly_in_a_container() {
    if !possible().await {
        return;
    }
    let home = Home::new();
    let broker = start(&home).await;
    for signal in [Signal::TERM, Signal::INT] {
        let mut tail =
            First::start(&["tail", "--from", "#0", "-o", "name"], &format!("http://{}", broker.addresses().admin));
        broker.publisher("default").series("n", 1).await;
        let mut first = [0_u8; 1];
        let stdout = tail.unshare.stdout.as_mut().unwrap();
        timeout(DEADLINE, stdout.read_exact(&mut first)).await.expect("an event is printed").unwrap();
        tail.signal(signal).await;
        let (code, printed) = tail.end().await;
        assert_eq!(code, Some(0), "{signal:?}: {printed}");
        assert!(printed.ends_with('\n'), "{printed}");
    }
}

/// What ends by default elsewhere ends in a container too, also while it waits for something that does not come.
#[tokio::test]
async fn commands_under_way_end_in_a_container() {
    if !possible().await {
        return;
    }
    let subscriber = Subscriber::start().await;
    let url = subscriber.url();
    let endless = ["bench", "--duration", "PT1H", "--connections", "1", "--url", &url];
    let paced = ["send", "--type", "t", "--source", "s", "--count", "100000", "--rate", "100", "--ingress", &url];
    // Reads on from a pipe that stays open.
    let piped = ["send", "--file", "-", "--ingress", &url];
    for args in [&endless[..], &paced, &piped] {
        let seen = subscriber.received().len();
        let mut command = First::start(args, "");
        let line = format!("{}\n", Sample::new("piped").json());
        // The others do not read it.
        let _ = command.unshare.stdin.as_mut().unwrap().write_all(line.as_bytes()).await;
        eventually("an event", || async { (subscriber.received().len() > seen).then_some(()) }).await;
        command.signal(Signal::TERM).await;
        assert_eq!(command.end().await.0, Some(143), "{args:?}");
    }
}

#[tokio::test]
async fn the_demo_and_the_broker_end_cleanly_in_a_container() {
    if !possible().await {
        return;
    }
    let home = Home::new();
    let (demo, data, manifests) = (home.path("demo"), home.data(), home.manifests());
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let free = "127.0.0.1:0";
    let demo = ["demo", "--free-ports", "--data", &text(&demo)].map(str::to_owned).to_vec();
    let mut serve = ["serve", "--data", &text(&data), "--manifests", &text(&manifests)].map(str::to_owned).to_vec();
    serve.extend(
        ["--print-addrs", "--ingress-addr", free, "--health-addr", free, "--admin-addr", free].map(str::to_owned),
    );
    for args in [demo, serve] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = First::start(&args, "");
        let mut first = [0_u8; 1];
        let stdout = command.unshare.stdout.as_mut().unwrap();
        timeout(DEADLINE, stdout.read_exact(&mut first)).await.expect("it tells something").unwrap();
        command.signal(Signal::TERM).await;
        let (code, printed) = command.end().await;
        assert_eq!(code, Some(0), "{args:?}: {printed}");
    }
}
