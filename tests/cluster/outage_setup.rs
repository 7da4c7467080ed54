//! A broker and a controller behind a proxy to the API server that misbehaves, and a publisher who does not care.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::cluster::{ApiProxy, Cluster};
use tests::harness::{Answer, BrokerProcess, Home, Launch, Publisher, Sample, Subscriber, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::controller_setup::{ControllerProcess, Stage, trigger};

/// After how many seconds each takes a silent connection for dead. A watch tells by them whose it is.
pub(crate) const SILENCE_SECONDS: [(&str, u32); 2] = [("the broker", 3), ("the controller", 4)];
/// Pause between two events of the load.
const PACE: Duration = Duration::from_millis(20);

/// The two programs, behind one proxy.
pub(crate) struct Both<'a> {
    // Dropped before the stage, whose next user finds no other controller then.
    pub(crate) controller: ControllerProcess,
    pub(crate) broker: BrokerProcess,
    pub(crate) stage: Stage<'a>,
    pub(crate) proxy: ApiProxy,
    _home: Home,
}

impl<'a> Both<'a> {
    /// With the Broker `default`, which both have seen.
    pub(crate) async fn start(cluster: &'a Cluster, prefix: &str) -> Self {
        let (stage, proxy) = (Stage::new(cluster, prefix).await, cluster.api_proxy().await.unwrap());
        let home = Home::new();
        let through = proxy.kubeconfig(&stage.kubeconfig_of("reveille-broker")).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_reveille-under-test"));
        let [broker, controller] = SILENCE_SECONDS.map(|(_, seconds)| format!("PT{seconds}S"));
        let launch = Launch::kube(program, &home, &through).arg("--api-timeout", broker);
        let through = proxy.kubeconfig(stage.kubeconfig()).unwrap();
        let controller = ControllerProcess::start_with(&through, &["--api-timeout", &controller]).await;
        let broker = launch.start().await.unwrap();
        stage.broker().await;
        let both = Self { stage, proxy, controller, broker, _home: home };
        eventually("the broker to serve its Broker", || async {
            (both.publisher().binary(&Sample::new("first")).await.ok()?.code == 202).then_some(())
        })
        .await;
        both
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.broker.publisher_in(self.stage.namespace.name(), "default")
    }

    /// Applies a Trigger for a subscriber.
    pub(crate) fn trigger(&self, name: &str, subscriber: &Subscriber) {
        let delivery = "delivery: {retry: 1000, backoffPolicy: linear, backoffDelay: PT0.05S}";
        let spec = format!("{{uri: \"{}\"}}, {delivery}", subscriber.url());
        self.stage.apply(&trigger(name, "default", &spec));
    }

    /// Waits until the broker has a Trigger that leads to a subscriber.
    pub(crate) async fn served(&self, name: &str, subscriber: &Subscriber) {
        eventually(&format!("the broker to serve {name}"), || async {
            let item = self.broker.trigger_in(self.stage.namespace.name(), name).await?;
            (item.subscriber == subscriber.url()).then_some(())
        })
        .await;
    }

    /// Waits until the broker has dropped a Trigger.
    pub(crate) async fn dropped(&self, name: &str) {
        eventually(&format!("the broker to drop {name}"), || async {
            self.broker.trigger_in(self.stage.namespace.name(), name).await.is_none().then_some(())
        })
        .await;
    }

    /// Waits until both say that they have lost the API server.
    pub(crate) async fn lost(&self) {
        eventually("the broker to miss the API server", || self.broker.ready_part("kubernetes")).await;
        eventually("the controller to give up the lead", || async {
            (!self.controller.is_leader().await).then_some(())
        })
        .await;
    }

    /// Waits until both have found it again.
    pub(crate) async fn found(&self) {
        eventually("the broker to find the API server", || async {
            self.broker.ready_part("kubernetes").await.is_none().then_some(())
        })
        .await;
        self.controller.leads().await;
    }

    /// The controller's writes of statuses: all of them, or those not about `besides`.
    pub(crate) async fn status_writes(&self, besides: &str) -> Vec<tests::cluster::Write> {
        let mut writes = self.stage.writes().await;
        writes.retain(|write| write.subresource.as_deref() == Some("status") && write.name != besides);
        writes
    }
}

/// Somebody who publishes all the while, and is never refused.
pub(crate) struct Load {
    publisher: Publisher,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(publisher: Publisher) -> Self {
        let stop = CancellationToken::new();
        let (publishing, stopped) = (publisher.clone(), stop.clone());
        let task = tokio::spawn(async move {
            for number in 0.. {
                if stopped.is_cancelled() {
                    return;
                }
                let ack = publishing.binary(&Sample::new(&format!("n-{number}"))).await.unwrap();
                assert_eq!(ack.code, 202, "{}", ack.body);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { publisher, stop, task }
    }

    /// Ends it; the ids of all that was taken.
    pub(crate) async fn end(self) -> Vec<String> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.publisher.acknowledged()
    }
}

/// A subscriber that refuses everything until it is opened.
pub(crate) struct Held {
    pub(crate) subscriber: Subscriber,
    open: Arc<AtomicBool>,
}

impl Held {
    pub(crate) async fn new() -> Self {
        let open = Arc::new(AtomicBool::new(false));
        let is_open = open.clone();
        let code = move || if is_open.load(Ordering::Relaxed) { 200 } else { 503 };
        Self { subscriber: Subscriber::scripted(move |_| Answer::code(code())).await, open }
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

/// Waits until a subscriber has taken every one of `ids`, and looks whether it took any of them twice.
pub(crate) async fn took_each_once(subscriber: &Subscriber, ids: &[String]) {
    let taken = || {
        let received = subscriber.received();
        let mut taken: Vec<String> =
            received.iter().filter(|one| one.answered == 200).map(|one| one.id().to_owned()).collect();
        taken.sort();
        taken
    };
    eventually("every event to be delivered", || {
        let taken = taken();
        std::future::ready(ids.iter().all(|id| taken.binary_search(id).is_ok()).then_some(()))
    })
    .await;
    let taken = taken();
    let twice: Vec<_> = taken.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "delivered twice, so a cursor was lost: {twice:?}");
}
