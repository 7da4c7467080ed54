//! What the tests stand on: a Broker in memory, a subscriber that answers as told, and a waker likewise.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::clock::{Clock, UnixMicros};
use crate::dead_letter::DeadLetter;
use crate::deliver::{Attempt, Failure, Outcome, Transport};
use crate::dispatch::status::{StatusBoard, TriggerStatus};
use crate::dispatch::{DispatchLimits, DispatchParts, Dispatcher};
use crate::event::{BodyKind, Event, SpecVersion};
use crate::log::memory::MemoryLog;
use crate::log::{BrokerLogs, EventLog, LogId, LogSet, ReadLimit, Retention};
use crate::matching::Filter;
use crate::metrics::Metrics;
use crate::names::{BrokerKey, TriggerKey};
use crate::state::memory::MemoryStore;
use crate::state::{Cursor, StateStore};
use crate::triggers::{
    Backoff, BrokerEntry, ContentMode, DeliveryPolicy, Order, ReplyMode, StartPosition, Table, TableSource,
    TableWriter, Target, TriggerEntry,
};
use crate::wake::{AwakeGuard, WakeError, WakeState, WakeTarget, Waker};

/// Virtual time after which a condition is taken never to come true.
const PATIENCE: Duration = Duration::from_secs(3 * 60 * 60);

/// One attempt that the subscriber saw.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) to: String,
    pub(super) event: Event,
    /// All events of the request, in order.
    pub(super) company: Vec<String>,
    pub(super) asked_for_reply: bool,
}

/// Answers an attempt: address, event, how many attempts of this event at this address came before.
type Script = dyn Fn(&str, &Event, usize) -> (Duration, Outcome) + Send + Sync;

/// A transport that asks a script.
pub(super) struct Subscriber {
    script: Mutex<Arc<Script>>,
    seen: Mutex<Vec<Seen>>,
    counts: Mutex<HashMap<(String, String), usize>>,
    under_way: Arc<AtomicUsize>,
    most_under_way: AtomicUsize,
    /// Requests with more events are refused as too large.
    events_max: AtomicUsize,
}

impl Subscriber {
    /// Refuses requests with more than so many events with a 413.
    pub(super) fn refuse_above(&self, events: usize) {
        self.events_max.store(events, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscriber")
    }
}

/// Counts an attempt out, however it ends.
struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Transport for Subscriber {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        let to = attempt.target.uri.clone();
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let script = self.script.lock().unwrap().clone();
        let asked_for_reply = attempt.reply.is_some();
        let events: Vec<Event> = std::iter::once(attempt.event).chain(attempt.rest).collect();
        let company: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
        // A batch gets the answer of the first event that is not taken.
        let mut answer = None;
        for event in events {
            let before = {
                let mut counts = self.counts.lock().unwrap();
                let count = counts.entry((to.clone(), event.id().to_owned())).or_default();
                *count += 1;
                *count - 1
            };
            let said = script(&to, &event, before);
            if answer.as_ref().is_none_or(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. })) {
                answer = Some(said);
            }
            let seen = Seen { at: Instant::now(), to: to.clone(), event, company: company.clone(), asked_for_reply };
            self.seen.lock().unwrap().push(seen);
        }
        let (delay, mut outcome) = answer.expect("an attempt has an event");
        if company.len() > self.events_max.load(Ordering::SeqCst) {
            outcome = Outcome::Refused(failure(Some(413)));
        }
        let leaving = Leaving(self.under_way.clone());
        async move {
            let _leaving = leaving;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            outcome
        }
        .boxed()
    }
}

pub(in crate::dispatch) fn delivered() -> Outcome {
    Outcome::Delivered { code: 200, reply: None, odd_body: false }
}

pub(in crate::dispatch) fn failure(code: Option<u16>) -> Failure {
    let error = code.map_or_else(|| "connection refused".to_owned(), |code| format!("HTTP {code}"));
    Failure { code, error, body: Bytes::new(), retry_after: None, unreachable: code.is_none() }
}

pub(in crate::dispatch) fn retryable(code: u16) -> Outcome {
    Outcome::Retryable(failure(Some(code)))
}

pub(in crate::dispatch) fn event(id: &str) -> Event {
    typed(id, "t", "k")
}

pub(in crate::dispatch) fn typed(id: &str, ty: &str, subject: &str) -> Event {
    Event::builder(SpecVersion::V1)
        .attribute("id", id)
        .attribute("source", "/tests")
        .attribute("type", ty)
        .attribute("subject", subject)
        .body(BodyKind::Binary, Bytes::from_static(b"body"))
        .build()
        .unwrap()
}

