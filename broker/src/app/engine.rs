//! Which log engine keeps a Broker's events, and how it is set up.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::data_dir::DataDir;
use super::store;
use crate::clock::Clock;
use crate::config::ServeConfig;
use crate::log::segment::fs::FileSystem;
use crate::log::segment::{LogMetrics, OpenError, RealFs, SegmentLog, SegmentOptions};
use crate::log::{BrokerLogs, EventLog};
use crate::metrics::Metrics;
use crate::names::BrokerKey;

/// What a stored event takes beyond what its publisher sent: attribute block, record and frame headers, attributes of
/// ours on a dead letter. Generous, so that whatever the ingress takes fits into a frame.
const OVERHEAD_BYTES: usize = 1 << 20;

/// Opens the logs of Brokers.
#[derive(Debug)]
pub(super) struct LogOpener {
    fs: Arc<dyn FileSystem>,
    data: Arc<DataDir>,
    options: SegmentOptions,
    clock: Clock,
    metrics: Metrics,
}

impl LogOpener {
    pub(super) fn new(data: Arc<DataDir>, config: &ServeConfig, clock: Clock, metrics: Metrics) -> Self {
        let mut options = SegmentOptions::default();
        let request = usize::try_from(config.max_request_bytes.0).unwrap_or(usize::MAX);
        options.batch_bytes_max = options.batch_bytes_max.max(request.saturating_add(OVERHEAD_BYTES));
        Self { fs: Arc::new(RealFs), data, options, clock, metrics }
    }

    /// Opens both logs of a Broker that is there; blocks on the disk.
    ///
    /// # Errors
    /// As [`LogOpener::open`].
    pub(super) fn adopt(&self, key: &BrokerKey) -> anyhow::Result<BrokerLogs> {
        let logs = self.open(key)?;
        store::adopt(&self.data, key).context("cannot note that the broker is back")?;
        Ok(logs)
    }

    /// Opens both logs of a Broker, and changes nothing else; blocks on the disk.
    ///
    /// # Errors
    /// They name file, position and the command that shows the extent of damage.
    pub(super) fn open(&self, key: &BrokerKey) -> anyhow::Result<BrokerLogs> {
        Ok(BrokerLogs {
            key: key.clone(),
            id: store::log_id(&self.data, key).context("cannot tell which log it is")?,
            events: self.open_one(key, &self.data.events(key))?,
            dead_letters: self.open_one(key, &self.data.dead_letters(key))?,
        })
    }

    fn open_one(&self, key: &BrokerKey, dir: &Path) -> Result<Arc<dyn EventLog>, OpenError> {
        let metrics = LogMetrics::of_broker(&self.metrics, key);
        let log = SegmentLog::open(self.fs.clone(), dir, self.options.clone(), self.clock.clone(), metrics)?;
        Ok(Arc::new(log))
    }
}
