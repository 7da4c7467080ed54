//! Dispatch as its owner sees it: started from parts, drained at the end.
//!
//! *Responsibility*: [`Dispatcher`] starts the [`Supervisor`] and the retention task, and ends them. *Invariants*:
//! after a drain that returns `Ok` every settled event is durably settled. *Not here*: what they do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::limits::DispatchLimits;
use super::retention::{Keeper, TrimResult};
use super::status::StatusBoard;
use super::supervisor::Supervisor;
use crate::clock::Clock;
use crate::deliver::Transport;
use crate::log::LogSet;
use crate::metrics::Metrics;
use crate::state::{StateError, StateStore};
use crate::triggers::TableSource;
use crate::wake::Waker;

/// Time beyond the deadline that a drain gives to the last flush: many times what a slow disk takes.
pub const FLUSH_GRACE: Duration = Duration::from_secs(5);

/// What dispatch is made of.
#[derive(Debug, Clone)]
pub struct DispatchParts {
    /// Brokers and Triggers. A Broker's logs are in `logs` before it is in the table.
    pub table: TableSource,
    /// Open logs.
    pub logs: LogSet,
    /// Where cursors are kept.
    pub state: Arc<dyn StateStore>,
    /// How events are sent.
    pub transport: Arc<dyn Transport>,
    /// How subscribers are woken.
    pub waker: Arc<dyn Waker>,
    /// Where workers show what they do.
    pub board: StatusBoard,
    /// Counters.
    pub metrics: Metrics,
    /// Wall clock.
    pub clock: Clock,
    /// Seed of the jitter.
    pub seed: u64,
    /// Limits.
    pub limits: DispatchLimits,
}

/// Running dispatch. Dropping it stops everything at once; [`Dispatcher::drain`] stops it in order.
#[derive(Debug)]
pub struct Dispatcher {
    stop: watch::Sender<Option<Instant>>,
    supervisor: AbortOnDropHandle<()>,
    _retention: AbortOnDropHandle<()>,
    keeper: Keeper,
}

impl Dispatcher {
    /// Starts dispatch; it goes on from the saved cursors.
    #[must_use]
    pub fn start(parts: DispatchParts) -> Self {
        let (stop, stopped) = watch::channel(None);
        let keeper = Keeper {
            table: parts.table.clone(),
            logs: parts.logs.clone(),
            state: parts.state.clone(),
            board: parts.board.clone(),
            metrics: parts.metrics.clone(),
            clock: parts.clock.clone(),
        };
        let retention = tokio::spawn(retain(keeper.clone(), parts.limits.retention_interval));
        let supervisor = tokio::spawn(Supervisor::new(parts).run(stopped));
        Self {
            stop,
            supervisor: AbortOnDropHandle::new(supervisor),
            _retention: AbortOnDropHandle::new(retention),
            keeper,
        }
    }

    /// Applies retention to every Broker's log now, besides the regular times.
    pub async fn trim_now(&self) -> Vec<TrimResult> {
        self.keeper.trim_all().await
    }

    /// Takes no new work, lets attempts under way finish until `deadline`, and saves every cursor.
    ///
    /// # Errors
    /// [`StateError`] when the cursors could not be made durable: what was settled last may be delivered again.
    pub async fn drain(self, deadline: Instant) -> Result<(), StateError> {
        // A supervisor that has ended already has nothing to stop.
        let _ = self.stop.send(Some(deadline));
        let _ = self.supervisor.await;
        flush_by(self.keeper.state.as_ref(), deadline + FLUSH_GRACE).await
    }
}

/// Makes everything saved durable, unless that takes too long: a disk that hangs must not keep the broker from ending.
///
/// # Errors
/// [`StateError`] when it is not durable by then.
pub async fn flush_by(state: &dyn StateStore, deadline: Instant) -> Result<(), StateError> {
    let hangs = |_| Err(StateError::Failed("a flush hangs; look at the disk".to_owned()));
    tokio::time::timeout_at(deadline, state.flush()).await.unwrap_or_else(hangs)
}

async fn retain(keeper: Keeper, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        keeper.trim_all().await;
    }
}
