//! The CLI against a running broker: shapes that others build on, exit codes, input and output.

use std::time::Duration;

use serde_json::Value;
use tests::harness::{Answer, Cli, Home, Sample, Subscriber, TriggerManifest};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use super::{accepted, program, start};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// That `value` is an object with at least these members.
fn has(value: &Value, members: &[&str]) {
    for member in members {
        assert!(value.get(member).is_some(), "`{member}` is missing: {value}");
    }
}

#[tokio::test]
async fn lists_have_the_documented_shapes() {
    let home = Home::new();
    let subscriber =
        Subscriber::scripted(|received| Answer::code(if received.id() == "n-1" { 400 } else { 200 })).await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = start(&home).await;
    let cli = broker.cli();
    broker.publisher("default").series("n", 3).await;
    broker.settled("orders").await;

    let events = cli.run(&["events", "ls", "-o", "json"]).await;
    assert_eq!(events.code, 0, "{events:?}");
    let events = events.json();
    assert_eq!(keys(&events), ["items"]);
    let items = events["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|item| item["offset"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    has(&items[0], &["offset", "appended", "event"]);
    assert_eq!((&items[2]["event"]["id"], &items[2]["event"]["data"]["n"]), (&"n-2".into(), &1.5.into()));

    let triggers = cli.run(&["triggers", "ls", "-o", "json"]).await.json();
    let trigger = &triggers["items"][0];
    has(
        trigger,
        &["namespace", "name", "broker", "subscriber", "state", "lag", "in_flight", "dead_letters", "last_error"],
    );
    has(&trigger["lag"], &["events", "bytes", "oldest_seconds"]);
    assert_eq!((&trigger["name"], &trigger["dead_letters"]), (&"orders".into(), &1.into()));

    let brokers = cli.run(&["brokers", "ls", "-o", "json"]).await.json();
    let item = &brokers["items"][0];
    has(item, &["namespace", "name", "first_offset", "next_offset", "bytes", "oldest", "newest", "triggers"]);
    assert_eq!((&item["next_offset"], &item["triggers"]), (&3.into(), &1.into()));

    for (event, state) in [("n-0", "delivered"), ("#1", "dead")] {
        let shown = cli.run(&["events", "show", event, "-o", "json"]).await.json();
        has(&shown, &["offset", "appended", "event", "deliveries"]);
        assert_eq!(
            (&shown["deliveries"][0]["trigger"], &shown["deliveries"][0]["state"]),
            (&"default/orders".into(), &state.into())
        );
    }
    let attempts = cli.run(&["events", "show", "#1", "-o", "json"]).await.json()["deliveries"][0]["attempts"].clone();
    has(&attempts[0], &["at", "endpoint", "code", "seconds", "error"]);
    assert_eq!(attempts[0]["code"], 400);

    let dead = cli.run(&["dlq", "ls", "-o", "json"]).await.json();
    has(&dead["items"][0], &["id", "offset", "trigger", "reason", "code", "attempts", "failed_at", "event"]);
}

#[tokio::test]
async fn every_output_form_works() {
    let home = Home::new();
    home.trigger(&TriggerManifest::new("orders", "http://127.0.0.1:1/"));
    let broker = start(&home).await;
    broker.publisher("default").series("n", 3).await;
    let cli = broker.cli();
    for verb in [["events", "ls"], ["triggers", "ls"], ["brokers", "ls"]] {
        for form in ["table", "wide", "json", "ndjson", "yaml", "name"] {
            let done = cli.run(&[verb[0], verb[1], "-o", form]).await;
            assert_eq!(done.code, 0, "{verb:?} {form}: {done:?}");
            assert!(!done.stdout.trim().is_empty(), "{verb:?} {form} prints nothing");
            assert!(!done.stdout.contains('\u{1b}'), "{verb:?} {form} prints colours into a pipe");
        }
    }
    let lines = cli.run(&["events", "ls", "-o", "ndjson"]).await.stdout;
    let ids: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].clone()).collect();
    assert_eq!(ids, ["n-0", "n-1", "n-2"]);
    assert!(cli.run(&["triggers", "ls"]).await.stdout.contains("orders"));
}

