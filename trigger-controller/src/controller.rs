//! The loop that owns the [`World`]: notes of the watches in, writes out.
//!
//! *Responsibility*: applies what the watches say, plans every object concerned, and writes what differs. *Inputs*:
//! notes, the lead, ends of writes. *Invariants*: one task owns world and queue; at most [`WRITES_MAX`] writes at
//! once and one per object; without the lead nothing is written and what is under way is dropped; with it again
//! every object is looked at anew. *Not here*: decisions about statuses, which are [`crate::plan`]'s.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::WriteError;
use crate::events::{Events, notices};
use crate::health::Readiness;
use crate::lease::Leadership;
use crate::metrics::{KindLabel, Metrics};
use crate::plan::{Settings, plan};
use crate::queue::Queue;
use crate::reconcile::{Writer, due};
use crate::watch::{self, NOTES_MAX, Note, Part, What};
use crate::world::{Gvk, Key, Kind, KindState, World, base_kinds};

/// Writes at once: enough to use an API server well, and far below what its fairness allows one client.
const WRITES_MAX: usize = 16;
/// Notes applied before anything else has its turn.
const NOTES_AT_ONCE: usize = 256;
/// How long an object whose references have not been read yet waits before its status says so.
const PENDING_GRACE: Duration = Duration::from_secs(5);

/// What the loop works with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) writer: Writer,
    pub(crate) events: Events,
    pub(crate) leadership: Leadership,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    /// Seconds after which a watch is begun anew, and a silent one counts as dead.
    pub(crate) watch_timeout_seconds: u32,
    /// How long the data plane may be without a ready endpoint before that is said.
    pub(crate) ingress_grace: Duration,
}

/// The loop, see the module.
pub(crate) struct Controller {
    parts: Parts,
    world: World,
    queue: Queue,
    writes: JoinSet<Written>,
    watches: HashMap<Gvk, JoinHandle<()>>,
    /// Since when an object waits for what it refers to.
    pending: HashMap<Key, Instant>,
    /// When a data plane without a ready endpoint counts as gone.
    data_plane_until: Option<Instant>,
    notes: mpsc::Receiver<Note>,
    notes_to: mpsc::Sender<Note>,
}

/// The end of a write.
#[derive(Debug)]
struct Written {
    key: Key,
    result: Result<Value, WriteError>,
    began: Instant,
}

impl Controller {
    /// Nothing is read yet.
    pub(crate) fn new(parts: Parts) -> Self {
        let (notes_to, notes) = mpsc::channel(NOTES_MAX);
        Self {
            parts,
            world: World::default(),
            queue: Queue::default(),
            writes: JoinSet::new(),
            watches: HashMap::new(),
            pending: HashMap::new(),
            data_plane_until: None,
            notes,
            notes_to,
        }
    }

