//! Follows the table: one router per Broker, one worker per Trigger, started, changed and stopped as it says.
//!
//! *Inputs*: tables, saved cursors, open logs. *Outputs*: running tasks; cursors of deleted Triggers marked retired
//! and removed in time. *Invariants*: a Trigger has one worker at a time, also while its former one finishes; a
//! worker's route is known to the router before the worker attaches. *Not here*: what workers do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::attempt::Means;
use super::budget::{Budget, Pool};
use super::dispatcher::DispatchParts;
use super::feed::Feed;
use super::hub::{Hub, Routes};
use super::limits::{Pause, READS_AT_ONCE_MAX};
use super::router::{self, Router};
use super::worker::{Control, Stop, Worker, WorkerParts};
use crate::log::{BrokerLogs, LogId};
use crate::names::{BrokerKey, TriggerKey};
use crate::state::Cursor;
use crate::triggers::{BrokerEntry, Knowledge, StartPosition, Table, TriggerEntry};

/// Wait before a Broker whose log is not open is looked at again, if the table does not change before.
const LOG_WAIT: Duration = Duration::from_millis(500);

/// How often cursors of deleted Triggers are looked at.
const RETIRED_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How far behind the end a router may begin, in offsets; Triggers that are further behind read by themselves. A
/// second of the fastest ingest.
const ROUTER_BEHIND_MAX: u64 = 65_536;

/// Time that workers get beyond the deadline to save their cursors.
const SAVE_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct RunningBroker {
    logs: Arc<BrokerLogs>,
    hub: Arc<Hub>,
    _router: AbortOnDropHandle<()>,
    /// What the routes were made of.
    routed: Vec<(TriggerKey, Arc<TriggerEntry>)>,
}

