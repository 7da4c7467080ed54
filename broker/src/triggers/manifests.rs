//! Brokers and Triggers from a directory of manifests that is read again when it changes.
//!
//! *In*: a directory. *Out*: a [`TableSource`], and the current [`ManifestFault`]s. *Invariants*: what was good and
//! turned bad stays in use as it was until it is mended or deleted; what a Trigger counts as its creation, the moment
//! it was first read, survives a restart, and is durable before the table that has it is published. *Not here*: what
//! a manifest may say ([`super::load`], [`schemas::validate`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::convert::Defaults;
use super::load::{Loaded, ManifestError, ManifestFault, Object, ObjectKey, Severity, settle, whole};
use super::scan::{Files, scan};
use super::seen::{Seen, load_seen};
use super::table::{Knowledge, TableSource, TableWriter};
use crate::clock::{Clock, UnixMicros};
use crate::metrics::Metrics;
use crate::state::{StateError, StateStore};

/// How long changes are gathered before the directory is read: editors write a file in several steps.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often the directory is looked at besides: changes behind symbolic links that lead elsewhere make no event.
const RESCAN: Duration = Duration::from_secs(10);
/// How often it is looked at where the system gives no events at all.
const RESCAN_WITHOUT_EVENTS: Duration = Duration::from_secs(2);

/// How long objects must be gone from the files before they count as deleted.
const REMOVAL_GRACE: Duration = Duration::from_millis(300);

/// The objects that stay as they were although their file has no such ones any more, by file.
type Kept = BTreeMap<String, Vec<ObjectKey>>;

/// What the source of manifests needs.
#[derive(Debug, Clone)]
pub struct ManifestConfig {
    /// The directory.
    pub directory: PathBuf,
    /// What objects leave unsaid.
    pub defaults: Defaults,
    /// The time.
    pub clock: Clock,
    /// Keeps since when Triggers are there, under `seen/NAMESPACE/NAME`.
    pub store: Arc<dyn StateStore>,
    /// Counts faults.
    pub metrics: Metrics,
}

