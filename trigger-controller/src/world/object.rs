//! Trimmed copies of objects, read from JSON of any shape: what cannot be read counts as absent.

use std::collections::BTreeMap;

use schemas::annotations::{ON_SERVICE, PORT};
use schemas::destination::Address;
use serde_json::{Value, json};

use super::{Gvk, Kind, Place};

/// Name that our writes carry.
pub(crate) const FIELD_MANAGER: &str = "reveille-controller";
/// What the managers of the broker's writes begin with; it writes `SubscriberAwake`.
const OUR_MANAGERS: &str = "reveille";

/// A Broker or Trigger.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subject {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) deleting: bool,
    /// The object without status, with `apiVersion` and `kind`, as somebody wrote it.
    pub(crate) manifest: Value,
    /// The status as it stands.
    pub(crate) status: Value,
    /// The list of conditions is owned as a whole (Knative's definitions), so that a write replaces all of it.
    pub(crate) conditions_are_atomic: bool,
    /// Another controller than ours has written conditions.
    pub(crate) has_foreign_conditions: bool,
    pub(crate) resource_version: String,
}

impl Subject {
    /// Reads an object that the API server answered with; `None` where it is none.
    pub(crate) fn of(kind: Kind, object: &Value) -> Option<Self> {
        place(object).map(|_| Self::read(kind, object))
    }

    pub(super) fn read(kind: Kind, object: &Value) -> Self {
        let meta = object.get("metadata").unwrap_or(&Value::Null);
        let mut manifest = json!({
            "apiVersion": schemas::broker::API_VERSION,
            "kind": kind.as_str(),
            "metadata": {"name": meta.get("name"), "namespace": meta.get("namespace")},
        });
        if let (Some(annotations), Some(to)) = (meta.get("annotations"), manifest.pointer_mut("/metadata")) {
            to.as_object_mut().map(|to| to.insert("annotations".to_owned(), annotations.clone()));
        }
        if let (Some(spec), Some(to)) = (object.get("spec"), manifest.as_object_mut()) {
            to.insert("spec".to_owned(), spec.clone());
        }
        let managers = meta.get("managedFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let conditions = |entry: &Value| entry.pointer("/fieldsV1/f:status/f:conditions").cloned();
        let is_ours = |entry: &Value| text(entry, "/manager").is_some_and(|name| name.starts_with(OUR_MANAGERS));
        Self {
            uid: text(meta, "/uid").unwrap_or_default(),
            generation: meta.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            deleting: meta.get("deletionTimestamp").is_some_and(|time| !time.is_null()),
            manifest,
            status: object.get("status").cloned().unwrap_or_default(),
            conditions_are_atomic: managers
                .iter()
                .filter_map(conditions)
                .any(|owned| owned.as_object().is_some_and(serde_json::Map::is_empty)),
            has_foreign_conditions: managers.iter().any(|entry| conditions(entry).is_some() && !is_ours(entry)),
            resource_version: text(meta, "/resourceVersion").unwrap_or_default(),
        }
    }

    /// Whether `other` is an older state of the same object. Resource versions are decimal numbers that only grow.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let order = |version: &str| (version.len(), version.to_owned());
        self.uid == other.uid && order(&self.resource_version) > order(&other.resource_version)
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.manifest.pointer("/metadata/annotations")?.get(name)?.as_str()
    }
}

/// What is found out about an object through its `Ready` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// An object that something refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// `status.addresses`, else `status.address`.
    pub(crate) addresses: Vec<Address>,
    pub(crate) generation: i64,
    pub(crate) observed_generation: Option<i64>,
    pub(crate) ready: Option<Found>,
    /// For a core Service.
    pub(crate) service: Option<ServiceFacts>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortFacts {
    pub(crate) name: Option<String>,
    pub(crate) number: i64,
    pub(crate) app_protocol: Option<String>,
}

