//! Standalone wake: a local subscriber that runs only while there is work.

use std::path::Path;

use tests::harness::{Home, Sample, TriggerManifest, eventually};

use super::{accepted, launch};

/// Waits a little before it listens, so that a burst meets it while it starts; writes a line for its start and for
/// each event.
const SLEEPER: &str = r#"
import http.server, os, sys, time
journal, port = sys.argv[1], int(sys.argv[2])
def write(text):
    with open(journal, "a") as file:
        file.write(text + "\n")
write("start %d" % os.getpid())
class Server(http.server.ThreadingHTTPServer):
    # As large as other servers' backlogs, unless a test wants connections of a burst to stay half open.
    request_queue_size = int(sys.argv[3]) if len(sys.argv) > 3 else 128
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers["ce-id"].startswith("slow"):
            time.sleep(2)
        write("event " + self.headers["ce-id"])
        self.send_response(204)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
time.sleep(0.5)
print("the sleeper is up", flush=True)
Server(("127.0.0.1", port), Handler).serve_forever()
"#;

/// Lines of the journal that begin with `word`, without it.
fn lines(journal: &Path, word: &str) -> Vec<String> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(str::to_owned).collect()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Trigger whose subscriber is the sleeper.
fn sleeper(home: &Home, idle: &str) -> TriggerManifest {
    sleeper_by(home, idle, |python| format!("exec {python}"))
}

/// The same with a command made of the one that runs the sleeper.
fn sleeper_by(home: &Home, idle: &str, command: impl Fn(&str) -> String) -> TriggerManifest {
    let (script, journal, port) = (home.path("sleeper.py"), home.path("journal"), free_port());
    std::fs::write(&script, SLEEPER).unwrap();
    let command = command(&format!("python3 {} {} {port}", script.display(), journal.display()));
    let trigger = TriggerManifest::new("sleeper", &format!("http://127.0.0.1:{port}/"));
    trigger.annotation("reveille.dev/exec", &command).annotation("reveille.dev/idle-period", idle)
}

/// Whether it is there and more than a dead process that nobody has collected yet.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[tokio::test]
async fn a_burst_starts_the_subscriber_once_and_idleness_stops_it() {
    let home = Home::new();
    home.trigger(&sleeper(&home, "PT1S").delivery("retry: 0"));
    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    let journal = home.path("journal");
    assert_eq!(lines(&journal, "start").len(), 0, "it runs before there is work");
    let samples: Vec<Sample> = (0..200).map(|n| Sample::new(&format!("n-{n}"))).collect();
    accepted(broker.publisher("default").batch(&samples).await);
    broker.settled("sleeper").await;
    assert_eq!(lines(&journal, "start").len(), 1, "started once for the burst");
    let mut events = lines(&journal, "event");
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 200);
    assert_eq!(lines(&journal, "event").len(), 200, "waiting for the start used no attempt");
    let item = broker.trigger("sleeper").await.unwrap();
    assert_eq!(item.dead_letters, 0);
    assert!(broker.stderr().contains("the sleeper is up"), "the child's output is in the broker's log");

    let first = lines(&journal, "start").remove(0);
    eventually("the idle subscriber to be stopped", || async { (!is_running(&first)).then_some(()) }).await;
    eventually("the Trigger to say so", || async {
        let item = broker.trigger("sleeper").await?;
        (item.state == schemas::admin::TriggerState::Asleep).then_some(())
    })
    .await;

    accepted(broker.publisher("default").binary(&Sample::new("again")).await);
    broker.settled("sleeper").await;
    assert_eq!(lines(&journal, "start").len(), 2, "woken a second time");
    assert_eq!(broker.metric("reveille_wakes_total").await, 2.0, "{}", broker.metrics().await);
    assert_eq!(lines(&journal, "event").last().map(String::as_str), Some("again"));
    let second = lines(&journal, "start").remove(1);
    assert!(broker.sigterm().await.success());
    eventually("the child to end with the broker", || async { (!is_running(&second)).then_some(()) }).await;
}

