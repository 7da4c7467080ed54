//! Kubernetes Events: what a person finds at the end of `kubectl describe`.
//!
//! *Responsibility*: which change of `Ready` is worth one, and their way to the API server. *Invariants*: a bounded
//! queue, and Events that find it full are dropped and counted: a status says the same. Repeated ones are counted up
//! in the Event that is there. *Not here*: statuses.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::words;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::status::{ready_of, summary};
use crate::world::{FIELD_MANAGER, Key, Subject};
use schemas::conditions::ConditionStatus;

/// Events that wait to be written: a namespace full of Triggers whose Broker fails; more say nothing new.
const QUEUE_MAX: usize = 256;
/// Longest that writing one may take.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Longest note, in bytes: the API server's limit is 1 KiB.
const NOTE_BYTES_MAX: usize = 1000;

/// Something to tell about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) is_warning: bool,
    pub(crate) reason: String,
    pub(crate) note: String,
}

/// What is worth telling when an object's status becomes what is planned: that it is not ready any more, for another
/// reason than before, or ready again; and a warning about an address that cannot work. Becoming ready at first is
/// what everybody expects.
pub(crate) fn notices(subject: &Subject, plan: &Plan) -> Vec<Notice> {
    let was = ready_of(&subject.status);
    let ready = summary(&plan.findings);
    let mut notices = Vec::new();
    match (ready.status, was) {
        (ConditionStatus::False, Some(("False", reason))) if reason == ready.reason => {}
        (ConditionStatus::False, _) => {
            notices.push(Notice { is_warning: true, reason: ready.reason, note: ready.message });
        }
        (ConditionStatus::True, Some(("False", _))) => {
            notices.push(Notice { is_warning: false, reason: "Ready".to_owned(), note: "Ready again".to_owned() });
        }
        (ConditionStatus::True | ConditionStatus::Unknown, _) => {}
    }
    let odd = plan.findings.iter().filter(|finding| finding.reason == "UnsupportedScheme");
    notices.extend(odd.filter(|finding| !has_said(subject, &finding.reason)).map(|finding| Notice {
        is_warning: true,
        reason: finding.reason.clone(),
        note: finding.message.clone(),
    }));
    notices
}

fn has_said(subject: &Subject, reason: &str) -> bool {
    let conditions = subject.status.get("conditions").and_then(serde_json::Value::as_array);
    conditions
        .is_some_and(|all| all.iter().any(|one| one.get("reason").and_then(serde_json::Value::as_str) == Some(reason)))
}

/// Takes Events and writes them in the background. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<(ObjectReference, Notice)>,
    metrics: Metrics,
}

impl Events {
    /// Starts the task that writes them, until `stop`.
    pub(crate) fn start(
        client: Client,
        identity: String,
        leadership: Leadership,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(ObjectReference, Notice)>(QUEUE_MAX);
        let recorder =
            Recorder::new(client, Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity) });
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = waiting.recv() => next,
                    () = stop.cancelled() => None,
                };
                let Some((about, notice)) = next else { break };
                if leadership.holds() {
                    publish(&recorder, &about, notice).await;
                }
            }
        });
        Self { queue, metrics }
    }

    /// Tells something about an object.
    pub(crate) fn tell(&self, key: &Key, subject: &Subject, notices: Vec<Notice>) {
        for notice in notices {
            let about = ObjectReference {
                api_version: Some(schemas::broker::API_VERSION.to_owned()),
                kind: Some(key.kind.as_str().to_owned()),
                namespace: Some(key.place.namespace.clone()),
                name: Some(key.place.name.clone()),
                uid: Some(subject.uid.clone()),
                ..ObjectReference::default()
            };
            if self.queue.try_send((about, notice)).is_err() {
                self.metrics.events_dropped.inc();
            }
        }
    }
}

async fn publish(recorder: &Recorder, about: &ObjectReference, notice: Notice) {
    let event = Event {
        type_: if notice.is_warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason,
        note: Some(cut(notice.note)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let name = about.name.as_deref().unwrap_or_default();
    match tokio::time::timeout(WRITE_LIMIT, recorder.publish(&event, about)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(object = name, error = words(&error), "event cannot be written"),
        Err(_) => tracing::warn!(object = name, "event cannot be written in time"),
    }
}

fn cut(mut note: String) -> String {
    let end = (0..=NOTE_BYTES_MAX.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note.truncate(end.unwrap_or_default());
    note
}

#[cfg(test)]
mod tests;
