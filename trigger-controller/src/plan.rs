//! What the status of a Broker or Trigger should be.
//!
//! *Responsibility*: [`plan`], one pure function over the [`World`]: no clock, no I/O, the same answer however often
//! it is asked and whatever happened before. *Inputs*: the object, what it refers to, the [`Settings`]. *Outputs*: a
//! [`Plan`], or none where the object is another controller's. *Not here*: how a status is compared and written.

mod trigger;
mod wake_target;

use std::collections::BTreeMap;

use schemas::annotations::BROKER_CLASS;
use schemas::broker::CLASS;
use schemas::conditions::{ADDRESSABLE, ConditionStatus, DEAD_LETTER_SINK_RESOLVED, INGRESS_READY, SPEC_VALID};
use schemas::destination::Destination;
use serde_json::{Value, json};

use crate::resolve::{Context, Resolved, Why, resolve};
use crate::status::Finding;
use crate::validate::{Area, Faults};
use crate::world::{Key, Kind, Place, Standing, Subject, World};

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// A Broker without a class is ours.
    pub(crate) default_class: bool,
    /// Such as `cluster.local`.
    pub(crate) cluster_domain: String,
    /// What a Broker's address begins with, without a slash at the end.
    pub(crate) ingress_url: String,
    /// The Service behind that address; `None` where it is not known to be one.
    pub(crate) ingress_service: Option<Place>,
}

/// What a status should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// Fields besides conditions and annotations; those that are left out must be absent.
    pub(crate) fields: BTreeMap<&'static str, Value>,
    /// Our part of `status.annotations`.
    pub(crate) annotations: BTreeMap<&'static str, String>,
    /// Everything that `Ready` depends on, in the order in which it is looked at.
    pub(crate) findings: Vec<Finding>,
    /// Something has not been read yet: wait a moment before saying so.
    pub(crate) pending: bool,
    /// How many faults the manifest has.
    pub(crate) faults: usize,
    /// The Broker lacks the class annotation, and is ours by default.
    pub(crate) claim: bool,
}

/// The fields of a status that are ours to write, besides conditions and annotations.
pub(crate) fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Broker => {
            &["address", "deadLetterSinkUri", "deadLetterSinkCACerts", "deadLetterSinkAudience", "observedGeneration"]
        }
        Kind::Trigger => &[
            "subscriberUri",
            "subscriberCACerts",
            "subscriberAudience",
            "deadLetterSinkUri",
            "deadLetterSinkCACerts",
            "deadLetterSinkAudience",
            "observedGeneration",
        ],
    }
}

/// What the status of the object should be; `None` where it is gone, going, or not ours.
pub(crate) fn plan(world: &World, key: &Key, settings: &Settings) -> Option<Plan> {
    let subject = world.subject(key).filter(|subject| !subject.deleting)?;
    let mut plan = match key.kind {
        Kind::Broker => is_ours(subject, settings).then(|| broker(world, &key.place, subject, settings)),
        Kind::Trigger => trigger::plan(world, &key.place, subject, settings),
    }?;
    plan.fields.insert("observedGeneration", json!(subject.generation));
    Some(plan)
}

/// Whether a Broker is of our class.
pub(crate) fn is_ours(broker: &Subject, settings: &Settings) -> bool {
    broker.annotation(BROKER_CLASS).map_or(settings.default_class, |class| class == CLASS)
}

pub(crate) fn broker(world: &World, place: &Place, subject: &Subject, settings: &Settings) -> Plan {
    let faults = Faults::of(Kind::Broker, &subject.manifest);
    let mut plan = Plan { faults: faults.count(), ..Plan::default() };
    let url = format!("{}/{}/{}", settings.ingress_url, place.namespace, place.name);
    plan.fields.insert("address", json!({"name": "http", "url": url}));
    plan.claim = subject.annotation(BROKER_CLASS).is_none();
    plan.findings.push(rest(&faults));
    plan.findings.push(Finding::holds(ADDRESSABLE));
    if let Some(service) = &settings.ingress_service {
        let finding = ingress(world.data_plane(), service);
        plan.pending |= finding.reason == RESOLVING;
        plan.findings.push(finding);
    }
    let sink = sink(world, place, subject, &faults, settings);
    plan.add_sink(sink, DEAD_LETTER_SINK_RESOLVED);
    plan
}

