//! Real files, with syncs that fail or hang when told to.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::log::segment::fs::{File, FileSystem, Open};

#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    syncs_to_fail: Arc<AtomicU64>,
    hung: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Debug)]
struct Real {
    file: fs::File,
    files: Files,
}

impl Files {
    /// The next `count` syncs fail.
    pub(crate) fn fail_syncs(&self, count: u64) {
        self.syncs_to_fail.store(count, Ordering::SeqCst);
    }

    /// Syncs do not return from now on, or do so again.
    pub(crate) fn hang(&self, hung: bool) {
        *self.hung.0.lock().unwrap() = hung;
        self.hung.1.notify_all();
    }
}

impl File for Real {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (hung, changed) = &*self.files.hung;
        drop(changed.wait_while(hung.lock().unwrap(), |hung| *hung).unwrap());
        let fails = |left: u64| left.checked_sub(1);
        if self.files.syncs_to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            return Err(io::Error::other("the test wants this sync to fail"));
        }
        self.file.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }
}

impl FileSystem for Files {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(how != Open::Read).create_new(how == Open::CreateNew);
        Ok(Arc::new(Real { file: options.open(path)?, files: self.clone() }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(directory)?.sync_all()
    }
}
