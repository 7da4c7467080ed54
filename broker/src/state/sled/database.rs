//! The sled database: opened with care, flushed as a whole, fenced by our own sync.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Config, Db};

use super::Options;
use crate::names::TriggerKey;
use crate::state::checkpoint::Saved;
use crate::state::{Entry, StateError, codec};

/// sled moves a leaf of more than a quarter of this into a file that it never syncs; leaves stay below 1.1 MiB.
/// It can never change for a database that exists.
const SEGMENT_BYTES: usize = 8 << 20;
/// sled's own thread reclaims space at this pace, and syncs each time, idle or not: seldom, so as not to stand in
/// the way of the log's syncs. Durability does not come from it.
const RECLAIM_INTERVAL_MS: u64 = 10_000;
/// A broker that has just stopped may hold the lock a moment longer.
const LOCK_TRIES: u32 = 10;
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// Opens that ended the process before the database is taken for broken: sled panics on some damage, and one such
/// end may as well have been a kill.
const CRASHED_OPENS_MAX: u64 = 2;
/// Writes between two looks for files that should not be there.
const BLOB_CHECK_WRITES: u64 = 256;
const BROKEN_PREFIX: &str = "sled.broken-";

/// A key and its new value; `None` removes it.
pub(super) struct Write {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// Why there is no database.
pub(super) enum OpenFault {
    /// The broker must not start.
    Refused(StateError),
    /// The disk is full: the broker starts, so that it can make room.
    NoSpace(String),
}

/// What sled said to opening.
enum Fault {
    InUse,
    System(io::Error),
    Broken(String),
}

type Stored = BTreeMap<TriggerKey, Saved>;

pub(super) struct Database {
    db: Db,
    /// A descriptor of our own on sled's file, opened before our first write, so that it is told of write errors.
    fence: File,
    directory: PathBuf,
    writes: u64,
}

impl Database {
    /// Opens the database and reads its cursors; moves a broken one aside and begins anew.
    pub(super) fn open(directory: &Path, options: Options) -> Result<(Self, Stored), OpenFault> {
        fs::create_dir_all(directory).map_err(|error| system_fault(directory, &error))?;
        let attempt = Attempt::begin(directory).map_err(|error| system_fault(directory, &error))?;
        let first = if attempt.crashed_before >= CRASHED_OPENS_MAX {
            Err(Fault::Broken(format!("opening it ended the broker {} times", attempt.crashed_before)))
        } else {
            Self::open_locked(directory, options)
        };
        let opened = match first {
            Err(Fault::Broken(reason)) => {
                let aside = move_aside(directory).map_err(|error| system_fault(directory, &error))?;
                tracing::warn!(error = %reason, path = %aside.display(),
                    "the state database was broken and is moved aside; cursors come from the checkpoint");
                Self::open_locked(directory, options)
            }
            other => other,
        };
        attempt.end();
        opened.map_err(|fault| match fault {
            Fault::InUse => OpenFault::Refused(StateError::InUse { path: directory.display().to_string() }),
            Fault::System(error) => system_fault(directory, &error),
            Fault::Broken(reason) => {
                OpenFault::Refused(StateError::Failed(format!("{}: {reason}", directory.display())))
            }
        })
    }

