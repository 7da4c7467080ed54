//! One Trigger's worker: it owns the window, begins attempts, and saves the cursor.
//!
//! *Responsibility*: matched events in, from the feed or read by itself ([`intake`]); attempts out ([`launch`]);
//! what they came to applied to the window ([`settle`]); cursor, status and metrics ([`report`]); where to begin
//! ([`restore`]). *Invariants*: one task owns all of it; nothing here waits for another Trigger; memory is bounded
//! by the window, the feed and the budget; a saved cursor is never ahead of an unsettled event. *Not here*: what
//! an attempt does ([`super::attempt`]), which event is next ([`super::window`]).

mod intake;
mod launch;
mod report;
mod restore;
mod settle;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep};

use super::attempt::{Done, Means, Settings};
use super::awake::Awake;
use super::budget::Kept;
use super::congestion::Congestion;
use super::feed::{Fed, Feed};
use super::hub::Hub;
use super::limits::{BATCH_EVENTS_MAX, DispatchLimits, Pause};
use super::window::Window;
use crate::log::{Offset, Page, ReadError};
use crate::metrics::Metrics;
use crate::state::{Cursor, StateStore};
use crate::triggers::TriggerEntry;
use crate::wake::{AwakeGuard, WakeError, Waker};
use report::Report;

/// What the supervisor tells a worker; the latest counts.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) entry: Arc<TriggerEntry>,
    pub(super) stop: Option<Stop>,
}

/// How a worker ends: it begins nothing new, and attempts under way may finish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// The Trigger is gone: its cursor is kept only to be resumed.
    pub(super) retire: bool,
    /// Attempts that are not finished by then are dropped; they will be made again.
    pub(super) deadline: Option<Instant>,
}

/// What a worker is made of.
#[derive(Debug)]
pub(super) struct WorkerParts {
    pub(super) control: watch::Receiver<Control>,
    pub(super) means: Arc<Means>,
    pub(super) hub: Arc<Hub>,
    pub(super) feed: Arc<Feed>,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) waker: Arc<dyn Waker>,
    pub(super) board: super::status::StatusBoard,
    pub(super) metrics: Metrics,
    pub(super) rng: fastrand::Rng,
    pub(super) limits: DispatchLimits,
    /// Pages that workers may read by themselves at once.
    pub(super) reads: Arc<Semaphore>,
    /// Where it left off, if it continues.
    pub(super) cursor: Option<Cursor>,
}

/// Where matched events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// From the log, read by the worker itself; up to an offset once it is attached to the router.
    Reading { until: Option<Offset> },
    /// From the router.
    Fed,
}

/// The permit is given back once the page is taken in.
type ReadPage = (Option<OwnedSemaphorePermit>, Result<Page, ReadError>);
type Reading = BoxFuture<'static, ReadPage>;

/// See the module.
pub(super) struct Worker {
    control: watch::Receiver<Control>,
    stop: Option<Stop>,
    means: Arc<Means>,
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    state: Arc<dyn StateStore>,
    rng: fastrand::Rng,
    limits: DispatchLimits,
    reads: Arc<Semaphore>,
    window: Window<Kept>,
    mode: Mode,
    reading: Option<Reading>,
    read_pause: Pause,
    read_at: Option<Instant>,
    inbox: Vec<Fed>,
    attempts: JoinSet<Vec<Done>>,
    to_subscriber: usize,
    to_sink: usize,
    congestion: Congestion,
    /// Events per request of a batched Trigger: fewer for a while after a batch was too large for the subscriber.
    batching: Congestion,
    awake: Awake,
    /// Resolves when the subscriber wakes or goes to sleep by itself.
    turned: Option<BoxFuture<'static, ()>>,
    report: Report,
    /// The order has changed: events have to be put into other lanes.
    rearrange: bool,
}

/// What the worker is woken by.
enum Stir {
    Control(bool),
    Done(Option<Result<Vec<Done>, JoinError>>),
    Woken(Result<AwakeGuard, WakeError>),
    Page(ReadPage),
    Turned,
    Fed,
    Timer,
}

impl Worker {
    /// Works until it is told to stop; returns the cursor, if the Trigger ever had one.
    pub(super) async fn run(parts: WorkerParts) -> Option<Cursor> {
        let entry = parts.control.borrow().entry.clone();
        let mut worker = Self {
            report: Report::new(parts.board, &parts.metrics, &entry),
            awake: Awake::new(parts.waker, entry.key.clone(), entry.wake.clone()),
            congestion: Congestion::new(entry.concurrency),
            batching: Congestion::new(BATCH_EVENTS_MAX),
            settings: Settings::new(entry),
            control: parts.control,
            stop: None,
            means: parts.means,
            hub: parts.hub,
            feed: parts.feed,
            state: parts.state,
            rng: parts.rng,
            limits: parts.limits,
            reads: parts.reads,
            window: Window::new(Offset(0)),
            mode: Mode::Reading { until: None },
            reading: None,
            read_pause: Pause::default(),
            read_at: None,
            inbox: Vec::new(),
            attempts: JoinSet::new(),
            to_subscriber: 0,
            to_sink: 0,
            turned: None,
            rearrange: false,
        };
        let mut cursor = parts.cursor;
        loop {
            if !worker.begin(cursor.as_ref()).await {
                return worker.leave(cursor);
            }
            worker.work().await;
            let reached = worker
                .window
                .cursor((&worker.means.logs.key, worker.means.logs.id), worker.settings.entry.incarnation.clone());
            if worker.stop.is_some() {
                return worker.leave(Some(reached));
            }
            // Lanes are made anew from the log, as after a restart.
            worker.feed.detach();
            worker.mode = Mode::Reading { until: None };
            worker.reading = None;
            worker.rearrange = false;
            cursor = Some(reached);
        }
    }

