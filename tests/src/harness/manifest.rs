//! Broker and Trigger manifests as YAML text.

use std::fmt::Write as _;

/// A Broker.
#[derive(Debug, Clone)]
pub struct BrokerManifest {
    name: String,
    annotations: Vec<(String, String)>,
    delivery: String,
}

impl BrokerManifest {
    /// A Broker in the namespace `default`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), annotations: Vec::new(), delivery: String::new() }
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets `spec.delivery`, as flow YAML without its braces.
    #[must_use]
    pub fn delivery(mut self, fields: &str) -> Self {
        self.delivery = format!("  delivery: {{{fields}}}\n");
        self
    }

    /// The YAML.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut text = head("Broker", &self.name, &self.annotations);
        text.push_str(if self.delivery.is_empty() { "spec: {}\n" } else { "spec:\n" });
        text.push_str(&self.delivery);
        text
    }
}

/// A Trigger with a subscriber at a `uri`.
#[derive(Debug, Clone)]
pub struct TriggerManifest {
    name: String,
    broker: String,
    uri: String,
    annotations: Vec<(String, String)>,
    spec: String,
}

impl TriggerManifest {
    /// A Trigger of the Broker `default` in the namespace `default`, for all events, without retries.
    #[must_use]
    pub fn new(name: &str, uri: &str) -> Self {
        let (name, uri) = (name.to_owned(), uri.to_owned());
        Self { name, broker: "default".to_owned(), uri, annotations: Vec::new(), spec: String::new() }
    }

    /// The same Trigger under another name.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Which Broker of the namespace.
    #[must_use]
    pub fn broker(mut self, broker: &str) -> Self {
        self.broker = broker.to_owned();
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets `spec.filters`, as one line of flow YAML.
    #[must_use]
    pub fn filters(mut self, list: &str) -> Self {
        let _ = writeln!(self.spec, "  filters: {list}");
        self
    }

    /// Sets `spec.filter.attributes`, as flow YAML without its braces.
    #[must_use]
    pub fn attributes(mut self, fields: &str) -> Self {
        let _ = writeln!(self.spec, "  filter: {{attributes: {{{fields}}}}}");
        self
    }

    /// Sets `spec.delivery`, as flow YAML without its braces.
    #[must_use]
    pub fn delivery(mut self, fields: &str) -> Self {
        let _ = writeln!(self.spec, "  delivery: {{{fields}}}");
        self
    }

    /// The YAML.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut text = head("Trigger", &self.name, &self.annotations);
        let _ = writeln!(text, "spec:\n  broker: {}\n  subscriber: {{uri: \"{}\"}}", self.broker, self.uri);
        text.push_str(&self.spec);
        text
    }
}

fn head(kind: &str, name: &str, annotations: &[(String, String)]) -> String {
    let mut text = format!("apiVersion: eventing.knative.dev/v1\nkind: {kind}\nmetadata:\n  name: {name}\n");
    if !annotations.is_empty() {
        text.push_str("  annotations:\n");
    }
    for (key, value) in annotations {
        let quoted = serde_json::Value::from(value.as_str());
        let _ = writeln!(text, "    {key}: {quoted}");
    }
    text
}
