//! Bad surroundings: one clear line and a non-zero exit, or the rest goes on.

use std::path::{Path, PathBuf};

use broker::clock::Clock;
use broker::event::{BodyKind, Event, SpecVersion};
use broker::log::Offset;
use broker::log::segment::format::{
    FILE_HEADER_BYTES, NewFrame, decode_file_header, decode_frame_header, encode_frame,
};
use tests::harness::{Cli, Home, Launch, Sample, Subscriber, TriggerManifest, eventually};

use super::{accepted, launch, program, start};

/// That the broker does not start, ends by itself with a code that is not 0, and says why in one line with `words`.
async fn refuses_to_start(launch: &Launch, words: &[&str]) {
    let error = launch.start().await.unwrap_err();
    let code = error.status.and_then(|status| status.code());
    assert!(code.is_some_and(|code| code != 0), "{error}");
    let said: Vec<&str> = error.stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(said.len(), 1, "one clear line, please: {error}");
    for word in words {
        assert!(said[0].contains(word), "`{word}` is not said: {error}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let home = Home::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for flag in ["--ingress-addr", "--health-addr", "--admin-addr"] {
        refuses_to_start(&launch(&home).arg(flag, &addr), &[&addr, "in use"]).await;
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let home = Home::new();
    std::fs::write(home.path("file"), "not a directory").unwrap();
    let data = home.path("file").join("data");
    refuses_to_start(&launch(&home).arg("--data", &data), &[data.to_str().unwrap()]).await;
}

#[tokio::test]
async fn a_second_broker_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let broker = start(&home).await;
    refuses_to_start(&launch(&home), &[home.data().to_str().unwrap(), "in use"]).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
}

#[tokio::test]
async fn missing_manifests_and_wrong_options_are_named() {
    let home = Home::new();
    refuses_to_start(&launch(&home).arg("--manifests", home.path("nowhere")), &["nowhere"]).await;
    refuses_to_start(&launch(&home).arg("--admin-addr", "0.0.0.0:0"), &["--admin-token-file"]).await;
}

fn find_files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find_files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

/// Flips one bit in the middle of the one place where `text` stands in a log below `data`.
fn damage(data: &Path, text: &str) -> PathBuf {
    for path in find_files(&data.join("logs"), "seg") {
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            bytes[at + text.len() / 2] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    unreachable!("`{text}` is in no segment")
}

#[tokio::test]
async fn a_damaged_record_is_named_and_the_rest_is_served() {
    let home = Home::new();
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    for n in 0..10 {
        let marker = format!("\"the data of event number {n}\"");
        accepted(publisher.binary(&Sample::new(&format!("n-{n}")).data("application/json", marker)).await);
    }
    assert!(broker.sigterm().await.success());
    let file = damage(&home.data(), "the data of event number 4");

    let subscriber = Subscriber::start().await;
    let trigger = TriggerManifest::new("late", &subscriber.url()).annotation("reveille.dev/start", "earliest");
    home.trigger(&trigger);
    let broker = start(&home).await;
    subscriber.wait_for(9).await;
    broker.settled("late").await;
    let mut ids = subscriber.ids();
    ids.sort();
    let expected: Vec<String> = (0..10).filter(|n| *n != 4).map(|n| format!("n-{n}")).collect();
    assert_eq!(ids, expected);
    accepted(broker.publisher("default").binary(&Sample::new("after")).await);
    subscriber.wait_for(10).await;
    eventually("the damage in the metrics", || async {
        (broker.metric("reveille_log_damaged_records_total").await > 0.0).then_some(())
    })
    .await;
    let stderr = broker.stderr();
    assert!(stderr.lines().any(|line| line.contains("damaged") && line.contains('4')), "{stderr}");
    assert!(broker.sigterm().await.success());

    let verify = Cli::new(program(), "http://127.0.0.1:1")
        .run(&["log", "verify", file.parent().unwrap().to_str().unwrap()])
        .await;
    assert_eq!(verify.code, 1, "{verify:?}");
    let said = verify.stdout + &verify.stderr;
    assert!(said.contains(file.file_name().unwrap().to_str().unwrap()) && said.contains('4'), "{said}");
}

/// Where the frames of a segment file end, and the first half of the frame that would come next: what a crash in the
/// middle of a write leaves behind.
fn torn_write(bytes: &[u8]) -> (usize, Vec<u8>) {
    let segment = decode_file_header(bytes).unwrap().segment;
    let (mut at, mut next) = (FILE_HEADER_BYTES, Offset(0));
    while let Ok(header) = decode_frame_header(&bytes[at..]) {
        at += usize::try_from(header.length).unwrap();
        next = header.next();
    }
    let event = Event::builder(SpecVersion::V1).attribute("id", "torn").attribute("source", "/tests");
    let event = event.attribute("type", "t").body(BodyKind::Binary, vec![b'x'; 4096].into()).build().unwrap();
    let frame = NewFrame { segment, base: next, appended: Clock::system().now(), durable_up_to: next };
    let mut frame = encode_frame(&frame, [&event].into_iter(), 0).unwrap();
    frame.truncate(frame.len() / 2);
    (at, frame)
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_nobody_is_alarmed() {
    let home = Home::new();
    let broker = start(&home).await;
    broker.publisher("default").series("n", 5).await;
    broker.kill9().await;
    let files = find_files(&home.data().join("logs"), "seg");
    let file = files.into_iter().find(|path| path.to_string_lossy().contains("events")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let (at, torn) = torn_write(&bytes);
    bytes.resize(bytes.len().max(at + 8192), 0);
    bytes[at..at + torn.len()].copy_from_slice(&torn);
    std::fs::write(&file, bytes).unwrap();

    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("late", &subscriber.url()).annotation("reveille.dev/start", "earliest"));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("after")).await);
    subscriber.wait_for(6).await;
    broker.settled("late").await;
    let mut ids = subscriber.ids();
    ids.sort();
    assert_eq!(ids, ["after", "n-0", "n-1", "n-2", "n-3", "n-4"]);
    assert_eq!(broker.metric("reveille_log_damaged_records_total").await, 0.0);
    assert!(!broker.stderr().contains("ERROR"), "a tear is no damage: {}", broker.stderr());
}
