//! Deliveries over real sockets to a server that does byte for byte what a script says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Attempt, ERROR_BODY_BYTES_MAX, Failure, Outcome, Transport};
use super::{HttpOptions, HttpTransport};
use crate::clock::Clock;
use crate::event::{BodyKind, Event, SpecVersion};
use crate::triggers::{ContentMode, ReplyMode, Target};

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Close,
    Hang,
}

#[derive(Debug, Clone)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

#[derive(Debug)]
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (connections, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { address, connections: Arc::clone(&connections), seen: Arc::clone(&seen) };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, script.clone(), Arc::clone(&seen)));
            }
        });
        server
    }

    async fn answering(text: &str) -> Self {
        Self::start(vec![Step::Send(text.as_bytes().to_vec())]).await
    }

    async fn status(code: u16) -> Self {
        Self::answering(&format!("HTTP/1.1 {code} Word\r\ncontent-length: 0\r\n\r\n")).await
    }

    fn target(&self) -> String {
        format!("http://{}/path?q=1", self.address)
    }

    fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, script: Vec<Step>, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read_request(&mut socket, &mut buffer).await else { return };
        seen.lock().unwrap().push(request);
        for step in &script {
            match step {
                Step::Send(bytes) => {
                    if socket.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                Step::Pause(duration) => tokio::time::sleep(*duration).await,
                Step::Close => return,
                Step::Hang => std::future::pending().await,
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        let end = buffer.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let seen = Seen { head, body: Vec::new() };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let rest = buffer.split_off(end + 4 + length);
                let body = buffer[end + 4..].to_vec();
                *buffer = rest;
                return Some(Seen { body, ..seen });
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn transport() -> HttpTransport {
    let options = HttpOptions { reply_bytes_max: 64 * 1024, ..HttpOptions::default() };
    HttpTransport::new(options, Clock::system(), fastrand::Rng::with_seed(7)).unwrap()
}

const ALL_BYTES: [u8; 256] = {
    let mut all = [0; 256];
    let mut n = 0;
    while n < 256 {
        all[n] = n as u8;
        n += 1;
    }
    all
};

fn event() -> Event {
    Event::builder(SpecVersion::V1)
        .attribute("id", "a 1")
        .attribute("source", "/s")
        .attribute("type", "t")
        .attribute("datacontenttype", "application/octet-stream")
        .attribute("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .attribute("tracestate", "a=b")
        .attribute("knativebrokerttl", "254")
        .body(BodyKind::Binary, Bytes::from_static(&ALL_BYTES))
        .build()
        .unwrap()
}

fn attempt(uri: &str) -> Attempt {
    Attempt {
        target: Arc::new(Target::from(uri.to_owned())),
        via: None,
        event: event(),
        rest: Vec::new(),
        namespace: "ns".parse().unwrap(),
        content_mode: ContentMode::Binary,
        timeout: Duration::from_secs(10),
        reply: Some(ReplyMode::Lenient),
    }
}

async fn deliver(server: &Server) -> Outcome {
    transport().deliver(attempt(&server.target())).await
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Retryable(failure) | Outcome::Refused(failure) => failure,
        Outcome::Delivered { .. } => panic!("delivered"),
    }
}

#[tokio::test]
async fn a_subscriber_gets_the_event_as_it_is() {
    let server = Server::status(202).await;
    assert_eq!(deliver(&server).await, Outcome::Delivered { code: 202, reply: None, odd_body: false });
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(request.head.starts_with("POST /path?q=1 HTTP/1.1\r\n"), "{}", request.head);
    for (name, expected) in [
        ("ce-specversion", Some("1.0")),
        ("ce-id", Some("a%201")),
        ("ce-source", Some("/s")),
        ("ce-type", Some("t")),
        ("content-type", Some("application/octet-stream")),
        ("prefer", Some("reply")),
        ("kn-namespace", Some("ns")),
        ("tracestate", Some("a=b")),
        ("ce-knativebrokerttl", None),
        ("host", Some(server.address.as_str())),
        ("content-length", Some("256")),
        ("transfer-encoding", None),
        ("accept-encoding", None),
    ] {
        assert_eq!(request.header(name), expected, "{name}");
    }
    let parent = request.header("traceparent").unwrap();
    assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && parent.ends_with("-01"), "{parent}");
    assert!(!parent.contains("00f067aa0ba902b7"), "a new span: {parent}");
    assert_eq!(request.body, ALL_BYTES);
}

#[tokio::test]
async fn structured_and_batched_bodies_are_json_without_the_ttl() {
    let base64 = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(ALL_BYTES)
    };
    for (mode, media_type) in [
        (ContentMode::Structured, "application/cloudevents+json"),
        (ContentMode::Batched, "application/cloudevents-batch+json"),
    ] {
        let server = Server::status(200).await;
        let rest = if mode == ContentMode::Batched { vec![event(), event()] } else { Vec::new() };
        let attempt = Attempt { content_mode: mode, reply: None, rest, ..attempt(&server.target()) };
        let outcome = transport().deliver(attempt).await;
        assert_eq!(outcome, Outcome::Delivered { code: 200, reply: None, odd_body: false });
        let request = server.requests().pop().unwrap();
        assert!(request.header("content-type").is_some_and(|value| value.starts_with(media_type)));
        assert_eq!(request.header("prefer"), None, "a dead letter asks for no reply");
        assert_eq!(request.header("kn-namespace"), Some("ns"));
        assert_eq!(request.header("ce-id"), None);
        let mut json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        if mode == ContentMode::Batched {
            assert_eq!(json.as_array().unwrap().len(), 3);
            assert!(json.as_array().unwrap().iter().all(|item| *item == json[0]));
            json = json[0].take();
        }
        assert_eq!(json["id"], "a 1");
        assert_eq!(json["data_base64"], base64);
        assert!(json.get("knativebrokerttl").is_none());
    }
}

#[tokio::test]
async fn statuses_over_the_wire() {
    for code in [200, 201, 202, 204, 299] {
        let outcome = deliver(&Server::status(code).await).await;
        assert_eq!(outcome, Outcome::Delivered { code, reply: None, odd_body: false });
    }
    for code in [400, 401, 403, 405, 410, 413, 422] {
        let outcome = deliver(&Server::status(code).await).await;
        assert!(matches!(&outcome, Outcome::Refused(failure) if failure.code == Some(code)), "{outcome:?}");
    }
    for code in [404, 408, 409, 429, 500, 502, 503, 599, 600, 999] {
        let outcome = deliver(&Server::status(code).await).await;
        assert!(matches!(&outcome, Outcome::Retryable(failure) if failure.code == Some(code)), "{outcome:?}");
    }
}

#[tokio::test]
async fn redirects_are_refused_and_not_followed() {
    let elsewhere = Server::status(200).await;
    for code in [301, 302, 303, 307, 308] {
        let location = format!("HTTP/1.1 {code} x\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.target());
        let server = Server::answering(&location).await;
        let outcome = deliver(&server).await;
        assert!(matches!(&outcome, Outcome::Refused(failure) if failure.code == Some(code)), "{outcome:?}");
        assert_eq!(server.requests().len(), 1);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn retry_after_is_read_of_429_and_503_alone() {
    for (code, expected) in [(429, Some(2)), (503, Some(2)), (500, None)] {
        let text = format!("HTTP/1.1 {code} x\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n");
        let failure = failure(deliver(&Server::answering(&text).await).await);
        assert_eq!(failure.retry_after, expected.map(Duration::from_secs), "{code}");
    }
}

#[tokio::test]
async fn replies_are_read() {
    let binary = "ce-specversion: 1.0\r\nce-id: r\r\nce-source: s\r\nce-type: answer\r\nce-knativebrokerttl: 9\r\n";
    let structured = r#"{"specversion":"1.0","id":"r","source":"s","type":"answer","data":"x"}"#;
    for answer in [
        format!("{binary}content-length: 1\r\n\r\nx"),
        format!("{binary}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        format!(
            "content-type: application/cloudevents+json\r\ncontent-length: {}\r\n\r\n{structured}",
            structured.len()
        ),
    ] {
        let outcome = deliver(&Server::answering(&format!("HTTP/1.1 200 OK\r\n{answer}")).await).await;
        let Outcome::Delivered { code: 200, reply: Some(reply), odd_body: false } = outcome else {
            panic!("{answer}: {outcome:?}")
        };
        assert_eq!((reply.id(), reply.ty()), ("r", "answer"));
        assert!(reply.attribute("knativebrokerttl").is_none());
        let accepted = deliver(&Server::answering(&format!("HTTP/1.1 202 OK\r\n{answer}")).await).await;
        assert_eq!(accepted, Outcome::Delivered { code: 202, reply: None, odd_body: false }, "never of a 202");
    }
}

#[tokio::test]
async fn broken_and_odd_replies() {
    let odd = "content-type: text/html\r\ncontent-length: 2\r\n\r\nok".to_owned();
    let chunked = "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned();
    let broken = "ce-specversion: 1.0\r\nce-id: 1\r\ncontent-length: 0\r\n\r\n".to_owned();
    let large = format!("ce-specversion: 1.0\r\ncontent-length: {}\r\n\r\n", 64 * 1024 + 1);
    for (answer, mode, expected) in [
        (&odd, ReplyMode::Lenient, "delivered, odd"),
        (&chunked, ReplyMode::Lenient, "delivered, odd"),
        (&odd, ReplyMode::Strict, "HTTP 200 with a body that is no CloudEvent"),
        (&broken, ReplyMode::Lenient, "source"),
        (&large, ReplyMode::Lenient, "more than 65536 bytes"),
    ] {
        let server = Server::answering(&format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        let outcome = transport().deliver(Attempt { reply: Some(mode), ..attempt(&server.target()) }).await;
        let text = match outcome {
            Outcome::Delivered { reply: None, odd_body: true, .. } => "delivered, odd".to_owned(),
            Outcome::Retryable(failure) => failure.error,
            other => panic!("{other:?}"),
        };
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn error_bodies_are_kept_byte_for_byte_up_to_the_limit() {
    let mut answer = b"HTTP/1.1 503 x\r\ncontent-length: 3145728\r\n\r\n".to_vec();
    answer.extend(ALL_BYTES.iter().cycle().take(3 << 20));
    let server = Server::start(vec![Step::Send(answer)]).await;
    let failure = failure(deliver(&server).await);
    let expected: Vec<u8> = ALL_BYTES.iter().copied().cycle().take(ERROR_BODY_BYTES_MAX).collect();
    assert_eq!(failure.body.as_ref(), expected);
    assert_eq!(failure.error, "HTTP 503");
}

#[tokio::test]
async fn a_large_answer_to_a_delivered_event_is_not_read_to_its_end() {
    let mut answer = b"HTTP/1.1 200 x\r\ncontent-length: 3145728\r\n\r\n".to_vec();
    answer.resize(answer.len() + (3 << 20), b'x');
    let outcome = deliver(&Server::start(vec![Step::Send(answer)]).await).await;
    assert_eq!(outcome, Outcome::Delivered { code: 200, reply: None, odd_body: true });
}

#[tokio::test]
async fn connections_are_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ] {
        let server = Server::answering(answer).await;
        let transport = transport();
        for _ in 0..20 {
            let _ = transport.deliver(attempt(&server.target())).await;
        }
        assert_eq!(server.requests().len(), 20);
        // The connection goes back to the pool in a task of its own, which may lose a race with the next attempt.
        let connections = server.connections.load(Ordering::SeqCst);
        assert!(connections <= 3, "{connections} connections for {answer:?}");
    }
}

#[tokio::test]
async fn a_connection_refused_is_unreachable_and_said_so() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = transport().deliver(attempt(&format!("http://{free}/"))).await;
    let Outcome::Retryable(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.unreachable && failure.code.is_none());
    assert_eq!(failure.error, format!("connection refused: nothing listens at {free}"));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let outcome = transport().deliver(attempt("http://no-such-host.invalid/")).await;
    let Outcome::Retryable(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.unreachable, "{failure:?}");
    assert!(failure.error.contains("no-such-host.invalid:80 does not resolve"), "{}", failure.error);
}

#[tokio::test]
async fn an_address_that_cannot_be_dialled_is_refused() {
    let outcome = transport().deliver(attempt("bad://uri")).await;
    let Outcome::Refused(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.error.contains("bad://uri") && failure.error.contains("scheme"), "{}", failure.error);
    assert!(!failure.unreachable);
}

#[tokio::test]
async fn silence_is_cut_at_the_timeout() {
    let begun = std::time::Instant::now();
    let half_open = Server::start(vec![Step::Hang]).await;
    let half_sent = Server::start(vec![Step::Send(b"HTTP/1.1 200 OK\r\nconten".to_vec()), Step::Hang]).await;
    for server in [half_open, half_sent] {
        let attempt = Attempt { timeout: Duration::from_millis(300), ..attempt(&server.target()) };
        let outcome = transport().deliver(attempt).await;
        let Outcome::Retryable(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.error, "no answer within 0.3 s");
        assert!(!failure.unreachable);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn answers_that_break_off() {
    let head = Server::start(vec![Step::Send(b"HTTP/1.1 20".to_vec()), Step::Close]).await;
    let nothing = Server::start(vec![Step::Close]).await;
    for server in [head, nothing] {
        let failure = failure(deliver(&server).await);
        assert!(failure.error.contains("broke off before the answer"), "{}", failure.error);
        assert!(!failure.unreachable);
    }
    let reply = b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: 1\r\ncontent-length: 9\r\n\r\nx".to_vec();
    let failure = failure(deliver(&Server::start(vec![Step::Send(reply), Step::Close]).await).await);
    assert!(failure.error.contains("it broke off"), "{}", failure.error);
    let odd = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec();
    let outcome = deliver(&Server::start(vec![Step::Send(odd), Step::Close]).await).await;
    assert_eq!(outcome, Outcome::Delivered { code: 200, reply: None, odd_body: true });
}

#[tokio::test]
async fn a_slow_drip_does_not_hold_what_is_decided() {
    let mut steps = vec![Step::Send(b"HTTP/1.1 500 x\r\ncontent-length: 1000\r\n\r\n".to_vec())];
    steps.extend((0..1000).flat_map(|_| [Step::Send(b"x".to_vec()), Step::Pause(Duration::from_millis(50))]));
    let begun = std::time::Instant::now();
    let failure = failure(deliver(&Server::start(steps).await).await);
    assert_eq!(failure.code, Some(500));
    assert!(!failure.body.is_empty() && failure.body.len() < 1000, "{} bytes", failure.body.len());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_reply_is_cut_at_the_timeout() {
    let head = b"HTTP/1.1 200 x\r\nce-specversion: 1.0\r\ncontent-length: 1000\r\n\r\nx".to_vec();
    let server = Server::start(vec![Step::Send(head), Step::Hang]).await;
    let attempt = Attempt { timeout: Duration::from_millis(300), ..attempt(&server.target()) };
    let failure = failure(transport().deliver(attempt).await);
    assert!(failure.error.contains("did not end within 0.3 s"), "{}", failure.error);
}

#[tokio::test]
async fn https_to_a_server_that_speaks_none_is_no_connection() {
    let server = Server::status(200).await;
    let options = HttpOptions { connect_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    let transport = HttpTransport::new(options, Clock::system(), fastrand::Rng::with_seed(7)).unwrap();
    let failure = failure(transport.deliver(attempt(&format!("https://{}/", server.address))).await);
    assert_eq!(failure.error, format!("no connection to {} within 0.3 s", server.address));
    assert!(failure.unreachable);
}
