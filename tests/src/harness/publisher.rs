//! A publisher that remembers what was acknowledged.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::http_client;

/// An event to publish, in the simplest terms.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Attribute `id`.
    pub id: String,
    /// Attribute `source`.
    pub source: String,
    /// Attribute `type`.
    pub ty: String,
    /// Further attributes, as header values.
    pub attributes: Vec<(String, String)>,
    /// Attribute `datacontenttype`.
    pub content_type: Option<String>,
    /// The data.
    pub data: Bytes,
}

impl Sample {
    /// An event of type `com.example.sample` with a little JSON.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            source: "/tests".to_owned(),
            ty: "com.example.sample".to_owned(),
            attributes: Vec::new(),
            content_type: Some("application/json".to_owned()),
            data: Bytes::from(format!("{{ \"id\":\"{id}\", \"n\" : 1.50 }}")),
        }
    }

    /// Sets the type.
    #[must_use]
    pub fn ty(mut self, ty: &str) -> Self {
        self.ty = ty.to_owned();
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the data and its type.
    #[must_use]
    pub fn data(mut self, content_type: &str, data: impl Into<Bytes>) -> Self {
        self.content_type = Some(content_type.to_owned());
        self.data = data.into();
        self
    }

    /// As a JSON object of the structured mode; the data must be JSON text, which is kept as it is.
    ///
    /// # Panics
    /// When the data is not UTF-8.
    #[must_use]
    pub fn json(&self) -> String {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let mut members = vec![
            "\"specversion\":\"1.0\"".to_owned(),
            format!("\"id\":{}", quote(&self.id)),
            format!("\"source\":{}", quote(&self.source)),
            format!("\"type\":{}", quote(&self.ty)),
        ];
        members.extend(self.content_type.iter().map(|ty| format!("\"datacontenttype\":{}", quote(ty))));
        members.extend(self.attributes.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))));
        members.push(format!("\"data\":{}", std::str::from_utf8(&self.data).expect("the data is text")));
        format!("{{{}}}", members.join(","))
    }
}

/// An answer of the ingress.
#[derive(Debug, Clone)]
pub struct Ack {
    /// HTTP status.
    pub code: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body.
    pub body: String,
}

/// Publishes to one Broker. Clones share the journal.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: reqwest::Client,
    url: String,
    acknowledged: Arc<Mutex<Vec<String>>>,
}

impl Publisher {
    /// To the Broker at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { client: http_client(), url: url.to_owned(), acknowledged: Arc::default() }
    }

    /// The same publisher, journal included, after its Broker has moved.
    #[must_use]
    pub fn moved(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// The Broker's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ids of the events that were answered with 202, in order of the answers.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request to the Broker, for what the other functions cannot say.
    pub fn request(&self) -> reqwest::RequestBuilder {
        self.client.post(&self.url)
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Ack> {
        let answer = request.send().await?;
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Ack { code, headers, body: answer.text().await? })
    }

    async fn journaled(&self, request: reqwest::RequestBuilder, ids: &[&Sample]) -> reqwest::Result<Ack> {
        let ack = self.send(request).await?;
        if ack.code == 202 {
            let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            acknowledged.extend(ids.iter().map(|sample| sample.id.clone()));
        }
        Ok(ack)
    }

    /// Publishes in binary mode.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn binary(&self, sample: &Sample) -> reqwest::Result<Ack> {
        let mut request = self.request().header("ce-specversion", "1.0").header("ce-id", &sample.id);
        request = request.header("ce-source", &sample.source).header("ce-type", &sample.ty);
        for (name, value) in &sample.attributes {
            request = request.header(format!("ce-{name}"), value);
        }
        if let Some(ty) = &sample.content_type {
            request = request.header("content-type", ty);
        }
        self.journaled(request.body(sample.data.clone()), &[sample]).await
    }

    /// Publishes in structured mode.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn structured(&self, sample: &Sample) -> reqwest::Result<Ack> {
        let request = self.request().header("content-type", "application/cloudevents+json; charset=utf-8");
        self.journaled(request.body(sample.json()), &[sample]).await
    }

    /// Publishes a batch.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn batch(&self, samples: &[Sample]) -> reqwest::Result<Ack> {
        let items: Vec<String> = samples.iter().map(Sample::json).collect();
        let request = self.request().header("content-type", "application/cloudevents-batch+json");
        let ids: Vec<&Sample> = samples.iter().collect();
        self.journaled(request.body(format!("[{}]", items.join(","))), &ids).await
    }

    /// Publishes `COUNT` events `PREFIX-0`, `PREFIX-1`, … one after the other.
    ///
    /// # Panics
    /// When one is not accepted.
    pub async fn series(&self, prefix: &str, count: usize) {
        for n in 0..count {
            let ack = self.binary(&Sample::new(&format!("{prefix}-{n}"))).await.expect("the broker answers");
            assert_eq!(ack.code, 202, "{}", ack.body);
        }
    }
}
