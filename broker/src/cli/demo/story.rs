//! The story: what is done, and what is then seen.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use schemas::admin::{DeliveryState, TriggerState};
use tokio::time::Instant;

use super::stage::Stage;
use super::watch::{BROKER, Watch};
use crate::app::Addrs;
use crate::cli::connect::cause;
use crate::cli::fault::{Exit, Fault};
use crate::event::{BodyKind, Event, SpecVersion, encode};

/// Events that follow the one which wakes the subscriber.
const GREETINGS: u32 = 9;
/// The port that the CLI looks at by itself.
const ADMIN_PORT: u16 = 9091;

/// All that the story needs.
#[derive(Debug)]
pub(super) struct Story<'a> {
    stage: &'a Stage,
    addrs: &'a Addrs,
    client: Client,
    watch: Watch,
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Tells one line, at once.
fn say<W: Write>(out: &impl Fn() -> W, line: Arguments<'_>) -> io::Result<()> {
    let mut out = out();
    writeln!(out, "{line}")?;
    out.flush()
}

impl<'a> Story<'a> {
    pub(super) fn new(stage: &'a Stage, addrs: &'a Addrs, client: Client, watch: Watch) -> Self {
        Self { stage, addrs, client, watch }
    }

    /// Tells it from beginning to end; fails where something does not happen.
    pub(super) async fn tell<W: Write>(&self, out: &impl Fn() -> W) -> Result<(), Fault> {
        self.opening(out).await?;
        let last = self.sleeper(out).await?;
        self.broken(out).await?;
        self.asleep_again(out, last).await?;
        self.closing(out)
    }

    async fn opening<W: Write>(&self, out: &impl Fn() -> W) -> Result<(), Fault> {
        let Addrs { ingress, health, admin } = self.addrs;
        say(out, format_args!("A broker runs in this process."))?;
        say(out, format_args!("  events go to   http://{ingress}/{}", BROKER.join("/")))?;
        say(out, format_args!("  admin API      http://{admin}"))?;
        say(out, format_args!("  metrics        http://{health}/metrics"))?;
        let fate = if self.stage.is_temporary() { " (removed at the end)" } else { "" };
        say(out, format_args!("  log            {}{fate}", self.stage.data().display()))?;
        say(out, format_args!("  Triggers       {}", self.stage.manifests().join("triggers.yaml").display()))?;
        self.watch.state("sleeper", TriggerState::Asleep).await?;
        self.watch.trigger("broken").await?;
        say(out, format_args!("\nTrigger `sleeper` is asleep: nothing of its subscriber runs."))?;
        Ok(())
    }

    /// Wakes the subscriber; when the last event was delivered.
    async fn sleeper<W: Write>(&self, out: &impl Fn() -> W) -> Result<Instant, Fault> {
        let begun = Instant::now();
        let (id, took) = self.publish("demo.greeting", "{\"hello\":0}").await?;
        let offset = self.watch.event(&id).await?.offset;
        say(out, format_args!("Published event #{offset} (demo.greeting): 202 in {}, fsynced.", milliseconds(took)))?;
        self.watch.state("sleeper", TriggerState::Awake).await?;
        let woken = begun.elapsed();
        say(out, format_args!("Its subscriber was woken: up {} after the event was published.", milliseconds(woken)))?;
        let delivery = self.watch.delivery(&id, "sleeper", DeliveryState::Delivered).await?;
        let delivered = begun.elapsed();
        if let Some(error) = delivery.attempts.iter().find_map(|attempt| attempt.error.as_ref()) {
            return Err(Fault::new(Exit::Failed, format!("an attempt failed while the subscriber was woken: {error}")));
        }
        say(
            out,
            format_args!("Delivered, {} after it was published. The wait used no retry.", milliseconds(delivered)),
        )?;

        let begun = Instant::now();
        let mut ids = Vec::new();
        for number in 1..=GREETINGS {
            ids.push(self.publish("demo.greeting", &format!("{{\"hello\":{number}}}")).await?.0);
        }
        let published = begun.elapsed();
        for id in &ids {
            self.watch.delivery(id, "sleeper", DeliveryState::Delivered).await?;
        }
        let (delivered, last) = (begun.elapsed(), Instant::now());
        let wakes = self.watch.wakes(self.addrs.health, "sleeper").await?;
        if wakes != 1 {
            return Err(Fault::new(
                Exit::Failed,
                format!("the subscriber of `sleeper` was started {wakes} times, not once"),
            ));
        }
        say(
            out,
            format_args!(
                "\nPublished {GREETINGS} more, one by one: all 202 in {}; all delivered after {}, by the same process (starts so far: {wakes}).",
                milliseconds(published),
                milliseconds(delivered)
            ),
        )?;
        Ok(last)
    }

