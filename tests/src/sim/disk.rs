//! The model of a disk: what it holds now, what would survive a power cut, and the images in between.
//!
//! *Responsibility*: apply operations; build the directory that a machine may find after losing power. *Invariants*:
//! what was synced is in every image; of what was not, any subset may be, down to single sectors; names are as
//! durable as the last sync of their directory made them. *Not here*: faults (`fs`), what the images must satisfy
//! (`walk`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Which file, independent of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode(pub usize);

/// A change to the disk.
#[derive(Debug, Clone)]
pub enum Op {
    /// A new, empty file with this name.
    Create(PathBuf),
    /// Bytes at a position.
    Write(Inode, usize, Arc<[u8]>),
    /// A new length; new bytes are zero.
    SetLen(Inode, usize),
    /// What the file holds is durable.
    SyncData(Inode),
    /// The sync failed: the system shows the bytes and will never write them.
    SyncLost(Inode),
    /// The name is gone.
    Remove(PathBuf),
    /// The name changed.
    Rename(PathBuf, PathBuf),
    /// The names in the directory are durable.
    SyncDir(PathBuf),
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Arc<[u8]>),
    SetLen(usize),
}

#[derive(Debug, Clone, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, Inode),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

type Names = BTreeMap<PathBuf, Inode>;

/// Which of the unsynced changes an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// None of them.
    Nothing,
    /// All of them.
    Everything,
    /// All names and file contents but for the last write, of which only a prefix in sectors arrived.
    LastWriteTorn,
    /// Any subset of them, in sectors; names likewise.
    Some,
}

/// A disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: Vec<Contents>,
    names: Names,
    durable_names: Names,
    unsynced_names: Vec<NameChange>,
}

fn write(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn apply_name(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Add(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl NameChange {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(_, path) => path.parent(),
        }
    }
}

impl Disk {
    /// The file of this name.
    #[must_use]
    pub fn find(&self, path: &Path) -> Option<Inode> {
        self.names.get(path).copied()
    }

    /// The names there are.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.names.keys()
    }

    /// What the file holds now.
    #[must_use]
    pub fn contents(&self, inode: Inode) -> &[u8] {
        &self.files[inode.0].now
    }

    /// Bytes of all files that have a name.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.names.values().map(|inode| self.files[inode.0].now.len()).sum()
    }

    /// Changes bytes behind everybody's back, durably.
    pub fn corrupt(&mut self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let inode = self.names[path];
        let file = &mut self.files[inode.0];
        assert!(file.unsynced.is_empty(), "only what is durable can rot");
        change(&mut file.now);
        change(&mut file.durable);
    }

    /// Carries an operation out. Returns the file that a [`Op::Create`] made.
    pub fn apply(&mut self, op: &Op) -> Option<Inode> {
        match op {
            Op::Create(path) => {
                let inode = Inode(self.files.len());
                self.files.push(Contents::default());
                self.name(NameChange::Add(path.clone(), inode));
                return Some(inode);
            }
            Op::Write(inode, at, bytes) => {
                let file = &mut self.files[inode.0];
                write(&mut file.now, *at, bytes);
                file.unsynced.push(Change::Write(*at, bytes.clone()));
            }
            Op::SetLen(inode, length) => {
                let file = &mut self.files[inode.0];
                file.now.resize(*length, 0);
                file.unsynced.push(Change::SetLen(*length));
            }
            Op::SyncData(inode) => {
                let file = &mut self.files[inode.0];
                for change in file.unsynced.drain(..) {
                    match change {
                        Change::Write(at, bytes) => write(&mut file.durable, at, &bytes),
                        Change::SetLen(length) => file.durable.resize(length, 0),
                    }
                }
            }
            Op::SyncLost(inode) => self.files[inode.0].unsynced.clear(),
            Op::Remove(path) => self.name(NameChange::Remove(path.clone())),
            Op::Rename(from, to) => self.name(NameChange::Rename(from.clone(), to.clone())),
            Op::SyncDir(directory) => {
                let changes = std::mem::take(&mut self.unsynced_names);
                let (synced, rest) =
                    changes.into_iter().partition(|change| change.directory() == Some(directory.as_path()));
                self.unsynced_names = rest;
                let synced: Vec<NameChange> = synced;
                synced.iter().for_each(|change| apply_name(&mut self.durable_names, change));
            }
        }
        None
    }

    fn name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    /// What the machine may find after losing power now. Everything in the image is durable.
    #[must_use]
    pub fn image(&self, survivors: Survivors, rng: &mut fastrand::Rng) -> Self {
        let mut names = self.durable_names.clone();
        for change in &self.unsynced_names {
            let kept = match survivors {
                Survivors::Nothing => false,
                Survivors::Everything | Survivors::LastWriteTorn => true,
                Survivors::Some => rng.bool(),
            };
            if kept {
                apply_name(&mut names, change);
            }
        }
        let mut image = Self::default();
        for (path, inode) in names {
            let bytes = surviving(&self.files[inode.0], survivors, rng);
            let inode = Inode(image.files.len());
            image.files.push(Contents { now: bytes.clone(), durable: bytes, unsynced: Vec::new() });
            image.names.insert(path.clone(), inode);
            image.durable_names.insert(path, inode);
        }
        image
    }
}

