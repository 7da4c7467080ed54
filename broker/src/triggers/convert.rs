//! From Brokers and Triggers as written to the table that dispatch reads.
//!
//! *In*: objects that passed [`schemas::validate`]. *Out*: [`BrokerPart`]s and [`TriggerPart`]s, each by itself, and
//! the [`Table`] of them together. Pure. *Invariants*: what cannot be understood is a fault, never a guess; a
//! Trigger's delivery block replaces its Broker's as a whole, the dead letter sink alone falls back.
//! *Not here*: reading files, looking up the address behind a `ref`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use schemas::annotations as notes;
use schemas::delivery::{BackoffPolicy, DeliveryFormat, DeliverySpec};
use schemas::validate::Fault;
use schemas::{Broker, Trigger, duration};

use super::clauses;
use super::recipient::Lookup;
use super::table::{
    Backoff, BrokerEntry, ContentMode, DeliveryPolicy, ExecSpec, Knowledge, Order, Pods, Recipient, ReplyMode,
    ScaleSpec, StartPosition, Table, TriggerEntry, WakeTarget,
};
use crate::clock::UnixMicros;
use crate::log::{Offset, Retention};
use crate::matching::Filter;
use crate::names::{BrokerKey, TriggerKey};

/// Retries where neither the Trigger nor its Broker has a delivery block (Knative's default Broker).
const RETRY_DEFAULT: u32 = 10;
/// First wait where neither has a delivery block (Knative's default Broker).
const BACKOFF_DELAY_DEFAULT: Duration = Duration::from_millis(200);
/// Limit of an attempt that names none: as long as common HTTP servers and proxies let a request run.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Limit of a start on demand that names none: a slow interpreter on a loaded machine, with room to spare.
const WAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Namespace of objects that name none.
pub const NAMESPACE_DEFAULT: &str = "default";

/// What the broker's flags say where objects say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// How much of a log is kept.
    pub retention: Retention,
    /// How much of a dead-letter log is kept.
    pub dead_letters: Retention,
    /// Upper limit of attempts under way at once per Trigger.
    pub concurrency: usize,
}

/// A Broker by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerPart {
    /// Which.
    pub key: BrokerKey,
    retention: Retention,
    dead_letters: Retention,
    delivery: Option<DeliveryPolicy>,
}

/// A Trigger by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerPart {
    /// Which.
    pub key: TriggerKey,
    /// Whose events.
    pub broker: BrokerKey,
    filter: Filter,
    incarnation: Option<Arc<str>>,
    subscriber: Recipient,
    delivery: Option<DeliveryPolicy>,
    order: Order,
    concurrency: Option<usize>,
    content_mode: ContentMode,
    reply: ReplyMode,
    start: Option<notes::Start>,
    wake: Option<WakeTarget>,
}

type Annotations = BTreeMap<String, String>;

/// Reads a Broker.
///
/// # Errors
/// Every fault with its field path.
pub fn broker_part(broker: &Broker, lookup: Lookup<'_>) -> Result<BrokerPart, Vec<Fault>> {
    let mut faults = Vec::new();
    let meta = &broker.metadata;
    let annotations = meta.annotations.clone().unwrap_or_default();
    let retention = Retention {
        age: annotation(&annotations, notes::RETENTION_AGE, notes::period, &mut faults),
        bytes: annotation(&annotations, notes::RETENTION_BYTES, notes::bytes, &mut faults),
        discard_above_bytes: annotation(&annotations, notes::DISCARD_ABOVE_BYTES, notes::bytes, &mut faults),
    };
    let dead_letters = Retention {
        age: annotation(&annotations, notes::DEAD_LETTER_AGE, notes::period, &mut faults),
        bytes: annotation(&annotations, notes::DEAD_LETTER_BYTES, notes::bytes, &mut faults),
        discard_above_bytes: None,
    };
    let delivery = broker
        .spec
        .delivery
        .as_ref()
        .map(|spec| policy(spec, namespace(meta.namespace.as_deref()), lookup, &mut faults));
    let key = BrokerKey::parse(namespace(meta.namespace.as_deref()), meta.name.as_deref().unwrap_or_default());
    finish(key.map(|key| BrokerPart { key, retention, dead_letters, delivery }), faults)
}