/// With a backlog of 1 the system takes more connections of a burst than it queues: they are open for the broker only,
/// stay in its pool, and nobody tells it when the subscriber ends. Those who get them after the next start find nobody,
/// which must not cost an event its only attempt.
#[tokio::test]
async fn connections_of_a_former_life_use_no_attempt() {
    let home = Home::new();
    let trigger = sleeper_by(&home, "PT1S", |python| format!("exec {python} 1"));
    home.trigger(&trigger.delivery("retry: 0"));
    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    let journal = home.path("journal");
    for round in 0..2 {
        let samples: Vec<Sample> = (0..200).map(|n| Sample::new(&format!("{round}-{n}"))).collect();
        accepted(broker.publisher("default").batch(&samples).await);
        broker.settled("sleeper").await;
        let item = broker.trigger("sleeper").await.unwrap();
        assert_eq!(item.dead_letters, 0, "round {round}: {:?}", item.last_error);
        let pid = lines(&journal, "start").pop().unwrap();
        eventually("the idle subscriber to be stopped", || async { (!is_running(&pid)).then_some(()) }).await;
    }
    let mut events = lines(&journal, "event");
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 400);
}

#[tokio::test]
async fn work_in_flight_keeps_the_subscriber_up() {
    let home = Home::new();
    home.trigger(&sleeper(&home, "PT0.5S"));
    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    let publisher = broker.publisher("default");
    // Each answer takes four idle periods; meanwhile nothing else happens.
    accepted(publisher.binary(&Sample::new("slow-1")).await);
    accepted(publisher.binary(&Sample::new("slow-2")).await);
    broker.settled("sleeper").await;
    let journal = home.path("journal");
    assert_eq!((lines(&journal, "start").len(), lines(&journal, "event").len()), (1, 2));
    assert_eq!(broker.trigger("sleeper").await.unwrap().dead_letters, 0);
}

#[tokio::test]
async fn a_command_that_fails_uses_no_attempt_and_says_why() {
    let home = Home::new();
    let port = free_port();
    let trigger = TriggerManifest::new("broken", &format!("http://127.0.0.1:{port}/")).delivery("retry: 0");
    home.trigger(&trigger.annotation("reveille.dev/exec", "echo no such luck >&2; exit 3"));
    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let error = eventually("the error on the Trigger", || async { broker.trigger("broken").await?.last_error }).await;
    assert!(!error.is_empty());
    let item = broker.trigger("broken").await.unwrap();
    assert_eq!((item.dead_letters, item.lag.events), (0, 1), "{error}");

    // Repaired, it clears by itself.
    home.trigger(&sleeper(&home, "PT5S").renamed("broken").delivery("retry: 0"));
    broker.settled("broken").await;
    assert_eq!(lines(&home.path("journal"), "event"), ["a"]);
}

#[tokio::test]
async fn without_permission_no_command_is_started() {
    let home = Home::new();
    home.trigger(&sleeper(&home, "PT1S"));
    let broker = launch(&home).start().await.unwrap();
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let said = eventually("the refusal", || async {
        let item = broker.trigger("sleeper").await;
        let text = item.and_then(|item| item.last_error).unwrap_or_default() + &broker.stderr();
        text.contains("allow-exec").then_some(text)
    })
    .await;
    assert!(said.contains("--allow-exec"), "{said}");
    assert_eq!(lines(&home.path("journal"), "start").len(), 0);
}

#[tokio::test]
async fn a_killed_broker_leaves_nobody_behind_and_the_next_one_owns_what_it_starts() {
    let home = Home::new();
    // A shell that stays between the broker and the subscriber, and a process beside it: all of them have to go.
    let trigger = sleeper_by(&home, "PT1S", |python| format!("sleep 1000 & {python}; echo it ended"));
    home.trigger(&trigger);
    let journal = home.path("journal");
    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    broker.settled("sleeper").await;
    let first = lines(&journal, "start").remove(0);
    let group = group_of(&first).unwrap();
    assert!(members(&group).len() >= 3, "the shell, the subscriber and the one beside it");
    broker.kill9().await;
    eventually("the whole group to end with the broker", || async { members(&group).is_empty().then_some(()) }).await;

    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    accepted(broker.publisher("default").binary(&Sample::new("b")).await);
    eventually("the event", || async { lines(&journal, "event").contains(&"b".to_owned()).then_some(()) }).await;
    let second = lines(&journal, "start").pop().unwrap();
    assert_ne!(first, second);
    eventually("the idle subscriber to be stopped", || async { (!is_running(&second)).then_some(()) }).await;
}

/// Processes of a group that run.
fn members(group: &str) -> Vec<String> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = pids.filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    numbers.filter(|pid| is_running(pid)).filter(|pid| group_of(pid).as_deref() == Some(group)).collect()
}

/// `None` for a process that has just ended.
fn group_of(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    // After the name, which ends with the last bracket: state, parent, group.
    stat.rsplit_once(") ")?.1.split(' ').nth(2).map(str::to_owned)
}
