//! The load: the broker's own generator, pointed at any server.

use anyhow::ensure;
use broker::cli::bench::{LoadPlan, Mode, Stop, load as generate};

use crate::figures::Rate;

/// Size of an event's data, in bytes.
pub(crate) const EVENT_BYTES: usize = 1024;

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Where to.
    pub(crate) url: String,
    /// Requests under way at once.
    pub(crate) connections: u16,
    /// Events of a request; 1 is binary mode, more is a batch.
    pub(crate) batch: usize,
    /// Until when.
    pub(crate) stop: Stop,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    /// Events that were answered with 202.
    pub(crate) accepted: u64,
    /// How fast.
    pub(crate) rate: Rate,
}

/// Loads a server and counts.
///
/// # Errors
/// When a request fails: a figure of which a part was refused is no figure.
pub(crate) async fn load(load: Load) -> anyhow::Result<Loaded> {
    let mode = if load.batch > 1 { Mode::Batch } else { Mode::Binary };
    let plan = LoadPlan {
        mode,
        connections: load.connections,
        size_bytes: EVENT_BYTES,
        batch: load.batch,
        ..LoadPlan::new(&load.url, load.stop)
    };
    let report = generate(plan).await?;
    ensure!(report.errors.is_empty(), "requests to {} failed: {:?}", load.url, report.errors);
    let rate = Rate {
        events: report.events_per_second(),
        p50: report.latency_at(0.5).as_secs_f64(),
        p99: report.latency_at(0.99).as_secs_f64(),
    };
    Ok(Loaded { accepted: report.events, rate })
}
