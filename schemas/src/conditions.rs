//! Conditions: what a controller found out about an object, in the form that people and `kubectl wait` read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The summary of both kinds.
pub const READY: &str = "Ready";
/// On a Broker: it has an address.
pub const ADDRESSABLE: &str = "Addressable";
/// On a Broker: its data plane is up, so that publishers get an answer at the address.
pub const INGRESS_READY: &str = "IngressReady";
/// On a Trigger: its Broker exists and is ready.
pub const BROKER_READY: &str = "BrokerReady";
/// On a Trigger: the address of its subscriber is known.
pub const SUBSCRIBER_RESOLVED: &str = "SubscriberResolved";
/// On both: the address of the dead letter sink is known, or none is asked for.
pub const DEAD_LETTER_SINK_RESOLVED: &str = "DeadLetterSinkResolved";
/// On a Trigger: the object that it waits for is ready.
pub const DEPENDENCY_READY: &str = "DependencyReady";
/// On a Trigger: its filters can be used.
pub const FILTER_VALID: &str = "FilterValid";
/// On both: everything else that is written in it can be used.
pub const SPEC_VALID: &str = "SpecValid";
/// On a Trigger, written by the broker: whether its subscriber sleeps.
pub const SUBSCRIBER_AWAKE: &str = "SubscriberAwake";

/// One finding about the object, such as `Ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is stated, such as `Ready` or `SubscriberResolved`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub kind: String,
    /// Whether it holds: `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// Why, as one CamelCase word for programs, such as `BrokerDoesNotExist`. Never empty where status is `False`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Why, in plain words for people, with the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub message: Option<String>,
    /// How much it matters: empty where `Ready` depends on it, else `Info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// When `status` last changed, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: Option<String>,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold; the reason says why.
    False,
    /// Nobody knows yet.
    Unknown,
}
