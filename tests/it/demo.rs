//! `reveille demo`: the first thing a newcomer runs.

use std::process::Stdio;
use std::time::Duration;

use tests::harness::Home;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::program;

/// Longer than the story takes on a busy machine: five seconds of it are idleness.
const STORY: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Command::new(program());
    demo.args(["demo", "--exit", "--free-ports"]).env("TMPDIR", temporary.path()).kill_on_drop(true);
    let output = timeout(STORY, demo.output()).await.expect("the story ends").unwrap();
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}\n{complaints}");
    assert_eq!(complaints, "");
    let mut rest = &*told;
    for line in [
        "A broker runs",
        "`sleeper` is asleep",
        "Published event #0 (demo.greeting): 202 in",
        "was woken",
        "Delivered,",
        "Published 9 more",
        "(demo.payment): 202 in",
        "refused it 3 times (HTTP 503), so it is a dead letter: RetriesExhausted",
        "It is asleep again",
        " triggers ls --admin http://127.0.0.1:",
        " dlq ls --admin http://127.0.0.1:",
    ] {
        let at = rest.find(line).unwrap_or_else(|| unreachable!("`{line}` is not told, in this order:\n{told}"));
        rest = &rest[at..];
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "the temporary directory is removed");
}

#[tokio::test]
async fn the_demo_stays_up_and_the_commands_it_prints_work() {
    let home = Home::new();
    let mut demo = Command::new(program());
    demo.args(["demo", "--free-ports", "--data"]).arg(home.path("demo")).stdout(Stdio::piped()).kill_on_drop(true);
    let mut demo = demo.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut commands = Vec::new();
    loop {
        let line =
            timeout(STORY, lines.next_line()).await.expect("the story goes on").unwrap().expect("and has an end");
        if line.contains(" ls --admin ") {
            commands.push(line.trim().to_owned());
        }
        if line.contains("Ctrl-C") {
            break;
        }
    }
    assert_eq!(commands.len(), 2, "{commands:?}");
    for (command, word) in commands.iter().zip(["sleeper", "RetriesExhausted"]) {
        let output = Command::new("/bin/sh").args(["-c", command]).output().await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains(word), "{command}: {output:?}");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = timeout(STORY, demo.wait()).await.expect("Ctrl-C ends it").unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(home.path("demo").join("data").is_dir(), "what was asked to be kept is kept");
}
