//! Real parts for tests: the broker as a process, publishers, subscribers that answer as told, manifests, the CLI.
//!
//! *Invariants*: every wait has a deadline and waits for a condition, never for time to pass; whatever was started
//! ends with the test; what a process wrote to stderr is printed when its handle is dropped, which the test runner
//! shows where the test failed. *Not here*: expectations about the broker's behaviour; those are the tests'.

mod cli;
mod home;
mod manifest;
mod process;
mod publisher;
mod subscriber;
mod wait;

pub use cli::{Cli, Finished};
pub use home::Home;
pub use manifest::{BrokerManifest, TriggerManifest};
pub use process::{BrokerProcess, Launch, StartError, Starting, Within};
pub use publisher::{Ack, Publisher, Sample};
pub use subscriber::{Answer, Received, Script, Subscriber};
pub use wait::{DEADLINE, eventually};

/// An HTTP client for tests: its own connections, no proxy, no redirects.
#[must_use]
pub fn http_client() -> reqwest::Client {
    // The first call in a process installs the one crypto library; later ones find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build()
        .expect("nothing in these settings can fail")
}
