//! Requests made ahead of time: for each event sent, only its id is written.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

use super::{LoadPlan, Mode};

/// Characters of an event's id after the run's name: `-cccc-nnnnnnnnnn`, connection and number in hex.
const SEQUENCE_CHARS: usize = 16;
const ID: HeaderName = HeaderName::from_static("ce-id");

/// An event's place in a run: by which connection it was sent, and in which turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sequence {
    /// Number of the connection.
    pub(super) connection: u16,
    /// From 0.
    pub(super) number: u64,
}

impl Sequence {
    fn write(self, id: &mut [u8]) {
        let text = format!("-{:04x}-{:010x}", self.connection, self.number);
        let start = id.len().saturating_sub(SEQUENCE_CHARS);
        if let Some((_, tail)) = id.split_at_mut_checked(start) {
            tail.copy_from_slice(text.as_bytes());
        }
    }

    /// Reads an id of the run named `run`; `None` for any other.
    pub(super) fn read(run: &str, id: &str) -> Option<Self> {
        let rest = id.strip_prefix(run)?.strip_prefix('-')?;
        let (connection, number) = rest.split_once('-')?;
        let connection = u16::from_str_radix(connection, 16).ok()?;
        Some(Self { connection, number: u64::from_str_radix(number, 16).ok()? })
    }
}

/// One connection's request, ready but for the ids.
#[derive(Debug, Clone)]
pub(super) struct Template {
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
    /// What is sent in binary mode, where every body is the same.
    shared: Bytes,
    id: Vec<u8>,
    /// Where ids begin in `body`; empty in binary mode, where the id is a header.
    at: Vec<usize>,
}

impl Template {
    pub(super) fn new(plan: &LoadPlan, uri: &Uri) -> Self {
        let blank = format!("{}{:width$}", plan.run, "", width = SEQUENCE_CHARS);
        let data = format!("\"{}\"", "x".repeat(plan.size_bytes.saturating_sub(2)));
        let mut headers = HeaderMap::with_capacity(16);
        let mut put = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        let (mut body, mut at) = (Vec::new(), Vec::new());
        match plan.mode {
            Mode::Binary => {
                put(CONTENT_TYPE, "application/json");
                put(HeaderName::from_static("ce-specversion"), "1.0");
                put(HeaderName::from_static("ce-type"), "dev.reveille.bench");
                put(HeaderName::from_static("ce-source"), "/reveille/bench");
                body.extend_from_slice(data.as_bytes());
            }
            Mode::Structured => {
                put(CONTENT_TYPE, "application/cloudevents+json");
                push_json(&mut body, &mut at, &blank, &data);
            }
            Mode::Batch => {
                put(CONTENT_TYPE, "application/cloudevents-batch+json");
                for n in 0..plan.batch {
                    body.push(if n == 0 { b'[' } else { b',' });
                    push_json(&mut body, &mut at, &blank, &data);
                }
                body.push(b']');
            }
        }
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if let Ok(host) = HeaderValue::from_str(authority) {
            headers.insert(HOST, host);
        }
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let uri = Uri::try_from(path).unwrap_or_else(|_| Uri::from_static("/"));
        let shared = Bytes::from(body.clone());
        Self { uri, headers, body, shared, id: blank.into_bytes(), at }
    }

    /// The request with the events numbered from `first` on.
    pub(super) fn request(&mut self, first: Sequence) -> Request<Full<Bytes>> {
        let mut headers = self.headers.clone();
        let body = if self.at.is_empty() {
            first.write(&mut self.id);
            if let Ok(id) = HeaderValue::from_bytes(&self.id) {
                headers.insert(ID, id);
            }
            self.shared.clone()
        } else {
            for (number, at) in (first.number..).zip(&self.at) {
                if let Some(id) = self.body.get_mut(*at..at + self.id.len()) {
                    Sequence { number, ..first }.write(id);
                }
            }
            Bytes::copy_from_slice(&self.body)
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// Adds one event in the JSON format, and where its id is.
fn push_json(body: &mut Vec<u8>, at: &mut Vec<usize>, id: &str, data: &str) {
    body.extend_from_slice(br#"{"specversion":"1.0","id":""#);
    at.push(body.len());
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(br#"","source":"/reveille/bench","type":"dev.reveille.bench","#);
    body.extend_from_slice(br#""datacontenttype":"application/json","data":"#);
    body.extend_from_slice(data.as_bytes());
    body.push(b'}');
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::cli::bench::Stop;
    use crate::event::decode::decode;

    async fn sent(mode: Mode, batch: usize) -> Vec<(String, usize)> {
        let uri: Uri = "http://h:1/ns/b?q".parse().unwrap();
        let plan =
            LoadPlan { mode, batch, size_bytes: 64, run: "run".to_owned(), ..LoadPlan::new("", Stop::Events(1)) };
        let mut template = Template::new(&plan, &uri);
        let mut all = Vec::new();
        for number in [0, 0xabc] {
            let (parts, body) = template.request(Sequence { connection: 3, number }).into_parts();
            assert_eq!(
                (parts.uri.to_string().as_str(), &parts.headers[HOST]),
                ("/ns/b?q", &HeaderValue::from_static("h:1"))
            );
            let events = decode(&parts.headers, body.collect().await.unwrap().to_bytes()).unwrap().into_events();
            all.extend(events.iter().map(|event| (event.id().to_owned(), event.body().len())));
        }
        all
    }

    #[tokio::test]
    async fn each_mode_sends_events_with_ids_of_their_own() {
        let id = |n: u64| (format!("run-0003-{n:010x}"), 64);
        assert_eq!(sent(Mode::Binary, 1).await, [id(0), id(0xabc)]);
        assert_eq!(sent(Mode::Structured, 1).await, [id(0), id(0xabc)]);
        assert_eq!(sent(Mode::Batch, 2).await, [id(0), id(1), id(0xabc), id(0xabd)]);
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let sequence = Sequence { connection: 0xbeef, number: 0xff_ffff_ffff };
        let mut id = b"run                ".to_vec();
        sequence.write(&mut id);
        assert_eq!(Sequence::read("run", std::str::from_utf8(&id).unwrap()), Some(sequence));
        for other in ["run", "run-", "other-0000-0000000000", "run-zzzz-0000000000", ""] {
            assert_eq!(Sequence::read("run", other), None, "{other}");
        }
    }
}