/// Why the source of manifests cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be read.
    #[error(transparent)]
    Directory(#[from] ManifestError),
    /// The state store cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A handle on the source: what is wrong at the moment.
#[derive(Debug, Clone, Default)]
pub struct Manifests(Arc<ArcSwap<Vec<ManifestFault>>>);

impl Manifests {
    /// Reads the directory once and publishes the first table; the service keeps it current.
    ///
    /// # Errors
    /// [`StartError`] where the directory or the state store cannot be read; faulty manifests are no error.
    pub async fn start(config: ManifestConfig) -> Result<(Self, TableSource, ManifestService), StartError> {
        let (writer, source) = TableSource::new();
        let seen = load_seen(config.store.as_ref()).await?;
        let (changes, changed) = mpsc::channel(1);
        let mut service = ManifestService {
            watcher: None,
            faults: Self::default(),
            files: Files::default(),
            served: Loaded::default(),
            seen,
            kept: Kept::default(),
            unreadable: false,
            config,
            writer,
            changes,
            changed,
        };
        // Events are asked for before the first look, so that no change falls between the two; but a directory that
        // cannot be read at all is the caller's one error, not a warning before it.
        if service.config.directory.is_dir() {
            service.watch();
        }
        service.refresh(true).await?;
        Ok((service.faults.clone(), source, service))
    }

    /// Everything that is wrong now, in order of file and line; warnings too.
    #[must_use]
    pub fn faults(&self) -> Vec<ManifestFault> {
        self.0.load().as_ref().clone()
    }
}

/// Follows the directory's changes until it is stopped.
#[derive(Debug)]
pub struct ManifestService {
    config: ManifestConfig,
    writer: TableWriter,
    faults: Manifests,
    files: Files,
    served: Loaded,
    seen: Seen,
    kept: Kept,
    unreadable: bool,
    watcher: Option<RecommendedWatcher>,
    changes: mpsc::Sender<()>,
    changed: mpsc::Receiver<()>,
}

impl ManifestService {
    /// Runs until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = if self.watcher.is_some() { RESCAN } else { RESCAN_WITHOUT_EVENTS };
            let everything = tokio::select! {
                () = stop.cancelled() => return,
                _ = self.changed.recv() => {
                    tokio::time::sleep(DEBOUNCE).await;
                    while self.changed.try_recv().is_ok() {}
                    true
                }
                () = tokio::time::sleep(pause) => false,
            };
            if let Err(error) = self.refresh(everything || self.unreadable).await {
                // A directory that went away may come back as another one, which the old watch does not see.
                self.watcher = None;
                if !self.unreadable {
                    tracing::error!(%error, "manifests cannot be read; the last table stays in use");
                }
                self.unreadable = true;
                let place = self.config.directory.display().to_string();
                self.publish_faults(vec![whole(&place, error.to_string())]);
            } else {
                self.unreadable = false;
                if self.watcher.is_none() {
                    self.watch();
                }
            }
        }
    }

    /// Asks the system for events; without them the directory is looked at more often.
    fn watch(&mut self) {
        let changes = self.changes.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            // Our own reading makes access events; only the end of a writing one says something.
            let said = !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(kind)
                if kind != AccessKind::Close(AccessMode::Write)));
            if said {
                // A full queue already holds the news that there is something to look at.
                let _ = changes.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(&self.config.directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                let every = RESCAN_WITHOUT_EVENTS.as_secs();
                tracing::warn!(%error, "no file events for manifests; looking every {every} s instead");
            }
        }
    }

    /// Reads the directory (`everything`, or only files whose size or times changed) and publishes what it holds.
    async fn refresh(&mut self, everything: bool) -> Result<(), ManifestError> {
        let now = self.config.clock.now();
        let Some((mut files, mut kept)) = self.look(everything).await? else { return Ok(()) };
        if !files.have_all(&self.served.objects) {
            // A file that is being written looks for a moment as if its objects were deleted.
            tokio::time::sleep(REMOVAL_GRACE).await;
            if let Some(again) = self.look(true).await? {
                (files, kept) = again;
            }
        }
        let loaded = settle(files.objects().cloned());
        let mut faults: Vec<_> = files.faults().chain(&loaded.faults).cloned().collect();
        faults.sort();
        self.remember(&files, &loaded, now, &faults).await;
        self.report(&faults, &files, kept);
        let seen = &self.seen;
        let mut table = loaded.table(self.config.defaults, |key| seen.since(key).unwrap_or(now));
        // What cannot be read may be a Broker or a Trigger.
        if files.faults().any(|fault| fault.severity == Severity::Error) {
            table.knowledge = Knowledge::Provisional;
        }
        if self.served.objects != loaded.objects {
            let triggers = table.brokers.values().map(|broker| broker.triggers.len()).sum::<usize>();
            tracing::info!("manifests give {} brokers and {triggers} triggers", table.brokers.len());
        }
        self.writer.publish(table);
        self.files = files;
        self.served = loaded;
        Ok(())
    }

    async fn look(&self, everything: bool) -> Result<Option<(Files, Kept)>, ManifestError> {
        let directory = self.config.directory.clone();
        let before = self.files.clone();
        let scanned = tokio::task::spawn_blocking(move || scan(&directory, &before, everything)).await;
        let scanned = scanned.map_err(|error| ManifestError::Unreadable {
            path: self.config.directory.display().to_string(),
            error: std::io::Error::other(error),
        })??;
        Ok(scanned.map(|scanned| scanned.after(&self.files, &self.served, &self.seen)))
    }

    /// Notes new Triggers and forgets deleted ones, durably.
    async fn remember(&mut self, files: &Files, loaded: &Loaded, now: UnixMicros, faults: &[ManifestFault]) {
        let present: BTreeSet<ObjectKey> = files.objects().map(Object::key).collect();
        let any_error = faults.iter().any(|fault| fault.severity == Severity::Error);
        let mut changes = self.seen.forget_absent(&present, |file| match file {
            Some(file) => !files.is_sound(file),
            // Read before a restart: its file is not known, so any faulty one may be it.
            None => any_error,
        });
        changes.extend(self.seen.note_present(loaded, now));
        if changes.is_empty() {
            return;
        }
        for (key, value) in changes {
            self.config.store.put(key, value);
        }
        if let Err(error) = self.config.store.flush().await {
            tracing::warn!(%error, "since when triggers are there may be forgotten by a crash");
        }
    }

    /// Logs what is new among the faults, and keeps them for whoever asks.
    fn report(&mut self, faults: &[ManifestFault], files: &Files, kept: Kept) {
        let before = self.faults.0.load();
        for fault in faults.iter().filter(|fault| !before.contains(fault)) {
            tracing::warn!(error = %fault, "manifest fault");
        }
        self.kept.retain(|file, _| !files.is_sound(file));
        for (file, keys) in kept {
            if self.kept.get(&file) != Some(&keys) {
                let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
                tracing::warn!("{file} is faulty; in use as last read: {}", names.join(", "));
                self.kept.insert(file, keys);
            }
        }
        if faults.is_empty() && !before.is_empty() {
            tracing::info!("manifests are mended");
        }
        self.publish_faults(faults.to_vec());
    }

    fn publish_faults(&self, faults: Vec<ManifestFault>) {
        let errors = faults.iter().filter(|fault| fault.severity == Severity::Error).count();
        self.config.metrics.manifest_faults.set(i64::try_from(errors).unwrap_or(i64::MAX));
        self.faults.0.store(Arc::new(faults));
    }
}

#[cfg(test)]
mod tests;
