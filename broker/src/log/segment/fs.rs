//! The few file operations that the log and the state checkpoint need, as a trait, so that tests can put a
//! simulated disk under the very same code and stop it at every operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file. All calls are positional; there is no cursor.
pub trait File: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// What the system said; some of the bytes may be written then.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system said.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Makes written bytes and the file's size durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system said; the caller must treat unsynced bytes as lost and never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves disk space up to `length` and makes the file that long; new bytes read as zero.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; the file is as it was then.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the system said.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the system said.
    fn size(&self) -> io::Result<u64>;
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist; for reading.
    Read,
    /// It must exist; for reading and writing.
    Write,
    /// It must not exist; for reading and writing.
    CreateNew,
}

/// Keeps a directory claimed; dropping it gives the claim up.
pub trait Claim: Send + Sync + fmt::Debug {}

/// The claim of a file system that has only one user.
#[derive(Debug)]
struct Unclaimed;

impl Claim for Unclaimed {}

/// A file system.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system said.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Names of the entries of a directory, in no order.
    ///
    /// # Errors
    /// What the system said.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a directory and its missing parents, each durable in its parent.
    ///
    /// # Errors
    /// What the system said.
    fn create_dir_all(&self, directory: &Path) -> io::Result<()>;

    /// Renames a file, replacing the target. Durable only after [`FileSystem::sync_dir`].
    ///
    /// # Errors
    /// What the system said.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable only after [`FileSystem::sync_dir`].
    ///
    /// # Errors
    /// What the system said.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the system said.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Claims a directory for this process, so that no other one opens it; a file system that has only one user
    /// grants every claim.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else holds it; else what the system said.
    fn claim(&self, _directory: &Path) -> io::Result<Box<dyn Claim>> {
        Ok(Box::new(Unclaimed))
    }
}
