//! What every log engine promises, and the values that cross the seam.
//!
//! ```text
//!        first                     durable end (= next offset to become durable)
//!          │                          │
//!   ───────┼──────────────────────────┼───────────▶ offsets
//!  trimmed │  readable, immutable     │  appended, not yet acknowledged: invisible to readers
//! ```

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use crate::clock::UnixMicros;
use crate::event::Event;

/// Position of an event in one log: dense, from 0, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `count` places on.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The following offset.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub offset: Offset,
    /// When the broker appended it; never earlier than that of the record before it.
    pub appended: UnixMicros,
    /// The event itself. It may share a large buffer; [`Event::detach`] before keeping it.
    pub event: Event,
}

/// How much one read returns at the most. At least one record is returned where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes of events.
    pub bytes: usize,
}

impl Default for ReadLimit {
    /// 1,024 records or 1 MiB: a page that is cheap to hold and long enough to spread the cost of a read.
    fn default() -> Self {
        Self { records: 1024, bytes: 1 << 20 }
    }
}

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Records in order of offset, none below what was asked for.
    pub records: Vec<Record>,
    /// Where the next read goes on. Equal to the offset asked for when nothing is there yet.
    pub next: Offset,
    /// Ranges inside this page that are damaged on disk and were left out, lowest first.
    pub lost: Vec<Range<Offset>>,
}

/// Where an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first event of the batch; the others follow it without a gap.
    pub first: Offset,
    /// How many.
    pub count: u64,
    /// Append time of the batch.
    pub appended: UnixMicros,
}

/// Why an append was refused. Nothing of the batch is stored then, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// More is waiting to be written than the queue holds; try again later.
    #[error("the log has {queued_bytes} bytes waiting to be written; try again in a moment")]
    Overloaded {
        /// Bytes in the queue.
        queued_bytes: usize,
    },
    /// The disk, or the Broker's byte limit, has no room. Appends work again by themselves when there is some.
    #[error("the log is out of space: {0}")]
    Full(String),
    /// Writing or syncing failed; this log takes no more appends until the broker is started again. Whether the
    /// batch is stored is unknown.
    #[error("the log stopped after a failed write: {0}; start the broker again once the disk is sound")]
    Poisoned(String),
    /// The batch is larger than a frame can be.
    #[error("the batch has {bytes} bytes, the log takes at most {limit_bytes} at once")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The broker is stopping.
    #[error("the log is closed; the broker is stopping")]
    Closed,
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the first that is kept.
    #[error("offset {asked} has been removed by retention; the first one kept is {first}")]
    Trimmed {
        /// What was asked for.
        asked: Offset,
        /// The first there is.
        first: Offset,
    },
    /// The file could not be read.
    #[error("cannot read {}: {error}; `reveille log verify` inspects it", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        error: String,
    },
    /// The broker is stopping.
    #[error("the log is closed; the broker is stopping")]
    Closed,
}

/// Why retention could not remove anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot remove {}: {error}", file.display())]
pub struct TrimError {
    /// Which file.
    pub file: PathBuf,
    /// What the system said.
    pub error: String,
}

/// How much of a log is kept. Whole segments go, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Records older than this may go.
    pub age: Option<Duration>,
    /// While the log is larger than this, the oldest segments may go, if settled.
    pub bytes: Option<u64>,
    /// While the log is larger than this, the oldest segments go **even if unsettled**; without it, appends are
    /// refused as [`AppendError::Full`] when the disk is full.
    pub discard_above_bytes: Option<u64>,
}

/// What retention did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// First offset that is left.
    pub first: Offset,
    /// Segments removed.
    pub segments: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Offsets removed that were not settled (only with `discard_above_bytes`).
    pub discarded_unsettled: u64,
}

/// Extent of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// First offset kept.
    pub first: Offset,
    /// The durable end: one past the last readable offset.
    pub next: Offset,
    /// Bytes on disk that hold frames (preallocated space not counted).
    pub bytes: u64,
    /// Append time of the first record kept.
    pub oldest: Option<UnixMicros>,
    /// Append time of the last durable record.
    pub newest: Option<UnixMicros>,
}

