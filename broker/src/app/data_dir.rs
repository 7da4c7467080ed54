//! The data directory: made, checked and locked before anything else touches it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::names::BrokerKey;

/// Why the data directory cannot be used. Each says the next step.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written to.
    #[error("cannot write to the data directory {}: {error}; give the broker a directory it may write to with --data", path.display())]
    Unwritable {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another broker runs on it.
    #[error("the data directory {} is in use by another broker; stop that one, or give this one another --data directory", path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
}

/// A data directory that belongs to this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and takes its lock.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn claim(path: &Path) -> Result<Self, DataDirError> {
        let unwritable = |error| DataDirError::Unwritable { path: path.to_owned(), error };
        std::fs::create_dir_all(path).map_err(unwritable)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.map_err(unwritable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse { path: path.to_owned() }),
            Err(error) => Err(unwritable(error.into())),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the state store is.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the directories of Brokers are, by namespace.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Where directories of Brokers wait to be removed.
    #[must_use]
    pub fn removed(&self) -> PathBuf {
        self.path.join("removed")
    }

    /// Where a Broker's events are.
    #[must_use]
    pub fn events(&self, key: &BrokerKey) -> PathBuf {
        self.broker(key).join("events")
    }

    /// Where a Broker's dead letters are.
    #[must_use]
    pub fn dead_letters(&self, key: &BrokerKey) -> PathBuf {
        self.broker(key).join("dead-letters")
    }

    /// Where everything of a Broker is.
    #[must_use]
    pub fn broker(&self, key: &BrokerKey) -> PathBuf {
        self.logs().join(key.namespace.as_str()).join(key.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::claim(dir.path()).unwrap();
        let second = DataDir::claim(dir.path()).unwrap_err();
        assert!(second.to_string().contains("in use by another broker"), "{second}");
        drop(first);
        DataDir::claim(dir.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = DataDir::claim(&path).unwrap_err().to_string();
        assert!(error.contains("--data") && error.contains("file"), "{error}");
    }
}
