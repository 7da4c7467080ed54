//! One write: from a plan to the API server, and what comes back.
//!
//! *Invariants*: no request begins without the lead; none outlives the time that keeps two leaders apart. *Not here*:
//! whether and when to write.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use schemas::annotations::BROKER_CLASS;
use schemas::broker::CLASS;
use serde_json::{Value, json};

use crate::error::WriteError;
use crate::lease::Leadership;
use crate::plan::Plan;
use crate::status::{body, differs, leftovers};
use crate::world::{FIELD_MANAGER, Key, Kind, Subject, World};

/// Writes statuses.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    leadership: Leadership,
    limit: Duration,
}

impl Writer {
    /// `limit` is how long one request may take.
    pub(crate) fn new(client: Client, leadership: Leadership, limit: Duration) -> Self {
        Self { client, leadership, limit }
    }

    /// Makes the status of the object what is planned, and returns the object as it is then.
    ///
    /// # Errors
    /// Why it is not so.
    pub(crate) async fn write(&self, key: &Key, subject: &Subject, plan: &Plan) -> Result<Value, WriteError> {
        if plan.claim {
            self.claim(key).await;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let body = body(key, subject, plan, &now);
        let mut written =
            self.request(self.api(key).patch_status(&key.place.name, &apply, &Patch::Apply(body))).await?;
        if let Some(patch) = Subject::of(key.kind, &written).and_then(|after| leftovers(key, &after, plan)) {
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            written = self.request(self.api(key).patch_status(&key.place.name, &params, &Patch::Merge(patch))).await?;
        }
        let settled = Subject::of(key.kind, &written).is_some_and(|after| !differs(key, &after, plan));
        if settled { Ok(written) } else { Err(WriteError::Unsettled) }
    }

    /// Puts the class on a Broker that is ours by default, so that everybody sees whose it is. It is served without.
    async fn claim(&self, key: &Key) {
        let body = json!({
            "apiVersion": schemas::broker::API_VERSION,
            "kind": key.kind.as_str(),
            "metadata": {
                "name": key.place.name, "namespace": key.place.namespace, "annotations": {BROKER_CLASS: CLASS},
            },
        });
        let apply = PatchParams::apply(FIELD_MANAGER);
        let claimed = self.request(self.api(key).patch(&key.place.name, &apply, &Patch::Apply(body))).await;
        if let Err(error) = claimed {
            tracing::debug!(broker = %key.place, %error, "class annotation cannot be added");
        }
    }

    async fn request(
        &self,
        request: impl Future<Output = Result<DynamicObject, kube::Error>>,
    ) -> Result<Value, WriteError> {
        if !self.leadership.holds() {
            return Err(WriteError::NotLeader);
        }
        let answer = tokio::time::timeout(self.limit, request).await.map_err(|_| WriteError::Timeout)??;
        serde_json::to_value(answer).map_err(|error| WriteError::Refused(error.to_string()))
    }

    fn api(&self, key: &Key) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(schemas::broker::GROUP, "v1", key.kind.as_str());
        let plural = match key.kind {
            Kind::Broker => "brokers",
            Kind::Trigger => "triggers",
        };
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        Api::namespaced_with(self.client.clone(), &key.place.namespace, &resource)
    }
}

/// Whether the object has to be written: its plan, where its status says something else.
pub(crate) fn due(world: &World, key: &Key, plan: Plan) -> Option<(Subject, Plan)> {
    let subject = world.subject(key)?;
    (plan.claim || differs(key, subject, &plan)).then(|| (subject.clone(), plan))
}