pub(in crate::dispatch) fn key(name: &str) -> TriggerKey {
    TriggerKey::parse("ns", name).unwrap()
}

pub(in crate::dispatch) fn broker() -> BrokerKey {
    "ns/default".parse().unwrap()
}

/// A Trigger that wants everything from the beginning, unordered, with three linear retries a second apart. Its
/// address is `http://NAME`.
pub(in crate::dispatch) fn trigger(name: &str) -> TriggerEntry {
    TriggerEntry {
        key: key(name),
        broker: broker(),
        filter: Filter::everything(),
        incarnation: None,
        subscriber: Target::from(format!("http://{name}")).into(),
        delivery: DeliveryPolicy {
            retry: 3,
            backoff: Backoff::Linear,
            backoff_delay: Duration::from_secs(1),
            timeout: Duration::from_secs(60),
            retry_after_max: None,
            dead_letter_sink: None,
        },
        order: Order::Unordered,
        concurrency: 64,
        content_mode: ContentMode::Binary,
        reply: ReplyMode::Lenient,
        start: StartPosition::Earliest,
        wake: None,
    }
}

/// A waker that answers as told.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Wakes asked for.
    pub(super) asked: AtomicUsize,
    /// How long a wake takes, in milliseconds.
    pub(super) takes_ms: AtomicU64,
    /// Wakes fail.
    pub(super) broken: AtomicBool,
    /// Guards alive.
    pub(super) held: Arc<AtomicUsize>,
}

impl Waker for Alarm {
    fn ensure_awake(&self, _: &TriggerKey, _: &WakeTarget) -> BoxFuture<'static, Result<AwakeGuard, WakeError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let takes = Duration::from_millis(self.takes_ms.load(Ordering::SeqCst));
        let broken = self.broken.load(Ordering::SeqCst);
        let held = self.held.clone();
        async move {
            tokio::time::sleep(takes).await;
            if broken {
                return Err(WakeError { reason: "CrashLoop", message: "it ends at once; look at its log".into() });
            }
            held.fetch_add(1, Ordering::SeqCst);
            Ok(AwakeGuard::new(move || {
                held.fetch_sub(1, Ordering::SeqCst);
            }))
        }
        .boxed()
    }

    fn state(&self, _: &WakeTarget) -> WakeState {
        if self.held.load(Ordering::SeqCst) > 0 { WakeState::Awake } else { WakeState::Asleep }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// A Broker with everything around it. Dispatch can be stopped and started again on the same log and store.
pub(super) struct Rig {
    pub(super) events: MemoryLog,
    pub(super) dead_letters: MemoryLog,
    pub(super) store: Arc<MemoryStore>,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) board: StatusBoard,
    pub(super) metrics: Metrics,
    pub(super) wall: Arc<AtomicU64>,
    pub(super) limits: DispatchLimits,
    pub(super) retention: Retention,
    pub(super) letter_retention: Retention,
    pub(super) logs: LogSet,
    writer: Option<TableWriter>,
    dispatcher: Option<Dispatcher>,
}

impl Rig {
    pub(super) fn new(script: impl Fn(&str, &Event, usize) -> (Duration, Outcome) + Send + Sync + 'static) -> Self {
        let wall = Arc::new(AtomicU64::new(1_700_000_000_000_000));
        let clock = Clock::manual(wall.clone());
        let (events, dead_letters) = (MemoryLog::new(clock.clone()), MemoryLog::new(clock));
        let logs = LogSet::new();
        logs.insert(BrokerLogs {
            key: broker(),
            id: LogId::default(),
            events: Arc::new(events.clone()),
            dead_letters: Arc::new(dead_letters.clone()),
        });
        let subscriber = Arc::new(Subscriber {
            script: Mutex::new(Arc::new(script)),
            seen: Mutex::default(),
            counts: Mutex::default(),
            under_way: Arc::default(),
            most_under_way: AtomicUsize::new(0),
            events_max: AtomicUsize::new(usize::MAX),
        });
        Self {
            events,
            dead_letters,
            store: Arc::new(MemoryStore::new()),
            subscriber,
            alarm: Arc::default(),
            board: StatusBoard::new(),
            metrics: Metrics::new(),
            wall,
            limits: DispatchLimits::default(),
            retention: Retention::default(),
            letter_retention: Retention::default(),
            logs,
            writer: None,
            dispatcher: None,
        }
    }

    /// Everything is delivered at once.
    pub(super) fn willing() -> Self {
        Self::new(|_, _, _| (Duration::ZERO, delivered()))
    }

