//! From a destination as written to an address, as far as it is known.
//!
//! *In*: a destination, and what the controller found. *Out*: a [`Recipient`]. Pure. *Invariants*: an absolute `uri`
//! is its own address, whatever a status says; a reference without a finding is unresolved, never guessed.
//! *Not here*: whether a finding still belongs to what is written ([`super::kube`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::annotations::ENDPOINTS;
use schemas::destination::Destination;
use schemas::validate::Fault;
use serde::{Deserialize, Serialize};

use super::table::{Recipient, ServicePort};

/// What is known of the address behind a reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// Its address.
    At(String),
    /// Why there is none, in plain words.
    Missing(String),
}

/// What the controller found out about an object's references.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Of `spec.subscriber`.
    pub subscriber: Option<Finding>,
    /// Of `spec.delivery.deadLetterSink`.
    pub sink: Option<Finding>,
    /// What it says of the subscriber besides, by the annotations in [`schemas::annotations`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// Who is asked for the address behind a reference.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// Nobody: without Kubernetes a reference is a fault.
    Nobody,
    /// The controller, which wrote its findings into the status.
    Controller {
        /// What it found.
        findings: &'a Findings,
        /// UID of the object.
        uid: &'a str,
    },
}

impl<'a> Lookup<'a> {
    /// What tells the object from a former one of the same name.
    pub(super) fn incarnation(self) -> Option<Arc<str>> {
        match self {
            Self::Nobody => None,
            Self::Controller { uid, .. } => Some(uid.into()),
        }
    }

    /// What the controller says of the subscriber by that annotation.
    pub(super) fn note(self, name: &str) -> Option<&'a str> {
        match self {
            Self::Nobody => None,
            Self::Controller { findings, .. } => findings.notes.get(name).map(String::as_str),
        }
    }

    /// The Service that the subscriber is.
    pub(super) fn service(self, namespace: &str) -> Option<ServicePort> {
        let (service, port) = self.note(ENDPOINTS).map(|found| found.split_once(':').unwrap_or((found, "")))?;
        Some(ServicePort { namespace: namespace.into(), service: service.into(), port: port.into() })
    }

    pub(super) fn subscriber(self, written: &Destination, namespace: &str, faults: &mut Vec<Fault>) -> Recipient {
        let finding = match self {
            Self::Nobody => None,
            Self::Controller { findings, .. } => findings.subscriber.as_ref(),
        };
        self.recipient(written, finding, (namespace, "spec.subscriber"), faults)
    }

    pub(super) fn sink(self, written: &Destination, namespace: &str, faults: &mut Vec<Fault>) -> Recipient {
        let finding = match self {
            Self::Nobody => None,
            Self::Controller { findings, .. } => findings.sink.as_ref(),
        };
        self.recipient(written, finding, (namespace, "spec.delivery.deadLetterSink"), faults)
    }

    fn recipient(
        self,
        written: &Destination,
        finding: Option<&Finding>,
        (namespace, path): (&str, &str),
        faults: &mut Vec<Fault>,
    ) -> Recipient {
        let uri = written.uri.clone().unwrap_or_default();
        let Some(reference) = &written.reference else { return Recipient::At(uri.into()) };
        if matches!(self, Self::Nobody) {
            faults.push(Fault {
                path: format!("{path}.ref"),
                message: "needs Kubernetes to find the object's address; without it, give `uri` alone, such as \
                          http://localhost:8081/"
                    .into(),
            });
            return Recipient::At(uri.into());
        }
        let what = || {
            let namespace = reference.namespace.as_deref().unwrap_or(namespace);
            format!("{} {namespace}/{}", reference.kind, reference.name)
        };
        match finding {
            Some(Finding::At(uri)) => Recipient::At(uri.clone().into()),
            Some(Finding::Missing(why)) => Recipient::Unresolved { what: what(), why: why.clone() },
            None => Recipient::Unresolved {
                what: what(),
                why: "reveille-controller has not looked up its address yet; does it run?".into(),
            },
        }
    }
}
