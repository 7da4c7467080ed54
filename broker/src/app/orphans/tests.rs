use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config::ServeConfig;
use crate::event::{BodyKind, Event, SpecVersion};
use crate::log::{Offset, Retention};
use crate::state::{MemoryStore, Phase, Unsettled};
use crate::triggers::BrokerEntry;

const GRACE: Duration = Duration::from_secs(60);

fn key(name: &str) -> BrokerKey {
    BrokerKey::parse("ns", name).unwrap()
}

fn trigger(name: &str) -> TriggerKey {
    TriggerKey::parse("ns", name).unwrap()
}

fn cursor(broker: &str, log: u64, scanned: u64, unsettled: &[u64]) -> Cursor {
    let waiting =
        |offset: &u64| Unsettled { offset: Offset(*offset), attempts: 0, due: UnixMicros(0), phase: Phase::Subscriber };
    Cursor {
        incarnation: None,
        broker: key(broker),
        log: LogId(log),
        began: Offset(0),
        scanned: Offset(scanned),
        unsettled: unsettled.iter().map(waiting).collect(),
        retired: None,
    }
}

#[test]
fn a_trigger_holds_a_log_until_it_has_got_all_of_it() {
    let extent = |id| {
        let bounds = Bounds { next: Offset(10), ..Bounds::default() };
        Some(Extent { id: LogId(id), bounds, dead_letters: 0 })
    };
    for (cursor, extent, names, held) in [
        (Some(cursor("b", 1, 10, &[])), extent(1), Some("b"), false),
        (Some(cursor("b", 1, 9, &[])), extent(1), Some("b"), true),
        (Some(cursor("b", 1, 10, &[3])), extent(1), Some("b"), true),
        (Some(cursor("b", 2, 10, &[])), extent(1), Some("b"), true),
        (Some(cursor("other", 1, 10, &[])), extent(1), Some("b"), true),
        (None, extent(1), Some("b"), true),
        (Some(cursor("b", 1, 10, &[])), None, Some("b"), true),
        (None, extent(1), Some("other"), false),
        (None, extent(1), None, true),
    ] {
        let mut table = Table::default();
        table.unserved.insert(trigger("t"), names.map(key));
        table.unserved.insert(TriggerKey::parse("elsewhere", "t").unwrap(), None);
        let told = format!("{cursor:?} {extent:?} {names:?}");
        let cursors = cursor.map(|cursor| (trigger("t"), cursor)).into_iter().collect();
        let expected = if held { vec![trigger("t")] } else { Vec::new() };
        assert_eq!(holders(&table, &cursors, &key("b"), extent), expected, "{told}");
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    data: Arc<DataDir>,
    wall: Arc<AtomicU64>,
    store: Arc<MemoryStore>,
    opener: Arc<LogOpener>,
    keeper: OrphanKeeper,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = Arc::new(DataDir::claim(dir.path()).unwrap());
        let wall = Arc::new(AtomicU64::new(1_000_000));
        let (clock, metrics) = (Clock::manual(wall.clone()), Metrics::new());
        let config = ServeConfig::local(dir.path().into(), dir.path().into());
        let opener = Arc::new(LogOpener::new(data.clone(), &config, clock.clone(), metrics.clone()));
        let store = Arc::new(MemoryStore::new());
        let keeper = OrphanKeeper::new(OrphanParts {
            data: data.clone(),
            grace: GRACE,
            clock,
            state: store.clone(),
            metrics,
            opener: opener.clone(),
            shown: Orphans::new(),
            stop: CancellationToken::new(),
        });
        Self { _dir: dir, data, wall, store, opener, keeper }
    }

    /// A Broker's log with three events, closed again.
    async fn stored(&self, name: &str) -> LogId {
        let logs = self.opener.adopt(&key(name)).unwrap();
        let event = |id: &str| {
            let event = Event::builder(SpecVersion::V1).attribute("id", id).attribute("source", "/s");
            event.attribute("type", "t").body(BodyKind::Json, "1".into()).build().unwrap()
        };
        logs.events.append(["a", "b", "c"].map(event).into()).await.unwrap();
        logs.events.close().await;
        logs.dead_letters.close().await;
        logs.id
    }

    fn later(&self, by: Duration) {
        self.wall.fetch_add(u64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }

    fn is_stored(&self, name: &str) -> bool {
        self.data.broker(&key(name)).exists()
    }
}

fn table(names: &[&str]) -> Table {
    let entry = |name: &&str| {
        let (retention, triggers) = (Retention::default(), BTreeMap::new());
        (key(name), Arc::new(BrokerEntry { key: key(name), retention, dead_letters: retention, triggers }))
    };
    Table { brokers: names.iter().map(entry).collect(), ..Table::default() }
}

#[tokio::test]
async fn it_is_shown_for_the_grace_period_and_then_goes() {
    let mut fixture = Fixture::new();
    for name in ["gone", "kept"] {
        fixture.stored(name).await;
    }
    let without = table(&["kept"]);
    for _ in 0..2 {
        fixture.keeper.review(&without).await;
        let shown = fixture.keeper.parts.shown.all();
        let orphan = &shown[0];
        assert_eq!((shown.len(), &orphan.key, orphan.since), (1, &key("gone"), UnixMicros(1_000_000)));
        assert_eq!((orphan.until, orphan.bounds.unwrap().next), (orphan.since.after(GRACE), Offset(3)));
        assert!(fixture.keeper.is_busy() && fixture.is_stored("gone"));
        let gauge = fixture.keeper.parts.metrics.orphan_bytes.get_or_create(&BrokerLabels::from(&key("gone"))).get();
        assert!(gauge > 0 && u64::try_from(gauge).unwrap() == orphan.disk_bytes);
        fixture.later(GRACE / 2 - Duration::from_micros(1));
    }
    fixture.later(Duration::from_micros(2));
    fixture.keeper.review(&without).await;
    assert!(!fixture.is_stored("gone") && fixture.is_stored("kept"));
    assert!(fixture.keeper.parts.shown.all().is_empty());
    assert_eq!(fixture.keeper.parts.metrics.orphans_removed.get(), 1);
    let metrics = fixture.keeper.parts.metrics.encode().unwrap();
    assert!(!metrics.lines().any(|line| line.starts_with("reveille_orphaned_log_size_bytes{")), "{metrics}");
    while fixture.keeper.is_busy() {
        fixture.keeper.review(&without).await;
        tokio::task::yield_now().await;
    }
    assert!(!store::has_discarded(&fixture.data).unwrap());
}

#[tokio::test]
async fn one_that_comes_back_has_its_log_and_begins_anew_when_it_goes_again() {
    let mut fixture = Fixture::new();
    let id = fixture.stored("b").await;
    fixture.keeper.review(&table(&[])).await;
    fixture.later(GRACE * 2);
    let logs = fixture.opener.adopt(&key("b")).unwrap();
    assert_eq!((logs.id, logs.events.bounds().next), (id, Offset(3)));
    fixture.keeper.review(&table(&["b"])).await;
    assert!(fixture.keeper.parts.shown.all().is_empty());
    fixture.keeper.closing(&logs);
    logs.events.close().await;
    logs.dead_letters.close().await;
    fixture.keeper.review(&table(&[])).await;
    assert!(fixture.is_stored("b"), "its time begins when it went for the second time");
}

#[tokio::test]
async fn nothing_goes_by_a_table_that_may_lack_something() {
    let mut fixture = Fixture::new();
    fixture.stored("b").await;
    let complete = table(&[]);
    fixture.keeper.review(&complete).await;
    fixture.later(GRACE * 2);
    for knowledge in [Knowledge::Nothing, Knowledge::Provisional] {
        fixture.keeper.review(&Table { knowledge, ..complete.clone() }).await;
        assert!(fixture.is_stored("b"), "{knowledge:?}");
    }
    fixture.keeper.review(&Table { faulty: [key("b")].into(), ..complete.clone() }).await;
    assert!(fixture.is_stored("b"), "a faulty Broker is there");
    fixture.keeper.review(&complete).await;
    assert!(!fixture.is_stored("b"));
}

#[tokio::test]
async fn what_a_trigger_has_still_to_get_stays_however_long() {
    let mut fixture = Fixture::new();
    let id = fixture.stored("b").await;
    let mut without = table(&[]);
    without.unserved.insert(trigger("t"), Some(key("b")));
    fixture.store.save_cursor(&trigger("t"), cursor("b", id.0, 3, &[1]));
    fixture.keeper.review(&without).await;
    fixture.later(GRACE * 100);
    fixture.keeper.review(&without).await;
    assert_eq!(fixture.keeper.parts.shown.all()[0].held_by, [trigger("t")]);
    fixture.store.save_cursor(&trigger("t"), cursor("b", id.0, 3, &[]));
    fixture.keeper.review(&without).await;
    assert!(!fixture.is_stored("b"));
}