/// Reads a Trigger; `lookup` says what is known of the addresses behind its references.
///
/// # Errors
/// Every fault with its field path.
pub fn trigger_part(trigger: &Trigger, lookup: Lookup<'_>) -> Result<TriggerPart, Vec<Fault>> {
    let mut faults = Vec::new();
    let meta = &trigger.metadata;
    let spec = &trigger.spec;
    let annotations = meta.annotations.clone().unwrap_or_default();
    let namespace = namespace(meta.namespace.as_deref());
    let mut subscriber = lookup.subscriber(&spec.subscriber, namespace, &mut faults);
    let idle_period = annotation(&annotations, notes::IDLE_PERIOD, notes::period, &mut faults);
    let wake_timeout = annotation(&annotations, notes::WAKE_TIMEOUT, notes::period, &mut faults);
    let wake = match annotations.get(notes::EXEC) {
        Some(command) => exec(command, &subscriber, idle_period, wake_timeout, &mut faults).map(WakeTarget::Exec),
        None => scale(lookup, namespace, idle_period, wake_timeout).map(WakeTarget::Scale),
    };
    if let (Some(WakeTarget::Scale(scale)), Recipient::At(target)) = (&wake, &mut subscriber) {
        let path =
            annotations.get(notes::DELIVERY_PATH).map(String::as_str).or_else(|| lookup.note(notes::DELIVERY_PATH));
        target.pods = Some(Arc::new(Pods { port: scale.port.clone(), dial: path != Some("service") }));
    }
    let filter = clauses::filter(spec).unwrap_or_else(|more| {
        faults.extend(more);
        Filter::everything()
    });
    let delivery = spec.delivery.as_ref().map(|spec| policy(spec, namespace, lookup, &mut faults));
    let order = match annotations.get(notes::DELIVERY_ORDER).map(String::as_str) {
        Some("ordered") => Order::Ordered,
        Some("by-key") => Order::ByKey,
        _ => Order::Unordered,
    };
    let reply = match annotations.get(notes::REPLY).map(String::as_str) {
        Some("strict") => ReplyMode::Strict,
        _ => ReplyMode::Lenient,
    };
    let content_mode = content_mode(&annotations, spec.delivery.as_ref());
    let concurrency = annotation(&annotations, notes::CONCURRENCY, notes::concurrency, &mut faults);
    let start = annotation(&annotations, notes::START, notes::start, &mut faults);
    let keys = TriggerKey::parse(namespace, meta.name.as_deref().unwrap_or_default()).and_then(|key| {
        let broker = BrokerKey::parse(namespace, spec.broker_name().unwrap_or_default())?;
        Ok((key, broker))
    });
    let part = keys.map(|(key, broker)| TriggerPart {
        key,
        broker,
        filter,
        incarnation: lookup.incarnation(),
        subscriber,
        delivery,
        order,
        concurrency,
        content_mode,
        reply,
        start,
        wake,
    });
    finish(part, faults)
}

fn finish<T>(part: Result<T, crate::names::NameError>, mut faults: Vec<Fault>) -> Result<T, Vec<Fault>> {
    match part {
        Ok(part) if faults.is_empty() => Ok(part),
        Ok(_) => Err(faults),
        Err(error) => {
            faults.push(Fault { path: "metadata.name".into(), message: error.to_string() });
            Err(faults)
        }
    }
}

fn namespace(written: Option<&str>) -> &str {
    written.unwrap_or(NAMESPACE_DEFAULT)
}

fn annotation<T>(
    annotations: &Annotations,
    name: &str,
    read: impl Fn(&str) -> Result<T, String>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    match read(annotations.get(name)?) {
        Ok(value) => Some(value),
        Err(message) => {
            faults.push(Fault { path: format!("metadata.annotations[{name}]"), message });
            None
        }
    }
}

