//! Real commands on real sockets.

use std::io::Write;
use std::path::Path;

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// Listens at $HOST:$PORT for ever.
const LISTEN: &str = r#"exec python3 -c '
import os, socket
s = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=512)
while True:
    s.accept()[0].close()
'"#;

/// Longest wait for something that is about to happen; far more than it takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

struct Fixture {
    waker: Arc<ExecWaker>,
    folder: tempfile::TempDir,
    address: String,
    trigger: TriggerKey,
}

impl Fixture {
    fn new() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self {
            waker: Arc::new(ExecWaker::new(true, Duration::from_secs(2), Metrics::new())),
            folder: tempfile::tempdir().unwrap(),
            address: free.to_string(),
            trigger: "ns/orders".parse().unwrap(),
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A target whose command notes its process id in the file `starts` before it goes on with `command`.
    fn target(&self, command: &str, idle: Option<u64>) -> WakeTarget {
        WakeTarget::Exec(ExecSpec {
            command: format!("echo $$ >> {}; {command}", self.file("starts")),
            address: self.address.clone(),
            idle_period: idle.map(Duration::from_millis),
            wake_timeout: SOON,
        })
    }

    fn starts(&self) -> Vec<i32> {
        pids(Path::new(&self.file("starts")))
    }

    async fn awake(&self, target: &WakeTarget) -> AwakeGuard {
        self.waker.ensure_awake(&self.trigger, target).await.unwrap()
    }

    async fn error(&self, target: &WakeTarget) -> WakeError {
        self.waker.ensure_awake(&self.trigger, target).await.unwrap_err()
    }
}

fn pids(file: &Path) -> Vec<i32> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
}

fn runs(pid: i32) -> bool {
    rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap()).is_ok()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn commands_need_permission() {
    let waker = ExecWaker::new(false, STOP_GRACE, Metrics::new());
    let fixture = Fixture { waker: Arc::new(waker), ..Fixture::new() };
    let error = fixture.error(&fixture.target(LISTEN, None)).await;
    assert_eq!(error.reason, "ExecNotAllowed");
    assert!(error.message.contains("--allow-exec"));
    assert!(fixture.starts().is_empty());
}

#[tokio::test]
async fn a_burst_starts_it_once_and_idleness_stops_it() {
    let fixture = Fixture::new();
    let target = fixture.target(LISTEN, Some(200));
    assert_eq!(fixture.waker.state(&target), WakeState::Asleep);
    let burst: Vec<_> = (0..100).map(|_| fixture.waker.ensure_awake(&fixture.trigger, &target)).collect();
    let burst: Vec<_> = burst.into_iter().map(tokio::spawn).collect();
    eventually("it is being started", || fixture.waker.state(&target) == WakeState::Waking).await;
    let mut guards = Vec::new();
    for waiter in burst {
        guards.push(waiter.await.unwrap().unwrap());
    }
    assert!(accepts(&fixture.address).await);
    assert_eq!(fixture.starts().len(), 1, "started once");
    assert_eq!(fixture.waker.state(&target), WakeState::Awake);

    let last = guards.pop();
    drop(guards);
    tokio::time::sleep(Duration::from_millis(600)).await; // three idle periods, with a guard
    assert!(accepts(&fixture.address).await, "a guard keeps it up");
    drop(last);
    eventually("it is put to sleep", || fixture.waker.state(&target) == WakeState::Asleep).await;
    let [pid] = fixture.starts()[..] else { panic!("one start") };
    eventually("its process is gone", || !runs(pid)).await;
    assert!(!accepts(&fixture.address).await);

    let _again = fixture.awake(&target).await;
    assert_eq!(fixture.starts().len(), 2, "the next event wakes it again");
}

#[tokio::test]
async fn a_waiter_that_goes_away_does_not_stop_the_wake() {
    let fixture = Fixture::new();
    let target = fixture.target(LISTEN, None);
    let waiter = tokio::spawn(fixture.waker.ensure_awake(&fixture.trigger, &target));
    eventually("it is being started", || fixture.waker.state(&target) == WakeState::Waking).await;
    waiter.abort();
    eventually("it is up all the same", || fixture.waker.state(&target) == WakeState::Awake).await;
    assert_eq!(fixture.starts().len(), 1);
}

#[tokio::test]
async fn a_command_that_ends_says_how() {
    let fixture = Fixture::new();
    let target = fixture.target("echo first >&2; echo no such module >&2; exit 3", None);
    let error = fixture.error(&target).await;
    assert_eq!(error.reason, "CrashLoop");
    assert!(error.message.contains("exit status: 3"), "{error}");
    assert!(error.message.contains("last line on stderr: no such module"), "{error}");
    assert_eq!(fixture.waker.state(&target), WakeState::Failed);

    let second = fixture.error(&target).await;
    let begun = Instant::now();
    let third = fixture.error(&target).await;
    assert!(begun.elapsed() >= slot::RESTART_DELAY_FIRST, "starts of a crashing command are spaced");
    assert_eq!((second.reason, third.reason), ("CrashLoop", "CrashLoop"));
    assert_eq!(fixture.starts().len(), 3);
}

#[tokio::test]
async fn a_command_that_never_listens_is_killed() {
    let fixture = Fixture::new();
    let WakeTarget::Exec(spec) = fixture.target("sleep 1000 & sleep 1000", None) else { unreachable!() };
    let target = WakeTarget::Exec(ExecSpec { wake_timeout: Duration::from_millis(300), ..spec });
    let error = fixture.error(&target).await;
    assert_eq!(error.reason, "NotReadyInTime");
    assert!(error.message.contains(&fixture.address) && error.message.contains("0.3 s"), "{error}");
    let [pid] = fixture.starts()[..] else { panic!("one start") };
    eventually("the group is gone", || !group_runs(pid)).await;
}

