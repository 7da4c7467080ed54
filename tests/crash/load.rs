//! The load of the crash test: publishers that go on over restarts, subscribers that fail now and then.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tests::harness::{Answer, Publisher, Sample, Subscriber};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Publishers at once: enough for group commits of several requests, few enough for subscribers to keep up.
const PUBLISHERS: usize = 6;

/// Events of every fourth request, which is a batch.
const BATCH: usize = 5;

/// Pause of a publisher after an answer, so that a run makes thousands of events, not millions.
const PAUSE: Duration = Duration::from_millis(20);

/// A subscriber that takes most events at once, refuses for good those whose id ends with `refused`, and answers the
/// rest with 503 or drops the connection.
pub(super) async fn flaky(rng: fastrand::Rng, refused: &'static str) -> Subscriber {
    let rng = Mutex::new(rng);
    Subscriber::scripted(move |received| {
        if received.id().ends_with(refused) {
            return Answer::code(400);
        }
        let mut rng = rng.lock().unwrap();
        match rng.u32(0..100) {
            0..10 => Answer::code(503),
            10..13 => Answer::drop_connection(),
            13..30 => Answer::code(200).after(Duration::from_millis(rng.u64(0..10))),
            _ => Answer::code(200),
        }
    })
    .await
}

/// A subscriber that takes everything.
pub(super) async fn steady() -> Subscriber {
    Subscriber::start().await
}

/// What a subscriber answered with 200, and when.
pub(super) fn taken(subscriber: &Subscriber) -> Vec<(String, Instant)> {
    let received = subscriber.received().into_iter().filter(|received| received.answered == 200);
    received.map(|received| (received.id().to_owned(), received.at)).collect()
}

/// Publishers that run until they are told to stop.
pub(super) struct Publishers {
    url: watch::Sender<Option<String>>,
    tasks: JoinSet<(BTreeSet<String>, Vec<String>)>,
}

impl Publishers {
    /// Starts them; they wait for an address.
    pub(super) fn start() -> Self {
        let (url, addresses) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for n in 0..PUBLISHERS {
            tasks.spawn(publish(n, addresses.clone()));
        }
        Self { url, tasks }
    }

    /// The broker is at another address now.
    pub(super) fn publish_to(&self, url: &str) {
        self.url.send_replace(Some(url.to_owned()));
    }

    /// Stops them and gives the ids of all events they tried to publish, and of those that were acknowledged.
    pub(super) async fn stop(mut self) -> (BTreeSet<String>, Vec<String>) {
        drop(self.url);
        let (mut attempted, mut acknowledged) = (BTreeSet::new(), Vec::new());
        while let Some(done) = self.tasks.join_next().await {
            let (tried, acked) = done.unwrap();
            attempted.extend(tried);
            acknowledged.extend(acked);
        }
        (attempted, acknowledged)
    }
}

/// One publisher: every event has an id of its own, and none is sent twice, so that a second copy is the broker's.
async fn publish(publisher: usize, mut addresses: watch::Receiver<Option<String>>) -> (BTreeSet<String>, Vec<String>) {
    let mut attempted = BTreeSet::new();
    let mut journal: Option<Publisher> = None;
    for n in 0.. {
        let Ok(url) = addresses.wait_for(Option::is_some).await.map(|url| url.clone().unwrap()) else {
            break;
        };
        let current = match journal.take() {
            Some(known) if known.url() == url => known,
            Some(known) => known.moved(&url),
            None => Publisher::new(&url),
        };
        let count = if n % 4 == 3 { BATCH } else { 1 };
        let samples: Vec<Sample> =
            (0..count).map(|part| Sample::new(&format!("{publisher}-{n}-{part}-{}", n % 10))).collect();
        attempted.extend(samples.iter().map(|sample| sample.id.clone()));
        let _ = if count == 1 { current.binary(&samples[0]).await } else { current.batch(&samples).await };
        journal = Some(current);
        tokio::time::sleep(PAUSE).await;
        if addresses.has_changed().is_err() {
            break;
        }
    }
    (attempted, journal.map(|journal| journal.acknowledged()).unwrap_or_default())
}
