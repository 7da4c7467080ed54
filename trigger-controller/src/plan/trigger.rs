//! What the status of a Trigger should be.

use schemas::annotations::{DEPENDENCY, ENDPOINTS, PORT};
use schemas::conditions::{
    BROKER_READY, ConditionStatus, DEAD_LETTER_SINK_RESOLVED, DEPENDENCY_READY, FILTER_VALID, SUBSCRIBER_RESOLVED,
};
use schemas::destination::Destination;

use super::{Plan, RESOLVING, Settings, is_ours, rest, sink, wake_target};
use crate::resolve::{Context, Resolved, Why, describe, resolve};
use crate::status::{Finding, summary};
use crate::validate::{Area, Faults};
use crate::world::{Gvk, Kind, KindState, Lookup, Place, Subject, World, references};

pub(super) fn plan(world: &World, place: &Place, subject: &Subject, settings: &Settings) -> Option<Plan> {
    let faults = Faults::of(Kind::Trigger, &subject.manifest);
    let mut plan = Plan { faults: faults.count(), ..Plan::default() };
    let broker = broker(world, place, subject, &faults, settings, &mut plan)?;
    plan.findings.push(rest(&faults));
    plan.findings.push(match faults.in_area(Area::Filter) {
        None => Finding::holds(FILTER_VALID),
        Some(message) => Finding::fails(FILTER_VALID, "InvalidFilter", message),
    });
    subscriber(world, place, subject, &faults, settings, &mut plan);
    let own = sink(world, place, subject, &faults, settings);
    match (own, broker) {
        (Ok(None), Some(broker)) => inherit(&mut plan, &broker),
        (own, _) => plan.add_sink(own, DEAD_LETTER_SINK_RESOLVED),
    }
    plan.findings.push(dependency(world, place, subject, &faults));
    plan.pending |= plan.findings.iter().any(|finding| finding.reason == RESOLVING);
    Some(plan)
}

/// Looks at the Broker: `None` where the Trigger is not ours, else the Broker's own plan where there is one.
#[allow(clippy::option_option, reason = "the outer one says whose the Trigger is")]
fn broker(
    world: &World,
    place: &Place,
    subject: &Subject,
    faults: &Faults,
    settings: &Settings,
    plan: &mut Plan,
) -> Option<Option<Plan>> {
    let name = crate::world::broker_name(&subject.manifest).unwrap_or_default();
    let at = Place::new(&place.namespace, name);
    let found = world.broker(&at).filter(|_| !name.is_empty());
    if let Some(broker) = found.filter(|broker| is_ours(broker, settings)) {
        // A Broker on its way out is none.
        if !broker.deleting {
            let planned = super::broker(world, &at, broker, settings);
            let ready = summary(&planned.findings);
            let words = format!("Broker `{name}`: {}", ready.message);
            plan.findings.push(match (faults.in_area(Area::Broker), ready.status) {
                (Some(message), _) => Finding::fails(BROKER_READY, "InvalidBroker", message),
                (None, ConditionStatus::True) => Finding::holds(BROKER_READY),
                (None, _) => Finding { condition: BROKER_READY, message: words, ..ready },
            });
            plan.pending |= planned.pending;
            return Some(Some(planned));
        }
    } else if found.is_some() {
        return None;
    }
    // Where Knative is installed too, its controller says the same of the Trigger; two need not take turns.
    if subject.has_foreign_conditions {
        return None;
    }
    plan.findings.push(absent_broker(world, place, name, faults));
    Some(None)
}

fn absent_broker(world: &World, place: &Place, name: &str, faults: &Faults) -> Finding {
    if let Some(message) = faults.in_area(Area::Broker) {
        return Finding::fails(BROKER_READY, "InvalidBroker", message);
    }
    match world.state(&Gvk::broker()) {
        KindState::Listed => {
            let message = format!(
                "Broker `{name}` does not exist in namespace {}; create it, or correct spec.broker (a Trigger cannot \
                 change its Broker: delete it and create it anew)",
                place.namespace
            );
            Finding::fails(BROKER_READY, "BrokerDoesNotExist", message)
        }
        KindState::Pending | KindState::Absent | KindState::Forbidden(_) => {
            Finding::unknown(BROKER_READY, RESOLVING, "The controller is still reading Brokers".to_owned())
        }
    }
}