    fn open_locked(directory: &Path, options: Options) -> Result<(Self, Stored), Fault> {
        let mut tries = 1;
        loop {
            match Self::open_once(directory, options) {
                Err(Fault::InUse) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_RETRY);
                }
                other => return other,
            }
        }
    }

    fn open_once(directory: &Path, options: Options) -> Result<(Self, Stored), Fault> {
        let config = Config::new()
            .path(directory)
            .cache_capacity(options.cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(Some(RECLAIM_INTERVAL_MS));
        let open = || -> Result<(Db, Stored), sled::Error> {
            let db = config.open()?;
            let stored = read_cursors(&db)?;
            Ok((db, stored))
        };
        let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| Fault::Broken("sled panicked".to_owned()))?;
        let (db, stored) = opened.map_err(fault_of)?;
        let fence = File::open(directory.join("db")).map_err(Fault::System)?;
        for path in [directory.join("db"), directory.join("conf"), directory.to_owned()] {
            File::open(path).and_then(|file| file.sync_all()).map_err(Fault::System)?;
        }
        if let Some(parent) = directory.parent() {
            File::open(parent).and_then(|file| file.sync_all()).map_err(Fault::System)?;
        }
        let database = Self { db, fence, directory: directory.to_owned(), writes: 0 };
        database.look_for_blobs();
        Ok((database, stored))
    }

    /// Makes the writes durable. After an error the database must not be written again.
    pub(super) fn write(&mut self, writes: Vec<Write>) -> Result<(), String> {
        let durable = || -> Result<(), sled::Error> {
            // One by one, not as a batch: sled frees what writes replace only now and then between operations, and
            // counts a batch as one. Batches of thousands make memory grow for ever. Nothing here has to be atomic:
            // every cursor has its own sequence.
            for Write { key, value } in writes {
                match value {
                    Some(value) => self.db.insert(key, value)?,
                    None => self.db.remove(key)?,
                };
            }
            self.db.flush()?;
            // sled's flush leaves the file's new size and the drive's cache out.
            Ok(self.fence.sync_data()?)
        };
        durable().map_err(|error| error.to_string())?;
        self.writes += 1;
        if self.writes.is_multiple_of(BLOB_CHECK_WRITES) {
            self.look_for_blobs();
        }
        Ok(())
    }

    pub(super) fn scan(&self, prefix: &str) -> Result<Vec<Entry>, String> {
        let mut found = Vec::new();
        for entry in self.db.scan_prefix(format!("v/{prefix}")) {
            let (key, value) = entry.map_err(|error| error.to_string())?;
            let name = key.get(2..).map(String::from_utf8_lossy).unwrap_or_default();
            found.push((name.into_owned(), value.to_vec()));
        }
        Ok(found)
    }

    /// Leaves a failed database as it is: closing it would write, and may hang. Its lock goes with the process.
    pub(super) fn abandon(self) {
        std::mem::forget(self.db);
    }

    /// Makes every later sync fail, as a dying disk would: what it is a descriptor of cannot be synced.
    #[cfg(test)]
    pub(super) fn break_fence(&mut self) {
        self.fence = File::open("/dev/null").unwrap();
    }

    fn look_for_blobs(&self) {
        let blobs = self.directory.join("blobs");
        if fs::read_dir(&blobs).is_ok_and(|mut entries| entries.next().is_some()) {
            tracing::error!(path = %blobs.display(), "sled keeps a value outside its log, where it may be lost; report this");
        }
    }
}

fn read_cursors(db: &Db) -> Result<Stored, sled::Error> {
    let mut stored = Stored::new();
    for entry in db.scan_prefix("c/") {
        let (key, value) = entry?;
        let name = key.get(2..).and_then(|name| std::str::from_utf8(name).ok()).and_then(|name| name.parse().ok());
        let mut cursor = &*value;
        let sequence = codec::take_varint(&mut cursor);
        match (name, sequence) {
            (Some(name), Some(sequence)) => {
                stored.insert(name, Saved { sequence, cursor: Some(cursor.into()) });
            }
            _ => tracing::warn!("left out a cursor of the state database that cannot be read"),
        }
    }
    Ok(stored)
}

fn fault_of(error: sled::Error) -> Fault {
    match error {
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => Fault::InUse,
        sled::Error::Io(error) => match error.kind() {
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded => Fault::System(error),
            _ => Fault::Broken(error.to_string()),
        },
        other => Fault::Broken(other.to_string()),
    }
}

fn system_fault(directory: &Path, error: &io::Error) -> OpenFault {
    let what = format!("{}: {error}", directory.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => OpenFault::NoSpace(what),
        _ => OpenFault::Refused(StateError::Failed(format!("{what}; the data directory must be writable"))),
    }
}

/// Renames the directory to `sled.broken-N` beside it and removes older ones.
fn move_aside(directory: &Path) -> io::Result<PathBuf> {
    let parent = directory.parent().unwrap_or(directory);
    let mut number = 0_u64;
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(older) = name.to_str().and_then(|name| name.strip_prefix(BROKEN_PREFIX)) {
            number = number.max(older.parse().unwrap_or(0));
            fs::remove_dir_all(entry.path())?;
        }
    }
    let aside = parent.join(format!("{BROKEN_PREFIX}{}", number.saturating_add(1)));
    fs::rename(directory, &aside)?;
    File::open(parent)?.sync_all()?;
    Ok(aside)
}

/// Counts, in a file beside the database, opens that did not come back.
struct Attempt {
    marker: PathBuf,
    crashed_before: u64,
}

impl Attempt {
    fn begin(directory: &Path) -> io::Result<Self> {
        let marker = directory.with_extension("opening");
        let crashed_before = fs::metadata(&marker).map_or(0, |marker| marker.len());
        let count = usize::try_from(crashed_before.min(CRASHED_OPENS_MAX)).unwrap_or(0);
        fs::write(&marker, "x".repeat(count + 1))?;
        Ok(Self { marker, crashed_before })
    }

    fn end(self) {
        // One that stays is only counted once more.
        let _ = fs::remove_file(self.marker);
    }
}
