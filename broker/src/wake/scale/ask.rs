//! What is asked of the API server for a wake, and what its answers mean.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, discovery};
use schemas::annotations::Workload;
use serde_json::json;
use tokio::time::timeout;

use crate::wake::WakeError;

/// Name that the broker's writes carry.
const FIELD_MANAGER: &str = "reveille-broker";
/// Replicas of a workload that is woken.
const REPLICAS: i32 = 1;
/// Longest wait for one answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Access to the `/scale` of workloads.
pub(super) struct Api {
    client: Client,
    /// Kinds that had to be looked up.
    kinds: Mutex<HashMap<GroupVersionKind, ApiResource>>,
}

/// What to do with a workload that should not be at zero.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it is not at zero.
    Wait,
    /// Raise it, if it still is at this version.
    Raise { version: String },
}

/// Zero replicas are left out of the JSON.
pub(super) fn decide(scale: &Scale) -> Step {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    if replicas > 0 {
        return Step::Wait;
    }
    Step::Raise { version: scale.metadata.resource_version.clone().unwrap_or_default() }
}

/// The version of a workload that is as a wake leaves it, and so may be put to sleep.
pub(super) fn lowerable(scale: &Scale) -> Option<String> {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    (replicas == REPLICAS).then(|| scale.metadata.resource_version.clone().unwrap_or_default())
}

impl Api {
    pub(super) fn new(client: Client) -> Self {
        Self { client, kinds: Mutex::default() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    async fn of(&self, namespace: &str, workload: &Workload) -> Result<kube::Api<DynamicObject>, WakeError> {
        let resource = self.resource(workload).await?;
        Ok(kube::Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    /// The plural of a kind: known of those that everybody has, else asked for once.
    async fn resource(&self, workload: &Workload) -> Result<ApiResource, WakeError> {
        let (group, version) = workload.api_version.split_once('/').unwrap_or(("", &workload.api_version));
        let kind = GroupVersionKind::gvk(group, version, &workload.kind);
        if group == "apps" {
            return Ok(ApiResource::from_gvk(&kind));
        }
        if let Some(known) = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&kind) {
            return Ok(known.clone());
        }
        let found = answered(discovery::pinned_kind(&self.client, &kind)).await;
        let (resource, _) = found.map_err(|error| fault(workload, "find", error))?;
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, resource.clone());
        Ok(resource)
    }

    pub(super) async fn scale(&self, namespace: &str, workload: &Workload) -> Result<Scale, WakeError> {
        let api = self.of(namespace, workload).await?;
        answered(api.get_scale(&workload.name)).await.map_err(|error| fault(workload, "get", error))
    }

    /// Raises it from zero; `false`: somebody else has written it since.
    pub(super) async fn raise(&self, namespace: &str, workload: &Workload, version: &str) -> Result<bool, WakeError> {
        self.write(namespace, workload, version, REPLICAS).await
    }

    /// Puts it to zero; `false`: somebody else has written it since.
    pub(super) async fn lower(&self, namespace: &str, workload: &Workload, version: &str) -> Result<bool, WakeError> {
        self.write(namespace, workload, version, 0).await
    }

    async fn write(
        &self,
        namespace: &str,
        workload: &Workload,
        version: &str,
        replicas: i32,
    ) -> Result<bool, WakeError> {
        let api = self.of(namespace, workload).await?;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match answered(api.patch_scale(&workload.name, &params, &Patch::Merge(&patch))).await {
            Ok(_) => Ok(true),
            Err(Some(kube::Error::Api(status))) if status.code == 409 => Ok(false),
            Err(error) => Err(fault(workload, "patch", error)),
        }
    }
}

/// The answer; `None` stands for one that did not come in time.
async fn answered<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Option<kube::Error>> {
    match timeout(ASK_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(Some),
        Err(_) => Err(None),
    }
}

/// What is wrong, in plain words with the next step.
fn fault(workload: &Workload, verb: &str, error: Option<kube::Error>) -> WakeError {
    let what = format!("{} {}", workload.kind, workload.name);
    let Some(error) = error else {
        let message = format!("the API server gave no answer, or only asked to wait, for {} s", ASK_TIMEOUT.as_secs());
        return WakeError { reason: "ApiServerUnreachable", message };
    };
    let (reason, message) = match &error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => (
                "WakeForbidden",
                format!(
                    "the broker may not {verb} the scale of {what}; grant its ServiceAccount get and patch on the \
                     resource's scale ({})",
                    status.message
                ),
            ),
            404 => ("WakeTargetNotFound", format!("{what} is not there, or has no scale: {}", status.message)),
            429 | 503 | 504 => ("ApiServerUnreachable", format!("the API server is overloaded: {}", status.message)),
            // So answers the scale of a kind whose object has no replicas yet.
            500 if status.message.contains("replicas") => {
                ("NotWakeable", format!("{what} has no replicas that could be raised: {}", status.message))
            }
            500.. => ("ApiServerUnreachable", format!("the API server failed: {}", status.message)),
            _ => ("WakeRejected", format!("the API server refuses to scale {what}: {}", status.message)),
        },
        kube::Error::Discovery(_) => {
            ("NotWakeable", format!("the cluster has no kind {} of {}", workload.kind, workload.api_version))
        }
        other => ("ApiServerUnreachable", format!("the API server cannot be reached: {other}")),
    };
    WakeError { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_raised() {
        for (spec, expected) in [
            (json!({}), Step::Raise { version: "7".into() }),
            (json!({"replicas": 0}), Step::Raise { version: "7".into() }),
            (json!({"replicas": 1}), Step::Wait),
            (json!({"replicas": 5}), Step::Wait),
        ] {
            let scale = json!({"metadata": {"name": "d", "resourceVersion": "7"}, "spec": spec});
            let scale: Scale = serde_json::from_value(scale).unwrap();
            assert_eq!(decide(&scale), expected, "{spec}");
            assert_eq!(lowerable(&scale).is_some(), spec == json!({"replicas": 1}), "{spec}");
        }
    }
}
