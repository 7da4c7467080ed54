//! The annotations of Brokers and Triggers: what has no field in Knative's schema. Each has one reader here, which
//! validation and the broker share.

use std::time::Duration;

use crate::{duration, quantity};

/// What every annotation of ours begins with.
pub const PREFIX: &str = "reveille.dev/";

/// On a Broker: its class; those of another class than [`crate::broker::CLASS`] are left alone.
pub const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
/// On a Trigger: whether to make the Broker `default` for it, `enabled` or `disabled` (Knative's).
pub const INJECTION: &str = "eventing.knative.dev/injection";
/// On a Trigger: a source, as a JSON object reference, that must be ready first (Knative's).
pub const DEPENDENCY: &str = "knative.dev/dependency";

/// On a Trigger: where it begins, `earliest`, `latest`, `resume`, an RFC 3339 time, or `#OFFSET`.
pub const START: &str = "reveille.dev/start";
/// On a Trigger: `unordered`, `by-key` or `ordered`.
pub const DELIVERY_ORDER: &str = "reveille.dev/delivery-order";
/// On a Trigger: `binary`, `structured` or `batched`.
pub const CONTENT_MODE: &str = "reveille.dev/content-mode";
/// On a Trigger: `lenient` or `strict`, what a 2xx answer with a body that is no CloudEvent means.
pub const REPLY: &str = "reveille.dev/reply";
/// On a Trigger: most attempts under way at once, 1 to [`CONCURRENCY_MAX`].
pub const CONCURRENCY: &str = "reveille.dev/concurrency";
/// On a Trigger with a local `uri`: the command that starts its subscriber.
pub const EXEC: &str = "reveille.dev/exec";
/// On a Trigger or its subscriber's Service: how long without a delivery before its subscriber is put to sleep, ISO 8601, above zero.
pub const IDLE_PERIOD: &str = "reveille.dev/idle-period";
/// On a Trigger or its subscriber's Service: how long a wake may take before it counts as failed, ISO 8601, above zero.
pub const WAKE_TIMEOUT: &str = "reveille.dev/wake-timeout";
/// On a Trigger or its subscriber's Service: the Service's port to deliver to, by number or name.
pub const PORT: &str = "reveille.dev/port";
/// On a Trigger or its subscriber's Service: `auto`, `endpoints` (its pods are dialled) or `service` (its name is).
pub const DELIVERY_PATH: &str = "reveille.dev/delivery-path";
/// On a Broker: how long events are kept, ISO 8601, above zero.
pub const RETENTION_AGE: &str = "reveille.dev/retention-age";
/// On a Broker: how many bytes of events are kept, such as `10Gi`.
pub const RETENTION_BYTES: &str = "reveille.dev/retention-bytes";
/// On a Broker: above how many bytes the oldest events go even if they are not delivered, such as `20Gi`.
pub const DISCARD_ABOVE_BYTES: &str = "reveille.dev/discard-above-bytes";
/// On a Broker: how long dead letters are kept, ISO 8601, above zero.
pub const DEAD_LETTER_AGE: &str = "reveille.dev/dead-letter-age";
/// On a Broker: how many bytes of dead letters are kept, such as `1Gi`.
pub const DEAD_LETTER_BYTES: &str = "reveille.dev/dead-letter-bytes";

/// On a Trigger or its subscriber's Service: the workload that is scaled to wake the subscriber, in its namespace, as
/// `apps/v1/Deployment/NAME`, or `none`. In a Trigger's `status.annotations`: the one that was found.
pub const WAKE_TARGET: &str = "reveille.dev/wake-target";
/// In a Trigger's `status.annotations`: why there is no [`WAKE_TARGET`], as `REASON: words`.
pub const WAKE_TARGET_REASON: &str = "reveille.dev/wake-target-reason";
/// In a Trigger's `status.annotations`: the Service whose EndpointSlices say where its subscriber is, and whether it
/// is up, as `SERVICE` or, where the port has a name, `SERVICE:PORT`.
pub const ENDPOINTS: &str = "reveille.dev/endpoints";

/// What may stand on a subscriber's Service too, and then counts for each Trigger that does not say otherwise: its
/// value is published in the `status.annotations` of these.
pub const ON_SERVICE: [&str; 4] = [IDLE_PERIOD, WAKE_TIMEOUT, DELIVERY_PATH, WAKE_TARGET];

/// Largest [`CONCURRENCY`]: as many connections as one subscriber could be asked to hold.
pub const CONCURRENCY_MAX: usize = 10_000;

/// Which kind an annotation stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On a Broker.
    Broker,
    /// On a Trigger.
    Trigger,
}

/// An annotation of ours.
#[derive(Debug, Clone, Copy)]
pub struct Annotation {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub kind: Kind,
    /// Says what is wrong with a value, if anything.
    pub check: fn(&str) -> Option<String>,
}

