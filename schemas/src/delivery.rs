//! The delivery block of Brokers and Triggers: retries, waits, dead letters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::destination::Destination;

/// How deliveries are tried. A Trigger's block replaces its Broker's as a whole; the dead letter sink alone falls
/// back to the Broker's. Where neither has a block: 10 retries, exponential, PT0.2S, PT60S for each attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.timeout) || self.timeout.matches('[1-9]')", "fieldPath": ".timeout",
     "message": "must be above zero, such as PT30S"}
]))]
pub struct DeliverySpec {
    /// Where an event goes, besides the Broker's own dead-letter store, once its retries are used up or its
    /// subscriber refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink: Option<Destination>,
    /// Attempts after the first one, 0 or more; 0 when a delivery block leaves it out. `retry: 3` makes four
    /// attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub retry: Option<i32>,
    /// Limit of one attempt, as an ISO 8601 duration above zero, such as `PT30S`; PT60S when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = ISO_8601))]
    pub timeout: Option<String>,
    /// How waits between attempts grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_policy: Option<BackoffPolicy>,
    /// Unit of the waits between attempts, as an ISO 8601 duration such as `PT0.2S`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = ISO_8601))]
    pub backoff_delay: Option<String>,
    /// Longest `Retry-After` of a 429 or 503 answer that is obeyed, as an ISO 8601 duration; `PT0S` ignores the
    /// header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = ISO_8601))]
    pub retry_after_max: Option<String>,
    /// How events are put into HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DeliveryFormat>,
}

/// What an ISO 8601 duration looks like, for the API server; [`crate::duration::parse`] decides.
pub const ISO_8601: &str =
    r"^P(([0-9]+([.,][0-9]+)?[YMWD])+(T([0-9]+([.,][0-9]+)?[HMS])+)?|T([0-9]+([.,][0-9]+)?[HMS])+)$";

/// How waits between attempts grow: `linear` (n × backoffDelay before the n-th retry) or `exponential`
/// (2^(n−1) × backoffDelay). Without it, or without `backoffDelay`, retries follow at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackoffPolicy {
    /// n × delay before the n-th retry.
    Linear,
    /// 2^(n−1) × delay before the n-th retry.
    Exponential,
}

/// How events are put into HTTP: `binary` (attributes in headers; the default) or `json` (one JSON document). Read
/// from a Trigger's block only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryFormat {
    /// One JSON document.
    Json,
    /// Attributes in headers, data as body.
    Binary,
}