/// Whether the log takes appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Writable,
    /// It is out of space, and goes on by itself when there is room.
    Full(String),
    /// A write or sync failed; it takes none until a restart.
    Poisoned(String),
}

/// The promise that an append will be answered. Resolves once the batch is fsynced.
///
/// # Cancel safety
/// Dropping it gives up the answer, not the append.
#[derive(Debug)]
#[must_use = "an append is acknowledged only when its ticket says so"]
pub struct Ticket(oneshot::Receiver<Result<Appended, AppendError>>);

/// The engine's end of a [`Ticket`].
#[derive(Debug)]
pub struct Acknowledge(oneshot::Sender<Result<Appended, AppendError>>);

impl Ticket {
    /// A ticket and the end that answers it.
    pub fn new() -> (Acknowledge, Self) {
        let (sender, receiver) = oneshot::channel();
        (Acknowledge(sender), Self(receiver))
    }

    /// A ticket that is answered already.
    pub fn ready(answer: Result<Appended, AppendError>) -> Self {
        let (acknowledge, ticket) = Self::new();
        acknowledge.send(answer);
        ticket
    }
}

impl Acknowledge {
    /// Answers the ticket; nobody may be waiting any more.
    pub fn send(self, answer: Result<Appended, AppendError>) {
        let _ = self.0.send(answer);
    }
}

impl Future for Ticket {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Follows the durable end of a log.
#[derive(Debug, Clone)]
pub struct Tail(watch::Receiver<Offset>);

impl Tail {
    /// Wraps the engine's end.
    #[must_use]
    pub fn new(receiver: watch::Receiver<Offset>) -> Self {
        Self(receiver)
    }

    /// The durable end now.
    #[must_use]
    pub fn end(&self) -> Offset {
        *self.0.borrow()
    }

    /// Waits until the durable end lies past `offset`; `None` once the log is closed.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn past(&mut self, offset: Offset) -> Option<Offset> {
        self.0.wait_for(|end| *end > offset).await.ok().map(|end| *end)
    }
}

/// An append-only log of events.
///
/// # Guarantees
/// - A [`Ticket`] resolves to `Ok` only after the whole batch is durable; a batch is stored whole or not at all.
/// - Batches become durable in the order of their `append` calls; offsets are dense over batches.
/// - Readers see only durable records, each byte for byte as appended, and never wait for a writer.
/// - After any crash, what was acknowledged is there and nothing is that was not appended. What was appended but
///   not acknowledged is there as a prefix, or is not.
/// - A failed sync is never retried: the log turns [`Health::Poisoned`].
/// - Damage on disk is reported by exact offsets ([`Page::lost`]); what lies around it is still served.
///
/// # Assumptions
/// - One process opens a log directory at a time (the engine takes a lock).
pub trait EventLog: Send + Sync + fmt::Debug + 'static {
    /// Queues a batch; never blocks. An empty batch resolves at once.
    fn append(&self, events: Vec<Event>) -> Ticket;

    /// Reads durable records from `from` on. Served from memory near the tail, else from the file on a blocking
    /// thread.
    fn read(&self, from: Offset, limit: ReadLimit) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// The first offset appended at or after `time`; the durable end where there is none.
    fn seek_time(&self, time: UnixMicros) -> BoxFuture<'_, Result<Offset, ReadError>>;

    /// Extent of the log now.
    fn bounds(&self) -> Bounds;

    /// Follows the durable end.
    fn tail(&self) -> Tail;

    /// Removes whole sealed segments that `retention` lets go and that lie wholly below `settled`.
    fn trim(&self, settled: Offset, retention: Retention, now: UnixMicros)
    -> BoxFuture<'_, Result<Trimmed, TrimError>>;

    /// Whether appends work.
    fn health(&self) -> Health;

    /// Refuses further appends, makes those queued durable, and answers them.
    fn close(&self) -> BoxFuture<'_, ()>;
}
