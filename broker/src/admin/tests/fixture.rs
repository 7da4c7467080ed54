//! A broker's parts in memory behind the real admin router, for tests of the API and of the CLI.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminParts, Token, router};
use crate::clock::{Clock, UnixMicros};
use crate::dead_letter::{DeadLetter, Reason};
use crate::dispatch::status::{AttemptRecord, StatusBoard, TriggerStatus};
use crate::event::{BodyKind, Event, SpecVersion};
use crate::log::memory::MemoryLog;
use crate::log::{BrokerLogs, EventLog, LogId, LogSet, Offset, Orphans, Retention};
use crate::matching::{Clause, Filter};
use crate::names::{BrokerKey, TriggerKey};
use crate::state::{Cursor, Entry, Phase, StateError, StateStore, Unsettled};
use crate::triggers::{
    Backoff, BrokerEntry, ContentMode, DeliveryPolicy, Order, ReplyMode, StartPosition, Table, TableSource, Target,
    TriggerEntry,
};
use crate::wake::WakeState;

/// Append time of the first event.
pub(crate) const START: UnixMicros = UnixMicros(1_700_000_000_000_000);

/// The only cursor there is.
#[derive(Debug)]
struct OneCursor(TriggerKey, Cursor);

impl StateStore for OneCursor {
    fn load_cursors(&self) -> BoxFuture<'_, Result<Vec<(TriggerKey, Cursor)>, StateError>> {
        Box::pin(ready(Ok(vec![(self.0.clone(), self.1.clone())])))
    }
    fn save_cursor(&self, _: &TriggerKey, _: Cursor) {}
    fn remove_cursor(&self, _: &TriggerKey) {}
    fn put(&self, _: String, _: Option<Vec<u8>>) {}
    fn scan(&self, _: &str) -> BoxFuture<'_, Result<Vec<Entry>, StateError>> {
        Box::pin(ready(Ok(Vec::new())))
    }
    fn flush(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(ready(Ok(())))
    }
}

/// What a test may change while the API answers.
pub(crate) struct Fixture {
    pub(crate) parts: AdminParts,
    pub(crate) events: MemoryLog,
    pub(crate) micros: Arc<AtomicU64>,
}

pub(crate) fn event(id: &str, ty: &str) -> Event {
    let builder = Event::builder(SpecVersion::V1).attribute("id", id).attribute("source", "/shop");
    let builder = builder.attribute("type", ty).attribute("datacontenttype", "application/json");
    builder.body(BodyKind::Json, format!("{{\"id\":\"{id}\"}}").into()).build().unwrap()
}

fn trigger(name: &str, ty: &str, start: StartPosition) -> Arc<TriggerEntry> {
    let wanted = Clause::Exact(BTreeMap::from([("type".to_owned(), ty.to_owned())]));
    Arc::new(TriggerEntry {
        key: TriggerKey::parse("default", name).unwrap(),
        broker: BrokerKey::parse("default", "default").unwrap(),
        filter: Filter::compile(None, Some(&[wanted])).unwrap(),
        incarnation: None,
        subscriber: Target::from(format!("http://localhost/{name}")).into(),
        delivery: DeliveryPolicy {
            retry: 3,
            backoff: Backoff::Linear,
            backoff_delay: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retry_after_max: None,
            dead_letter_sink: None,
        },
        order: Order::Unordered,
        concurrency: 1,
        content_mode: ContentMode::Binary,
        reply: ReplyMode::Lenient,
        start,
        wake: None,
    })
}

fn status(wake: Option<WakeState>, failing: bool) -> TriggerStatus {
    TriggerStatus {
        broker: BrokerKey::parse("default", "default").unwrap(),
        began: Offset(0),
        scanned: Offset(8),
        floor: Offset(2),
        letters_floor: None,
        unsettled: 2,
        retrying: 1,
        in_flight: 1,
        dead_letters: u64::from(failing),
        wake,
        failing,
        last_error: failing.then(|| "HTTP 503".to_owned()),
        oldest_unsettled: Some(START.after(Duration::from_secs(2))),
    }
}

