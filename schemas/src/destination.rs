//! Destinations: where events and dead letters are sent, as an object, as an address, or as both joined.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest `uri` accepted, in characters; twice what common HTTP servers take as a request line's target.
pub const URI_CHARS_MAX: usize = 8192;

/// Where to send: an object that has an address (`ref`), an absolute address (`uri`), or an object and a relative
/// address that is resolved against it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.ref) || has(self.uri)", "message": "give ref or uri"},
    {"rule": "!has(self.uri) || has(self.ref) || self.uri.matches('^[A-Za-z][A-Za-z0-9+.-]*:')",
     "message": "without ref, uri must be absolute, such as http://host/path"},
    {"rule": "!has(self.uri) || !has(self.ref) || !self.uri.matches('^[A-Za-z][A-Za-z0-9+.-]*:')",
     "message": "together with ref, uri must be relative, such as /path; give one of ref and an absolute uri"}
]))]
pub struct Destination {
    /// An object that has an address: a Service, a Knative Service, a Broker, a Channel, or any other Addressable.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// An absolute address such as `http://orders.shop.svc/events`; together with `ref` a relative one such as
    /// `/events`, which is resolved against the object's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub uri: Option<String>,
    /// The certificate authority that the destination's certificate is checked against, as one PEM certificate;
    /// overrides that of the object.
    #[serde(rename = "CACerts", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_certs: Option<String>,
    /// The OIDC audience of the destination; overrides that of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub audience: Option<String>,
}

/// A reference to an object, here or in another namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Group and version of the object, such as `v1` or `serving.knative.dev/v1`.
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    /// Kind of the object, such as `Service`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object; the referring object's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Name of the address to use where the object has several (`status.addresses[].name`); the first when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub address: Option<String>,
}

/// An address that an object can be reached at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Name of the address: `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The URL to send events to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The certificate authority of the address, as PEM certificates.
    #[serde(rename = "CACerts", default, skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    /// The OIDC audience of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// An EventPolicy that applies to the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedPolicy {
    /// Group and version of the policy.
    pub api_version: String,
    /// Name of the policy.
    pub name: String,
}

/// The identity that deliveries are made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthStatus {
    /// Name of the service account whose tokens are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Names of the service accounts, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_names: Option<Vec<String>>,
}

/// Whether an address carries a scheme, so that it stands without a `ref`.
#[must_use]
pub fn is_absolute(uri: &str) -> bool {
    let Some((scheme, _)) = uri.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'))
}
