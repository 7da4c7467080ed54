//! One watch per kind, for all namespaces or for a part of the kind.
//!
//! *Responsibility*: finds out by discovery whether the API server has the kind, lists it, watches it, and goes on
//! through every failure. *Outputs*: [`Note`]s in one bounded channel. *Invariants*: the consumer slow, the watch
//! waits; a kind that is missing or forbidden is said to be so, and tried again. *Not here*: what the objects mean.

use std::time::Duration;

use futures_util::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{code, words};
use crate::metrics::{KindLabel, Metrics};
use crate::world::{Gvk, KindState, Place};

/// Notes on the way to the controller: two pages of a list; a watch that is ahead of it waits.
pub(crate) const NOTES_MAX: usize = 1024;

/// Waits between looks at a kind that is missing or forbidden: from soon after its definition is applied to rarely.
const RECHECK: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

/// What a watch has to say.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) gvk: Gvk,
    pub(crate) what: What,
}

/// See [`Note`].
#[derive(Debug)]
pub(crate) enum What {
    /// A list begins.
    Begin,
    /// An object is there, or changed.
    Apply(Box<Value>),
    /// An object is gone.
    Delete(Place),
    /// The list is complete.
    Finish,
    /// The kind cannot be listed.
    Refused(KindState),
}

/// A part of a kind: the objects of one namespace that bear a label.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) namespace: String,
    /// As a label selector.
    pub(crate) labels: String,
}

/// Starts the watch of a kind, or of a part of it; it ends when the handle is aborted or nobody hears the notes any more.
pub(crate) fn start(
    client: Client,
    gvk: Gvk,
    part: Option<Part>,
    timeout_seconds: u32,
    notes: mpsc::Sender<Note>,
    metrics: Metrics,
) -> JoinHandle<()> {
    let watch = Watch { client, gvk, part, timeout_seconds, notes, metrics };
    tokio::spawn(async move {
        let _ = watch.run().await;
    })
}

/// Waits between the failures of one watch. A list that begins is no success yet, so only time without a failure makes
/// the waits short again.
#[derive(Debug, Default)]
struct Calm {
    failures: usize,
    last: Option<Instant>,
}

/// Waits between failures: an API server that comes back is found within seconds, one that is gone is not pressed.
const WAITS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// How long without a failure makes the waits short again.
const CALM_AFTER: Duration = Duration::from_secs(30);

impl Iterator for Calm {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_none_or(|last| now > last + CALM_AFTER) {
            self.failures = 0;
        }
        self.last = Some(now);
        let wait = WAITS.get(self.failures).or(WAITS.last()).copied();
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

impl Backoff for Calm {
    fn reset(&mut self) {}
}

struct Watch {
    client: Client,
    gvk: Gvk,
    part: Option<Part>,
    timeout_seconds: u32,
    notes: mpsc::Sender<Note>,
    metrics: Metrics,
}

/// Nobody hears the notes any more.
struct Unheard;

impl Watch {
    async fn run(self) -> Result<(), Unheard> {
        let mut failures = 0_usize;
        loop {
            match self.discover().await {
                Ok(api) => {
                    if self.follow(api, &mut failures).await? {
                        failures = 0;
                    }
                }
                Err(error) => self.refused(&error, failures).await?,
            }
            let wait = RECHECK.get(failures).or(RECHECK.last()).copied().unwrap_or_default();
            failures = failures.saturating_add(1);
            tokio::time::sleep(wait).await;
        }
    }

    async fn discover(&self) -> Result<Api<DynamicObject>, kube::Error> {
        let gvk = GroupVersionKind::gvk(&self.gvk.group, &self.gvk.version, &self.gvk.kind);
        let limit = Duration::from_secs(u64::from(self.timeout_seconds));
        let found = tokio::time::timeout(limit, pinned_kind(&self.client, &gvk)).await;
        let (resource, capabilities) = found.map_err(|elapsed| kube::Error::Service(Box::new(elapsed)))??;
        if capabilities.scope == Scope::Cluster {
            tracing::debug!(kind = self.gvk.kind, "kind is not namespaced; references to it lead nowhere");
        }
        let client = self.client.clone();
        Ok(match &self.part {
            Some(part) => Api::namespaced_with(client, &part.namespace, &resource),
            None => Api::all_with(client, &resource),
        })
    }

    /// Follows the watch until the kind turns out missing or forbidden. Whether it was listed at all.
    async fn follow(&self, api: Api<DynamicObject>, failures: &mut usize) -> Result<bool, Unheard> {
        let mut config = watcher::Config::default().timeout(self.timeout_seconds);
        if let Some(part) = &self.part {
            config = config.labels(&part.labels);
        }
        let mut events = std::pin::pin!(watcher(api, config).backoff(Calm::default()));
        let mut listed = false;
        while let Some(event) = events.next().await {
            let what = match event {
                Ok(Event::Init) => What::Begin,
                Ok(Event::InitApply(object) | Event::Apply(object)) => match serde_json::to_value(object) {
                    Ok(value) => What::Apply(Box::new(value)),
                    Err(error) => {
                        tracing::warn!(kind = self.gvk.kind, %error, "object cannot be read; it is left out");
                        self.metrics.unreadable(&self.gvk.kind);
                        continue;
                    }
                },
                Ok(Event::Delete(object)) => {
                    let meta = object.metadata;
                    let namespace = meta.namespace.unwrap_or_default();
                    What::Delete(Place { namespace, name: meta.name.unwrap_or_default() })
                }
                Ok(Event::InitDone) => {
                    listed = true;
                    What::Finish
                }
                Err(error) => {
                    self.metrics.watch_errors.get_or_create(&KindLabel { kind: self.gvk.kind.clone() }).inc();
                    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = &error
                    else {
                        tracing::debug!(kind = self.gvk.kind, %error, "watch interrupted");
                        continue;
                    };
                    if matches!(code(cause), Some(403..=405)) {
                        self.refused(cause, *failures).await?;
                        return Ok(listed);
                    }
                    tracing::warn!(kind = self.gvk.kind, error = words(cause), "watch failed; it goes on");
                    continue;
                }
            };
            self.say(what).await?;
        }
        Ok(listed)
    }

    async fn refused(&self, error: &kube::Error, failures: usize) -> Result<(), Unheard> {
        let state = match (code(error), error) {
            (Some(404 | 405), _) | (None, kube::Error::Discovery(_)) => KindState::Absent,
            (Some(401 | 403), _) => KindState::Forbidden(words(error)),
            _ => {
                // The API server has trouble: what is known stays.
                tracing::warn!(kind = self.gvk.kind, error = words(error), "kind cannot be looked up; tried again");
                return Ok(());
            }
        };
        if failures == 0 {
            let (kind, group) = (&self.gvk.kind, self.gvk.api_version());
            tracing::warn!(kind, group, error = words(error), "kind cannot be watched; tried again");
        }
        self.say(What::Refused(state)).await
    }

    async fn say(&self, what: What) -> Result<(), Unheard> {
        self.notes.send(Note { gvk: self.gvk.clone(), what }).await.map_err(|_| Unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_until_it_is_calm() {
        let mut calm = Calm::default();
        let waits: Vec<Duration> = calm.by_ref().take(6).collect();
        assert_eq!(waits, [WAITS.as_slice(), &[Duration::from_secs(4)]].concat());
        calm.reset();
        assert_eq!(calm.next(), Some(Duration::from_secs(4)), "a list that begins is no success");
        tokio::time::advance(CALM_AFTER + Duration::from_millis(1)).await;
        assert_eq!(calm.next(), Some(WAITS[0]));
    }
}
