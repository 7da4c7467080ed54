//! The owner thread: the only one that touches database and checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::database::{Database, OpenFault, Write};
use super::queue::{Pending, Request, Shared, Work};
use super::{Options, VALUE_BYTES_MAX};
use crate::log::segment::fs::FileSystem;
use crate::names::TriggerKey;
use crate::state::checkpoint::{Checkpoint, Saved, keep_newest, put_frame};
use crate::state::{Cursor, Entry, StateError, StoreHealth, codec};

pub(super) struct Owner {
    /// `None` once it has failed: an error of flush or sync is final.
    database: Option<Database>,
    database_fault: Option<String>,
    checkpoint: Checkpoint,
    checkpoint_fault: Option<String>,
    /// All cursors, and removals that the database has not taken yet.
    entries: BTreeMap<TriggerKey, Saved>,
    sequence: u64,
    /// Why the next flush has to say that something was lost.
    lost: Option<String>,
}

struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Owner {
    pub(super) fn open(directory: &Path, options: Options, files: Arc<dyn FileSystem>) -> Result<Self, StateError> {
        let mut database_fault = None;
        let (database, stored) = match Database::open(directory, options) {
            Ok((database, stored)) => (Some(database), stored),
            Err(OpenFault::Refused(error)) => return Err(error),
            Err(OpenFault::NoSpace(reason)) => {
                tracing::error!(error = %reason, "the state database cannot be opened; going on with the checkpoint");
                database_fault = Some(reason);
                (None, BTreeMap::new())
            }
        };
        let path = directory.with_file_name("cursors.ckpt");
        let (checkpoint, contents) = Checkpoint::open(files, &path)
            .map_err(|error| StateError::Failed(format!("cannot read {}: {error}", path.display())))?;
        if contents.damaged_bytes > 0 {
            let bytes = contents.damaged_bytes;
            tracing::warn!(path = %path.display(), bytes, "left out a torn or damaged part of the cursor checkpoint");
        }
        let mut entries = contents.entries;
        for (key, saved) in &stored {
            keep_newest(&mut entries, key.clone(), saved.clone());
        }
        let sequence = entries.values().map(|saved| saved.sequence).max().unwrap_or(0);
        let mut owner =
            Self { database, database_fault, checkpoint, checkpoint_fault: None, entries, sequence, lost: None };
        owner.level(&stored);
        Ok(owner)
    }

    /// Brings both copies to the newest entries.
    fn level(&mut self, stored: &BTreeMap<TriggerKey, Saved>) {
        let behind: Vec<(TriggerKey, Saved)> = self
            .entries
            .iter()
            .filter(|(key, saved)| stored.get(*key).map_or_else(|| saved.cursor.is_some(), |stored| stored != *saved))
            .map(|(key, saved)| (key.clone(), saved.clone()))
            .collect();
        self.write_database(behind.iter().map(|(key, saved)| cursor_write(key, saved)).collect());
        self.forget_removed();
        let written = self.checkpoint.replace(&all_frames(&self.entries));
        self.note_checkpoint(written);
    }

    pub(super) fn run(mut self, shared: &Shared, flush_interval: Duration) {
        // Also when sled panics.
        let _ended = Ended(shared);
        loop {
            let Work { pending, requests, last } = shared.next(flush_interval);
            self.store(pending);
            shared.done(self.health());
            for request in requests {
                self.answer(request);
            }
            if last {
                break;
            }
        }
        // The database is closed, and its lock free, before anybody is told.
        drop(self.database.take());
    }

    pub(super) fn health(&self) -> StoreHealth {
        match (&self.database_fault, &self.checkpoint_fault) {
            (None, None) => StoreHealth::Sound,
            (Some(database), None) => StoreHealth::Degraded(format!("database: {database}; cursors are checkpointed")),
            (None, Some(checkpoint)) => StoreHealth::Degraded(format!("checkpoint: {checkpoint}")),
            (Some(database), Some(checkpoint)) => {
                StoreHealth::Failed(format!("database: {database}; checkpoint: {checkpoint}"))
            }
        }
    }

    /// Checkpoint first: it is synced by code of ours, and works where sled hangs.
    fn store(&mut self, pending: Pending) {
        if let Some(refused) = pending.refused {
            self.lost = Some(refused);
        }
        let mut frames = Vec::new();
        let mut writes = Vec::new();
        let mut removed = false;
        for (key, cursor) in pending.cursors {
            self.sequence += 1;
            removed |= cursor.is_none();
            let saved = Saved { sequence: self.sequence, cursor: cursor.map(Into::into) };
            put_frame(&mut frames, &key, &saved);
            writes.push(cursor_write(&key, &saved));
            self.entries.insert(key, saved);
        }
        if !frames.is_empty() || self.checkpoint_fault.is_some() {
            let entries = &self.entries;
            let written = self.checkpoint.write(&frames, || all_frames(entries));
            self.note_checkpoint(written);
        }
        for (key, value) in pending.values {
            writes.push(Write { key: format!("v/{key}").into_bytes(), value });
        }
        if self.write_database(writes) && removed {
            self.forget_removed();
        }
    }

    /// Whether the writes are durable in the database.
    fn write_database(&mut self, writes: Vec<Write>) -> bool {
        let Some(database) = &mut self.database else { return false };
        if writes.is_empty() {
            return true;
        }
        match database.write(writes) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the state database failed; cursors go on in the checkpoint until a restart");
                self.database_fault = Some(error);
                if let Some(failed) = self.database.take() {
                    failed.abandon();
                }
                false
            }
        }
    }

    /// Once the database no longer has a removed cursor, nothing can bring it back.
    fn forget_removed(&mut self) {
        if self.database.is_some() {
            self.entries.retain(|_, saved| saved.cursor.is_some());
        }
    }

    fn note_checkpoint(&mut self, written: std::io::Result<()>) {
        match (written, &self.checkpoint_fault) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                tracing::info!("the cursor checkpoint is written again");
                self.checkpoint_fault = None;
            }
            (Err(error), before) => {
                if before.is_none() {
                    tracing::warn!(%error, "the cursor checkpoint cannot be written; trying again with the next flush");
                }
                self.checkpoint_fault = Some(error.to_string());
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // A caller that no longer waits is none of our business.
        match request {
            Request::Flush(answer) => drop(answer.send(self.flushed())),
            Request::Load(answer) => drop(answer.send(Ok(self.cursors()))),
            Request::Scan(prefix, answer) => drop(answer.send(self.scan(&prefix))),
        }
    }

    fn flushed(&mut self) -> Result<(), StateError> {
        match (self.health(), self.lost.take()) {
            (StoreHealth::Failed(reason), _) => Err(StateError::Failed(reason)),
            (StoreHealth::Degraded(reason), _) if self.database.is_none() => Err(StateError::Failed(reason)),
            (_, Some(lost)) => Err(StateError::Failed(lost)),
            (StoreHealth::Sound | StoreHealth::Degraded(_), None) => Ok(()),
        }
    }

    fn cursors(&self) -> Vec<(TriggerKey, Cursor)> {
        let mut cursors = Vec::new();
        for (key, saved) in &self.entries {
            match saved.cursor.as_deref().map(codec::decode_cursor) {
                None => {}
                Some(Ok(cursor)) => cursors.push((key.clone(), cursor)),
                Some(Err(error)) => tracing::warn!(trigger = %key, %error, "left out a stored cursor"),
            }
        }
        cursors
    }

    fn scan(&self, prefix: &str) -> Result<Vec<Entry>, StateError> {
        match (&self.database, &self.database_fault) {
            (Some(database), _) => database.scan(prefix).map_err(StateError::Failed),
            (None, fault) => Err(StateError::Failed(fault.clone().unwrap_or_default())),
        }
    }
}