fn group_runs(pid: i32) -> bool {
    rustix::process::test_kill_process_group(rustix::process::Pid::from_raw(pid).unwrap()).is_ok()
}

#[tokio::test]
async fn addresses_without_a_port_are_refused() {
    let fixture = Fixture::new();
    for address in ["localhost", "localhost:", ":80", "h:0", "h:99999"] {
        let WakeTarget::Exec(spec) = fixture.target(LISTEN, None) else { unreachable!() };
        let error = fixture.error(&WakeTarget::Exec(ExecSpec { address: address.to_owned(), ..spec })).await;
        assert_eq!(error.reason, "AddressInvalid", "{address}");
    }
    assert_eq!(split("[::1]:80").unwrap(), ("::1".to_owned(), 80));
}

#[tokio::test]
async fn what_others_started_is_used_and_left_alone() {
    let fixture = Fixture::new();
    let theirs = tokio::net::TcpListener::bind(&fixture.address).await.unwrap();
    let target = fixture.target(LISTEN, Some(100));
    drop(fixture.awake(&target).await);
    assert_eq!(fixture.waker.state(&target), WakeState::Awake);
    fixture.waker.stop().await;
    assert!(accepts(&fixture.address).await, "still theirs");
    assert!(fixture.starts().is_empty());
    drop(theirs);
}

#[tokio::test]
async fn a_foreign_listener_that_went_away_is_replaced() {
    let fixture = Fixture::new();
    let theirs = tokio::net::TcpListener::bind(&fixture.address).await.unwrap();
    let target = fixture.target(LISTEN, None);
    drop(fixture.awake(&target).await);
    drop(theirs);
    tokio::time::sleep(slot::FOREIGN_TRUST).await;
    let _guard = fixture.awake(&target).await;
    assert_eq!(fixture.starts().len(), 1);
}

#[tokio::test]
async fn one_that_dies_is_started_again_by_the_next_event() {
    let fixture = Fixture::new();
    let target = fixture.target(LISTEN, None);
    let guard = fixture.awake(&target).await;
    let [pid] = fixture.starts()[..] else { panic!("one start") };
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    eventually("its end is seen", || fixture.waker.state(&target) == WakeState::Asleep).await;
    let again = fixture.awake(&target).await;
    assert_eq!(fixture.starts().len(), 2);
    drop((guard, again));
}

#[tokio::test]
async fn stop_ends_all_also_what_does_not_want_to() {
    let fixture = Fixture::new();
    let stubborn = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {}; sleep 1000' & {}",
        fixture.file("inner"),
        &LISTEN[5..]
    );
    let target = fixture.target(&stubborn, None);
    let guard = fixture.awake(&target).await;
    eventually("the inner process runs", || pids(Path::new(&fixture.file("inner"))).len() == 1).await;
    let [pid] = fixture.starts()[..] else { panic!("one start") };
    let [inner] = pids(Path::new(&fixture.file("inner")))[..] else { panic!("one inner process") };
    fixture.waker.stop().await;
    eventually("both are gone", || !group_runs(pid) && !runs(inner)).await;
    assert_eq!(fixture.error(&target).await.reason, "BrokerStopping");
    drop(guard);
}

#[tokio::test]
async fn nothing_outlives_a_dropped_waker() {
    let fixture = Fixture::new();
    let target = fixture.target(LISTEN, None);
    let guard = fixture.awake(&target).await;
    let [pid] = fixture.starts()[..] else { panic!("one start") };
    drop(fixture.waker);
    eventually("its process is gone", || !group_runs(pid)).await;
    drop(guard);
}

#[test]
fn nothing_outlives_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (fixture, guard) = runtime.block_on(async {
        let fixture = Fixture::new();
        let guard = fixture.awake(&fixture.target(LISTEN, None)).await;
        (fixture, guard)
    });
    let [pid] = fixture.starts()[..] else { panic!("one start") };
    drop(runtime);
    let deadline = std::time::Instant::now() + SOON;
    // A dead process whose parent has not collected it can still be signalled; its state says `Z`.
    let dead = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !dead() {
        assert!(std::time::Instant::now() < deadline, "{pid} still runs");
        std::thread::yield_now();
    }
    drop(guard);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn output_lands_in_our_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let fixture = Fixture::new();
    let long = "x".repeat(child::LINE_BYTES_MAX + 100);
    let command = format!("echo for $REVEILLE_TRIGGER; echo {long} >&2; printf unfinished >&2; exit 1");
    let error = fixture.error(&fixture.target(&command, None)).await;
    assert!(error.message.contains("unfinished"), "{error}");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let has = |needles: &[&str]| text.lines().any(|line| needles.iter().all(|needle| line.contains(needle)));
    assert!(has(&["INFO", "trigger=ns/orders", "stdout", "for ns/orders"]), "{text}");
    assert!(has(&["stderr", &"x".repeat(child::LINE_BYTES_MAX)]), "{text}");
    // The command itself, with the long word in it, is in the line that announces the start.
    let output = text.lines().filter(|line| line.contains("subscriber output"));
    assert!(output.clone().count() == 3 && !output.into_iter().any(|line| line.contains(&long)), "long lines are cut");
}
