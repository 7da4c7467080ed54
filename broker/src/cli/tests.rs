use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use clap::{CommandFactory, Parser};
use serde_json::Value;

use super::*;
use crate::admin::tests::fixture::Fixture;
use crate::event::decode;

/// Runs a command line and gives back what it printed.
async fn run(args: &[&str]) -> Result<String, Fault> {
    // Of several tests one installs it; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::try_parse_from(std::iter::once(&"reveille").chain(args)).map_err(|e| Fault::usage(e.to_string()))?;
    let out = Shared::default();
    cli.dispatch(|| out.clone()).await?;
    let printed = out.0.lock().unwrap().clone();
    Ok(String::from_utf8(printed).unwrap())
}

/// Stands in for stdout.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The same against the admin API of a fixture; words are split at spaces, `_` stands for a space in a word.
async fn ask(admin: &str, line: &str) -> Result<String, Fault> {
    let mut args: Vec<String> = line.split_whitespace().map(|word| word.replace('_', " ")).collect();
    args.extend(["--admin".to_owned(), admin.to_owned()]);
    run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn fixture() -> (Fixture, String) {
    let fixture = Fixture::new().await;
    let admin = format!("http://{}", fixture.serve().await);
    (fixture, admin)
}

#[test]
fn the_command_line_is_sound_and_opens_with_examples() {
    let mut command = Cli::command();
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    assert!(help.starts_with("Examples:\n  reveille demo"), "{help}");
}

#[tokio::test]
async fn tables_for_people() {
    let (_fixture, admin) = fixture().await;
    let check = async |line: &str, expected: &str| {
        let printed = ask(&admin, line).await.unwrap();
        assert_eq!(printed.trim_end(), expected.trim(), "{line}\n{printed}");
    };
    check(
        "events ls --from #8",
        "
OFFSET   APPENDED                   TYPE    SOURCE   ID
#8       2023-11-14T22:13:28.000Z   order   /shop    8
#9       2023-11-14T22:13:29.000Z   bill    /shop    9",
    )
    .await;
    check(
        "triggers ls",
        "
NAMESPACE   NAME     BROKER    STATE     LAG   OLDEST   IN FLIGHT   RETRYING   DEAD   LAST ERROR
default     bills    default   asleep    1     118s     1           1          0      -
default     orders   default   failing   4     118s     1           1          1      HTTP 503",
    )
    .await;
    check(
        "dlq ls",
        "
ID   OFFSET   TRIGGER          REASON             CODE   ATTEMPTS   FAILED AT                  TYPE    ERROR
0    #4       default/orders   RetriesExhausted   503    4          2023-11-14T22:14:20.000Z   order   HTTP 503",
    )
    .await;
    let brokers = ask(&admin, "brokers ls -o wide").await.unwrap();
    assert!(brokers.contains("writable") && brokers.contains("#10"), "{brokers}");
    let event = ask(&admin, "events show #2").await.unwrap();
    for text in
        ["Offset:    #2", "\"type\": \"order\"", "default/orders   retrying", "http://localhost/orders   503    0.250"]
    {
        assert!(event.contains(text), "{text} in\n{event}");
    }
    let trigger = ask(&admin, "triggers show orders").await.unwrap();
    assert!(trigger.contains("State:         failing\nLag:           4 events"), "{trigger}");
    let broker = ask(&admin, "brokers show").await.unwrap();
    assert!(broker.contains("Offsets:       #0 up to #10"), "{broker}");
}

#[tokio::test]
async fn every_form_of_a_list() {
    let (_fixture, admin) = fixture().await;
    for (verb, count) in
        [("events ls", 10), ("events ls --from now", 0), ("brokers ls", 1), ("triggers ls", 2), ("dlq ls", 1)]
    {
        let json: Value = serde_json::from_str(&ask(&admin, &format!("{verb} -o json")).await.unwrap()).unwrap();
        let items = json["items"].as_array().unwrap();
        assert_eq!(items.len(), count, "{verb}");
        let lines = ask(&admin, &format!("{verb} -o ndjson")).await.unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(&lines, items, "{verb}");
        let yaml: Value = serde_saphyr::from_str(&ask(&admin, &format!("{verb} -o yaml")).await.unwrap()).unwrap();
        assert_eq!(yaml, json, "{verb}");
        let names = ask(&admin, &format!("{verb} -o name")).await.unwrap();
        assert_eq!(names.lines().count(), count, "{verb}");
        let table = ask(&admin, &format!("{verb} -o table")).await.unwrap();
        assert_eq!(table.lines().count(), if count == 0 { 0 } else { count + 1 }, "{verb}");
    }
    let one: Value = serde_json::from_str(&ask(&admin, "triggers show orders -o json").await.unwrap()).unwrap();
    let yaml: Value = serde_saphyr::from_str(&ask(&admin, "triggers show orders -o yaml").await.unwrap()).unwrap();
    assert_eq!((&one["name"], &yaml), (&"orders".into(), &one));
}

#[tokio::test]
async fn exit_codes() {
    let (_fixture, admin) = fixture().await;
    let guarded = Fixture::new().await.guarded("0123456789abcdef");
    let guarded = format!("http://{}", guarded.serve().await);
    for (admin, line, exit, text) in [
        (admin.as_str(), "events show nobody", Exit::NotFound, "keeps no event nobody"),
        (&admin, "events ls --broker nobody", Exit::NotFound, "there is no Broker default/nobody"),
        (&admin, "triggers show nobody", Exit::NotFound, "there is no Trigger default/nobody"),
        (&admin, "events ls --from whenever", Exit::Usage, "`whenever` is no place in a log"),
        (&admin, "events ls --filter nonsense", Exit::Usage, "write ATTR=VALUE"),
        (&admin, "events ls --cesql NOT", Exit::Usage, "expected here, not the end\n  NOT\n     ^"),
        (&admin, "events ls --nonsense", Exit::Usage, "--nonsense"),
        ("nonsense", "events ls", Exit::Usage, "--admin `nonsense` is no address"),
        (&guarded, "events ls", Exit::Refused, "--token-file"),
        ("http://127.0.0.1:1", "events ls", Exit::Unreachable, "start a broker with `reveille serve`"),
    ] {
        let fault = ask(admin, line).await.unwrap_err();
        assert_eq!(fault.exit(), exit, "{line}: {fault}");
        assert!(fault.to_string().contains(text), "{line}: {fault}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let path = file.path().to_str().unwrap();
    run(&["events", "ls", "--admin", &guarded, "--token-file", path]).await.unwrap();
}

#[tokio::test]
async fn a_tail_ends_with_its_limit() {
    let (_fixture, admin) = fixture().await;
    let printed = ask(&admin, "tail --from -3 --limit 2 -o json").await.unwrap();
    let ids: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].clone()).collect();
    assert_eq!(ids, ["7", "8"]);
}

#[tokio::test]
async fn filters_from_a_file() {
    let (_fixture, admin) = fixture().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "- not:\n    exact: {type: order}\n- any:\n  - exact: {id: '3'}\n  - suffix: {id: '4'}\n")
        .unwrap();
    let path = file.path().to_str().unwrap();
    let printed = run(&["events", "ls", "-o", "name", "--filters", path, "--admin", &admin]).await.unwrap();
    assert_eq!(printed, "#3\n");
}

