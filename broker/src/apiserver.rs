//! How the broker speaks with the Kubernetes API server: time limits, waits after errors, and who is told of answers.

use std::time::Duration;

use kube::client::{ClientBuilder, DynBody};
use kube::runtime::utils::Backoff;
use kube::{Client, Config};
use tower::util::MapResponseLayer;

/// A watch that is silent for longer than this (and 5 s) is taken for dead, in seconds: bookmarks come once a minute.
pub const WATCH_SECONDS: u32 = 60;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence in an answer; longer than a watch may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
/// First wait after an error.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest wait: how late a server that is back is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A client that calls `answered` for each answer that is no error.
///
/// # Errors
/// When the configuration makes no client.
pub fn client(mut config: Config, answered: impl Fn() + Clone + Send + Sync + 'static) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let tell = move |answer: http::Response<Box<DynBody>>| {
        if answer.status().is_success() {
            answered();
        }
        answer
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(tell)).build())
}

/// Waits that double from half a second to 10 s, each lengthened at random by up to a half, so that brokers do not
/// come back all at once.
#[derive(Debug)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE_FIRST)
    }
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        Some(pause.mul_f64(1.0 + fastrand::f64() / 2.0))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.0 = PAUSE_FIRST;
    }
}