#[derive(Debug)]
struct RunningWorker {
    broker: BrokerKey,
    logs: Arc<BrokerLogs>,
    entry: Arc<TriggerEntry>,
    control: watch::Sender<Control>,
    feed: Arc<Feed>,
    stopping: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Supervisor {
    parts: DispatchParts,
    pool: Arc<Pool>,
    reads: Arc<Semaphore>,
    rng: fastrand::Rng,
    brokers: BTreeMap<BrokerKey, RunningBroker>,
    workers: BTreeMap<TriggerKey, RunningWorker>,
    tasks: JoinSet<(TriggerKey, Option<Cursor>)>,
    /// Of Triggers that have no worker.
    cursors: HashMap<TriggerKey, Cursor>,
    began: Instant,
}

impl Supervisor {
    /// Nothing runs yet.
    pub(super) fn new(parts: DispatchParts) -> Self {
        Self {
            pool: Pool::new(parts.limits.total_bytes),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE_MAX)),
            rng: fastrand::Rng::with_seed(parts.seed),
            parts,
            brokers: BTreeMap::new(),
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            cursors: HashMap::new(),
            began: Instant::now(),
        }
    }

    /// Works until it is told to stop, then until all workers have, or the given moment has come.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<Option<Instant>>) {
        tokio::select! {
            _ = stopped.wait_for(Option::is_some) => return,
            () = self.load() => {}
        }
        let mut table = self.parts.table.clone();
        let mut sweep = tokio::time::interval(RETIRED_INTERVAL);
        // Without a writer nobody will change the table any more; what there is goes on.
        let mut followed = true;
        loop {
            let complete = self.apply(&table.current());
            tokio::select! {
                _ = stopped.wait_for(Option::is_some) => break,
                changed = table.changed(), if followed => followed = changed.is_some(),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                () = tokio::time::sleep(LOG_WAIT), if !complete => {}
                _ = sweep.tick() => self.sweep(&table.current()),
            }
        }
        let deadline = (*stopped.borrow()).unwrap_or_else(Instant::now);
        self.drain(deadline).await;
    }

    /// Without the cursors every Trigger would begin anew, so this is tried until it works.
    async fn load(&mut self) {
        let mut pause = Pause::default();
        loop {
            match self.parts.state.load_cursors().await {
                Ok(cursors) => {
                    self.cursors = cursors.into_iter().collect();
                    return;
                }
                Err(error) => {
                    if pause.is_first() {
                        tracing::error!(%error, "cannot load the cursors; nothing is delivered until that works");
                    }
                    tokio::time::sleep(pause.next()).await;
                }
            }
        }
    }

    /// Makes what runs follow the table; `false` when a Broker's log is not open yet.
    fn apply(&mut self, table: &Table) -> bool {
        self.stop_former(table);
        let mut complete = true;
        for broker in table.brokers.values() {
            let logs = self.parts.logs.get(broker.key.namespace.as_str(), broker.key.name.as_str());
            match logs {
                Some(logs) => self.apply_broker(broker, &logs),
                None => complete &= broker.triggers.is_empty(),
            }
        }
        let used: BTreeSet<BrokerKey> = self.workers.values().map(|worker| worker.broker.clone()).collect();
        self.brokers.retain(|key, _| used.contains(key));
        complete
    }

    fn stop_former(&mut self, table: &Table) {
        for (key, worker) in &mut self.workers {
            let entry = table.brokers.get(&worker.broker).and_then(|broker| broker.triggers.get(key));
            let logs = self.parts.logs.get(worker.broker.namespace.as_str(), worker.broker.name.as_str());
            let same_logs = logs.is_some_and(|logs| Arc::ptr_eq(&logs, &worker.logs));
            let same = entry.is_some_and(|entry| entry.incarnation == worker.entry.incarnation);
            if worker.stopping || (same && same_logs) {
                continue;
            }
            tracing::info!(broker = %worker.broker, trigger = %key, "trigger stops");
            worker.stopping = true;
            // One whose Broker is away for the moment has not been deleted.
            let stop = Stop { retire: !same && !table.unserved.contains_key(key), deadline: None };
            worker.control.send_modify(|control| control.stop = Some(stop));
        }
    }

    fn apply_broker(&mut self, broker: &BrokerEntry, logs: &Arc<BrokerLogs>) {
        if broker.triggers.is_empty() {
            return;
        }
        if self.brokers.get(&broker.key).is_none_or(|running| !Arc::ptr_eq(&running.logs, logs)) {
            let running = self.start_router(broker, logs);
            self.brokers.insert(broker.key.clone(), running);
        }
        let Some(hub) = self.brokers.get(&broker.key).map(|running| running.hub.clone()) else { return };
        let mut starting = Vec::new();
        for (key, entry) in &broker.triggers {
            match self.workers.get_mut(key) {
                // Its end makes this run again.
                Some(worker) if worker.stopping => {}
                Some(worker) => {
                    if !Arc::ptr_eq(&worker.entry, entry) && worker.entry != *entry {
                        worker.entry = entry.clone();
                        worker.control.send_modify(|control| control.entry = entry.clone());
                    }
                }
                None => starting.push(self.prepare(entry, logs, &hub)),
            }
        }
        self.update_routes(&broker.key);
        // Only now may they attach.
        for (key, parts) in starting {
            self.tasks.spawn(async move { (key, Worker::run(parts).await) });
        }
    }

    fn start_router(&self, broker: &BrokerEntry, logs: &Arc<BrokerLogs>) -> RunningBroker {
        let bounds = logs.events.bounds();
        let cursors = broker.triggers.keys().filter_map(|key| self.cursors.get(key));
        let scanned = cursors.filter(|cursor| cursor.broker == broker.key).map(|cursor| cursor.scanned);
        let hub = Hub::new(router::start(scanned, bounds.first, bounds.next, ROUTER_BEHIND_MAX));
        let router = Router {
            hub: hub.clone(),
            logs: logs.clone(),
            metrics: self.parts.metrics.clone(),
            nudge_interval: self.parts.limits.flush_interval,
        };
        let router = AbortOnDropHandle::new(tokio::spawn(router.run()));
        RunningBroker { logs: logs.clone(), hub, _router: router, routed: Vec::new() }
    }

    fn prepare(
        &mut self,
        entry: &Arc<TriggerEntry>,
        logs: &Arc<BrokerLogs>,
        hub: &Arc<Hub>,
    ) -> (TriggerKey, WorkerParts) {
        let parts = &self.parts;
        let budget = Budget::new(parts.limits.trigger_bytes, self.pool.clone());
        let feed = Feed::new(parts.limits.feed_events, budget);
        let (control, told) = watch::channel(Control { entry: entry.clone(), stop: None });
        let worker = WorkerParts {
            control: told,
            means: Arc::new(Means {
                key: entry.key.clone(),
                logs: logs.clone(),
                transport: parts.transport.clone(),
                clock: parts.clock.clone(),
            }),
            hub: hub.clone(),
            feed: feed.clone(),
            state: parts.state.clone(),
            waker: parts.waker.clone(),
            board: parts.board.clone(),
            metrics: parts.metrics.clone(),
            rng: self.rng.fork(),
            limits: parts.limits,
            reads: self.reads.clone(),
            cursor: self.cursors.remove(&entry.key).and_then(|cursor| continued(cursor, entry, logs.id)),
        };
        let running = RunningWorker {
            broker: entry.broker.clone(),
            logs: logs.clone(),
            entry: entry.clone(),
            control,
            feed,
            stopping: false,
        };
        self.workers.insert(entry.key.clone(), running);
        (entry.key.clone(), worker)
    }

    fn update_routes(&mut self, key: &BrokerKey) {
        let Some(running) = self.brokers.get_mut(key) else { return };
        let workers = || self.workers.iter().filter(|(_, worker)| worker.broker == *key && !worker.stopping);
        let unchanged = workers().count() == running.routed.len()
            && workers()
                .zip(&running.routed)
                .all(|((now, worker), (then, entry))| now == then && Arc::ptr_eq(&worker.entry, entry));
        if unchanged {
            return;
        }
        running.routed = workers().map(|(key, worker)| (key.clone(), worker.entry.clone())).collect();
        let wanted = workers().map(|(_, worker)| (worker.feed.clone(), worker.entry.filter.clone())).collect();
        running.hub.set_routes(Routes::build(wanted));
    }

    fn ended(&mut self, ended: Result<(TriggerKey, Option<Cursor>), tokio::task::JoinError>) {
        match ended {
            Ok((key, cursor)) => {
                self.workers.remove(&key);
                if let Some(cursor) = cursor {
                    self.cursors.insert(key, cursor);
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }

    /// Removes the cursors of Triggers that are gone for good.
    fn sweep(&mut self, table: &Table) {
        if table.knowledge != Knowledge::Complete {
            return;
        }
        let kept = self.parts.limits.retired_kept;
        let now = self.parts.clock.now();
        // Those that had no Trigger when we started may belong to a manifest that is broken for the moment; they
        // are not marked, and get as long from the start.
        let long_up = self.began.elapsed() >= kept;
        let state = &self.parts.state;
        self.cursors.retain(|key, cursor| {
            let gone = !table.unserved.contains_key(key)
                && cursor.retired.map_or(long_up, |retired| now.since(retired) >= kept);
            if gone {
                state.remove_cursor(key);
                tracing::info!(trigger = %key, "the cursor of a deleted trigger is removed");
            }
            !gone
        });
    }

    async fn drain(&mut self, deadline: Instant) {
        for worker in self.workers.values() {
            // One that is being retired stays so.
            worker.control.send_modify(|control| {
                let retire = control.stop.is_some_and(|stop| stop.retire);
                control.stop = Some(Stop { retire, deadline: Some(deadline) });
            });
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline + SAVE_GRACE, all).await.is_err() {
            tracing::warn!("workers did not stop in time; some events may be delivered again");
        }
        self.tasks.abort_all();
    }
}

/// The cursor that a Trigger goes on from, of the one found under its name. Offsets of another log mean nothing here.
fn continued(cursor: Cursor, entry: &TriggerEntry, log: LogId) -> Option<Cursor> {
    let same = match &entry.incarnation {
        // The same object came back: a restored cluster, or its Broker was away.
        Some(_) => cursor.incarnation == entry.incarnation,
        None => cursor.incarnation.is_none() && cursor.retired.is_none(),
    };
    let resumes = same || matches!(entry.start, StartPosition::Resume(_));
    (resumes && cursor.broker == entry.broker && cursor.log == log).then_some(Cursor { retired: None, ..cursor })
}
