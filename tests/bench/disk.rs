//! The disk alone: `write` + `fdatasync` of one event, over and over, as the least a durable acknowledgement costs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::generator::EVENT_BYTES;

/// Size of the file that is written to, in bytes: preallocated, as the log's segments are.
const FILE_BYTES: u64 = 64 << 20;

/// What the disk did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    /// Median of one write and its sync, in seconds.
    pub(crate) p50: f64,
    /// The slowest hundredth takes longer than this, in seconds.
    pub(crate) p99: f64,
    /// Syncs a second.
    pub(crate) rate: f64,
}

/// Writes one event after the other for `run`, each synced before the next.
pub(crate) fn sync_loop(directory: &Path, run: Duration) -> anyhow::Result<Disk> {
    let path = directory.join("sync-loop");
    let file = File::create(&path)?;
    let zeroes = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at)?;
    }
    file.sync_all()?;
    let event = [b'x'; EVENT_BYTES];
    let mut times = Histogram::<u64>::new(3)?;
    let begun = Instant::now();
    let mut at = 0;
    while begun.elapsed() < run {
        let before = Instant::now();
        file.write_all_at(&event, at)?;
        file.sync_data()?;
        times.record(u64::try_from(before.elapsed().as_nanos())?)?;
        at = (at + EVENT_BYTES as u64) % FILE_BYTES;
    }
    std::fs::remove_file(path)?;
    let seconds = |quantile: f64| Duration::from_nanos(times.value_at_quantile(quantile)).as_secs_f64();
    Ok(Disk { p50: seconds(0.5), p99: seconds(0.99), rate: times.len() as f64 / begun.elapsed().as_secs_f64() })
}
