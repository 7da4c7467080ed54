//! Publishing requests, paced and counted.

use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use schemas::admin::Problem;
use tokio::time::Instant;

use super::Mode;
use crate::cli::connect::cause;
use crate::cli::fault::{Exit, Fault};
use crate::event::{Event, encode};

/// How long a request may take: an fsync on a very busy disk stays far below.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What came of it all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events that were accepted.
    pub(super) accepted: u64,
    /// Events that were refused.
    pub(super) refused: u64,
    /// The exit code of the first refusal.
    pub(super) worst: Option<Exit>,
    /// Time spent in requests.
    pub(super) seconds: f64,
}

/// Publishes to one Broker.
#[derive(Debug)]
pub(super) struct Publisher {
    client: Client,
    url: Url,
    mode: Mode,
    /// Time between events.
    gap: Duration,
    /// When the next event may go.
    due: Instant,
    tally: Tally,
}

impl Publisher {
    /// To the Broker at `url`, at `rate` events a second at the most.
    pub(super) fn new(client: Client, url: Url, mode: Mode, rate: Option<NonZeroU32>) -> Self {
        let gap = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Self { client, url, mode, gap, due: Instant::now(), tally: Tally::default() }
    }

    /// What came of it so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Publishes a group of events in one request (of one event, unless the mode is `batch`). A refusal is counted and
    /// told on stderr; only a broker that cannot be reached ends it all.
    pub(super) async fn send(&mut self, events: Vec<Event>) -> Result<(), Fault> {
        tokio::time::sleep_until(self.due).await;
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        self.due = self.due.max(Instant::now()) + self.gap * count;
        let begun = Instant::now();
        let response = self.request(&events).timeout(REQUEST_TIMEOUT).send().await;
        self.tally.seconds += begun.elapsed().as_secs_f64();
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status == StatusCode::ACCEPTED {
            self.tally.accepted += u64::from(count);
            return Ok(());
        }
        let fault = response.json::<Problem>().await.map(|problem| (problem.to_string(), Fault::from(problem)));
        let (told, fault) = fault.unwrap_or_else(|_| {
            let text = format!("HTTP {status} from {}: this is no ingress of Reveille; check --ingress", self.url);
            (text.clone(), Fault::new(Exit::Refused, text))
        });
        let ids: Vec<_> = events.iter().map(Event::id).take(1).collect();
        let more = if events.len() > 1 { format!(" and {} more", events.len() - 1) } else { String::new() };
        eprintln!("refused {}{more}: {told}", ids.concat());
        self.tally.refused += u64::from(count);
        self.tally.worst.get_or_insert_with(|| fault.exit());
        Ok(())
    }

    fn request(&self, events: &[Event]) -> RequestBuilder {
        let request = self.client.post(self.url.clone());
        match (self.mode, events) {
            (Mode::Binary, [event]) => {
                let (headers, body) = encode::encode_binary(event);
                request.headers(headers).body(body)
            }
            (Mode::Structured, [event]) => {
                let body = encode::encode_structured(event);
                request.header(CONTENT_TYPE, "application/cloudevents+json").body(body)
            }
            _ => {
                let body = encode::encode_batch(events);
                request.header(CONTENT_TYPE, "application/cloudevents-batch+json").body(body)
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        let message = format!(
            "cannot publish to {}: {}; {} events were accepted before; start a broker with `reveille serve`, or say \
             where it is with --ingress URL",
            self.url,
            cause(error),
            self.tally.accepted
        );
        Fault::new(Exit::Unreachable, message)
    }
}