/// The reason of everything that has not been read yet.
const RESOLVING: &str = "Resolving";

/// Whether events can be published to any Broker.
fn ingress(data_plane: Standing<'_>, service: &Place) -> Finding {
    let Place { namespace, name } = service;
    match data_plane {
        Standing::Served => Finding::holds(INGRESS_READY),
        Standing::Unserved => {
            let message = format!(
                "No pod of the broker is ready behind Service `{name}` in namespace {namespace}, so nothing can be \
                 published; `kubectl -n {namespace} get pods` shows the pods, `kubectl -n {namespace} describe service \
                 {name}` what it selects"
            );
            Finding::fails(INGRESS_READY, "NoReadyEndpoint", message)
        }
        Standing::Unread => {
            Finding::unknown(INGRESS_READY, RESOLVING, "The controller is still reading EndpointSlices".to_owned())
        }
        Standing::Hidden(words) => {
            let message = format!(
                "The controller cannot see whether the broker is up ({words}); let it get, list and watch \
                 EndpointSlices in namespace {namespace}"
            );
            Finding::unknown(INGRESS_READY, "EndpointSlicesUnavailable", message)
        }
    }
}

fn rest(faults: &Faults) -> Finding {
    match faults.in_area(Area::Rest) {
        None => Finding::holds(SPEC_VALID),
        Some(message) => Finding::fails(SPEC_VALID, "InvalidSpec", message),
    }
}

/// A dead letter sink: none asked for, its address, or why there is none.
type Sink = Result<Option<Resolved>, Why>;

fn sink(world: &World, place: &Place, subject: &Subject, faults: &Faults, settings: &Settings) -> Sink {
    if let Some(message) = faults.in_area(Area::Sink) {
        return Err(Why::new("InvalidDeadLetterSink", message));
    }
    // Other parts of the block may be at fault; the sink stands for itself.
    let Some(written) = subject.manifest.pointer("/spec/delivery/deadLetterSink").filter(|sink| !sink.is_null()) else {
        return Ok(None);
    };
    let sink: Destination = serde_json::from_value(written.clone())
        .map_err(|error| Why::new("InvalidDeadLetterSink", format!("spec.delivery.deadLetterSink: {error}")))?;
    let context = Context {
        world,
        namespace: &place.namespace,
        field: "spec.delivery.deadLetterSink",
        port: None,
        cluster_domain: &settings.cluster_domain,
    };
    resolve(&sink, context).map(Some)
}

impl Plan {
    fn add_sink(&mut self, sink: Sink, condition: &'static str) {
        match sink {
            Ok(None) => {
                let message = "No dead letter sink is asked for; dead letters are kept by the broker".to_owned();
                let found =
                    Finding { reason: "DeadLetterSinkNotConfigured".into(), message, ..Finding::holds(condition) };
                self.findings.push(found);
            }
            Ok(Some(resolved)) => {
                let finding = self.add_address(
                    ["deadLetterSinkUri", "deadLetterSinkCACerts", "deadLetterSinkAudience"],
                    resolved,
                    condition,
                );
                self.findings.push(finding);
            }
            Err(why) => self.add_failure(condition, why),
        }
    }

    fn add_address(&mut self, names: [&'static str; 3], resolved: Resolved, condition: &'static str) -> Finding {
        let values = [Some(resolved.uri), resolved.ca_certs, resolved.audience];
        for (name, value) in names.into_iter().zip(values) {
            if let Some(value) = value {
                self.fields.insert(name, Value::String(value));
            }
        }
        let holds = Finding::holds(condition);
        match resolved.warning {
            None => holds,
            Some(warning) => Finding { reason: warning.reason.into(), message: warning.message, ..holds },
        }
    }

    fn add_failure(&mut self, condition: &'static str, why: Why) {
        self.pending |= why.pending;
        let status = if why.pending { ConditionStatus::Unknown } else { ConditionStatus::False };
        self.findings.push(Finding { condition, status, reason: why.reason.into(), message: why.message });
    }
}

#[cfg(test)]
pub(crate) mod tests;
