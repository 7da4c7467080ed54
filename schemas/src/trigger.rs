//! The kind `Trigger`.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has the same keys; the lint reads them as one list")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::delivery::DeliverySpec;
use crate::destination::{AuthStatus, Destination};
use crate::filter::{EventFilter, TriggerFilter, filters_schema};

/// What a Trigger is wanted to do: deliver the events of one Broker that pass its filters to one subscriber.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "eventing.knative.dev",
    version = "v1",
    kind = "Trigger",
    namespaced,
    status = "TriggerStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "trg",
    category = "all",
    category = "knative",
    category = "eventing",
    category = "reveille",
    label("app.kubernetes.io/part-of", "reveille"),
    doc = "A Trigger delivers the events of one Broker that pass its filters to one subscriber.",
    printcolumn(name = "Broker", type_ = "string", json_path = ".spec.broker"),
    printcolumn(name = "Subscriber_URI", type_ = "string", json_path = ".status.subscriberUri"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(
        name = "Awake",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"SubscriberAwake\")].reason"
    ),
    printcolumn(name = "Dead_Letters", type_ = "string", priority = 1, json_path = ".status.deadLetterSinkUri")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.broker) != has(self.brokerRef)", "message": "give exactly one of broker and brokerRef"},
    {"rule": "has(self.broker) == has(oldSelf.broker) && (!has(self.broker) || self.broker == oldSelf.broker)",
     "message": "Immutable fields changed (-old +new): broker, spec. Delete the Trigger and create it anew to attach it to another Broker",
     "fieldPath": ".broker"},
    {"rule": "has(self.brokerRef) == has(oldSelf.brokerRef) && (!has(self.brokerRef) || self.brokerRef == oldSelf.brokerRef)",
     "message": "Immutable fields changed (-old +new): brokerRef, spec. Delete the Trigger and create it anew to attach it to another Broker",
     "fieldPath": ".brokerRef"}
]))]
pub struct TriggerSpec {
    /// Name of the Broker, in the Trigger's own namespace, whose events are asked for, such as `default`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub broker: Option<String>,
    /// The Broker as a reference, in place of `broker`. Brokers of other namespaces are not served yet. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_ref: Option<BrokerRef>,
    /// Events to deliver, by exact values of attributes; everything when left out or empty. Not looked at where
    /// `filters` has elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<TriggerFilter>,
    /// Events to deliver: those that pass every element. Overrides `filter` unless it is empty. Each element has
    /// exactly one of `exact`, `prefix`, `suffix`, `all`, `any`, `not`, `cesql` and `sql`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "filters_schema")]
    pub filters: Vec<EventFilter>,
    /// Where events are sent.
    pub subscriber: Destination,
    /// How they are sent: retries, waits, dead letters. Replaces the Broker's as a whole, but for the dead letter
    /// sink, which falls back to the Broker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliverySpec>,
}

/// A Broker as a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerRef {
    /// Group and version: `eventing.knative.dev/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub api_version: Option<String>,
    /// Kind: `Broker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub kind: Option<String>,
    /// Name of the Broker.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Broker: the Trigger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

impl TriggerSpec {
    /// Name of the Broker, however it is written; `None` in an object that validation refuses.
    #[must_use]
    pub fn broker_name(&self) -> Option<&str> {
        self.broker.as_deref().or_else(|| self.broker_ref.as_ref().map(|reference| reference.name.as_str()))
    }
}

/// What the controller found out about a Trigger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStatus {
    /// Address that events are sent to; absent while the subscriber cannot be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_uri: Option<String>,
    /// Certificate authority of the subscriber, as PEM certificates.
    #[serde(rename = "subscriberCACerts", default, skip_serializing_if = "Option::is_none")]
    pub subscriber_ca_certs: Option<String>,
    /// OIDC audience of the subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_audience: Option<String>,
    /// Address of the dead letter sink: the Trigger's own, else the Broker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_uri: Option<String>,
    /// Certificate authority of the dead letter sink, as PEM certificates.
    #[serde(rename = "deadLetterSinkCACerts", default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_ca_certs: Option<String>,
    /// OIDC audience of the dead letter sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink_audience: Option<String>,
    /// The identity that deliveries are made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    /// Findings, by type: `Ready` is the summary, `SubscriberAwake` says whether the subscriber sleeps.
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
