//! Parts of a request, refused as problem documents where they cannot be read.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::AdminParts;
use super::refusal::Refusal;
use crate::log::BrokerLogs;

/// The variable parts of the path.
#[derive(Debug)]
pub(super) struct Segments<T>(pub(super) T);

/// The parameters behind the `?`, in order; a name may come more than once.
#[derive(Debug)]
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(value)| Self(value)).map_err(|error| Refusal::parameter("path", error.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(pairs)| Self(pairs)).map_err(|error| Refusal::parameter("query", error.body_text()))
    }
}

impl Parameters {
    /// Refuses parameters that are not in `known`, so that a typing error is no silent change of meaning.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) if known.is_empty() => {
                Err(Refusal::parameter(name, format!("`{name}` is no parameter here; there is none")))
            }
            Some((name, _)) => {
                let list = known.join(", ");
                Err(Refusal::parameter(name, format!("`{name}` is no parameter here; there are {list}")))
            }
        }
    }

    /// The last value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// The logs of a Broker, or a refusal that says what there is.
pub(super) fn logs_of(parts: &AdminParts, namespace: &str, name: &str) -> Result<Arc<BrokerLogs>, Refusal> {
    parts.logs.get(namespace, name).ok_or_else(|| {
        let table = parts.table.current();
        if table.brokers.keys().any(|key| key.namespace.as_str() == namespace && key.name.as_str() == name) {
            let detail = format!("the log of Broker {namespace}/{name} is not open; the broker's own log says why");
            return Refusal::not_found(detail);
        }
        Refusal::not_found(format!(
            "there is no Broker {namespace}/{name}; `reveille brokers ls` lists those there are"
        ))
    })
}
