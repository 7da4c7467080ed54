//! `reveille listen`: a local subscriber that prints what it gets, and answers as told, to rehearse failures.
//!
//! *Inputs*: requests, and a script of answers. *Outputs*: one item per event on stdout, the address and the sum on
//! stderr. *Invariants*: an item is queued before its request is answered, so an acknowledged event is printed; memory
//! is bounded, a slow reader of the output slows the answers. *Not here*: the broker's admin API; this knows of no
//! broker.

mod print;
#[cfg(test)]
mod tests;

use std::future::IntoFuture as _;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::print::{Item, Style};
use crate::clock::Clock;
use crate::config::Period;
use crate::drain::StopSignals;
use crate::event::decode::decode;
use crate::event::encode::STRUCTURED_JSON;
use crate::event::json::from_json_slice;

/// Largest request that is read: the broker's own limit for one, doubled.
const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Items waiting to be printed; enough for a burst, little enough to be lost when interrupted.
const PRINT_QUEUE_MAX: usize = 1024;

/// How long requests under way may take to end once the listening does, and what they brought to be printed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How items are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A line for people.
    Table,
    /// An indented JSON document.
    Json,
    /// A line of JSON.
    Ndjson,
}

/// Receive events as a subscriber, print them, and answer with chosen codes and delays
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  reveille listen --addr 8099
  reveille listen --code 503,503,200        refuse two, accept one, and so on
  reveille listen --delay PT3S --count 10   answer slowly, end after ten events
  reveille listen --reply answer.json       answer every 200 with this CloudEvent")]
pub struct ListenArgs {
    /// Address, or a port on this machine; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_parser = address)]
    addr: SocketAddr,
    /// Status codes of the answers, in turn, over and over
    #[arg(long, value_delimiter = ',', default_value = "200", value_parser = code)]
    code: Vec<StatusCode>,
    /// Wait this long before each answer: PT1S, 200ms
    #[arg(long, default_value = "PT0S")]
    delay: Period,
    /// End after this many events
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Body of the answers
    #[arg(long, conflicts_with = "reply")]
    body: Option<String>,
    /// Answer with the CloudEvent (JSON format) in this file wherever the code is 200
    #[arg(long)]
    reply: Option<PathBuf>,
    /// How to print events
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Print no events, only their number at the end
    #[arg(short, long)]
    quiet: bool,
}

/// What to answer.
#[derive(Debug, Clone, Default)]
struct Script {
    codes: Vec<StatusCode>,
    delay: Duration,
    body: Bytes,
    reply: Option<Bytes>,
    count: Option<u64>,
}

/// Runs `reveille listen` until the count is reached, or SIGINT or SIGTERM comes.
///
/// # Errors
/// When the address cannot be listened at, the reply is no CloudEvent, or stdout cannot be written.
pub async fn run(args: ListenArgs) -> anyhow::Result<()> {
    let mut signals = StopSignals::install().context("cannot wait for signals")?;
    let script = Script {
        codes: args.code,
        delay: args.delay.0,
        body: args.body.map(Bytes::from).unwrap_or_default(),
        reply: args.reply.as_deref().map(reply).transpose()?,
        count: args.count,
    };
    let listener = TcpListener::bind(args.addr)
        .await
        .with_context(|| format!("cannot listen at {}; choose another --addr", args.addr))?;
    eprintln!("listening at http://{}", listener.local_addr()?);
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = Style { output: args.output, colour };

    let (items, queue) = mpsc::channel(PRINT_QUEUE_MAX);
    let done = CancellationToken::new();
    let printed = printer(queue, style, args.quiet, done.clone());
    let stop = done.clone();
    tokio::spawn(async move {
        signals.asked().await;
        stop.cancel();
    });
    let seen = serve(listener, script, items, done).await?;
    // A request that does not end keeps the queue open; all that was taken before it is printed by then.
    if let Ok(printed) = tokio::time::timeout(END_PATIENCE, printed).await {
        printed.context("the printing thread ended early")??;
    }
    eprintln!("{seen} events");
    Ok(())
}