fn all_frames(entries: &BTreeMap<TriggerKey, Saved>) -> Vec<u8> {
    let mut frames = Vec::new();
    for (key, saved) in entries {
        put_frame(&mut frames, key, saved);
    }
    frames
}

fn cursor_write(key: &TriggerKey, saved: &Saved) -> Write {
    let small = saved.cursor.as_ref().filter(|cursor| cursor.len() <= VALUE_BYTES_MAX);
    let value = small.map(|cursor| {
        let mut value = Vec::with_capacity(10 + cursor.len());
        codec::put_varint(&mut value, saved.sequence);
        value.extend_from_slice(cursor);
        value
    });
    Write { key: format!("c/{key}").into_bytes(), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::segment::RealFs;
    use crate::state::tests::{cursor, key};

    fn pending(name: &str, scanned: u64) -> Pending {
        let mut pending = Pending::default();
        pending.cursors.insert(key(name), Some(codec::encode_cursor(&cursor(scanned, &[]))));
        pending
    }

    #[test]
    fn a_database_whose_sync_fails_is_left_and_the_checkpoint_goes_on() {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("state");
        let open = || Owner::open(&directory, Options::default(), Arc::new(RealFs));
        let mut owner = open().unwrap();
        owner.store(pending("a", 1));
        assert_eq!((owner.health(), owner.flushed()), (StoreHealth::Sound, Ok(())));
        owner.database.as_mut().unwrap().break_fence();
        owner.store(pending("a", 2));
        assert!(matches!(owner.health(), StoreHealth::Degraded(reason) if reason.contains("database")));
        assert!(owner.flushed().is_err(), "values other than cursors are not durable");
        assert!(owner.database.is_none(), "a sync that failed is never tried again");
        owner.store(pending("a", 3));
        owner.store(pending("b", 1));
        let newest = vec![(key("a"), cursor(3, &[])), (key("b"), cursor(1, &[]))];
        assert_eq!(owner.cursors(), newest);
        drop(owner);
        // The lock of a database that was left goes only with the process, so the next one begins with the checkpoint.
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(open().unwrap().cursors(), newest);
    }
}