/// All annotations of ours.
pub const ALL: &[Annotation] = &[
    Annotation { name: START, kind: Kind::Trigger, check: |v| start(v).err() },
    Annotation { name: DELIVERY_ORDER, kind: Kind::Trigger, check: |v| word(v, &["unordered", "by-key", "ordered"]) },
    Annotation { name: CONTENT_MODE, kind: Kind::Trigger, check: |v| word(v, &["binary", "structured", "batched"]) },
    Annotation { name: REPLY, kind: Kind::Trigger, check: |v| word(v, &["lenient", "strict"]) },
    Annotation { name: CONCURRENCY, kind: Kind::Trigger, check: |v| concurrency(v).err() },
    Annotation { name: EXEC, kind: Kind::Trigger, check: exec },
    Annotation { name: IDLE_PERIOD, kind: Kind::Trigger, check: |v| period(v).err() },
    Annotation { name: WAKE_TIMEOUT, kind: Kind::Trigger, check: |v| period(v).err() },
    Annotation { name: WAKE_TARGET, kind: Kind::Trigger, check: |v| wake_target(v).err() },
    Annotation { name: PORT, kind: Kind::Trigger, check: port },
    Annotation { name: DELIVERY_PATH, kind: Kind::Trigger, check: |v| word(v, &["auto", "endpoints", "service"]) },
    Annotation { name: RETENTION_AGE, kind: Kind::Broker, check: |v| period(v).err() },
    Annotation { name: RETENTION_BYTES, kind: Kind::Broker, check: |v| bytes(v).err() },
    Annotation { name: DISCARD_ABOVE_BYTES, kind: Kind::Broker, check: |v| bytes(v).err() },
    Annotation { name: DEAD_LETTER_AGE, kind: Kind::Broker, check: |v| period(v).err() },
    Annotation { name: DEAD_LETTER_BYTES, kind: Kind::Broker, check: |v| bytes(v).err() },
];

/// What is wrong with the value of an annotation of ours, if anything; nothing is with one that is not ours.
#[must_use]
pub fn fault(name: &str, value: &str) -> Option<String> {
    ALL.iter().find(|annotation| annotation.name == name).and_then(|annotation| (annotation.check)(value))
}

/// A read [`START`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first event kept.
    Earliest,
    /// What comes from now on.
    Latest,
    /// Where a deleted Trigger of the same name stood.
    Resume,
    /// The first event at or after this moment, in microseconds since the Unix epoch.
    At(u64),
    /// The event with this offset.
    Offset(u64),
}

/// Reads [`START`].
///
/// # Errors
/// What is wrong with the value and what to write.
pub fn start(value: &str) -> Result<Start, String> {
    let wrong = || format!("`{}` is none of earliest, latest, resume, an RFC 3339 time, #OFFSET", shown(value));
    match value {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        "resume" => Ok(Start::Resume),
        _ => match value.strip_prefix('#') {
            Some(offset) => offset.parse().map(Start::Offset).map_err(|_| wrong()),
            None => {
                let moment: jiff::Timestamp = value.parse().map_err(|_| wrong())?;
                u64::try_from(moment.as_microsecond()).map(Start::At).map_err(|_| format!("{} (since 1970)", wrong()))
            }
        },
    }
}

/// Reads [`CONCURRENCY`].
///
/// # Errors
/// What is wrong with the value and what to write.
pub fn concurrency(value: &str) -> Result<usize, String> {
    value
        .parse()
        .ok()
        .filter(|count| (1..=CONCURRENCY_MAX).contains(count))
        .ok_or_else(|| format!("`{}` is no whole number from 1 to {CONCURRENCY_MAX}", shown(value)))
}

/// Reads [`IDLE_PERIOD`], [`WAKE_TIMEOUT`], [`RETENTION_AGE`] and [`DEAD_LETTER_AGE`].
///
/// # Errors
/// What is wrong with the value and what to write.
pub fn period(value: &str) -> Result<Duration, String> {
    match duration::parse(value) {
        Ok(length) if length.is_zero() => Err(format!("`{value}` is zero; give a duration above zero, such as PT30S")),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads [`RETENTION_BYTES`], [`DISCARD_ABOVE_BYTES`] and [`DEAD_LETTER_BYTES`].
///
/// # Errors
/// What is wrong with the value and what to write.
pub fn bytes(value: &str) -> Result<u64, String> {
    match quantity::parse_bytes(value) {
        Ok(0) => Err("0 bytes would keep nothing; give a size such as 10Gi".into()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// A workload in the subscriber's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Reads [`WAKE_TARGET`]; `None` for `none`.
///
/// # Errors
/// What is wrong with the value and what to write.
pub fn wake_target(value: &str) -> Result<Option<Workload>, String> {
    if value == "none" {
        return Ok(None);
    }
    let parts: Vec<&str> = value.split('/').collect();
    let [group, version, kind, name] = parts.as_slice() else {
        return Err(format!(
            "`{}` is neither none nor GROUP/VERSION/KIND/NAME, such as apps/v1/Deployment/orders",
            shown(value)
        ));
    };
    let label = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    let kind_is_sound = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric());
    if !label(group) || !label(version) || !label(name) || !kind_is_sound {
        return Err(format!(
            "`{}` has a part that no object has; write it like apps/v1/Deployment/orders",
            shown(value)
        ));
    }
    let api_version = format!("{group}/{version}");
    Ok(Some(Workload { api_version, kind: (*kind).to_owned(), name: (*name).to_owned() }))
}

fn exec(value: &str) -> Option<String> {
    value.trim().is_empty().then(|| "is empty; give the command that starts the subscriber".into())
}

fn port(value: &str) -> Option<String> {
    let number = value.parse::<u16>().is_ok_and(|number| number > 0);
    let name = value.len() <= 15
        && value.bytes().any(|b| b.is_ascii_lowercase())
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-');
    (!number && !name)
        .then(|| format!("`{}` is neither a port from 1 to 65535 nor the name of a port, such as http", shown(value)))
}

fn word(value: &str, words: &[&str]) -> Option<String> {
    (!words.contains(&value)).then(|| format!("`{}` is none of {}", shown(value), words.join(", ")))
}

/// The first part of a value, for a message.
fn shown(value: &str) -> String {
    value.chars().take(80).collect()
}