/// A core Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    /// Its TCP ports.
    pub(crate) ports: Vec<PortFacts>,
    /// Whether it has ports, but none of TCP.
    pub(crate) only_other_protocols: bool,
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) is_external_name: bool,
    /// Its own annotation `reveille.dev/port`.
    pub(crate) port: Option<String>,
    /// Those of its annotations that count for Triggers which do not say otherwise.
    pub(crate) notes: BTreeMap<&'static str, String>,
}

/// A Deployment or StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) gvk: Gvk,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) pod_labels: BTreeMap<String, String>,
    /// Kind and name of the controller that owns it and manages its replicas.
    pub(crate) owner: Option<String>,
}

impl Workload {
    /// Whether a Service with that selector selects its pods. An empty selector selects nothing.
    pub(crate) fn is_selected_by(&self, selector: &BTreeMap<String, String>) -> bool {
        !selector.is_empty() && selector.iter().all(|(name, value)| self.pod_labels.get(name) == Some(value))
    }
}

pub(super) fn place(object: &Value) -> Option<Place> {
    let name = text(object, "/metadata/name")?;
    Some(Place { namespace: text(object, "/metadata/namespace").unwrap_or_default(), name })
}

pub(super) fn target(gvk: &Gvk, object: &Value) -> Target {
    let status = object.get("status").unwrap_or(&Value::Null);
    let listed = status.get("addresses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let single = status.get("address").filter(|address| address.is_object());
    let addresses: Vec<Address> = listed.iter().map(address).collect();
    Target {
        addresses: if addresses.is_empty() { single.map(address).into_iter().collect() } else { addresses },
        generation: object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
        observed_generation: status.get("observedGeneration").and_then(Value::as_i64),
        ready: ready(status),
        service: (*gvk == Gvk::service()).then(|| service(object)),
    }
}

pub(super) fn workload(gvk: &Gvk, place: &Place, object: &Value) -> Workload {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let owner = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true));
    Workload {
        gvk: gvk.clone(),
        namespace: place.namespace.clone(),
        name: place.name.clone(),
        pod_labels: labels(object, "/spec/template/metadata/labels"),
        owner: owner.map(|owner| {
            format!("{} {}", text(owner, "/kind").unwrap_or_default(), text(owner, "/name").unwrap_or_default())
        }),
    }
}

fn service(object: &Value) -> ServiceFacts {
    let all = object.pointer("/spec/ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let ports: Vec<PortFacts> = all.iter().filter_map(port).collect();
    let annotation = |name: &str| {
        let annotations = object.pointer("/metadata/annotations")?;
        annotations.get(name)?.as_str().map(str::to_owned)
    };
    ServiceFacts {
        only_other_protocols: ports.is_empty() && !all.is_empty(),
        ports,
        selector: labels(object, "/spec/selector"),
        is_external_name: text(object, "/spec/type").as_deref() == Some("ExternalName"),
        port: annotation(PORT),
        notes: ON_SERVICE.into_iter().filter_map(|name| Some((name, annotation(name)?))).collect(),
    }
}

fn port(value: &Value) -> Option<PortFacts> {
    let is_tcp = text(value, "/protocol").is_none_or(|protocol| protocol == "TCP");
    let number = value.get("port").and_then(Value::as_i64)?;
    is_tcp.then(|| PortFacts { name: text(value, "/name"), number, app_protocol: text(value, "/appProtocol") })
}

fn address(value: &Value) -> Address {
    Address {
        name: text(value, "/name"),
        url: text(value, "/url"),
        ca_certs: text(value, "/CACerts"),
        audience: text(value, "/audience"),
    }
}

fn ready(status: &Value) -> Option<Found> {
    let conditions = status.get("conditions")?.as_array()?;
    let ready = conditions.iter().find(|condition| text(condition, "/type").as_deref() == Some("Ready"))?;
    let part = |pointer: &str| text(ready, pointer).unwrap_or_default();
    Some(Found { status: part("/status"), reason: part("/reason"), message: part("/message") })
}

fn labels(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The text at that place, unless it is empty.
fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
