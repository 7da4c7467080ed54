//! Logs of Brokers that are gone: kept for a grace period, shown meanwhile, then removed.
//!
//! *Inputs*: the table, cursors, the data directory. *Outputs*: the list of [`Orphans`], metrics, a line in the log for
//! each that goes. *Invariants*: nothing is judged by a table that may lack something; what a Trigger that exists has
//! still to get is never removed; a Broker that comes back in time finds its log as it was.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;
use super::engine::LogOpener;
use super::store;
use crate::clock::{Clock, UnixMicros};
use crate::log::{Bounds, BrokerLogs, LogId, Orphan, Orphans};
use crate::metrics::{BrokerLabels, Metrics};
use crate::names::{BrokerKey, TriggerKey};
use crate::state::{Cursor, StateStore};
use crate::triggers::{Knowledge, Table};

/// How often they are looked at, where there are any.
pub(super) const REVIEW_EVERY: Duration = Duration::from_secs(5);

/// What an orphaned log held when it was last open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    id: LogId,
    bounds: Bounds,
    dead_letters: u64,
}

impl Extent {
    fn of(logs: &BrokerLogs) -> Self {
        let letters = logs.dead_letters.bounds();
        let dead_letters = letters.next.0.saturating_sub(letters.first.0);
        Self { id: logs.id, bounds: logs.events.bounds(), dead_letters }
    }
}

/// What [`OrphanKeeper`] needs.
#[derive(Debug)]
pub(super) struct OrphanParts {
    pub(super) data: Arc<DataDir>,
    /// How long a log is kept after its Broker is gone.
    pub(super) grace: Duration,
    pub(super) clock: Clock,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) metrics: Metrics,
    pub(super) opener: Arc<LogOpener>,
    /// What people are told.
    pub(super) shown: Orphans,
    /// Cuts the deletion of files short.
    pub(super) stop: CancellationToken,
}

/// See the module.
#[derive(Debug)]
pub(super) struct OrphanKeeper {
    parts: OrphanParts,
    /// `None` for those that cannot be opened.
    extents: BTreeMap<BrokerKey, Option<Extent>>,
    clearing: Option<JoinHandle<io::Result<()>>>,
}

/// The Triggers that have, or may have, still to get something from a log.
fn holders(
    table: &Table,
    cursors: &BTreeMap<TriggerKey, Cursor>,
    key: &BrokerKey,
    extent: Option<Extent>,
) -> Vec<TriggerKey> {
    let done = |trigger: &TriggerKey| {
        let Some((cursor, extent)) = cursors.get(trigger).zip(extent) else { return false };
        let of_it = cursor.broker == *key && cursor.log == extent.id;
        of_it && cursor.unsettled.is_empty() && cursor.scanned >= extent.bounds.next
    };
    let names = |(trigger, broker): &(&TriggerKey, &Option<BrokerKey>)| match broker {
        Some(broker) => broker == key,
        None => trigger.namespace == key.namespace,
    };
    table.unserved.iter().filter(names).map(|(trigger, _)| trigger).filter(|trigger| !done(trigger)).cloned().collect()
}

impl OrphanKeeper {
    pub(super) fn new(parts: OrphanParts) -> Self {
        Self { parts, extents: BTreeMap::new(), clearing: None }
    }

    /// How long a log is kept.
    pub(super) fn grace(&self) -> Duration {
        self.parts.grace
    }

    /// Takes note of a log that is about to be closed.
    pub(super) fn closing(&mut self, logs: &BrokerLogs) {
        self.extents.insert(logs.key.clone(), Some(Extent::of(logs)));
    }

    /// Whether there is anything to look at again.
    pub(super) fn is_busy(&self) -> bool {
        !self.parts.shown.all().is_empty() || self.clearing.is_some()
    }

    /// Looks at all of them. Trouble is logged, and what it kept from being done is tried again the next time.
    pub(super) async fn review(&mut self, table: &Table) {
        if let Err(error) = self.try_review(table).await {
            tracing::warn!(%error, "the logs of removed brokers cannot be looked after");
        }
        if let Err(error) = self.clear().await {
            tracing::warn!(%error, "files of removed brokers cannot be deleted");
        }
    }