/// What is left of a file.
fn surviving(file: &Contents, survivors: Survivors, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    let last = file.unsynced.len().saturating_sub(1);
    for (place, change) in file.unsynced.iter().enumerate() {
        let torn = survivors == Survivors::LastWriteTorn && place == last;
        match (survivors, change) {
            (Survivors::Nothing, _) => {}
            (Survivors::Some, Change::SetLen(length)) => {
                if rng.bool() {
                    bytes.resize(*length, 0);
                }
            }
            (_, Change::SetLen(length)) => bytes.resize(*length, 0),
            (Survivors::Some, Change::Write(at, new)) => {
                // Mostly a few sectors missing or a few present: the mean alone would never show the edges.
                let odds = rng.f64();
                sectors(*at, new).filter(|_| rng.f64() < odds).for_each(|(at, new)| write(&mut bytes, at, new));
            }
            (_, Change::Write(at, new)) if torn => {
                let count = sectors(*at, new).count();
                let kept = rng.usize(0..=count);
                sectors(*at, new).take(kept).for_each(|(at, new)| write(&mut bytes, at, new));
            }
            (_, Change::Write(at, new)) => write(&mut bytes, *at, new),
        }
    }
    bytes
}

/// A write in pieces that do not cross a sector's edge.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = bytes;
    let mut at = at;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at((SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len()));
        let piece_at = at;
        at += piece.len();
        rest = after;
        Some((piece_at, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(ops: &[Op]) -> Disk {
        let mut disk = Disk::default();
        ops.iter().for_each(|op| {
            disk.apply(op);
        });
        disk
    }

    fn read(disk: &Disk, path: &str) -> Option<Vec<u8>> {
        disk.find(Path::new(path)).map(|inode| disk.contents(inode).to_vec())
    }

    #[test]
    fn only_what_was_synced_is_sure_to_survive() {
        let file = Inode(0);
        let write = |at, byte| Op::Write(file, at, vec![byte; 600].into());
        let mut ops = vec![Op::Create("/d/a".into()), write(0, 1), Op::SyncData(file)];
        let image = |ops: &[Op], survivors| disk(ops).image(survivors, &mut fastrand::Rng::with_seed(1));
        assert_eq!(read(&image(&ops, Survivors::Nothing), "/d/a"), None, "its name was not synced");
        ops.push(Op::SyncDir("/d".into()));
        ops.push(write(600, 2));
        assert_eq!(read(&image(&ops, Survivors::Nothing), "/d/a"), Some(vec![1; 600]));
        assert_eq!(read(&image(&ops, Survivors::Everything), "/d/a").unwrap().len(), 1200);
        ops.push(Op::SyncLost(file));
        assert_eq!(read(&disk(&ops), "/d/a").unwrap().len(), 1200, "the page cache shows it");
        ops.push(Op::SyncData(file));
        assert_eq!(read(&image(&ops, Survivors::Everything), "/d/a"), Some(vec![1; 600]), "no later sync writes it");
    }

    #[test]
    fn a_torn_write_ends_at_a_sector() {
        let ops = [Op::Create("/d/a".into()), Op::SyncDir("/d".into()), Op::Write(Inode(0), 100, vec![7; 2000].into())];
        let mut lengths: Vec<usize> = (0..100)
            .map(|seed| disk(&ops).image(Survivors::LastWriteTorn, &mut fastrand::Rng::with_seed(seed)))
            .map(|image| read(&image, "/d/a").unwrap().len())
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [0, 512, 1024, 1536, 2048, 2100]);
    }

    #[test]
    fn names_can_be_undone_until_the_directory_is_synced() {
        let mut ops = vec![
            Op::Create("/d/a".into()),
            Op::SyncDir("/d".into()),
            Op::Rename("/d/a".into(), "/d/b".into()),
            Op::Create("/d/c".into()),
            Op::Remove("/d/b".into()),
        ];
        let names = |ops: &[Op], survivors| {
            let image = disk(ops).image(survivors, &mut fastrand::Rng::with_seed(3));
            image.paths().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&ops, Survivors::Nothing), ["/d/a"]);
        assert_eq!(names(&ops, Survivors::Everything), ["/d/c"]);
        ops.push(Op::SyncDir("/d".into()));
        assert_eq!(names(&ops, Survivors::Nothing), ["/d/c"]);
    }
}