fn letter(offset: u64, id: &str) -> DeadLetter {
    DeadLetter {
        trigger: "default/orders".parse().unwrap(),
        offset: Offset(offset),
        reason: Reason::RetriesExhausted,
        code: Some(503),
        error: "HTTP 503".to_owned(),
        attempts: 4,
        failed_at: START.after(Duration::from_secs(60)),
        error_dest: "http://localhost/orders".to_owned(),
        error_body: bytes::Bytes::new(),
        event: event(id, "order"),
    }
}

impl Fixture {
    /// Ten events (ids `0` to `9`, a second apart; odd ones of type `bill`, even ones of type `order`). Of Trigger
    /// `orders`, #2 is retrying, #4 is a dead letter, #6 was not tried yet, #8 was not read; Trigger `bills` began at
    /// #4 and is asleep.
    pub(crate) async fn new() -> Self {
        let micros = Arc::new(AtomicU64::new(START.0));
        let clock = Clock::manual(micros.clone());
        let (events, letters) = (MemoryLog::new(clock.clone()), MemoryLog::new(clock.clone()));
        let set = |seconds: u64| micros.store(START.0 + seconds * 1_000_000, std::sync::atomic::Ordering::Release);
        for number in 0..10_u64 {
            set(number);
            let ty = if number % 2 == 0 { "order" } else { "bill" };
            events.append(vec![event(&number.to_string(), ty)]).await.unwrap();
        }
        set(60);
        letters.append(vec![letter(4, "4").to_event().unwrap()]).await.unwrap();
        set(120);
        let key = BrokerKey::parse("default", "default").unwrap();
        let logs = LogSet::new();
        let [events_log, dead_letters]: [Arc<dyn EventLog>; 2] = [Arc::new(events.clone()), Arc::new(letters)];
        logs.insert(BrokerLogs { key: key.clone(), id: LogId::default(), events: events_log, dead_letters });
        let orders = trigger("orders", "order", StartPosition::Earliest);
        let bills = trigger("bills", "bill", StartPosition::Latest);
        let board = board(&orders.key, &bills.key);
        let cursor = cursor(&key);
        let store = OneCursor(orders.key.clone(), cursor);
        let triggers = BTreeMap::from([(orders.key.clone(), orders), (bills.key.clone(), bills)]);
        let entry = BrokerEntry {
            key: key.clone(),
            retention: Retention::default(),
            dead_letters: Retention::default(),
            triggers,
        };
        let (writer, table) = TableSource::new();
        writer.publish(Table { brokers: BTreeMap::from([(key, Arc::new(entry))]), ..Table::default() });
        let parts = AdminParts {
            orphans: Orphans::new(),
            logs,
            board,
            table,
            state: Arc::new(store),
            clock,
            token: None,
            faults: Arc::new(|| vec!["triggers.yaml:3: spec.broker is empty".to_owned()]),
            stop: CancellationToken::new(),
        };
        Self { parts, events, micros }
    }

    /// The same, asking for a token.
    pub(crate) fn guarded(mut self, token: &str) -> Self {
        self.parts.token = Some(Token::from_text(token).unwrap());
        self
    }

    /// Serves the API on a free local port until the test ends.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = router(self.parts.clone());
        tokio::spawn(async move { axum::serve(listener, service).await });
        addr
    }
}

fn board(orders: &TriggerKey, bills: &TriggerKey) -> StatusBoard {
    let board = StatusBoard::new();
    board.set(orders, status(None, true));
    board.set(
        bills,
        TriggerStatus {
            began: Offset(4),
            scanned: Offset(9),
            floor: Offset(9),
            unsettled: 0,
            ..status(Some(WakeState::Asleep), false)
        },
    );
    for (seconds, offset) in [(61, 2), (62, 2)] {
        let attempt = AttemptRecord {
            offset: Offset(offset),
            at: START.after(Duration::from_secs(seconds)),
            endpoint: "http://localhost/orders".into(),
            code: Some(503),
            seconds: 0.25,
            error: Some("HTTP 503".to_owned()),
        };
        board.record(orders, attempt);
    }
    board
}

fn cursor(broker: &BrokerKey) -> Cursor {
    let waiting =
        |offset, attempts| Unsettled { offset: Offset(offset), attempts, due: UnixMicros(0), phase: Phase::Subscriber };
    Cursor {
        incarnation: None,
        broker: broker.clone(),
        log: LogId::default(),
        began: Offset(0),
        scanned: Offset(8),
        unsettled: vec![waiting(2, 2), waiting(6, 0)],
        retired: None,
    }
}
