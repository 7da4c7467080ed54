//! Brokers and Triggers as the API server has them.

use serde_json::Value;

use super::Namespace;
use crate::harness::eventually;

impl Namespace<'_> {
    /// An object of one of our kinds (`brokers`, `triggers`) as it is now; `None` where there is none.
    ///
    /// # Panics
    /// When the name makes no URL.
    pub async fn get(&self, client: &kube::Client, plural: &str, name: &str) -> Option<Value> {
        let uri = format!("/apis/eventing.knative.dev/v1/namespaces/{}/{plural}/{name}", self.name);
        client.request(http::Request::get(uri).body(Vec::new()).expect("names make a URL")).await.ok()
    }

    /// Waits until `Ready` is `status` for `reason` (any where it is empty) and the object's present generation.
    ///
    /// # Panics
    /// After the deadline.
    pub async fn ready(&self, client: &kube::Client, plural: &str, name: &str, status: &str, reason: &str) -> Value {
        eventually(&format!("{plural}/{name} to be Ready={status} {reason}"), || async {
            let object = self.get(client, plural, name).await?;
            let ready = condition(&object, "Ready")?;
            let current = object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation");
            let is = |part: &str, value: &str| ready.get(part).is_some_and(|found| found == value);
            (current && is("status", status) && (reason.is_empty() || is("reason", reason))).then_some(object)
        })
        .await
    }
}

/// A condition of an object, by its type.
#[must_use]
pub fn condition<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let mut all = object.pointer("/status/conditions")?.as_array()?.iter();
    all.find(|one| one.get("type").is_some_and(|found| found == name))
}

/// The words of a condition.
///
/// # Panics
/// When the object does not have it.
#[must_use]
pub fn message<'v>(object: &'v Value, name: &str) -> &'v str {
    let found = condition(object, name).expect("the object has the condition");
    found.get("message").and_then(Value::as_str).unwrap_or_default()
}
