use super::*;
use crate::event::{BodyKind, Event, SpecVersion};

struct Fixture {
    url: String,
    client: reqwest::Client,
    queue: mpsc::Receiver<Item>,
    done: CancellationToken,
    served: tokio::task::JoinHandle<anyhow::Result<u64>>,
}

impl Fixture {
    async fn start(script: Script) -> Self {
        // The client wants some cryptography, though nothing is encrypted here; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (items, queue) = mpsc::channel(8);
        let done = CancellationToken::new();
        let served = tokio::spawn(serve(listener, script, items, done.clone()));
        Self { url, client: reqwest::Client::new(), queue, done, served }
    }

    async fn send(&self, id: &str) -> reqwest::Response {
        let headers = [("ce-specversion", "1.0"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-id", id)];
        let request =
            headers.iter().fold(self.client.post(&self.url), |request, (name, value)| request.header(*name, *value));
        request.body("data").send().await.unwrap()
    }
}

fn codes(codes: &[u16]) -> Vec<StatusCode> {
    codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect()
}

#[tokio::test]
async fn answers_come_in_turn_and_the_count_ends_it() {
    let script = Script { codes: codes(&[503, 200]), count: Some(3), body: "b".into(), ..Script::default() };
    let mut fixture = Fixture::start(script).await;
    for (id, code) in [("1", 503), ("2", 200), ("3", 503)] {
        let answer = fixture.send(id).await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (code, "b"));
        let item = fixture.queue.recv().await.unwrap();
        assert_eq!((item.code, item.content.unwrap().id()), (code, id));
    }
    assert_eq!(fixture.served.await.unwrap().unwrap(), 3);
    assert!(fixture.queue.recv().await.is_none());
}

#[tokio::test]
async fn batches_count_as_their_events_and_junk_as_none() {
    let mut fixture = Fixture::start(Script { codes: codes(&[200]), count: Some(2), ..Script::default() }).await;
    let junk = fixture.client.post(&fixture.url).body("x").send().await.unwrap();
    assert_eq!(junk.status(), 200, "answered as told");
    let why = fixture.queue.recv().await.unwrap().content.unwrap_err();
    assert!(why.contains("1 bytes is no CloudEvent"), "{why}");
    assert_eq!(fixture.client.get(&fixture.url).send().await.unwrap().status(), 405);
    let one = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
    let batch = fixture.client.post(&fixture.url).header("content-type", "application/cloudevents-batch+json");
    assert_eq!(batch.body(format!("[{one},{one}]")).send().await.unwrap().status(), 200);
    assert_eq!(fixture.served.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn replies_ride_on_200_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reply.json");
    std::fs::write(&file, r#"{"specversion":"1.0","id":"r","source":"s","type":"t"}"#).unwrap();
    let script = Script { codes: codes(&[200, 202]), reply: Some(reply(&file).unwrap()), ..Script::default() };
    let fixture = Fixture::start(script).await;
    let answer = fixture.send("1").await;
    assert_eq!(answer.headers()[CONTENT_TYPE], STRUCTURED_JSON);
    assert_eq!(from_json_slice(&answer.bytes().await.unwrap()).unwrap().id(), "r");
    assert!(fixture.send("2").await.bytes().await.unwrap().is_empty());
    fixture.done.cancel();
    assert_eq!(fixture.served.await.unwrap().unwrap(), 2);

    std::fs::write(&file, r#"{"id":"r"}"#).unwrap();
    assert!(reply(&file).unwrap_err().to_string().contains("is no CloudEvent"));
    assert!(reply(&folder.path().join("none")).unwrap_err().to_string().contains("cannot read"));
}

#[tokio::test]
async fn answers_can_be_late() {
    let delay = Duration::from_millis(200);
    let fixture = Fixture::start(Script { codes: codes(&[200]), delay, ..Script::default() }).await;
    let begun = std::time::Instant::now();
    assert_eq!(fixture.send("1").await.status(), 200);
    assert!(begun.elapsed() >= delay);
}

#[test]
fn items_print_in_each_way() {
    let event = Event::builder(SpecVersion::V1)
        .attribute("id", "a\u{1b}[2J")
        .attribute("source", "/s")
        .attribute("type", "t")
        .body(BodyKind::Json, Bytes::from_static(br#"{"n":1}"#))
        .build()
        .unwrap();
    let received = crate::clock::UnixMicros(1_700_000_000_123_456);
    let item = Item { received, code: 200, content: Ok(event) };
    let show = |output, colour| print::text(&item, Style { output, colour });
    assert_eq!(show(Output::Table, false), "22:13:20.123  200  t  /s  a [2J  {\"n\":1}\n");
    assert!(show(Output::Table, true).contains("\u{1b}[32m200\u{1b}[0m"));
    let ndjson = show(Output::Ndjson, true);
    assert_eq!(ndjson.matches('\n').count(), 1);
    let json: serde_json::Value = serde_json::from_str(&ndjson).unwrap();
    assert_eq!((&json["received"], &json["code"]), (&"2023-11-14T22:13:20.123456Z".into(), &200.into()));
    assert_eq!((&json["event"]["data"]["n"], json.get("error")), (&1.into(), None));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&show(Output::Json, false)).unwrap(), json);

    let junk = Item { content: Err("no event".to_owned()), ..item };
    let text = print::text(&junk, Style { output: Output::Ndjson, colour: false });
    assert_eq!(text, "{\"received\":\"2023-11-14T22:13:20.123456Z\",\"code\":200,\"error\":\"no event\"}\n");
}

#[test]
fn arguments() {
    use clap::Parser;
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ListenArgs,
    }
    let parse = |args: &[&str]| Cli::try_parse_from([&["listen"], args].concat()).map(|cli| cli.args);
    assert_eq!(parse(&["--addr", "8099"]).unwrap().addr.to_string(), "127.0.0.1:8099");
    assert_eq!(parse(&["--addr", "[::1]:1"]).unwrap().addr.to_string(), "[::1]:1");
    assert_eq!(parse(&["--code", "503,200"]).unwrap().code, codes(&[503, 200]));
    for bad in [["--addr", "x"], ["--code", "99"], ["--code", "1000"], ["--delay", "soon"], ["--count", "0"]] {
        assert!(parse(&bad).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_it_listening() {
    use tokio::io::AsyncWriteExt as _;
    let fixture = Fixture::start(Script { codes: codes(&[200]), ..Script::default() }).await;
    let address = fixture.url.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
    assert_eq!(fixture.send("1").await.status(), 200);
    fixture.done.cancel();
    assert_eq!(fixture.served.await.unwrap().unwrap(), 1);
    drop(socket);
}

#[tokio::test]
async fn the_command_ends_after_its_count() {
    use clap::Parser;
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ListenArgs,
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addr = address.to_string();
    let args = Cli::try_parse_from(["listen", "--addr", &addr, "--count", "1", "--quiet"]).unwrap().args;
    let running = tokio::spawn(run(args));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(std::time::Instant::now() < deadline && !running.is_finished(), "it does not listen");
        tokio::task::yield_now().await;
    }
    let fixture = Fixture { url: format!("http://{address}/"), ..Fixture::start(Script::default()).await };
    assert_eq!(fixture.send("1").await.status(), 200);
    running.await.unwrap().unwrap();
}