type Requests = Arc<Mutex<Vec<(String, Vec<String>)>>>;

/// An ingress that decodes what it gets, refuses events of type `bad`, and remembers path and ids.
async fn ingress() -> (String, Requests) {
    let requests = Requests::default();
    let seen = requests.clone();
    let app = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let events = decode::decode(&headers, body).unwrap().into_events();
        if events.iter().any(|event| event.ty() == "bad") {
            let problem = schemas::admin::Problem::new(schemas::ErrorCode::MalformedEvent, "no such type");
            return (StatusCode::BAD_REQUEST, axum::Json(problem)).into_response();
        }
        let ids = events.iter().map(|event| event.id().to_owned()).collect();
        seen.lock().unwrap().push((uri.path().to_owned(), ids));
        StatusCode::ACCEPTED.into_response()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, requests)
}

#[tokio::test]
async fn send_from_flags() {
    let (url, requests) = ingress().await;
    let flags = ["send", "--ingress", &url, "--type", "t", "--source", "/s"];
    for (more, id) in [
        (&["--id", "a"][..], "a"),
        (&["--id", "b", "--data", "{\"n\":1}", "--attr", "region=eu", "--mode", "structured"], "b"),
        (&["--id", "c", "--mode", "batch", "-n", "team", "--broker", "x"], "c"),
    ] {
        let printed = run(&[&flags, more].concat()).await.unwrap();
        assert!(printed.starts_with("accepted 1 event in "), "{printed}");
        assert_eq!(requests.lock().unwrap().last().unwrap().1, [id]);
    }
    assert_eq!(requests.lock().unwrap()[2].0, "/team/x");
    run(&[&flags, &["--count", "7", "--batch", "3"][..]].concat()).await.unwrap();
    let groups: Vec<_> = requests.lock().unwrap()[3..].iter().map(|(_, ids)| ids.len()).collect();
    assert_eq!(groups, [3, 3, 1]);
    let mut ids: Vec<_> = requests.lock().unwrap()[3..].iter().flat_map(|(_, ids)| ids.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7, "every event has an id of its own");
}

