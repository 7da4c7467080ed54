//! Publishers that send each event until it is acknowledged, as a careful publisher does, through whatever happens to
//! the broker meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::harness::{DEADLINE, Publisher, Sample, eventually};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Publishers at once.
const PUBLISHERS: usize = 4;
/// Pause after an answer, so that a run makes thousands of events, not millions.
const PAUSE: Duration = Duration::from_millis(5);
/// Pause after a failure.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long an answer may take. One whose broker lost its network with its pod never comes.
const ANSWER: Duration = Duration::from_secs(5);

/// A load that runs until it is stopped.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    tasks: JoinSet<Vec<String>>,
}

impl Load {
    /// Publishes to a Broker, by the address that its Service has on this machine.
    pub(crate) fn start(ingress: SocketAddr, namespace: &str, broker: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (acknowledged, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        for n in 0..PUBLISHERS {
            let publisher = Publisher::new(&format!("http://{ingress}/{namespace}/{broker}"));
            tasks.spawn(publish(n, publisher, stopped.clone(), Arc::clone(&acknowledged), Arc::clone(&failed)));
        }
        Self { stop, acknowledged, failed, tasks }
    }

    /// Waits until so many more events are acknowledged.
    pub(crate) async fn more(&self, count: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + count;
        eventually(&format!("{count} more events to be acknowledged"), || {
            std::future::ready((self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(()))
        })
        .await;
    }

    /// How many attempts had no answer, or one that says later.
    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// Stops it. All events that were tried are acknowledged by then; their ids.
    pub(crate) async fn stop(mut self) -> BTreeSet<String> {
        self.stop.send_replace(true);
        let mut ids = BTreeSet::new();
        while let Some(done) = timeout(DEADLINE, self.tasks.join_next()).await.unwrap() {
            ids.extend(done.unwrap());
        }
        ids
    }
}

async fn publish(
    publisher: usize,
    journal: Publisher,
    stopped: watch::Receiver<bool>,
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
) -> Vec<String> {
    for n in 0.. {
        let sample = Sample::new(&format!("{publisher}-{n}"));
        loop {
            match timeout(ANSWER, journal.binary(&sample)).await {
                Ok(Ok(ack)) if ack.code == 202 => break,
                // Shutting down, or not yet ready: both tell the publisher to come again.
                Ok(Ok(ack)) => assert!(ack.code == 503 || ack.code == 429, "{}: {}", ack.code, ack.body),
                Ok(Err(_)) | Err(_) => {}
            }
            failed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PATIENCE).await;
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        if *stopped.borrow() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    journal.acknowledged()
}