    pub(super) fn script(&self, script: impl Fn(&str, &Event, usize) -> (Duration, Outcome) + Send + Sync + 'static) {
        *self.subscriber.script.lock().unwrap() = Arc::new(script);
    }

    /// Puts something between dispatch and the log of events.
    pub(super) fn replace_events<L: EventLog>(&self, make: impl FnOnce(MemoryLog) -> L) {
        self.logs.insert(BrokerLogs {
            key: broker(),
            id: LogId::default(),
            events: Arc::new(make(self.events.clone())),
            dead_letters: Arc::new(self.dead_letters.clone()),
        });
    }

    /// Starts dispatch with these Triggers.
    pub(super) fn start(&mut self, triggers: Vec<TriggerEntry>) {
        let (writer, table) = TableSource::new();
        self.writer = Some(writer);
        self.set(triggers);
        self.dispatcher = Some(Dispatcher::start(DispatchParts {
            table,
            logs: self.logs.clone(),
            state: self.store.clone(),
            transport: self.subscriber.clone(),
            waker: self.alarm.clone(),
            board: self.board.clone(),
            metrics: self.metrics.clone(),
            clock: Clock::manual(self.wall.clone()),
            seed: 7,
            limits: self.limits,
        }));
    }

    /// Replaces the Triggers.
    pub(super) fn set(&self, triggers: Vec<TriggerEntry>) {
        let triggers: BTreeMap<_, _> = triggers.into_iter().map(|entry| (entry.key.clone(), Arc::new(entry))).collect();
        let entry =
            BrokerEntry { key: broker(), retention: self.retention, dead_letters: self.letter_retention, triggers };
        let brokers = BTreeMap::from([(broker(), Arc::new(entry))]);
        self.writer.as_ref().unwrap().publish(Table { brokers, ..Table::default() });
    }

    /// Stops in order, attempts having `patience` to finish.
    pub(super) async fn drain(&mut self, patience: Duration) {
        self.dispatcher.take().unwrap().drain(Instant::now() + patience).await.unwrap();
    }

    /// Stops as a crash would, but for what has been saved already.
    pub(super) fn crash(&mut self) {
        self.dispatcher = None;
    }

    pub(super) fn dispatcher(&self) -> &Dispatcher {
        self.dispatcher.as_ref().unwrap()
    }

    pub(super) async fn publish(&self, events: Vec<Event>) {
        self.events.append(events).await.unwrap();
    }

    /// Publishes events of these numbers.
    pub(super) async fn publish_numbers(&self, numbers: std::ops::Range<usize>) {
        self.publish(numbers.map(|number| event(&number.to_string())).collect()).await;
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.subscriber.seen.lock().unwrap().clone()
    }

    pub(super) fn seen_by(&self, name: &str) -> Vec<Seen> {
        let to = format!("http://{name}");
        self.subscriber.seen.lock().unwrap().iter().filter(|seen| seen.to == to).cloned().collect()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        let to = format!("http://{name}");
        self.subscriber.seen.lock().unwrap().iter().filter(|seen| seen.to == to).count()
    }

    pub(super) fn ids_of(&self, name: &str) -> Vec<String> {
        self.seen_by(name).iter().map(|seen| seen.event.id().to_owned()).collect()
    }

    pub(super) fn status(&self, name: &str) -> Option<TriggerStatus> {
        self.board.get(&key(name))
    }

    pub(super) async fn cursor(&self, name: &str) -> Option<Cursor> {
        let cursors = self.store.load_cursors().await.unwrap();
        cursors.into_iter().find(|(of, _)| *of == key(name)).map(|(_, cursor)| cursor)
    }

    pub(super) async fn letters(&self) -> Vec<DeadLetter> {
        let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        let first = self.dead_letters.bounds().first;
        let page = self.dead_letters.read(first, limit).await.unwrap();
        page.records.iter().map(|record| DeadLetter::from_event(&record.event).unwrap()).collect()
    }

    /// Waits until `condition` holds.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a Trigger has settled everything, its cursor included.
    pub(super) async fn until_settled(&self, name: &str) {
        let settled = |rig: &Self| {
            let next = rig.events.bounds().next;
            rig.status(name).is_some_and(|status| status.floor == next && status.in_flight == 0)
        };
        self.until(&format!("{name} settles everything"), settled).await;
    }

    pub(super) fn now(&self) -> UnixMicros {
        UnixMicros(self.wall.load(Ordering::SeqCst))
    }

    pub(super) fn pass_wall_time(&self, by: Duration) {
        self.wall.fetch_add(u64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.subscriber.most_under_way.load(Ordering::SeqCst)
    }
}
