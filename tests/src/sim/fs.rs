//! A simulated file system over [`Disk`]: it keeps a journal of every operation, and fails on request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::log::segment::fs::{File, FileSystem, Open};

use super::disk::{Disk, Inode, Op};

/// Kinds of calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Any way to open.
    Open,
    /// `write_all_at`; half of the bytes arrive.
    Write,
    /// `sync_data`; the bytes are shown and never written.
    SyncData,
    /// `sync_dir`.
    SyncDir,
    /// `allocate`.
    Allocate,
    /// `set_len`.
    SetLen,
    /// `remove`.
    Remove,
    /// `read_at`.
    Read,
}

/// What the journal holds.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An operation on the disk.
    Op(Op),
    /// A remark of the workload.
    Note(Note),
}

/// What a workload writes between the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Offsets below this were handed to the log.
    Submitted(u64),
    /// Offsets below this were acknowledged.
    Acknowledged(u64),
    /// Offsets below this may be gone by retention.
    Trimming(u64),
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    journal: Vec<Entry>,
    faults: Vec<(Call, usize, io::ErrorKind)>,
    capacity_bytes: Option<usize>,
    ignore_syncs: bool,
}

/// The file system. Clones share the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimFs(Arc<Mutex<State>>);

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    inode: Inode,
    writable: bool,
}

impl SimFs {
    /// A file system on this disk.
    #[must_use]
    pub fn on(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(State { disk, ..State::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the `nth` call of this kind from now on (0 is the next) fail once.
    pub fn fail(&self, call: Call, nth: usize, error: io::ErrorKind) {
        self.lock().faults.push((call, nth, error));
    }

    /// Limits the bytes of all files.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.lock().capacity_bytes = bytes;
    }

    /// Makes every sync a lie: it reports success and makes nothing durable.
    pub fn ignore_syncs(&self) {
        self.lock().ignore_syncs = true;
    }

    /// Writes a remark into the journal.
    pub fn note(&self, note: Note) {
        self.lock().journal.push(Entry::Note(note));
    }

    /// The disk as it is now.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.lock().disk.clone()
    }

    /// Changes bytes of a file behind everybody's back.
    pub fn corrupt(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        self.lock().disk.corrupt(path, change);
    }

    /// Everything that happened so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.lock().journal.clone()
    }
}

impl State {
    fn apply(&mut self, op: Op) -> Option<Inode> {
        let made = self.disk.apply(&op);
        self.journal.push(Entry::Op(op));
        made
    }

    /// The fault that is due for this call, if any.
    fn fault(&mut self, call: Call) -> Option<io::Error> {
        let mut due = None;
        for (kind, left, error) in &mut self.faults {
            if *kind == call {
                if *left == 0 {
                    due = Some(*error);
                }
                *left = left.wrapping_sub(1);
            }
        }
        self.faults.retain(|(_, left, _)| *left != usize::MAX);
        due.map(|kind| io::Error::new(kind, "simulated"))
    }

    /// How long the file may become.
    fn room_for(&self, inode: Inode) -> usize {
        let own = self.disk.contents(inode).len();
        self.capacity_bytes.map_or(usize::MAX, |capacity| capacity.saturating_sub(self.disk.used_bytes() - own))
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "simulated: no space left")
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

fn position(position: u64) -> usize {
    usize::try_from(position).expect("simulated files are small")
}

impl File for SimFile {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(self.writable, "written to a file that was opened for reading");
        let mut state = self.fs.lock();
        let at = position(at);
        let fault = state.fault(Call::Write);
        let room = state.room_for(self.inode).saturating_sub(at);
        let arrived = match &fault {
            Some(_) => bytes.len() / 2,
            None => bytes.len(),
        }
        .min(room);
        if arrived > 0 {
            state.apply(Op::Write(self.inode, at, bytes[..arrived].into()));
        }
        match fault {
            Some(fault) => Err(fault),
            None if arrived < bytes.len() => Err(full()),
            None => Ok(()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.fs.lock();
        if let Some(fault) = state.fault(Call::Read) {
            return Err(fault);
        }
        let bytes = state.disk.contents(self.inode).get(position(at)..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.fs.lock();
        if let Some(fault) = state.fault(Call::SyncData) {
            state.apply(Op::SyncLost(self.inode));
            return Err(fault);
        }
        if !state.ignore_syncs {
            state.apply(Op::SyncData(self.inode));
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.fs.lock();
        if let Some(fault) = state.fault(Call::Allocate) {
            return Err(fault);
        }
        let length = position(length);
        if length > state.room_for(self.inode) {
            return Err(full());
        }
        if length > state.disk.contents(self.inode).len() {
            state.apply(Op::SetLen(self.inode, length));
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        assert!(self.writable, "cut a file that was opened for reading");
        let mut state = self.fs.lock();
        if let Some(fault) = state.fault(Call::SetLen) {
            return Err(fault);
        }
        state.apply(Op::SetLen(self.inode, position(length)));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.fs.lock().disk.contents(self.inode).len() as u64)
    }
}

impl FileSystem for SimFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        if let Some(fault) = state.fault(Call::Open) {
            return Err(fault);
        }
        let found = state.disk.find(path);
        let inode = match (how, found) {
            (Open::Read | Open::Write, Some(inode)) => inode,
            (Open::Read | Open::Write, None) => return Err(missing(path)),
            (Open::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Open::CreateNew, None) => state.apply(Op::Create(path.to_owned())).expect("a create makes a file"),
        };
        Ok(Arc::new(SimFile { fs: self.clone(), inode, writable: how != Open::Read }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        let inside = state.disk.paths().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| path.file_name().map(PathBuf::from)).collect())
    }

    fn create_dir_all(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.disk.find(from).is_none() {
            return Err(missing(from));
        }
        state.apply(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(fault) = state.fault(Call::Remove) {
            return Err(fault);
        }
        if state.disk.find(path).is_none() {
            return Err(missing(path));
        }
        state.apply(Op::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(fault) = state.fault(Call::SyncDir) {
            return Err(fault);
        }
        if !state.ignore_syncs {
            state.apply(Op::SyncDir(directory.to_owned()));
        }
        Ok(())
    }
}
