//! One request through the proxy: the fault that it meets, or the API server's answer as it comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;

use super::Shared;
use super::rules::{Fault, Rule, hold, meet};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The API server takes no larger request either.
const BODY_LIMIT: usize = 4 << 20;
/// They are about one connection, or about the body as it was framed there; clients write their own.
const OF_ONE_CONNECTION: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];
/// What a watch says that starts from a version of which the API server has forgotten the successors.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version","reason":"Expired","code":410}}"#,
    "\n"
);

/// Answers a request; an error closes its connection.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let mut gate = Gate { rules: shared.rules.subscribe(), method: request.method().clone(), target };
    shared.note(request.method(), &gate.target);
    let fault = admit(&shared, &mut gate).await;
    match fault {
        Some(Fault::Cut) => return Err(closed()),
        Some(Fault::Answer(status)) => return Ok(refusal(status)),
        Some(Fault::ExpireWatch) => return Ok(json(StatusCode::OK, EXPIRED.to_owned())),
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::LoseAnswer | Fault::Stall) | None => {}
    }
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(io::Error::other)?.to_bytes();
    let url = format!("{}{}", shared.server, gate.target);
    let sent = shared.client.request(parts.method, url).headers(end_to_end(parts.headers)).body(body).send();
    // A cut that comes while the API server thinks counts too.
    let answer = tokio::select! {
        answer = sent => answer.map_err(io::Error::other)?,
        () = gate.cut() => return Err(closed()),
    };
    if fault == Some(Fault::LoseAnswer) {
        return Err(closed());
    }
    gate.pass().await?;
    let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
    let mut response = Response::new(StreamBody::new(relay(answer.bytes_stream(), gate)).boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The fault of a request as it comes; a stall is over when this returns.
async fn admit(shared: &Shared, gate: &mut Gate) -> Option<Fault> {
    let mut counted = false;
    loop {
        // First, so that a change after the look below is seen.
        gate.rules.mark_unchanged();
        let mut fault = None;
        shared.rules.send_if_modified(|rules| {
            fault = meet(rules, &gate.method, &gate.target);
            false
        });
        if fault.is_some() && !counted {
            counted = true;
            shared.faults.fetch_add(1, Ordering::Relaxed);
        }
        if fault != Some(Fault::Stall) || gate.rules.changed().await.is_err() {
            return fault;
        }
    }
}

/// The body, piece by piece as it comes, held or cut as the rules say.
fn relay<S>(pieces: S, gate: Gate) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send
where
    S: Stream<Item = reqwest::Result<Bytes>> + Send + Unpin,
{
    stream::unfold(Some((pieces, gate)), |state| async {
        let (mut pieces, mut gate) = state?;
        let piece = tokio::select! {
            piece = pieces.next() => piece?.map_err(io::Error::other),
            () = gate.cut() => Err(closed()),
        };
        match (piece, gate.pass().await) {
            (Ok(piece), Ok(())) => Some((Ok(Frame::data(piece)), Some((pieces, gate)))),
            (Err(error), _) | (_, Err(error)) => Some((Err(error), None)),
        }
    })
}

/// What the rules say about one request that is on its way.
struct Gate {
    rules: watch::Receiver<Vec<Rule>>,
    method: Method,
    target: String,
}

impl Gate {
    fn fault(&mut self) -> Option<Fault> {
        hold(&self.rules.borrow_and_update(), &self.method, &self.target)
    }

    /// Returns when nothing is stalled any more; an error is a cut.
    async fn pass(&mut self) -> io::Result<()> {
        loop {
            match self.fault() {
                Some(Fault::Cut) => return Err(closed()),
                Some(Fault::Stall) => self.rules.changed().await.map_err(|_| closed())?,
                _ => return Ok(()),
            }
        }
    }

    /// Returns when the rules say to cut, or when the proxy has ended.
    async fn cut(&mut self) {
        while self.fault() != Some(Fault::Cut) && self.rules.changed().await.is_ok() {}
    }
}

fn closed() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in &OF_ONE_CONNECTION {
        headers.remove(name);
    }
    headers
}

/// An answer that the API server could have given.
fn refusal(status: StatusCode) -> Response<Body> {
    let reason = match status {
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::GONE => "Expired",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "Unknown",
    };
    let message = format!("the test's proxy answers {status}");
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16(),
    });
    let mut response = json(status, body.to_string());
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