fn content_mode(annotations: &Annotations, delivery: Option<&DeliverySpec>) -> ContentMode {
    match (annotations.get(notes::CONTENT_MODE).map(String::as_str), delivery.and_then(|spec| spec.format)) {
        (Some("batched"), _) => ContentMode::Batched,
        (Some("structured"), _) | (None, Some(DeliveryFormat::Json)) => ContentMode::Structured,
        _ => ContentMode::Binary,
    }
}

/// A delivery block as written: without `retry` none, without both of the backoff's fields no waits.
fn policy(spec: &DeliverySpec, namespace: &str, lookup: Lookup<'_>, faults: &mut Vec<Fault>) -> DeliveryPolicy {
    let mut period = |text: &Option<String>, field: &str| {
        let read = duration::parse(text.as_deref()?);
        read.map_err(|error| {
            faults.push(Fault { path: format!("spec.delivery.{field}"), message: error.to_string() });
        })
        .ok()
    };
    let timeout = period(&spec.timeout, "timeout").unwrap_or(TIMEOUT_DEFAULT);
    let retry_after_max = period(&spec.retry_after_max, "retryAfterMax");
    let delay = period(&spec.backoff_delay, "backoffDelay").filter(|_| spec.backoff_policy.is_some());
    DeliveryPolicy {
        retry: spec.retry.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        backoff: match spec.backoff_policy {
            Some(BackoffPolicy::Linear) => Backoff::Linear,
            Some(BackoffPolicy::Exponential) | None => Backoff::Exponential,
        },
        backoff_delay: delay.unwrap_or(Duration::ZERO),
        timeout,
        retry_after_max,
        dead_letter_sink: spec.dead_letter_sink.as_ref().map(|sink| lookup.sink(sink, namespace, faults)),
    }
}

/// How the subscriber is started, where an annotation says so. Its address must be on this machine, as that is where
/// the command runs.
fn exec(
    command: &str,
    subscriber: &Recipient,
    idle_period: Option<Duration>,
    wake_timeout: Option<Duration>,
    faults: &mut Vec<Fault>,
) -> Option<ExecSpec> {
    let Some(address) = subscriber.target().and_then(|target| local_address(&target.uri)) else {
        faults.push(Fault {
            path: format!("metadata.annotations[{}]", notes::EXEC),
            message: "starts a command on this machine, so spec.subscriber.uri must be here too, such as \
                      http://localhost:8081/"
                .into(),
        });
        return None;
    };
    Some(ExecSpec {
        command: command.to_owned(),
        address,
        idle_period,
        wake_timeout: wake_timeout.unwrap_or(WAKE_TIMEOUT_DEFAULT),
    })
}

/// What is scaled to wake the Service that the subscriber is, if it is one.
fn scale(
    lookup: Lookup<'_>,
    namespace: &str,
    idle_period: Option<Duration>,
    wake_timeout: Option<Duration>,
) -> Option<ScaleSpec> {
    let port = lookup.service(namespace)?;
    let why = || {
        let words = "NotWakeable: reveille-controller has not said yet what would have to be scaled";
        lookup.note(notes::WAKE_TARGET_REASON).unwrap_or(words).to_owned()
    };
    let found = lookup.note(notes::WAKE_TARGET).and_then(|found| notes::wake_target(found).ok().flatten());
    let on_service = |name: &str| lookup.note(name).and_then(|period| notes::period(period).ok());
    let wake_timeout = wake_timeout.or_else(|| on_service(notes::WAKE_TIMEOUT)).unwrap_or(WAKE_TIMEOUT_DEFAULT);
    let idle_period = idle_period.or_else(|| on_service(notes::IDLE_PERIOD));
    Some(ScaleSpec { port, workload: found.ok_or_else(why), wake_timeout, idle_period })
}

/// `host:port` of an HTTP address on this machine.
fn local_address(uri: &str) -> Option<String> {
    let uri: http::Uri = uri.parse().ok()?;
    let port_default = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    };
    loopback.then(|| format!("{host}:{}", uri.port_u16().unwrap_or(port_default)))
}

