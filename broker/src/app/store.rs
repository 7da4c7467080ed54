//! What the data directory says of Brokers besides their logs: which log it is, and since when its Broker is gone.
//!
//! ```text
//! logs/NAMESPACE/BROKER/id          16 hexadecimal digits; none in directories that are older than ids
//! logs/NAMESPACE/BROKER/orphaned    microseconds since the epoch, in decimal; only where the Broker is gone
//! removed/…                         directories of Brokers on their way out: removed at leisure, and by the next start
//! ```
//! *Invariants*: an id is durable before the log that bears it is made; a directory leaves `logs` in one step, so that
//! a crash leaves it there whole, or in `removed`. Blocking. *Not here*: when that is done ([`super::orphans`]).

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;
use crate::clock::UnixMicros;
use crate::log::LogId;
use crate::log::segment::RealFs;
use crate::log::segment::fs::FileSystem as _;
use crate::names::BrokerKey;

/// Name of the file with the log's id.
const ID: &str = "id";
/// Name of the file that says since when a Broker is gone.
const ORPHANED: &str = "orphaned";

/// Which log this is. One that is not there yet gets an id, and its directory.
pub(super) fn log_id(data: &DataDir, key: &BrokerKey) -> io::Result<LogId> {
    let directory = data.broker(key);
    let path = directory.join(ID);
    match fs::read_to_string(&path) {
        Ok(text) => u64::from_str_radix(text.trim(), 16).map(LogId).map_err(|_| {
            let what = format!("{} holds no id; remove it: then some deliveries are repeated", path.display());
            io::Error::new(ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Err(_) if data.events(key).exists() => Ok(LogId::default()),
        Err(_) => {
            let id = fastrand::u64(1..);
            RealFs.create_dir_all(&directory)?;
            write_durably(&directory, ID, &format!("{id:016x}\n"))?;
            Ok(LogId(id))
        }
    }
}

/// The Brokers that something is kept of, in order.
pub(super) fn stored(data: &DataDir) -> io::Result<Vec<BrokerKey>> {
    let mut keys = Vec::new();
    for namespace in names(&data.logs())? {
        for name in names(&data.logs().join(&namespace))? {
            // Whatever else lies there is not ours.
            keys.extend(BrokerKey::parse(&namespace, &name).ok());
        }
    }
    keys.sort();
    Ok(keys)
}

/// Since when a Broker is known to be gone; from now on where nothing was noted yet.
pub(super) fn orphaned_since(data: &DataDir, key: &BrokerKey, now: UnixMicros) -> io::Result<UnixMicros> {
    let directory = data.broker(key);
    let noted = match fs::read_to_string(directory.join(ORPHANED)) {
        Ok(text) => text.trim().parse().ok().map(UnixMicros),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // A clock that was set back must not keep it for ever.
    if let Some(since) = noted.filter(|since| *since <= now) {
        return Ok(since);
    }
    write_durably(&directory, ORPHANED, &format!("{}\n", now.0))?;
    Ok(now)
}

/// Notes that a Broker is there (again).
pub(super) fn adopt(data: &DataDir, key: &BrokerKey) -> io::Result<()> {
    let directory = data.broker(key);
    match fs::remove_file(directory.join(ORPHANED)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| RealFs.sync_dir(&directory)),
    }
}

/// Takes all that is kept of a Broker out of its place, in one step.
pub(super) fn discard(data: &DataDir, key: &BrokerKey, now: UnixMicros) -> io::Result<()> {
    let removed = data.removed();
    RealFs.create_dir_all(&removed)?;
    let (from, to) = (data.broker(key), removed.join(format!("{}.{}.{}", key.namespace, key.name, now.0)));
    fs::rename(&from, to)?;
    RealFs.sync_dir(&removed)?;
    let namespace = data.logs().join(key.namespace.as_str());
    RealFs.sync_dir(&namespace)?;
    // The last one of its namespace leaves an empty directory, which is in nobody's way if it stays.
    let _ = fs::remove_dir(namespace);
    Ok(())
}

/// Whether something discarded is still on disk.
pub(super) fn has_discarded(data: &DataDir) -> io::Result<bool> {
    Ok(!names(&data.removed())?.is_empty())
}

/// Removes what was discarded, file by file until `stop`; what is left is for the next time.
pub(super) fn clear(data: &DataDir, stop: &CancellationToken) -> io::Result<()> {
    let removed = data.removed();
    for name in names(&removed)? {
        remove_tree(&removed.join(name), stop)?;
    }
    Ok(())
}

fn remove_tree(path: &Path, stop: &CancellationToken) -> io::Result<()> {
    if stop.is_cancelled() {
        return Ok(());
    }
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    for name in names(path)? {
        remove_tree(&path.join(name), stop)?;
    }
    if stop.is_cancelled() { Ok(()) } else { fs::remove_dir(path) }
}

/// What a Broker's files take on disk.
pub(super) fn disk_bytes(data: &DataDir, key: &BrokerKey) -> io::Result<u64> {
    fn of(path: &Path) -> io::Result<u64> {
        let metadata = fs::symlink_metadata(path)?;
        let mut bytes = metadata.blocks() * 512;
        if metadata.is_dir() {
            for name in names(path)? {
                bytes += of(&path.join(name))?;
            }
        }
        Ok(bytes)
    }
    of(&data.broker(key))
}

/// Names in a directory; none where there is no such directory.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Writes a small file whole: after a crash it is there as it was, or as it is now.
fn write_durably(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let draft: PathBuf = directory.join(format!("{name}.new"));
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    RealFs.sync_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> BrokerKey {
        BrokerKey::parse("ns", name).unwrap()
    }

    fn directory() -> (tempfile::TempDir, DataDir) {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::claim(dir.path()).unwrap();
        (dir, data)
    }

    #[test]
    fn a_log_keeps_its_id_and_another_of_its_name_gets_another() {
        let (_dir, data) = directory();
        let first = log_id(&data, &key("b")).unwrap();
        assert_ne!(first, LogId::default());
        fs::create_dir(data.events(&key("b"))).unwrap();
        assert_eq!(log_id(&data, &key("b")).unwrap(), first);
        discard(&data, &key("b"), UnixMicros(1)).unwrap();
        assert_ne!(log_id(&data, &key("b")).unwrap(), first);

        fs::create_dir_all(data.events(&key("old"))).unwrap();
        assert_eq!(log_id(&data, &key("old")).unwrap(), LogId::default(), "logs of before have none");
        fs::write(data.broker(&key("b")).join(ID), "x").unwrap();
        assert!(log_id(&data, &key("b")).unwrap_err().to_string().contains("holds no id"));
    }

    #[test]
    fn being_gone_is_noted_once_and_forgotten_when_it_is_back() {
        let (_dir, data) = directory();
        log_id(&data, &key("b")).unwrap();
        assert_eq!(stored(&data).unwrap(), [key("b")]);
        let since = |now| orphaned_since(&data, &key("b"), UnixMicros(now)).unwrap().0;
        assert_eq!((since(50), since(90)), (50, 50));
        assert_eq!((since(20), since(30)), (20, 20), "the clock was set back");
        adopt(&data, &key("b")).unwrap();
        adopt(&data, &key("b")).unwrap();
        assert_eq!(since(60), 60);
        fs::write(data.broker(&key("b")).join(ORPHANED), "6").unwrap();
        fs::write(data.broker(&key("b")).join(ORPHANED), "").unwrap();
        assert_eq!(since(70), 70, "a note that cannot be read is none");
    }

    #[test]
    fn what_is_discarded_goes_wherever_the_removal_was_cut_off() {
        for cut in 0..6 {
            let (dir, data) = directory();
            for name in ["gone", "kept"] {
                log_id(&data, &key(name)).unwrap();
                for part in [data.events(&key(name)), data.dead_letters(&key(name))] {
                    fs::create_dir(&part).unwrap();
                    fs::write(part.join("segment"), [1; 5000]).unwrap();
                }
            }
            assert!(disk_bytes(&data, &key("gone")).unwrap() >= 10_000);
            discard(&data, &key("gone"), UnixMicros(7)).unwrap();
            assert!(has_discarded(&data).unwrap());
            // What a broker that was killed had done by then.
            let mut inside: Vec<PathBuf> = walk(&data.removed());
            inside.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
            for path in inside.iter().take(cut) {
                let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
            }
            let stopped = CancellationToken::new();
            stopped.cancel();
            clear(&data, &stopped).unwrap();
            drop(data);
            let data = DataDir::claim(dir.path()).unwrap();
            assert!(has_discarded(&data).unwrap(), "{cut}");
            clear(&data, &CancellationToken::new()).unwrap();
            assert!(!has_discarded(&data).unwrap(), "{cut}");
            assert_eq!(stored(&data).unwrap(), [key("kept")]);
            assert_eq!(fs::read(data.events(&key("kept")).join("segment")).unwrap().len(), 5000);
        }
    }

    fn walk(path: &Path) -> Vec<PathBuf> {
        let inside = names(path).unwrap().into_iter().map(|name| path.join(name));
        inside.flat_map(|path| walk(&path).into_iter().chain([path.clone()]).collect::<Vec<_>>()).collect()
    }
}
