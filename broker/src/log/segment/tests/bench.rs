//! Figures of the log alone. `cargo test --release -p broker --lib segment::tests::bench -- --ignored --nocapture`

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::log::contract_suite::event;
use crate::log::segment::fs::{File, FileSystem, Open};
use crate::log::segment::{LogMetrics, RealFs, SegmentLog, SegmentOptions};
use crate::log::{EventLog, Offset, ReadLimit};

const FOR: Duration = Duration::from_secs(3);

/// The real file system, but space is reserved by writing zeros and syncing them.
#[derive(Debug)]
struct FilledFs;

#[derive(Debug)]
struct FilledFile(Arc<dyn File>);

impl File for FilledFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = self.0.size()?;
        while at < length {
            let count = usize::try_from(length - at).unwrap().min(zeros.len());
            self.0.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        self.0.sync_data()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

impl FileSystem for FilledFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(FilledFile(RealFs.open(path, how)?)))
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

struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu_seconds: f64,
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

async fn load(fs: Arc<dyn FileSystem>, tasks: u64, batch: u64, reader: bool) -> Figures {
    let dir = tempfile::tempdir().unwrap();
    let opened =
        SegmentLog::open(fs, dir.path(), SegmentOptions::default(), Clock::system(), LogMetrics::default()).unwrap();
    let log = Arc::new(opened);
    let cpu = cpu_seconds();
    let begun = Instant::now();
    let reading = reader.then(|| tokio::spawn(follow(log.clone())));
    let mut running = Vec::new();
    for task in 0..tasks {
        let log = log.clone();
        running.push(tokio::spawn(async move {
            let events: Vec<_> = (0..batch).map(|n| event(task * batch + n, 960)).collect();
            let mut latencies = Vec::new();
            while begun.elapsed() < FOR {
                let at = Instant::now();
                log.append(events.clone()).await.unwrap();
                latencies.push(at.elapsed());
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for one in running {
        latencies.extend(one.await.unwrap());
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu;
    log.close().await;
    if let Some(reading) = reading {
        assert_eq!(reading.await.unwrap(), log.bounds().next.0);
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let per_second = latencies.len() as f64 * batch as f64 / elapsed;
    Figures { per_second, p50: at(0.5), p99: at(0.99), cpu_seconds }
}

/// Reads everything as it becomes durable and returns how much that was.
async fn follow(log: Arc<SegmentLog>) -> u64 {
    let mut tail = log.tail();
    let mut at = Offset(0);
    let mut bytes = 0;
    while tail.past(at).await.is_some() {
        let page = log.read(at, ReadLimit::default()).await.unwrap();
        bytes += page.records.iter().map(|record| record.event.id().len()).sum::<usize>();
        at = page.next;
    }
    while at < log.bounds().next {
        at = log.read(at, ReadLimit::default()).await.unwrap().next;
    }
    assert!(bytes > 0);
    at.0
}

#[test]
#[ignore = "takes half a minute and says nothing in a debug build"]
fn figures_of_the_log_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("reserve    tasks batch reader   events/s       p50       p99   CPU s per 100,000");
    for round in 0..2 {
        for (tasks, batch, reader) in [(1, 1, false), (64, 1, false), (64, 1, true), (4, 1000, false), (4, 1000, true)]
        {
            for (name, fs) in [("fallocate", Arc::new(RealFs) as Arc<dyn FileSystem>), ("zeros", Arc::new(FilledFs))] {
                let Figures { per_second, p50, p99, cpu_seconds } = runtime.block_on(load(fs, tasks, batch, reader));
                let cpu = cpu_seconds / (per_second * FOR.as_secs_f64()) * 1e5;
                println!(
                    "{name:10} {tasks:5} {batch:5} {reader:6} {per_second:10.0} {p50:>9.0?} {p99:>9.0?} {cpu:8.2} (round {round})"
                );
            }
        }
    }
}
