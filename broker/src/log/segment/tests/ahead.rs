//! Zeros written ahead of the writer: they are there, they harm nothing, and a disk that refuses them is no trouble.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::log::segment::fs::{File, FileSystem, Open};

const PIECE_BYTES: u64 = 256 << 10;

fn busy() -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 4 << 20,
        allocate_bytes: 64 << 10,
        zero_ahead_bytes: PIECE_BYTES,
        memory_bytes: 0,
        ..SegmentOptions::default()
    }
}

/// The real file system, which counts files that are opened for writing again, and may refuse that.
#[derive(Debug, Default)]
struct CountingFs {
    opened: AtomicUsize,
    refuses: bool,
}

impl FileSystem for CountingFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if how == Open::Write {
            self.opened.fetch_add(1, Ordering::AcqRel);
            if self.refuses {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        RealFs.open(path, how)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        RealFs.list(directory)
    }
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        RealFs.create_dir_all(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        RealFs.sync_dir(directory)
    }
}

async fn fill(log: &SegmentLog, range: std::ops::Range<u64>) {
    for n in range {
        log.append(vec![event(n, 8 << 10)]).await.unwrap();
    }
}

async fn check(log: &SegmentLog, count: u64) {
    assert_eq!(log.bounds().next, Offset(count));
    let mut at = Offset(0);
    while at < Offset(count) {
        let page = log.read(at, ReadLimit::default()).await.unwrap();
        assert!(page.lost.is_empty() && page.next > at);
        for record in &page.records {
            assert_eq!(record.event, event(record.offset.0, 8 << 10));
        }
        at = page.next;
    }
}

fn open_on(fs: Arc<dyn FileSystem>, dir: &Path) -> SegmentLog {
    SegmentLog::open(fs, dir, busy(), Clock::system(), LogMetrics::default()).unwrap()
}

#[tokio::test]
async fn events_lie_between_zeros_through_rolls_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(CountingFs::default());
    let log = open_on(fs.clone(), dir.path());
    // Some 12 MiB: four segments.
    fill(&log, 0..1500).await;
    assert!(fs.opened.load(Ordering::Acquire) > 10, "a busy log has zeros written ahead of it");
    check(&log, 1500).await;
    // Without a word, as when the process is killed.
    drop(log);
    let log = loop {
        match SegmentLog::open(fs.clone(), dir.path(), busy(), Clock::system(), LogMetrics::default()) {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    check(&log, 1500).await;
    fill(&log, 1500..1600).await;
    log.close().await;
    check(&open_on(fs, dir.path()), 1600).await;
}

#[tokio::test]
async fn a_log_that_is_hardly_used_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(CountingFs::default());
    let log = open_on(fs.clone(), dir.path());
    fill(&log, 0..10).await;
    log.close().await;
    assert_eq!(fs.opened.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn a_disk_that_refuses_them_is_asked_once_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(CountingFs { refuses: true, ..CountingFs::default() });
    let log = open_on(fs.clone(), dir.path());
    fill(&log, 0..1500).await;
    check(&log, 1500).await;
    log.close().await;
    let asked = fs.opened.load(Ordering::Acquire);
    assert!((1..=4).contains(&asked), "asked {asked} times in four segments");
}
