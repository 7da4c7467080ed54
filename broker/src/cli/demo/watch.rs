//! Looking at the running broker until something is so.

use std::net::SocketAddr;
use std::time::Duration;

use schemas::admin::{DeadLetterItem, Delivery, DeliveryState, EventDetail, TriggerItem, TriggerState};
use tokio::time::Instant;

use crate::cli::connect::{Admin, cause, http_client};
use crate::cli::fault::{Exit, Fault};

/// How long anything in the story may take: a start of a local program on a very busy machine stays far below.
const DEADLINE: Duration = Duration::from_secs(30);
/// Time between two looks: the precision of the times that are told.
const LOOK: Duration = Duration::from_millis(5);

/// The namespace and the Broker of the story.
pub(super) const BROKER: [&str; 2] = ["default", "default"];

/// Eyes on one broker.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    admin: Admin,
}

impl Watch {
    pub(super) fn new(admin: Admin) -> Self {
        Self { admin }
    }

    /// Looks again and again until `look` finds something; `what` was waited for if it never does.
    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Result<Option<T>, Fault>) -> Result<T, Fault> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if begun.elapsed() > DEADLINE {
                let message =
                    format!("{what} did not happen within {} s; `--log-level info` shows more", DEADLINE.as_secs());
                return Err(Fault::new(Exit::Failed, message));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A Trigger, once it is known to the broker.
    pub(super) async fn trigger(&self, name: &str) -> Result<TriggerItem, Fault> {
        self.admin.get(&["triggers", "default", name], &[]).await
    }

    /// Waits until a Trigger is in this state.
    pub(super) async fn state(&self, name: &str, state: TriggerState) -> Result<TriggerItem, Fault> {
        let what = format!("that Trigger {name} is {}", state.as_str());
        self.until(&what, async || Ok(Some(self.trigger(name).await?).filter(|item| item.state == state))).await
    }

    /// The event of this id and what became of it.
    pub(super) async fn event(&self, id: &str) -> Result<EventDetail, Fault> {
        let [namespace, broker] = BROKER;
        self.admin.get(&["brokers", namespace, broker, "events", id], &[]).await
    }

    /// Waits until an event is in this state at a Trigger.
    pub(super) async fn delivery(&self, id: &str, trigger: &str, state: DeliveryState) -> Result<Delivery, Fault> {
        let what = format!("that event {id} is {} at Trigger {trigger}", state.as_str());
        let key = format!("default/{trigger}");
        let look = async || {
            let deliveries = self.event(id).await?.deliveries;
            Ok(deliveries.into_iter().find(|delivery| delivery.trigger == key && delivery.state == state))
        };
        self.until(&what, look).await
    }

    /// How often a Trigger's subscriber was started, by the broker's metrics at `health`.
    pub(super) async fn wakes(&self, health: SocketAddr, name: &str) -> Result<u64, Fault> {
        let url = format!("http://{health}/metrics");
        let failed = |error: reqwest::Error| Fault::new(Exit::Failed, format!("cannot read {url}: {}", cause(&error)));
        let text = http_client()?.get(&url).send().await.map_err(failed)?.text().await.map_err(failed)?;
        let label = format!("trigger=\"{name}\"");
        let line = text.lines().find(|line| line.starts_with("reveille_wakes_total") && line.contains(&label));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        count.ok_or_else(|| Fault::new(Exit::Failed, format!("the metrics do not tell of wakes of Trigger {name}")))
    }

    /// Waits until an event is in the list of dead letters.
    pub(super) async fn dead_letter(&self, id: &str) -> Result<DeadLetterItem, Fault> {
        let [namespace, broker] = BROKER;
        let look = async || {
            let mut lines = self.admin.stream(&["brokers", namespace, broker, "dead-letters"], &[]).await?;
            while let Some(item) = lines.next::<DeadLetterItem>().await? {
                if crate::cli::show::brief(&item.event).id == id {
                    return Ok(Some(item));
                }
            }
            Ok(None)
        };
        self.until(&format!("that event {id} becomes a dead letter"), look).await
    }
}
