//! The kind `Broker`.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has the same keys; the lint reads them as one list")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::delivery::DeliverySpec;
use crate::destination::{Address, AppliedPolicy, Reference};

/// Group of both kinds.
pub const GROUP: &str = "eventing.knative.dev";

/// `apiVersion` of both kinds.
pub const API_VERSION: &str = "eventing.knative.dev/v1";

/// The class of Brokers that Reveille serves, as the value of [`crate::annotations::BROKER_CLASS`].
pub const CLASS: &str = "Reveille";

/// What a Broker is wanted to be: where events are published to, kept in a durable log, and delivered from to the
/// Triggers that ask for them.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1",
    kind = "Broker",
    namespaced,
    status = "BrokerStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "brk",
    category = "all",
    category = "knative",
    category = "eventing",
    category = "reveille",
    label("duck.knative.dev/addressable", "true"),
    label("app.kubernetes.io/part-of", "reveille"),
    doc = "A Broker takes events by HTTP, keeps them in a durable log, and delivers each to the Triggers that ask for it.",
    printcolumn(name = "URL", type_ = "string", json_path = ".status.address.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(
        name = "Class",
        type_ = "string",
        priority = 1,
        json_path = ".metadata.annotations.eventing\\.knative\\.dev/broker\\.class"
    ),
    printcolumn(
        name = "Retention",
        type_ = "string",
        priority = 1,
        json_path = ".metadata.annotations.reveille\\.dev/retention-age"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.config) == has(oldSelf.config) && (!has(self.config) || self.config == oldSelf.config)",
     "message": "Immutable fields changed (-old +new): spec.config. Delete the Broker and create it anew to change it"}
]))]
pub struct BrokerSpec {
    /// Configuration of Brokers of other classes; Reveille needs none and keeps what is written. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Reference>,
    /// How events of this Broker are delivered where a Trigger has no `delivery` of its own. When left out: 10
    /// retries, exponential, PT0.2S. The only part of a Broker's spec that may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// What the controller found out about a Broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Where to publish events to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// All addresses to publish events to, the preferred one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<Address>>,
    /// Address of the Broker's dead letter sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_uri: Option<String>,
    /// Certificate authority of the dead letter sink, as PEM certificates.
    #[serde(rename = "deadLetterSinkCACerts", default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_ca_certs: Option<String>,
    /// OIDC audience of the dead letter sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_audience: Option<String>,
    /// EventPolicies that apply to this Broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<AppliedPolicy>>,
    /// Findings, by type: `Ready` is the summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// The `metadata.generation` that these findings belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Further facts that have no field of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}
