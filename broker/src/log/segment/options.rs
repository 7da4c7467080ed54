//! What a segment log can be told, and why it may not open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::format::FormatError;
use crate::metrics::{BrokerLabels, Metrics};
use crate::names::BrokerKey;

/// Settings of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Size of a segment file, in bytes; retention removes whole ones. 64 MiB: a start scans one in well under a
    /// second, and 10 GiB are 160 files.
    pub segment_bytes: u64,
    /// Disk space is reserved in steps of this many bytes. 2 MiB: a log that is hardly used takes no more, and a busy
    /// one soon writes over zeros instead.
    pub allocate_bytes: u64,
    /// A busy log has zeros written ahead of it in pieces of this many bytes; 0 turns that off. 8 MiB: a tenth of a
    /// second of the fastest publishing measured, of which half is left when the next piece is begun.
    pub zero_ahead_bytes: u64,
    /// Bytes that may wait to be written; more is [`crate::log::AppendError::Overloaded`]. 64 MiB: half a second
    /// of the fastest publishing measured.
    pub queue_bytes: usize,
    /// One group commit takes no further batch once it has this many bytes. 4 MiB: past it an fdatasync takes longer
    /// in proportion, so that a larger group only makes everybody wait.
    pub group_bytes: usize,
    /// Largest batch. 32 MiB: twice the largest request that the ingress takes.
    pub batch_bytes_max: usize,
    /// Recently committed bytes that stay in memory for readers that keep up. 8 MiB: some ten milliseconds of the
    /// fastest publishing measured, minutes of the usual.
    pub memory_bytes: usize,
    /// A full disk is tried again no more often than this. Half a second: soon for a person, rare for the disk.
    pub full_retry: Duration,
}

/// No segment is larger than this: positions in the index are 32 bits wide.
pub(super) const SEGMENT_BYTES_MAX: u64 = 2 << 30;

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            allocate_bytes: 2 << 20,
            zero_ahead_bytes: 8 << 20,
            queue_bytes: 64 << 20,
            group_bytes: 4 << 20,
            batch_bytes_max: 32 << 20,
            memory_bytes: 8 << 20,
            full_retry: Duration::from_millis(500),
        }
    }
}

/// The metrics of one log.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    pub(super) labels: String,
    pub(super) group_records: Option<Histogram>,
    pub(super) fsync_seconds: Option<Histogram>,
    pub(super) bytes: Gauge,
    pub(super) refusals: Counter,
    pub(super) damaged: Counter,
    pub(super) discarded: Counter,
}

impl LogMetrics {
    /// Those of a log of this Broker; its logs share them.
    #[must_use]
    pub fn of_broker(metrics: &Metrics, key: &BrokerKey) -> Self {
        let labels = BrokerLabels::from(key);
        Self {
            labels: key.to_string(),
            group_records: Some(metrics.append_group_records.clone()),
            fsync_seconds: Some(metrics.fsync_seconds.clone()),
            bytes: metrics.log_bytes.get_or_create_owned(&labels),
            refusals: metrics.append_refusals.get_or_create_owned(&labels),
            damaged: metrics.damaged_records.get_or_create_owned(&labels),
            discarded: metrics.discarded_records.get_or_create_owned(&labels),
        }
    }
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another broker; stop that one, or give this one a directory of its own", dir.display())]
    InUse {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {error}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file or directory.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The files contradict each other in a way that no crash explains, and going on could use an offset twice.
    #[error("{} is damaged at byte {position}: {what}; `reveille log verify {}` shows the extent", file.display(), dir_of(file).display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        what: String,
    },
    /// The files were written by a later release.
    #[error("{}: {error}; start that release again, or use another directory", file.display())]
    Version {
        /// Which file.
        file: PathBuf,
        /// What it says.
        error: FormatError,
    },
}

fn dir_of(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}
