//! The immutable table of Brokers and Triggers. A source (manifests, later the Kubernetes watch) publishes a whole
//! new table; readers hold a snapshot and compare entries by equality to see what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use schemas::annotations::Workload;
use tokio::sync::watch;

use crate::clock::UnixMicros;
use crate::log::{Offset, Retention};
use crate::matching::Filter;
use crate::names::{BrokerKey, TriggerKey};

/// Growth of the waits between attempts (Knative's names): linear n × delay,
/// exponential 2^(n−1) × delay, before the n-th retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// n × delay.
    Linear,
    /// 2^(n−1) × delay.
    Exponential,
}

/// Where events or dead letters are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address as written, also where it cannot work (`bad://uri`): then delivery fails, and says why.
    pub uri: String,
    /// The Service that it is the address of, where Kubernetes says which pods are behind it.
    pub pods: Option<Arc<Pods>>,
}

impl From<String> for Target {
    /// An address behind which nothing is known.
    fn from(uri: String) -> Self {
        Self { uri, pods: None }
    }
}

/// A port of a Service in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Name of the port; empty where it has none.
    pub port: String,
}

/// The pods behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pods {
    /// Whose endpoints they are.
    pub port: ServicePort,
    /// Dial them, and not the Service's name (`reveille.dev/delivery-path`).
    pub dial: bool,
}

/// Where events or dead letters go, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// An address.
    At(Target),
    /// An object whose address is not known: what is for it waits in the log, and uses no attempts.
    Unresolved {
        /// Which object, such as `Service shop/orders`.
        what: String,
        /// Why its address is not known, in plain words.
        why: String,
    },
}

impl Recipient {
    /// The address, or the object's name where there is none.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self {
            Self::At(target) => &target.uri,
            Self::Unresolved { what, .. } => what,
        }
    }

    /// The address, where it is known.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::At(target) => Some(target),
            Self::Unresolved { .. } => None,
        }
    }
}

impl From<Target> for Recipient {
    fn from(target: Target) -> Self {
        Self::At(target)
    }
}

/// How delivery is tried, after the Trigger's block has replaced, or fallen back to, the Broker's.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryPolicy {
    /// Retries after the first attempt.
    pub retry: u32,
    /// Growth of the waits.
    pub backoff: Backoff,
    /// Unit of the waits.
    pub backoff_delay: Duration,
    /// Limit of one attempt, from the first byte sent.
    pub timeout: Duration,
    /// Longest `Retry-After` that is obeyed; `None` means the broker's own limit.
    pub retry_after_max: Option<Duration>,
    /// Where dead letters go besides the dead-letter log.
    pub dead_letter_sink: Option<Recipient>,
}

/// Order of deliveries (`reveille.dev/delivery-order`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As fast as possible.
    Unordered,
    /// One at a time per key: `partitionkey`, else `subject`, else `source`.
    ByKey,
    /// One at a time, in log order.
    Ordered,
}

/// How events are put into HTTP (`delivery.format`, `reveille.dev/content-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentMode {
    /// Attributes in headers, data as body.
    Binary,
    /// One JSON document.
    Structured,
    /// A JSON array of events; only where a Trigger asks for it.
    Batched,
}

/// What a 2xx answer with a body that is no CloudEvent means (`reveille.dev/reply`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Delivered, with a warning.
    Lenient,
    /// A failed attempt, as on Knative.
    Strict,
}

/// Where a Trigger without a cursor begins (`reveille.dev/start`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPosition {
    /// The first event appended at or after this moment: the Trigger's creation, or a time that was asked for.
    At(UnixMicros),
    /// The first event kept.
    Earliest,
    /// The durable end when the Trigger was first seen.
    Latest,
    /// The cursor of a deleted Trigger of the same name; else as `At` its creation.
    Resume(UnixMicros),
    /// An offset.
    Offset(Offset),
}

/// A local subscriber that the broker starts on demand (`reveille.dev/exec`, `reveille.dev/idle-period`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecSpec {
    /// Command line for `/bin/sh -c`.
    pub command: String,
    /// `host:port` that accepts a connection once the subscriber is awake.
    pub address: String,
    /// Stop it after this long without a delivery; `None` keeps it running.
    pub idle_period: Option<Duration>,
    /// How long a start may take before it counts as failed (`reveille.dev/wake-timeout`).
    pub wake_timeout: Duration,
}

