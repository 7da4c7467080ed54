//! Standalone wake: a local subscriber that runs only while there is work.

use std::path::Path;
use std::time::Duration;

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
    # As large as other servers' backlogs: with Python's own 5, connections of a burst would stay half open.
    request_queue_size = 128
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
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
    let (script, journal, port) = (home.path("sleeper.py"), home.path("journal"), free_port());
    std::fs::write(&script, SLEEPER).unwrap();
    let command = format!("exec python3 {} {} {port}", script.display(), journal.display());
    let trigger = TriggerManifest::new("sleeper", &format!("http://127.0.0.1:{port}/"));
    trigger.annotation("reveille.dev/exec", &command).annotation("reveille.dev/idle-period", idle)
}

fn is_running(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
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

#[tokio::test]
async fn work_in_flight_keeps_the_subscriber_up() {
    let home = Home::new();
    home.trigger(&sleeper(&home, "PT0.5S"));
    let broker = launch(&home).flag("--allow-exec").start().await.unwrap();
    let publisher = broker.publisher("default");
    // An event every 200 ms for longer than two idle periods: never idle, so never stopped.
    for n in 0..8 {
        accepted(publisher.binary(&Sample::new(&format!("n-{n}"))).await);
        broker.settled("sleeper").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(lines(&home.path("journal"), "start").len(), 1);
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