    async fn broken<W: Write>(&self, out: &impl Fn() -> W) -> Result<(), Fault> {
        let (id, took) = self.publish("demo.payment", "{\"amount\":42}").await?;
        let offset = self.watch.event(&id).await?.offset;
        say(out, format_args!("\nPublished event #{offset} (demo.payment): 202 in {}.", milliseconds(took)))?;
        let letter = self.watch.dead_letter(&id).await?;
        self.watch.delivery(&id, "broken", DeliveryState::Dead).await?;
        let answer = letter.code.map_or_else(|| "no answer".to_owned(), |code| format!("HTTP {code}"));
        say(
            out,
            format_args!(
                "The subscriber of Trigger `broken` refused it {} times ({answer}), so it is a dead letter: {}.",
                letter.attempts, letter.reason
            ),
        )?;
        say(out, format_args!("It is kept, with its reason, until a person looks at it."))?;
        Ok(())
    }

    async fn asleep_again<W: Write>(&self, out: &impl Fn() -> W, last: Instant) -> Result<(), Fault> {
        let item = self.watch.state("sleeper", TriggerState::Asleep).await?;
        if item.lag.events != 0 || item.dead_letters != 0 {
            let message =
                format!("Trigger sleeper has {} events left and {} dead letters", item.lag.events, item.dead_letters);
            return Err(Fault::new(Exit::Failed, message));
        }
        let idle = last.elapsed().as_secs_f64();
        say(
            out,
            format_args!(
                "\nNothing came for `sleeper` for {idle:.1} s: its subscriber was stopped. It is asleep again."
            ),
        )?;
        Ok(())
    }

    fn closing<W: Write>(&self, out: &impl Fn() -> W) -> Result<(), Fault> {
        let command = self.stage.command();
        let Addrs { ingress, admin, .. } = self.addrs;
        let mut flags = String::new();
        if admin.port() != ADMIN_PORT {
            flags = format!(" --admin http://{admin}");
        }
        say(out, format_args!("\nLook further, in another terminal:"))?;
        say(out, format_args!("  {command} triggers ls{flags}"))?;
        say(out, format_args!("  {command} dlq ls{flags}"))?;
        say(out, format_args!("\nWake it yourself:"))?;
        say(
            out,
            format_args!(
                "  curl -i http://{ingress}/{} -H 'ce-specversion: 1.0' -H 'ce-id: mine' -H 'ce-source: /me' \\\n       \
             -H 'ce-type: demo.greeting' -H 'content-type: application/json' -d '{{\"hello\":\"me\"}}'",
                BROKER.join("/")
            ),
        )?;
        Ok(())
    }

    /// Publishes an event over HTTP; its id, and how long the answer took. Only a 202 will do.
    async fn publish(&self, ty: &str, data: &str) -> Result<(String, Duration), Fault> {
        let id = uuid::Uuid::now_v7().to_string();
        let event = Event::builder(SpecVersion::V1)
            .attribute("id", &id)
            .attribute("source", "/reveille/demo")
            .attribute("type", ty)
            .attribute("datacontenttype", "application/json")
            .body(BodyKind::Binary, data.to_owned().into())
            .build()
            .map_err(anyhow::Error::from)?;
        let (headers, body) = encode::encode_binary(&event);
        let url = format!("http://{}/{}", self.addrs.ingress, BROKER.join("/"));
        let begun = Instant::now();
        let answer = self.client.post(url).headers(headers).body(body).send().await;
        let took = begun.elapsed();
        let answer = answer.map_err(|error| Fault::new(Exit::Failed, format!("cannot publish: {}", cause(&error))))?;
        let status = answer.status();
        if status != StatusCode::ACCEPTED {
            let text = answer.text().await.unwrap_or_default();
            return Err(Fault::new(Exit::Failed, format!("an event was refused with HTTP {status}: {text}")));
        }
        Ok((id, took))
    }
}
