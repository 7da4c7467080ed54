//! Definitions of our kinds as they are elsewhere.

/// The definition of one of our kinds as Knative's own may be, and as any may be for a moment: nothing is checked.
#[must_use]
pub fn without_schema(kind: &str) -> String {
    let (lower, group) = (kind.to_lowercase(), "eventing.knative.dev");
    let schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {lower}s.{group}}}\n\
         spec:\n  group: {group}\n  scope: Namespaced\n  names: {{kind: {kind}, plural: {lower}s, singular: {lower}}}\n  \
         versions: [{{name: v1, served: true, storage: true, schema: {schema}, subresources: {{status: {{}}}}}}]\n"
    )
}