/// A workload in Kubernetes that is scaled up when an event needs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScaleSpec {
    /// It is awake while an endpoint of this is ready.
    pub port: ServicePort,
    /// What is scaled, or why nothing can be, as `REASON: words`.
    pub workload: Result<Workload, String>,
    /// How long it may take to become ready before that counts as failed (`reveille.dev/wake-timeout`).
    pub wake_timeout: Duration,
    /// Put it to sleep after this long without a delivery (`reveille.dev/idle-period`); `None` keeps it running.
    pub idle_period: Option<Duration>,
}

/// What to wake before events are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WakeTarget {
    /// A local command.
    Exec(ExecSpec),
    /// A workload in Kubernetes.
    Scale(ScaleSpec),
}

/// One Trigger, ready for dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerEntry {
    /// Which.
    pub key: TriggerKey,
    /// Tells a Trigger from a former one of the same name: its UID on Kubernetes, nothing for manifests.
    pub incarnation: Option<Arc<str>>,
    /// Whose events.
    pub broker: BrokerKey,
    /// Which events.
    pub filter: Filter,
    /// To whom.
    pub subscriber: Recipient,
    /// How.
    pub delivery: DeliveryPolicy,
    /// In which order.
    pub order: Order,
    /// Upper limit of attempts under way at once (`reveille.dev/concurrency`); adaptive below it.
    pub concurrency: usize,
    /// In which content mode.
    pub content_mode: ContentMode,
    /// How plain 2xx bodies are taken.
    pub reply: ReplyMode,
    /// Where to begin without a cursor.
    pub start: StartPosition,
    /// How to wake the subscriber, where the broker does so.
    pub wake: Option<WakeTarget>,
}

/// One Broker and its Triggers.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerEntry {
    /// Which.
    pub key: BrokerKey,
    /// How much of its log is kept; what the Broker does not say comes from the broker's flags.
    pub retention: Retention,
    /// How much of its dead-letter log is kept.
    pub dead_letters: Retention,
    /// Its Triggers by name.
    pub triggers: BTreeMap<TriggerKey, Arc<TriggerEntry>>,
}

/// All Brokers at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// By namespace and name.
    pub brokers: BTreeMap<BrokerKey, Arc<BrokerEntry>>,
    /// Triggers that exist and are not served (their Broker is gone, or they are faulty), with the Broker that they
    /// name where that is known: they keep their cursors, and what their Broker's log still has for them.
    pub unserved: BTreeMap<TriggerKey, Option<BrokerKey>>,
    /// Brokers that exist and cannot be served, as they are faulty: they keep their logs.
    pub faulty: BTreeSet<BrokerKey>,
    /// How much it says.
    pub knowledge: Knowledge,
}

/// How much a table says of what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Knowledge {
    /// All there is.
    #[default]
    Complete,
    /// What was last known. It may lack something: no cursor may be removed for it.
    Provisional,
    /// Nothing yet: a Broker that is not in it may exist all the same.
    Nothing,
}

/// Readers' end: the current table and its changes.
#[derive(Debug, Clone)]
pub struct TableSource(watch::Receiver<Arc<Table>>);

/// The writer's end.
#[derive(Debug)]
pub struct TableWriter(watch::Sender<Arc<Table>>);

impl TableSource {
    /// An empty table and the end that replaces it.
    #[must_use]
    pub fn new() -> (TableWriter, Self) {
        let (sender, receiver) = watch::channel(Arc::default());
        (TableWriter(sender), Self(receiver))
    }

    /// The table now.
    #[must_use]
    pub fn current(&self) -> Arc<Table> {
        self.0.borrow().clone()
    }

    /// Waits for a table this reader has not seen, and returns it; `None` once there is no writer.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn changed(&mut self) -> Option<Arc<Table>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

impl TableWriter {
    /// Replaces the table; readers are told only when it differs.
    pub fn publish(&self, table: Table) {
        self.0.send_if_modified(|current| {
            let differs = **current != table;
            if differs {
                *current = Arc::new(table);
            }
            differs
        });
    }
}