fn subscriber(world: &World, place: &Place, subject: &Subject, faults: &Faults, settings: &Settings, plan: &mut Plan) {
    let resolved = resolve_subscriber(world, place, subject, faults, settings);
    match resolved {
        Ok(resolved) => {
            plan.annotations.extend(resolved.endpoints.clone().map(|found| (ENDPOINTS, found)));
            let names = ["subscriberUri", "subscriberCACerts", "subscriberAudience"];
            let finding = plan.add_address(names, resolved, SUBSCRIBER_RESOLVED);
            plan.findings.push(finding);
            wake_target::add(world, subject, plan);
        }
        Err(why) => plan.add_failure(SUBSCRIBER_RESOLVED, why),
    }
}

fn resolve_subscriber(
    world: &World,
    place: &Place,
    subject: &Subject,
    faults: &Faults,
    settings: &Settings,
) -> Result<Resolved, Why> {
    if let Some(message) = faults.in_area(Area::Subscriber) {
        return Err(Why::new("InvalidSubscriber", message));
    }
    let written = subject.manifest.pointer("/spec/subscriber").cloned().unwrap_or_default();
    let destination: Destination = serde_json::from_value(written)
        .map_err(|error| Why::new("InvalidSubscriber", format!("spec.subscriber: {error}")))?;
    let context = Context {
        world,
        namespace: &place.namespace,
        field: "spec.subscriber",
        port: subject.annotation(PORT),
        cluster_domain: &settings.cluster_domain,
    };
    resolve(&destination, context)
}

/// A Trigger without a dead letter sink of its own has its Broker's.
fn inherit(plan: &mut Plan, broker: &Plan) {
    for name in ["deadLetterSinkUri", "deadLetterSinkCACerts", "deadLetterSinkAudience"] {
        if let Some(value) = broker.fields.get(name) {
            plan.fields.insert(name, value.clone());
        }
    }
    let found = broker.findings.iter().find(|finding| finding.condition == DEAD_LETTER_SINK_RESOLVED);
    plan.findings.extend(found.map(|found| {
        let fails = found.status != ConditionStatus::True;
        let message = if fails { format!("The Broker's: {}", found.message) } else { found.message.clone() };
        Finding { message, ..found.clone() }
    }));
}

fn dependency(world: &World, place: &Place, subject: &Subject, faults: &Faults) -> Finding {
    if let Some(message) = faults.in_area(Area::Dependency) {
        return Finding::fails(DEPENDENCY_READY, "ReferenceError", message);
    }
    let Some(reference) = references(&subject.manifest).dependency else {
        return Finding::holds(DEPENDENCY_READY);
    };
    let what = describe(&reference);
    let field = format!("annotation {DEPENDENCY}");
    match world.look_up(&reference.gvk, &reference.place) {
        Lookup::Found(target) => {
            let current = target.observed_generation.is_none_or(|observed| observed == target.generation);
            match &target.ready {
                _ if !current => {
                    let message = format!("{what} has changed and has not been looked at by its own controller yet");
                    Finding::unknown(DEPENDENCY_READY, "GenerationNotEqual", message)
                }
                Some(ready) if ready.status == "True" => Finding::holds(DEPENDENCY_READY),
                Some(ready) => not_ready(&what, &ready.status, &ready.reason, &ready.message),
                None => {
                    let message = format!("{what} does not say whether it is ready: it has no condition Ready");
                    Finding::unknown(DEPENDENCY_READY, "DependencyNotConfigured", message)
                }
            }
        }
        Lookup::Missing => {
            let message = format!(
                "{what}, which {field} names, does not exist in namespace {}; create it, or remove the annotation",
                place.namespace
            );
            Finding::fails(DEPENDENCY_READY, "DependencyDoesNotExist", message)
        }
        Lookup::KindAbsent => {
            let message = format!(
                "{what}, which {field} names, is of a kind that this cluster does not have; install it, or remove the \
                 annotation"
            );
            Finding::fails(DEPENDENCY_READY, "DependencyDoesNotExist", message)
        }
        Lookup::Forbidden(words) => {
            let message =
                format!("{what}, which {field} names, may not be read by the controller ({words}); grant it that");
            Finding::fails(DEPENDENCY_READY, "DependencyGetFailed", message)
        }
        Lookup::Pending => Finding::unknown(DEPENDENCY_READY, RESOLVING, format!("{what} has not been read yet")),
    }
}

fn not_ready(what: &str, status: &str, reason: &str, message: &str) -> Finding {
    let status = if status == "False" { ConditionStatus::False } else { ConditionStatus::Unknown };
    let reason = if reason.is_empty() { "DependencyNotReady" } else { reason };
    let message = format!("{what} is not ready: {message}").trim_end_matches(": ").to_owned();
    Finding { condition: DEPENDENCY_READY, status, reason: reason.to_owned(), message }
}
