//! What was measured.

use crate::disk::Disk;
use crate::matching::Row;

/// One load on one server; the median of its rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Events accepted (or, where the row says so, delivered) a second.
    pub(crate) events: f64,
    /// Median time from request to answer, in seconds.
    pub(crate) p50: f64,
    /// The slowest hundredth takes longer than this, in seconds.
    pub(crate) p99: f64,
}

/// Bare axum and Reveille under the same load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ingest {
    /// Connections at once.
    pub(crate) connections: u16,
    /// Axum that answers 202 and keeps nothing.
    pub(crate) axum: Rate,
    /// Reveille, no Trigger.
    pub(crate) reveille: Rate,
}

/// Everything of one run.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// `write` + `fdatasync` alone.
    pub(crate) disk: Disk,
    /// At 1, 16, 64 and 256 connections.
    pub(crate) ingest: Vec<Ingest>,
    /// 100 events a request, 64 connections.
    pub(crate) batched: Rate,
    /// The HTTP client alone: deliveries a second.
    pub(crate) client: f64,
    /// Axum and the HTTP client in one process, no log.
    pub(crate) forward: Rate,
    /// Reveille with one subscriber: events a second from the first publish to the last delivery.
    pub(crate) one_subscriber: f64,
    /// The same with ten: deliveries a second.
    pub(crate) ten_subscribers: f64,
    /// CPU-seconds of the broker for 100,000 events taken in and delivered once.
    pub(crate) cpu_per_100k: f64,
    /// What one filter costs, by kind of event.
    pub(crate) filters: Vec<Row>,
    /// Events of backlog when memory was read.
    pub(crate) backlog: u64,
    /// Memory of the broker with that backlog, in bytes.
    pub(crate) resident: u64,
}

impl Figures {
    /// The row for a number of connections.
    pub(crate) fn ingest_at(&self, connections: u16) -> Option<&Ingest> {
        self.ingest.iter().find(|row| row.connections == connections)
    }
}
