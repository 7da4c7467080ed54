//! What was written to the API server, by whom: its audit log, as records to count.
//!
//! *Inputs*: the log's lines. *Outputs*: [`Write`]s in the order in which they were answered. *Not here*: reads; the
//! cluster's audit policy leaves them out.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::Cluster;
use crate::harness::eventually;

/// Where a marker is written to: the only resource that may be created over and over and leaves nothing.
const MARKERS: &str = "selfsubjectreviews";

/// One request to write that the API server has answered, whatever it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Who: `system:serviceaccount:NAMESPACE:NAME`, or `admin`.
    pub user: String,
    /// What the client calls itself, for instance `kubectl/v1.36.3 (linux/amd64) …`.
    pub user_agent: String,
    /// The field manager that the request named, if it did.
    pub field_manager: Option<String>,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The resource's plural, for instance `triggers`.
    pub resource: String,
    /// `status`, `scale`, …, if it was written to one.
    pub subresource: Option<String>,
    /// The object's namespace; empty if it has none.
    pub namespace: String,
    /// The object's name; empty if a creation was refused before the API server had read it.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

impl Cluster {
    /// The writes, since the cluster's start, that `pick` wants. All that was answered before the call is in them.
    ///
    /// # Errors
    /// When the API server does not answer, or its log is not what it should be.
    pub async fn audit_writes(&self, pick: impl Fn(&Write) -> bool) -> anyhow::Result<Vec<Write>> {
        // A write may be answered a moment before its line is in the log: a last write of ours shows when they are.
        let marker = format!("marker-{:016x}", fastrand::u64(..));
        let uri = format!("/apis/authentication.k8s.io/v1/{MARKERS}?fieldManager={marker}");
        let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
        let request = http::Request::post(uri)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.as_bytes().to_vec())?;
        self.client().await?.request_text(request).await?;
        let path = self.directory.join("audit.log");
        let log = eventually("the audit log to have the last write", || {
            std::future::ready(
                read(&path).map_or_else(|error| Some(Err(error)), |log| log.contains(&marker).then_some(Ok(log))),
            )
        })
        .await?;
        let writes = log.lines().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(writes.into_iter().flatten().filter(|write| write.resource != MARKERS && pick(write)).collect())
    }
}

/// The log's whole lines; the last one may still be in the making.
fn read(path: &Path) -> anyhow::Result<String> {
    let mut log = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
    Ok(log)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Object>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Object {
    resource: String,
    subresource: Option<String>,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

/// `None` if the line is about a write to no resource, or about one that was never answered.
fn parse(line: &str) -> anyhow::Result<Option<Write>> {
    let event: Event = serde_json::from_str(line).with_context(|| format!("a line of the audit log: {line}"))?;
    let (Some(object), Some(status)) = (event.object_ref, event.response_status) else { return Ok(None) };
    let (_, query) = event.request_uri.split_once('?').unwrap_or_default();
    let field_manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager=")).map(str::to_owned);
    Ok(Some(Write {
        user: event.user.username,
        user_agent: event.user_agent,
        field_manager,
        verb: event.verb,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        code: status.code,
    }))
}