#[tokio::test]
async fn send_from_a_file_of_lines() {
    let (url, requests) = ingress().await;
    let line = |id: &str, ty: &str| {
        format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"{ty}\"}}\n")
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    std::fs::write(&file, line("a", "t") + &line("b", "bad") + &line("c", "t")).unwrap();
    let fault = run(&["send", "--ingress", &url, "-f", &path]).await.unwrap_err();
    assert_eq!((fault.exit(), fault.to_string().contains("refused 1 events")), (Exit::Refused, true), "{fault}");
    assert_eq!(requests.lock().unwrap().iter().map(|(_, ids)| ids.concat()).collect::<String>(), "ac");
    std::fs::write(&file, line("d", "t") + "{}\n").unwrap();
    let fault = run(&["send", "--ingress", &url, "-f", &path]).await.unwrap_err();
    assert_eq!(fault.exit(), Exit::Failed, "{fault}");
    assert_eq!(requests.lock().unwrap().last().unwrap().1, ["d"]);
}

#[tokio::test]
async fn send_says_what_is_wrong_before_it_sends() {
    for (more, text) in [
        (&["--attr", "Region=eu"][..], "Region"),
        (&["--attr", "region"], "--attr region=VALUE"),
        (&["--attr", "id=x"], "`id` is given twice"),
        (&["--data", "{"], "--data is no JSON"),
        (&["--data", "@nowhere"], "cannot read nowhere"),
        (&["--ingress", "nonsense"], "--ingress `nonsense`"),
        (&["--count", "0"], "--count"),
    ] {
        let fault = run(&[&["send", "--type", "t", "--source", "/s"], more].concat()).await.unwrap_err();
        assert_eq!(fault.exit(), Exit::Usage, "{more:?}: {fault}");
        assert!(fault.to_string().contains(text), "{more:?}: {fault}");
    }
    let fault = run(&["send", "--ingress", "http://127.0.0.1:1", "--type", "t", "--source", "/s"]).await.unwrap_err();
    assert_eq!(fault.exit(), Exit::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let (url, requests) = ingress().await;
    let begun = tokio::time::Instant::now();
    run(&["send", "--ingress", &url, "--type", "t", "--source", "/s", "--count", "21", "--rate", "10"]).await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert!((2.0..2.5).contains(&took), "{took}");
    assert_eq!(requests.lock().unwrap().len(), 21);
}

#[tokio::test]
async fn completion_knows_sub_commands_and_flags() {
    for (shell, text) in [
        ("bash", "\"reveille events ls\") words=\"--from --to"),
        ("zsh", "bashcompinit\n_reveille()"),
        ("fish", "-n '__fish_seen_subcommand_from events; and __fish_seen_subcommand_from ls' -l from"),
    ] {
        let script = run(&["completion", shell]).await.unwrap();
        assert!(script.contains(text), "{text} in\n{script}");
    }
}

#[tokio::test]
async fn a_directory_without_a_log_is_named() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = home.path().join("nowhere");
    for (verb, dir) in
        [("verify", nowhere.as_path()), ("dump", &nowhere), ("verify", home.path()), ("dump", home.path())]
    {
        let fault = run(&["log", verb, dir.to_str().unwrap()]).await.unwrap_err();
        assert_eq!(fault.exit(), Exit::NotFound, "{fault}");
        assert!(fault.to_string().contains(dir.to_str().unwrap()), "{fault}");
    }
    let fault = run(&["log", "dump", "x", "--from", "-10"]).await.unwrap_err();
    assert_eq!(fault.exit(), Exit::Usage, "{fault}");
}