#[tokio::test]
async fn ranges_and_filters_choose_events() {
    let home = Home::new();
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    for n in 0..6 {
        let ty = if n % 2 == 0 { "even" } else { "odd" };
        accepted(publisher.binary(&Sample::new(&format!("n-{n}")).ty(ty)).await);
    }
    let cli = broker.cli();
    for (args, ids) in [
        (vec!["--from", "#2", "--to", "#4"], vec!["n-2", "n-3"]),
        (vec!["--from", "-2"], vec!["n-4", "n-5"]),
        (vec!["--from", "-1h", "--to", "now"], vec!["n-0", "n-1", "n-2", "n-3", "n-4", "n-5"]),
        (vec!["--filter", "type=odd"], vec!["n-1", "n-3", "n-5"]),
        (vec!["--from", "#1", "--filter", "type=even", "--filter", "id=n-4"], vec!["n-4"]),
    ] {
        let done = cli.run(&[&["events", "ls", "-o", "json"], args.as_slice()].concat()).await;
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        let found: Vec<Value> =
            done.json()["items"].as_array().unwrap().iter().map(|item| item["event"]["id"].clone()).collect();
        assert_eq!(found, ids, "{args:?}");
    }
}

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let home = Home::new();
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let cli = broker.cli();
    for (args, code) in [
        (vec!["events", "ls"], 0),
        (vec!["events", "ls", "--nonsense"], 2),
        (vec!["events", "ls", "--from", "whenever"], 2),
        (vec!["events", "show", "nobody"], 3),
        (vec!["triggers", "show", "nobody"], 3),
        (vec!["brokers", "show", "nobody"], 3),
        (vec!["events", "ls", "--broker", "nobody"], 3),
    ] {
        let done = cli.run(&args).await;
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert_eq!(done.stderr.trim().is_empty(), code == 0, "{args:?}: {done:?}");
    }
    let nobody = Cli::new(program(), "http://127.0.0.1:1").run(&["events", "ls"]).await;
    assert_eq!(nobody.code, 5, "{nobody:?}");
    assert!(nobody.stderr.contains("127.0.0.1:1"), "{nobody:?}");
}

#[tokio::test]
async fn send_publishes_flags_and_lines_of_json() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("all", &subscriber.url()));
    let broker = start(&home).await;
    let url = format!("http://{}", broker.addresses().ingress);
    let cli = broker.cli();
    let done = cli
        .run(&["send", "--url", &url, "--id", "one", "--type", "t", "--source", "/cli", "--data", "{\"n\":1}"])
        .await;
    assert_eq!(done.code, 0, "{done:?}");
    let lines: String = (0..5).map(|n| Sample::new(&format!("line-{n}")).json() + "\n").collect();
    let done = cli.run_with(&["send", "--url", &url, "--file", "-"], &lines).await;
    assert_eq!(done.code, 0, "{done:?}");
    let mut ids: Vec<String> = subscriber.wait_for(6).await.iter().map(|received| received.id().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["line-0", "line-1", "line-2", "line-3", "line-4", "one"]);
    let refused = cli.run(&["send", "--url", &url, "--broker", "nobody", "--type", "t", "--source", "/cli"]).await;
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("nobody"), "{refused:?}");
}

#[tokio::test]
async fn tail_follows_and_listen_answers() {
    let home = Home::new();
    let broker = start(&home).await;
    let cli = broker.cli();
    accepted(broker.publisher("default").binary(&Sample::new("before")).await);
    let mut tail = cli.spawn(&["tail", "--from", "#0", "-o", "ndjson"]);
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let deadline = Duration::from_secs(30);
    for id in ["before", "after"] {
        let line = timeout(deadline, lines.next_line()).await.unwrap().unwrap().unwrap();
        let item: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(item["event"]["id"], id);
        accepted(broker.publisher("default").binary(&Sample::new("after")).await);
    }

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut listen = cli.spawn(&["listen", "--addr", &port, "-o", "ndjson"]);
    home.trigger(
        &TriggerManifest::new("listener", &format!("http://{port}/"))
            .annotation("reveille.dev/start", "#0")
            .delivery("retry: 10, backoffPolicy: linear, backoffDelay: PT0.1S"),
    );
    let mut lines = BufReader::new(listen.stdout.take().unwrap()).lines();
    let line = timeout(deadline, async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains("\"before\"") {
                return line;
            }
        }
    });
    assert!(line.await.is_ok(), "listen prints what it gets");
}

#[tokio::test]
async fn log_verify_and_dump_read_the_files() {
    let home = Home::new();
    let broker = start(&home).await;
    broker.publisher("default").series("n", 4).await;
    assert!(broker.sigterm().await.success());
    let directory = home.data().join("logs/default/default/events");
    let cli = Cli::new(program(), "http://127.0.0.1:1");
    let verified = cli.run(&["log", "verify", directory.to_str().unwrap()]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(verified.stdout.contains('4'), "it tells how many records there are: {verified:?}");
    let dumped = cli.run(&["log", "dump", directory.to_str().unwrap()]).await;
    assert_eq!(dumped.code, 0, "{dumped:?}");
    for n in 0..4 {
        assert!(dumped.stdout.contains(&format!("n-{n}")), "{dumped:?}");
    }
    let nowhere = cli.run(&["log", "verify", home.path("nowhere").to_str().unwrap()]).await;
    assert!(nowhere.code != 0 && nowhere.stderr.contains("nowhere"), "{nowhere:?}");
}

#[tokio::test]
async fn the_configuration_can_be_seen() {
    let cli = Cli::new(program(), "http://127.0.0.1:1");
    let done = cli.run(&["serve", "--manifests", "somewhere", "--print-config"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("somewhere") && done.stdout.contains("max-event-bytes"), "{done:?}");
}
