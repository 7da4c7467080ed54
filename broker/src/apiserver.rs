//! How the broker speaks with the Kubernetes API server: time limits, waits after errors, and who is told of answers.

use std::time::Duration;

use kube::client::{ClientBuilder, DynBody};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Client, Config};
use tower::util::MapResponseLayer;

/// After how many seconds a watch that lasts no longer than a wake is begun anew.
pub const WATCH_SECONDS: u32 = 60;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than a watch an answer may be silent: a silent watch ends itself 5 s after its time.
const READ_MARGIN: Duration = Duration::from_secs(10);
/// First wait after an error.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest wait: how late a server that is back is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A client that calls `answered` for each answer that is no error. `silence` is how long a watch may say nothing.
///
/// # Errors
/// When the configuration makes no client.
pub fn client(
    mut config: Config,
    silence: Duration,
    answered: impl Fn() + Clone + Send + Sync + 'static,
) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(silence + READ_MARGIN);
    let tell = move |answer: http::Response<Box<DynBody>>| {
        if answer.status().is_success() {
            answered();
        }
        answer
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(tell)).build())
}

/// How watches are asked for: one that is silent for `silence`, and 5 s, is begun anew. Bookmarks come once a minute.
#[must_use]
pub fn watching(silence: Duration) -> WatchConfig {
    WatchConfig::default().timeout(u32::try_from(silence.as_secs()).unwrap_or(u32::MAX))
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
