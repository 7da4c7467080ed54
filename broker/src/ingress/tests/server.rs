//! Connections: slow ones, many of them, kept ones, and the end of the server.

use super::*;

/// Reads until the server closes the connection; how long that took, and what came.
async fn until_closed(stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let begun = std::time::Instant::now();
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    let _ = read.expect("the server closes the connection");
    (begun.elapsed(), all)
}

/// Reads one answer without a body from a connection that stays open.
async fn one_answer(stream: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    loop {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut all)).await;
        assert_ne!(read.expect("an answer in time").unwrap(), 0, "closed: {all:?}");
        if let Some(answer) = parse(&all) {
            return answer;
        }
    }
}

fn kept(path: &str) -> Vec<u8> {
    let text = String::from_utf8(request("POST", path, &GOOD, b"x")).unwrap();
    text.replace("connection: close\r\n", "").into_bytes()
}

fn impatient() -> ServerLimits {
    ServerLimits { head_timeout: Duration::from_millis(300), ..ServerLimits::default() }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let rig = Rig::with(IngressLimits::default(), impatient()).await;
    for begun in ["", "P", "POST /ns/b HTTP/1.1\r\nce-id: 1\r\n", "PRI * HT"] {
        let mut stream = rig.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let (after, answer) = until_closed(&mut stream).await;
        assert!(after >= Duration::from_millis(250), "{begun:?} after {after:?}");
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_all_the_same() {
    let rig = Rig::with(IngressLimits::default(), impatient()).await;
    let mut stream = rig.connect().await;
    stream.write_all(&kept("/ns/b")).await.unwrap();
    assert_eq!(one_answer(&mut stream).await.status, 202);
    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"P").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut rest)).await;
    let _ = read.expect("the server closes the connection");
    trickle.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_a_head_may_take() {
    let limits = ServerLimits { idle_timeout: Duration::from_millis(1500), ..impatient() };
    let rig = Rig::with(IngressLimits::default(), limits).await;
    let mut stream = rig.connect().await;
    for _ in 0..2 {
        stream.write_all(&kept("/ns/b")).await.unwrap();
        assert_eq!(one_answer(&mut stream).await.status, 202);
        let early = tokio::time::timeout(Duration::from_millis(600), stream.readable()).await;
        assert!(early.is_err(), "closed while it might have been used");
    }
    let (after, rest) = until_closed(&mut stream).await;
    assert!(after >= Duration::from_millis(500) && rest.is_empty(), "{after:?}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let limits = ServerLimits { head_bytes: 8 << 10, ..ServerLimits::default() };
    let rig = Rig::with(IngressLimits::default(), limits).await;
    let answer = rig.post(&[("x-filler", &"x".repeat(20_000))], b"").await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn connections_above_the_limit_wait() {
    let limits = ServerLimits { connections: 1, ..ServerLimits::default() };
    let rig = Rig::with(IngressLimits::default(), limits).await;
    let mut first = rig.connect().await;
    first.write_all(&kept("/ns/b")).await.unwrap();
    assert_eq!(one_answer(&mut first).await.status, 202);
    let mut second = rig.connect().await;
    second.write_all(&request("POST", "/ns/b", &GOOD, b"x")).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "served although the limit is reached");
    drop(first);
    assert_eq!(answer(&mut second).await.status, 202);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start().await;
    let mut stream = rig.connect().await;
    let both = [kept("/ns/b"), request("POST", "/ns/none", &GOOD, b"x")].concat();
    stream.write_all(&both).await.unwrap();
    let (_, all) = until_closed(&mut stream).await;
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 202") && text.contains("HTTP/1.1 404"), "{text}");
}

#[tokio::test]
async fn the_end_finishes_what_is_under_way_and_takes_no_more() {
    let rig = Rig::start().await;
    rig.log.answer(Answering::WhenReleased);
    let mut idle = rig.connect().await;
    let mut busy = rig.connect().await;
    busy.write_all(&kept("/ns/b")).await.unwrap();
    rig.log.arrival(1).await;
    rig.shutdown.cancel();
    let (_, rest) = until_closed(&mut idle).await;
    assert!(rest.is_empty(), "an idle connection is closed at once");
    let refused = async {
        while TcpStream::connect(rig.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("no more connections");
    assert!(!rig.server.is_finished());
    rig.log.release();
    let answer = answer(&mut busy).await;
    assert_eq!((answer.status, answer.header("connection")), (202, Some("close")));
    assert_eq!(rig.server.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let limits = ServerLimits { drain_timeout: Duration::from_millis(200), ..ServerLimits::default() };
    let rig = Rig::with(IngressLimits::default(), limits).await;
    rig.log.answer(Answering::WhenReleased);
    let mut busy = rig.connect().await;
    busy.write_all(&kept("/ns/b")).await.unwrap();
    rig.log.arrival(1).await;
    rig.shutdown.cancel();
    assert_eq!(rig.server.await.unwrap(), Drained { cut: 1 });
    let (_, rest) = until_closed(&mut busy).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let rig = Rig::start().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    for _ in 0..2 {
        let mut request = client.post(format!("http://{}/ns/b", rig.addr)).body("x");
        for (name, value) in GOOD {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (202, http::Version::HTTP_2));
    }
    assert_eq!(rig.log.take().len(), 2);
}
