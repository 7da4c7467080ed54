//! Bodies of the admin API: what the CLI and the console read.
//!
//! *Responsibility*: the JSON shapes, and nothing that computes them. *Invariants*: fields may be added, never
//! renamed or removed; moments are RFC 3339 in UTC; readers ignore fields that they do not know.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::error_code::Problem;

/// A list: `{"items":[…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The items, in the order the route documents.
    pub items: Vec<T>,
}

/// A stored event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventItem {
    /// Its place in the Broker's log.
    pub offset: u64,
    /// When the broker appended it (RFC 3339).
    pub appended: String,
    /// The event in the CloudEvents JSON format.
    pub event: Box<RawValue>,
}

/// A stored event and what became of it at every Trigger of its Broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventDetail {
    /// Its place in the Broker's log.
    pub offset: u64,
    /// When the broker appended it (RFC 3339).
    pub appended: String,
    /// The event in the CloudEvents JSON format.
    pub event: Box<RawValue>,
    /// One for each Trigger, in order of name.
    pub deliveries: Vec<Delivery>,
}

/// What became of an event at one Trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// `namespace/name` of the Trigger.
    pub trigger: String,
    /// Where the event stands.
    pub state: DeliveryState,
    /// The attempts that are remembered, oldest first.
    pub attempts: Vec<Attempt>,
}

/// Where an event stands at one Trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waits for its turn, or is under way.
    Pending,
    /// Waits for its subscriber to wake.
    Asleep,
    /// Failed at least once and will be tried again.
    Retrying,
    /// The subscriber took it.
    Delivered,
    /// It is a dead letter.
    Dead,
    /// The Trigger's filter does not want it, or the Trigger began after it.
    Filtered,
}

impl DeliveryState {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Asleep => "asleep",
            Self::Retrying => "retrying",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Filtered => "filtered",
        }
    }
}

/// One attempt at delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began (RFC 3339).
    pub at: String,
    /// Where to.
    pub endpoint: String,
    /// HTTP status; null when there was no answer.
    pub code: Option<u16>,
    /// How long it took.
    pub seconds: f64,
    /// What was wrong; null when nothing was.
    pub error: Option<String>,
}

/// A Trigger and how its deliveries stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of its Broker, in the same namespace.
    pub broker: String,
    /// Where events are sent.
    pub subscriber: String,
    /// Whether its subscriber is up and takes events.
    pub state: TriggerState,
    /// What is not settled yet.
    pub lag: Lag,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events that wait for another attempt.
    pub retrying: u64,
    /// Dead letters since the broker started.
    pub dead_letters: u64,
    /// What went wrong last; null when nothing did.
    pub last_error: Option<String>,
}

/// Whether a Trigger's subscriber takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerState {
    /// It is up, or the broker has no reason to think otherwise.
    Awake,
    /// Nothing runs; the next event wakes it.
    Asleep,
    /// It is being started.
    Waking,
    /// The last attempts, or the last wake, failed.
    Failing,
}

impl TriggerState {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Failing => "failing",
        }
    }
}

/// What a Trigger has not settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Events that matched and are not settled, and all that have not been matched yet.
    pub events: u64,
    /// Their bytes, estimated from the mean size of the log's records.
    pub bytes: u64,
    /// Age of the oldest unsettled event in seconds; 0 when there is none.
    pub oldest_seconds: f64,
}

/// A Broker and the extent of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// First offset kept.
    pub first_offset: u64,
    /// Offset of the next event.
    pub next_offset: u64,
    /// Bytes of the log on disk.
    pub bytes: u64,
    /// Append time of the first event kept (RFC 3339); null when the log is empty.
    pub oldest: Option<String>,
    /// Append time of the last event (RFC 3339); null when the log is empty.
    pub newest: Option<String>,
    /// Number of its Triggers.
    pub triggers: u64,
    /// Number of dead letters kept.
    pub dead_letters: u64,
    /// `writable`, or why the log takes no events.
    pub health: String,
    /// Only where the Broker is gone and its log is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned: Option<OrphanDetail>,
}

/// What becomes of the log of a Broker that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanDetail {
    /// Since when the Broker is known to be gone (RFC 3339).
    pub since: String,
    /// When its log may be removed (RFC 3339).
    pub until: String,
    /// `namespace/name` of Triggers that have still to get something from it: it stays as long as there are any.
    pub held_by: Vec<String>,
}

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterItem {
    /// Its id: its place in the Broker's dead-letter log.
    pub id: u64,
    /// Offset of the event in the Broker's log.
    pub offset: u64,
    /// `namespace/name` of the Trigger that could not deliver it.
    pub trigger: String,
    /// Why, as a code.
    pub reason: String,
    /// Last HTTP status; null when there was no answer.
    pub code: Option<u16>,
    /// What went wrong last, in words.
    #[serde(default)]
    pub error: Option<String>,
    /// Attempts made.
    pub attempts: u64,
    /// When it was given up (RFC 3339).
    pub failed_at: String,
    /// The event as it was published, in the CloudEvents JSON format.
    pub event: Box<RawValue>,
}

/// The addresses a broker listens on, as `serve --print-addrs` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Publishers.
    pub ingress: String,
    /// Health and metrics.
    pub health: String,
    /// Admin API.
    pub admin: String,
}

/// A line of a stream that is no item: part of what was asked for is missing here. The stream goes on where it can.
/// (A blank line is a sign of life.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamProblem {
    /// Why.
    pub problem: Problem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_detail_has_the_documented_shape() {
        let text = concat!(
            r#"{"offset":7,"appended":"2026-01-01T00:00:00.000000Z","event":{"id":"a"},"#,
            r#""deliveries":[{"trigger":"ns/t","state":"retrying","attempts":[{"at":"2026-01-01T00:00:01.000000Z","#,
            r#""endpoint":"http://x","code":503,"seconds":0.5,"error":"HTTP 503"}]}]}"#
        );
        let event = RawValue::from_string(r#"{"id":"a"}"#.to_owned()).unwrap();
        let appended = "2026-01-01T00:00:00.000000Z".to_owned();
        let attempt = Attempt {
            at: "2026-01-01T00:00:01.000000Z".to_owned(),
            endpoint: "http://x".to_owned(),
            code: Some(503),
            seconds: 0.5,
            error: Some("HTTP 503".to_owned()),
        };
        let delivery = Delivery { trigger: "ns/t".to_owned(), state: DeliveryState::Retrying, attempts: vec![attempt] };
        let detail = EventDetail { offset: 7, appended, event, deliveries: vec![delivery] };
        assert_eq!(serde_json::to_string(&detail).unwrap(), text);
        let read: EventDetail = serde_json::from_str(text).unwrap();
        assert_eq!(read.deliveries, detail.deliveries);
    }

    #[test]
    fn states_print_as_in_json() {
        for state in [TriggerState::Awake, TriggerState::Asleep, TriggerState::Waking, TriggerState::Failing] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for state in [
            DeliveryState::Pending,
            DeliveryState::Asleep,
            DeliveryState::Retrying,
            DeliveryState::Delivered,
            DeliveryState::Dead,
            DeliveryState::Filtered,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