/// Prints on a thread of its own, since stdout may block. A reader that has gone away ends the listening.
fn printer(
    mut queue: mpsc::Receiver<Item>,
    style: Style,
    quiet: bool,
    done: CancellationToken,
) -> oneshot::Receiver<std::io::Result<()>> {
    let (ended, printed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut write = || {
            let mut stdout = std::io::stdout().lock();
            while let Some(item) = queue.blocking_recv() {
                if !quiet {
                    stdout.write_all(print::text(&item, style).as_bytes())?;
                    stdout.flush()?;
                }
            }
            Ok(())
        };
        let written = match write() {
            Err(error) if std::io::Error::kind(&error) == ErrorKind::BrokenPipe => Ok(()),
            written => written,
        };
        done.cancel();
        // Nobody waits when the listening itself failed.
        let _ = ended.send(written);
    });
    printed
}

/// What the handler shares.
struct Subscriber {
    script: Script,
    clock: Clock,
    turn: AtomicUsize,
    seen: AtomicU64,
    items: mpsc::Sender<Item>,
    done: CancellationToken,
}

/// Takes events until `done`; returns how many.
async fn serve(
    listener: TcpListener,
    script: Script,
    items: mpsc::Sender<Item>,
    done: CancellationToken,
) -> anyhow::Result<u64> {
    let (turn, seen) = (AtomicUsize::new(0), AtomicU64::new(0));
    let subscriber = Arc::new(Subscriber { script, clock: Clock::system(), turn, seen, items, done: done.clone() });
    let app = Router::new().fallback(handle).with_state(Arc::clone(&subscriber));
    let graceful = axum::serve(listener, app).with_graceful_shutdown(done.clone().cancelled_owned());
    let patience = async {
        done.cancelled().await;
        tokio::time::sleep(END_PATIENCE).await;
    };
    tokio::select! {
        served = graceful.into_future() => served?,
        () = patience => {}
    }
    Ok(subscriber.seen.load(Ordering::Acquire))
}

async fn handle(State(subscriber): State<Arc<Subscriber>>, request: Request) -> Response {
    if request.method() != Method::POST {
        let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, None, Bytes::new());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, None, Bytes::new());
    };
    let script = &subscriber.script;
    let turn = subscriber.turn.fetch_add(1, Ordering::Relaxed);
    let code = script.codes.get(turn % script.codes.len().max(1)).copied().unwrap_or_default();
    let received = subscriber.clock.now();
    let item = |content| Item { received, code: code.as_u16(), content };
    let size = body.len();
    let items = match decode(&parts.headers, body) {
        Ok(events) => events.into_events().into_iter().map(|event| item(Ok(event))).collect(),
        Err(error) => vec![item(Err(format!("{} with {size} bytes is no CloudEvent: {error}", parts.uri)))],
    };
    if !script.delay.is_zero() {
        tokio::time::sleep(script.delay).await;
    }
    if !subscriber.print(items).await {
        return answer(StatusCode::SERVICE_UNAVAILABLE, None, Bytes::new());
    }
    match &script.reply {
        Some(reply) if code == StatusCode::OK => answer(code, Some(STRUCTURED_JSON), reply.clone()),
        _ => answer(code, None, script.body.clone()),
    }
}

impl Subscriber {
    /// Queues items; `false` when the listening has ended, and the request was not taken.
    async fn print(&self, items: Vec<Item>) -> bool {
        let events = items.iter().filter(|item| item.content.is_ok()).count() as u64;
        let before = self.seen.fetch_add(events, Ordering::AcqRel);
        let count = self.script.count.unwrap_or(u64::MAX);
        if before >= count || self.done.is_cancelled() {
            self.seen.fetch_sub(events, Ordering::AcqRel);
            return false;
        }
        for item in items {
            if self.items.send(item).await.is_err() {
                return false;
            }
        }
        if before.saturating_add(events) >= count {
            self.done.cancel();
        }
        true
    }
}

fn answer(code: StatusCode, media_type: Option<&'static str>, body: Bytes) -> Response {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = code;
    if let Some(media_type) = media_type {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    answer
}

/// Reads and checks the event that answers carry.
fn reply(file: &Path) -> anyhow::Result<Bytes> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    from_json_slice(&text).with_context(|| format!("{} is no CloudEvent in the JSON format", file.display()))?;
    Ok(text.into())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => text.parse().map_err(|_| "must be a port or an address such as 127.0.0.1:8099".to_owned()),
    }
}

fn code(text: &str) -> Result<StatusCode, String> {
    let code = text.trim().parse::<u16>().ok().filter(|code| *code >= 200);
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    code.ok_or_else(|| "must be status codes from 200 to 999, such as 503,200".to_owned())
}