/// Everything together. `since` says since when a Trigger is there. Triggers whose Broker is not among `brokers` are
/// left out, but named.
pub fn table<'a>(
    brokers: impl IntoIterator<Item = &'a BrokerPart>,
    triggers: impl IntoIterator<Item = &'a TriggerPart>,
    defaults: Defaults,
    since: impl Fn(&TriggerKey) -> UnixMicros,
) -> Table {
    let parts: BTreeMap<&BrokerKey, &BrokerPart> = brokers.into_iter().map(|part| (&part.key, part)).collect();
    let mut entries: BTreeMap<BrokerKey, BrokerEntry> = BTreeMap::new();
    for (key, part) in &parts {
        let key = (*key).clone();
        let retention = kept(&part.retention, &defaults.retention);
        let dead_letters = kept(&part.dead_letters, &defaults.dead_letters);
        entries.insert(key.clone(), BrokerEntry { key, retention, dead_letters, triggers: BTreeMap::default() });
    }
    let mut unserved = BTreeMap::new();
    for trigger in triggers {
        let (Some(broker), Some(entry)) = (parts.get(&trigger.broker), entries.get_mut(&trigger.broker)) else {
            unserved.insert(trigger.key.clone(), Some(trigger.broker.clone()));
            continue;
        };
        let row = row(trigger, broker, defaults, since(&trigger.key));
        entry.triggers.insert(trigger.key.clone(), Arc::new(row));
    }
    let brokers = entries.into_iter().map(|(key, entry)| (key, Arc::new(entry))).collect();
    Table { brokers, unserved, faulty: BTreeSet::new(), knowledge: Knowledge::Complete }
}

/// What the Broker says, and for the rest what the flags say.
fn kept(own: &Retention, flags: &Retention) -> Retention {
    Retention {
        age: own.age.or(flags.age),
        bytes: own.bytes.or(flags.bytes),
        discard_above_bytes: own.discard_above_bytes.or(flags.discard_above_bytes),
    }
}

fn row(trigger: &TriggerPart, broker: &BrokerPart, defaults: Defaults, since: UnixMicros) -> TriggerEntry {
    TriggerEntry {
        key: trigger.key.clone(),
        incarnation: trigger.incarnation.clone(),
        broker: trigger.broker.clone(),
        filter: trigger.filter.clone(),
        subscriber: trigger.subscriber.clone(),
        delivery: merged(trigger.delivery.as_ref(), broker.delivery.as_ref()),
        order: trigger.order,
        concurrency: trigger.concurrency.unwrap_or(defaults.concurrency),
        content_mode: trigger.content_mode,
        reply: trigger.reply,
        start: match trigger.start {
            None => StartPosition::At(since),
            Some(notes::Start::Earliest) => StartPosition::Earliest,
            Some(notes::Start::Latest) => StartPosition::Latest,
            Some(notes::Start::Resume) => StartPosition::Resume(since),
            Some(notes::Start::At(moment)) => StartPosition::At(UnixMicros(moment)),
            Some(notes::Start::Offset(offset)) => StartPosition::Offset(Offset(offset)),
        },
        wake: trigger.wake.clone(),
    }
}

/// The Trigger's block, else the Broker's, else the default; the dead letter sink falls back by itself.
fn merged(trigger: Option<&DeliveryPolicy>, broker: Option<&DeliveryPolicy>) -> DeliveryPolicy {
    let mut policy = trigger.or(broker).cloned().unwrap_or(DeliveryPolicy {
        retry: RETRY_DEFAULT,
        backoff: Backoff::Exponential,
        backoff_delay: BACKOFF_DELAY_DEFAULT,
        timeout: TIMEOUT_DEFAULT,
        retry_after_max: None,
        dead_letter_sink: None,
    });
    if policy.dead_letter_sink.is_none() {
        policy.dead_letter_sink = broker.and_then(|block| block.dead_letter_sink.clone());
    }
    policy
}

#[cfg(test)]
mod tests;