    async fn try_review(&mut self, table: &Table) -> anyhow::Result<()> {
        self.extents.retain(|key, _| !table.brokers.contains_key(key));
        if table.knowledge != Knowledge::Complete {
            // None may be removed now; those whose Brokers are back are none any more.
            let shown = self.parts.shown.all();
            let rest = shown.iter().filter(|orphan| !table.brokers.contains_key(&orphan.key));
            self.show(rest.cloned().collect());
            return Ok(());
        }
        let (now, mut orphans, mut cursors) = (self.parts.clock.now(), Vec::new(), None);
        for (key, since, disk_bytes) in self.look(table, now).await? {
            let extent = self.extent(&key).await;
            let until = since.after(self.parts.grace);
            let mut held_by = Vec::new();
            if now >= until {
                if cursors.is_none() {
                    cursors = Some(self.parts.state.load_cursors().await?.into_iter().collect());
                }
                held_by = holders(table, cursors.get_or_insert_default(), &key, extent);
                if held_by.is_empty() && self.remove(&key, since, disk_bytes, now).await {
                    continue;
                }
            }
            let (bounds, dead_letters) = (extent.map(|extent| extent.bounds), extent.map_or(0, |e| e.dead_letters));
            orphans.push(Orphan { key, bounds, dead_letters, disk_bytes, since, until, held_by });
        }
        self.show(orphans);
        Ok(())
    }

    /// The Brokers that are gone and have something on disk: since when, and how many bytes.
    async fn look(&self, table: &Table, now: UnixMicros) -> anyhow::Result<Vec<(BrokerKey, UnixMicros, u64)>> {
        let there = |key: &BrokerKey| table.brokers.contains_key(key) || table.faulty.contains(key);
        let data = self.parts.data.clone();
        let stored = tokio::task::spawn_blocking(move || store::stored(&data)).await??;
        let gone: Vec<BrokerKey> = stored.into_iter().filter(|key| !there(key)).collect();
        let data = self.parts.data.clone();
        let look = move || {
            let one = |key: BrokerKey| {
                let since = store::orphaned_since(&data, &key, now)?;
                let bytes = store::disk_bytes(&data, &key)?;
                Ok((key, since, bytes))
            };
            gone.into_iter().map(one).collect::<io::Result<Vec<_>>>()
        };
        Ok(tokio::task::spawn_blocking(look).await??)
    }

    /// What a closed log holds. One that nobody had open since the start is opened once for that.
    async fn extent(&mut self, key: &BrokerKey) -> Option<Extent> {
        if let Some(extent) = self.extents.get(key) {
            return *extent;
        }
        let (opener, wanted) = (self.parts.opener.clone(), key.clone());
        let extent = match tokio::task::spawn_blocking(move || opener.open(&wanted)).await {
            Ok(Ok(logs)) => {
                let extent = Extent::of(&logs);
                logs.events.close().await;
                logs.dead_letters.close().await;
                Some(extent)
            }
            Ok(Err(error)) => {
                tracing::warn!(broker = %key, %error, "the log of a removed broker cannot be opened");
                None
            }
            Err(_) => None,
        };
        self.extents.insert(key.clone(), extent);
        extent
    }

    /// Takes the files of a Broker out of their place; whether that worked.
    async fn remove(&mut self, key: &BrokerKey, since: UnixMicros, disk_bytes: u64, now: UnixMicros) -> bool {
        let (data, wanted) = (self.parts.data.clone(), key.clone());
        let discarded = tokio::task::spawn_blocking(move || store::discard(&data, &wanted, now)).await;
        match discarded.map_err(io::Error::other).flatten() {
            Ok(()) => {
                let since = since.to_rfc3339();
                tracing::info!(broker = %key, bytes = disk_bytes, %since, "the log of a removed broker is deleted");
                self.parts.metrics.orphans_removed.inc();
                self.parts.metrics.orphan_bytes_removed.inc_by(disk_bytes);
                self.extents.remove(key);
                true
            }
            Err(error) => {
                tracing::warn!(broker = %key, %error, "the log of a removed broker cannot be deleted");
                false
            }
        }
    }

    fn show(&self, orphans: Vec<Orphan>) {
        let gauges = &self.parts.metrics.orphan_bytes;
        for former in
            self.parts.shown.all().iter().filter(|former| orphans.iter().all(|orphan| orphan.key != former.key))
        {
            gauges.remove(&BrokerLabels::from(&former.key));
        }
        for orphan in &orphans {
            let bytes = i64::try_from(orphan.disk_bytes).unwrap_or(i64::MAX);
            gauges.get_or_create(&BrokerLabels::from(&orphan.key)).set(bytes);
        }
        self.parts.shown.set(orphans);
    }

    /// Deletes files in the background, one run at a time; also those that a former process left.
    async fn clear(&mut self) -> anyhow::Result<()> {
        if let Some(clearing) = self.clearing.take_if(|clearing| clearing.is_finished()) {
            clearing.await??;
        }
        let data = self.parts.data.clone();
        if self.clearing.is_none() && tokio::task::spawn_blocking(move || store::has_discarded(&data)).await?? {
            let (data, stop) = (self.parts.data.clone(), self.parts.stop.clone());
            self.clearing = Some(tokio::task::spawn_blocking(move || store::clear(&data, &stop)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