    /// Runs until `stop`; writes under way are dropped then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        for gvk in self.base_kinds() {
            self.watch(gvk);
        }
        let mut leads = false;
        loop {
            let wake = self.queue.due(Instant::now()).filter(|_| leads && self.writes.len() < WRITES_MAX);
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.parts.leadership.changed() => {}
                Some(note) = self.notes.recv() => self.hear(note),
                Some(end) = self.writes.join_next() => {
                    if let Ok(written) = end {
                        self.settle(written);
                    }
                }
                () = sleep_until(wake) => {}
                () = sleep_until(self.data_plane_until) => self.give_data_plane_up(),
            }
            let now = self.parts.leadership.holds();
            if now != leads {
                leads = now;
                self.lead(leads).await;
            }
            if leads {
                self.work();
            }
            self.parts.metrics.queue_depth.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
        }
        self.writes.shutdown().await;
        self.watches.values().for_each(JoinHandle::abort);
    }

    /// The lead was gained, or lost.
    async fn lead(&mut self, leads: bool) {
        self.writes.shutdown().await;
        self.queue.clear();
        self.pending.clear();
        if leads {
            let now = Instant::now();
            for key in self.world.keys() {
                self.queue.add(key, now);
            }
        }
    }

    /// The kinds that are watched whoever refers to them.
    fn base_kinds(&self) -> impl Iterator<Item = Gvk> + use<> {
        let looked_at = self.parts.settings.ingress_service.is_some();
        base_kinds().into_iter().filter(move |gvk| looked_at || *gvk != Gvk::endpoint_slice())
    }

    fn watch(&mut self, gvk: Gvk) {
        let slices = gvk == Gvk::endpoint_slice();
        let part = self.parts.settings.ingress_service.as_ref().filter(|_| slices).map(|service| Part {
            namespace: service.namespace.clone(),
            labels: format!("kubernetes.io/service-name={}", service.name),
        });
        let handle = watch::start(
            self.parts.client.clone(),
            gvk.clone(),
            part,
            self.parts.watch_timeout_seconds,
            self.notes_to.clone(),
            self.parts.metrics.clone(),
        );
        if let Some(old) = self.watches.insert(gvk, handle) {
            old.abort();
        }
    }

    /// Applies a note and those that wait behind it.
    fn hear(&mut self, first: Note) {
        let mut dirty = self.apply(&first);
        for _ in 1..NOTES_AT_ONCE {
            let Ok(note) = self.notes.try_recv() else { break };
            dirty.append(&mut self.apply(&note));
        }
        let now = Instant::now();
        for key in dirty {
            self.queue.add(key, now);
        }
        self.follow_references();
        self.follow_data_plane(now);
        self.tell_readiness();
    }

    /// A data plane that restarts is not gone: every Broker and Trigger would be written twice for nothing.
    fn follow_data_plane(&mut self, now: Instant) {
        if !self.world.data_plane_falters() {
            self.data_plane_until = None;
        } else if self.data_plane_until.is_none() {
            tracing::warn!("the broker has no ready endpoint");
            self.data_plane_until = Some(now + self.parts.ingress_grace);
        }
    }

    fn give_data_plane_up(&mut self) {
        self.data_plane_until = None;
        let now = Instant::now();
        for key in self.world.give_data_plane_up() {
            self.queue.add(key, now);
        }
    }

    fn apply(&mut self, note: &Note) -> BTreeSet<Key> {
        let gvk = &note.gvk;
        if !self.watches.contains_key(gvk) {
            return BTreeSet::new();
        }
        match &note.what {
            What::Begin => {
                self.world.begin(gvk);
                BTreeSet::new()
            }
            What::Apply(object) => self.world.apply(gvk, object),
            What::Delete(place) => self.world.delete(gvk, place),
            What::Finish => self.world.finish(gvk),
            What::Refused(state) => self.world.refuse(gvk, state.clone()),
        }
    }

    /// Watches the kinds that are referred to, and no others.
    fn follow_references(&mut self) {
        let mut wanted = self.world.wanted();
        wanted.extend(self.base_kinds());
        let unwanted: Vec<Gvk> = self.watches.keys().filter(|gvk| !wanted.contains(gvk)).cloned().collect();
        for gvk in unwanted {
            if let Some(handle) = self.watches.remove(&gvk) {
                handle.abort();
            }
            self.world.forget(&gvk);
        }
        for gvk in wanted {
            if !self.watches.contains_key(&gvk) {
                tracing::info!(kind = gvk.kind, group = gvk.api_version(), "watching a kind that is referred to");
                self.watch(gvk);
            }
        }
        self.parts.metrics.watched_kinds.set(i64::try_from(self.watches.len()).unwrap_or(i64::MAX));
    }

    fn tell_readiness(&self) {
        let unread: Vec<String> = [Gvk::broker(), Gvk::trigger(), Gvk::service()]
            .iter()
            .filter_map(|gvk| match self.world.state(gvk) {
                KindState::Listed => None,
                KindState::Pending => Some(format!("{} objects are still being read", gvk.kind)),
                KindState::Absent => Some(format!(
                    "the API server has no kind {} in {}; install the CustomResourceDefinitions",
                    gvk.kind,
                    gvk.api_version()
                )),
                KindState::Forbidden(words) => Some(format!("{} objects may not be read: {words}", gvk.kind)),
            })
            .collect();
        self.parts.readiness.unread(unread);
    }

    /// Looks at objects whose turn it is, as far as writes may begin.
    fn work(&mut self) {
        let now = Instant::now();
        while self.writes.len() < WRITES_MAX {
            let Some(key) = self.queue.pop(now) else { break };
            self.look_at(key, now);
        }
    }

    fn look_at(&mut self, key: Key, now: Instant) {
        let metrics = self.parts.metrics.clone();
        if self.world.subject(&key).is_none() {
            self.queue.forget(&key);
            self.pending.remove(&key);
            return;
        }
        let Some(planned) = plan(&self.world, &key, &self.parts.settings) else {
            metrics.looked(key.kind, "ignored", now.elapsed());
            return;
        };
        if planned.faults > 0 {
            metrics.faulty_objects.get_or_create(&KindLabel { kind: key.kind.as_str().to_owned() }).inc();
        }
        if planned.pending {
            let since = *self.pending.entry(key.clone()).or_insert(now);
            let over = since + PENDING_GRACE;
            if now < over {
                metrics.looked(key.kind, "pending", now.elapsed());
                self.queue.add_later(key, over - now, now);
                return;
            }
        } else {
            self.pending.remove(&key);
        }
        let Some((subject, planned)) = due(&self.world, &key, planned) else {
            metrics.looked(key.kind, "unchanged", now.elapsed());
            self.queue.settled(&key);
            return;
        };
        if let Some(wait) = self.queue.must_rest(&key, now) {
            self.queue.add_later(key, wait, now);
            return;
        }
        self.queue.begin(&key);
        let writer = self.parts.writer.clone();
        let events = self.parts.events.clone();
        self.writes.spawn(async move {
            let result = writer.write(&key, &subject, &planned).await;
            if result.is_ok() {
                events.tell(&key, &subject, notices(&subject, &planned));
            }
            Written { key, result, began: now }
        });
    }

    fn settle(&mut self, written: Written) {
        let Written { key, result, began } = written;
        let now = Instant::now();
        let took = now - began;
        let metrics = &self.parts.metrics;
        match result {
            Ok(object) => {
                metrics.wrote(key.kind, "ok");
                metrics.looked(key.kind, "written", took);
                let gvk = match key.kind {
                    Kind::Broker => Gvk::broker(),
                    Kind::Trigger => Gvk::trigger(),
                };
                let dirty = self.world.apply(&gvk, &object);
                self.queue.succeeded(&key, now);
                for key in dirty {
                    self.queue.add(key, now);
                }
                tracing::debug!(kind = key.kind.as_str(), object = %key.place, "status written");
            }
            Err(error) => {
                metrics.wrote(key.kind, error.label());
                metrics.looked(key.kind, error.label(), took);
                let (kind, object) = (key.kind.as_str(), &key.place);
                match error {
                    WriteError::NotLeader | WriteError::Gone | WriteError::Conflict(_) => {
                        tracing::debug!(kind, %object, %error, "status not written");
                    }
                    _ => tracing::warn!(kind, %object, %error, "status not written; it is tried again"),
                }
                self.queue.failed(&key, now);
            }
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