    /// Until it is told to stop, or has to begin anew, and nothing is under way any more.
    async fn work(&mut self) {
        let timer = tokio::time::sleep_until(Instant::now());
        tokio::pin!(timer);
        self.show_waiting();
        self.report_now(Instant::now());
        loop {
            let now = Instant::now();
            self.pump(now);
            let halting = self.stop.is_some() || self.rearrange;
            let late = self.stop.and_then(|stop| stop.deadline).is_some_and(|deadline| deadline <= now);
            if halting && (self.attempts.is_empty() || late) {
                self.attempts.abort_all();
                return;
            }
            let stir = self.stir(timer.as_mut()).await;
            self.handle(stir);
        }
    }

    /// All that can be done without waiting.
    fn pump(&mut self, now: Instant) {
        if self.stop.is_none() && !self.rearrange {
            self.window.wake_due(now);
            self.read_at = self.read_at.filter(|at| *at > now);
            self.intake();
            self.launch(now);
        }
        if self.report.is_due(now) {
            self.report_now(now);
        }
    }

    async fn stir(&mut self, mut timer: Pin<&mut Sleep>) -> Stir {
        let at = self.next_moment();
        if let Some(at) = at
            && timer.deadline() != at
        {
            timer.as_mut().reset(at);
        }
        let reading = async {
            match &mut self.reading {
                Some(reading) => reading.await,
                None => std::future::pending().await,
            }
        };
        let turned = async {
            match &mut self.turned {
                Some(turned) => turned.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            told = self.control.changed() => Stir::Control(told.is_ok()),
            done = self.attempts.join_next(), if !self.attempts.is_empty() => Stir::Done(done),
            woken = self.awake.woken() => Stir::Woken(woken),
            page = reading => Stir::Page(page),
            () = turned => Stir::Turned,
            () = self.feed.changed() => Stir::Fed,
            () = timer, if at.is_some() => Stir::Timer,
        }
    }

    /// When something is due by itself. [`Worker::pump`] does all that is due, or the timer would spin.
    fn next_moment(&self) -> Option<Instant> {
        let deadline = self.stop.and_then(|stop| stop.deadline);
        let report = self.report.due();
        if self.stop.is_some() || self.rearrange {
            return deadline.into_iter().chain(report).min();
        }
        let wake = self.awake.due().filter(|_| self.window.has_ready());
        [self.window.next_due(), self.read_at, wake, report].into_iter().flatten().min()
    }

    fn handle(&mut self, stir: Stir) {
        match stir {
            Stir::Control(there) => self.obey(there),
            Stir::Done(done) => self.apply_all(done),
            Stir::Woken(result) => self.woken(result),
            Stir::Page((_permit, page)) => {
                self.reading = None;
                self.on_page(page);
            }
            Stir::Turned => {
                self.turned = None;
                self.changed();
            }
            Stir::Fed | Stir::Timer => {}
        }
    }

    /// Takes over what the supervisor says.
    fn obey(&mut self, there: bool) {
        if !there {
            // The supervisor is gone without a word; nobody will wait for this worker.
            self.stop = Some(Stop { retire: false, deadline: Some(Instant::now()) });
            return;
        }
        let Control { entry, stop } = self.control.borrow_and_update().clone();
        self.stop = stop;
        if *entry == *self.settings.entry {
            return;
        }
        self.rearrange |= entry.order != self.settings.entry.order;
        self.congestion.set_max(entry.concurrency);
        self.awake.set_target(entry.wake.as_ref());
        let waited = self.settings.subscriber_waits().is_some();
        self.settings = Settings::new(entry);
        if waited {
            self.report.unstuck();
        }
        self.show_waiting();
        self.changed();
        tracing::info!(broker = %self.means.logs.key, trigger = %self.means.key, "trigger changed");
    }

    /// Saves the cursor for the last time.
    fn leave(&mut self, cursor: Option<Cursor>) -> Option<Cursor> {
        let retire = self.stop.is_some_and(|stop| stop.retire);
        let key = self.means.key.clone();
        let cursor = cursor.map(|cursor| Cursor { retired: retire.then(|| self.means.clock.now()), ..cursor });
        if let Some(cursor) = &cursor {
            self.state.save_cursor(&key, cursor.clone());
        }
        if retire {
            self.report.remove(&key);
        }
        cursor
    }
}
