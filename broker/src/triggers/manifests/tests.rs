use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use crate::log::Retention;
use crate::names::TriggerKey;
use crate::state::{Cursor, Entry};
use crate::triggers::{StartPosition, Table, TriggerEntry};

const BROKERS: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n---\n\
                       apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: other}\n";
/// Longest wait for something that must happen; it takes half a second.
const DEADLINE: Duration = Duration::from_secs(20);

/// A state store in memory that knows what is flushed.
#[derive(Debug, Default)]
struct FakeStore {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    unflushed: AtomicU64,
}

impl StateStore for FakeStore {
    fn load_cursors(&self) -> BoxFuture<'_, Result<Vec<(TriggerKey, Cursor)>, StateError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn save_cursor(&self, _: &TriggerKey, _: Cursor) {}

    fn remove_cursor(&self, _: &TriggerKey) {}

    fn put(&self, key: String, value: Option<Vec<u8>>) {
        self.unflushed.fetch_add(1, Ordering::Relaxed);
        let mut values = self.values.lock().unwrap();
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
    }

    fn scan(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<Entry>, StateError>> {
        let values = self.values.lock().unwrap();
        let found = values.iter().filter(|(key, _)| key.starts_with(prefix));
        let found = found.map(|(key, value)| (key.clone(), value.clone())).collect();
        Box::pin(async { Ok(found) })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.unflushed.store(0, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
}

/// A running source on a directory of its own.
struct Fixture {
    directory: tempfile::TempDir,
    now: Arc<AtomicU64>,
    store: Arc<FakeStore>,
    metrics: Metrics,
    running: Option<Running>,
}

struct Running {
    manifests: Manifests,
    source: TableSource,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Fixture {
    fn new(files: &[(&str, String)]) -> Self {
        let fixture = Self {
            directory: tempfile::tempdir().unwrap(),
            now: Arc::new(AtomicU64::new(1_000)),
            store: Arc::default(),
            metrics: Metrics::new(),
            running: None,
        };
        files.iter().for_each(|(name, text)| fixture.write(name, text));
        fixture
    }

    async fn started(files: &[(&str, String)]) -> Self {
        let mut fixture = Self::new(files);
        fixture.start().await;
        fixture
    }

    async fn start(&mut self) {
        let config = ManifestConfig {
            directory: self.directory.path().to_owned(),
            defaults: Defaults { retention: Retention::default(), dead_letters: Retention::default(), concurrency: 8 },
            clock: Clock::manual(Arc::clone(&self.now)),
            store: self.store.clone(),
            metrics: self.metrics.clone(),
        };
        let (manifests, source, service) = Manifests::start(config).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(service.run(stop.clone()));
        self.running = Some(Running { manifests, source, stop, task });
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.task.await.unwrap();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn delete(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).unwrap();
    }

    fn table(&self) -> Arc<Table> {
        self.running().source.current()
    }

    fn trigger(&self, name: &str) -> Option<TriggerEntry> {
        let key: TriggerKey = format!("default/{name}").parse().unwrap();
        self.table().brokers.values().find_map(|broker| broker.triggers.get(&key)).map(|entry| entry.as_ref().clone())
    }

    fn uri(&self, name: &str) -> Option<String> {
        self.trigger(name).map(|entry| entry.subscriber.shown().to_owned())
    }

    fn faults(&self) -> Vec<String> {
        self.running().manifests.faults().iter().map(ToString::to_string).collect()
    }

    /// Waits until something holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(done.is_ok(), "not in time: {what}; faults: {:?}", self.faults());
    }
}

fn trigger(name: &str, broker: &str, uri: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata:\n  name: {name}\nspec:\n  broker: {broker}\n  \
         subscriber: {{uri: '{uri}'}}\n"
    )
}

fn files(triggers: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut files = vec![("a-broker.yaml", BROKERS.to_owned())];
    files.extend(triggers.iter().cloned());
    files
}

#[tokio::test]
async fn changes_are_followed() {
    let mut fixture = Fixture::started(&files(&[("t.yaml", trigger("t", "default", "http://one"))])).await;
    assert_eq!(fixture.uri("t").as_deref(), Some("http://one"), "the first table is there at once");
    fixture.write("t.yaml", &trigger("t", "default", "http://two"));
    fixture.until("edited", |f| f.uri("t").as_deref() == Some("http://two")).await;
    fixture.write("u.yml", &trigger("u", "other", "http://u"));
    fixture.until("added", |f| f.uri("u").is_some()).await;
    fixture.delete("t.yaml");
    fixture.until("deleted", |f| f.uri("t").is_none()).await;
    assert!(fixture.uri("u").is_some());
    fixture.stop().await;
}

#[tokio::test]
async fn what_turns_bad_stays_as_it_was_until_mended_or_deleted() {
    let two = format!("{}---\n{}", trigger("x", "default", "http://x1"), trigger("y", "default", "http://y1"));
    let mut fixture =
        Fixture::started(&files(&[("t.yaml", trigger("t", "default", "http://one")), ("xy.yaml", two)])).await;

    fixture.write("t.yaml", "kind: [Trigger");
    fixture.until("syntax fault", |f| f.faults().iter().any(|fault| fault.starts_with("t.yaml:1:"))).await;
    assert_eq!(fixture.uri("t").as_deref(), Some("http://one"));
    assert_eq!(fixture.metrics.manifest_faults.get(), 1, "{:?}", fixture.faults());

    let half = format!("{}---\n{}", trigger("x", "default", "http://x2"), trigger("y", "default", "no address"));
    fixture.write("xy.yaml", &half);
    fixture.until("good half in use", |f| f.uri("x").as_deref() == Some("http://x2")).await;
    assert_eq!(fixture.uri("y").as_deref(), Some("http://y1"));
    assert!(
        fixture.faults().iter().any(|fault| fault.starts_with("xy.yaml:15: spec.subscriber.uri")),
        "{:?}",
        fixture.faults()
    );

    // A second look at the bad files must not lose what they had.
    fixture.write("z.yaml", &trigger("z", "default", "http://z"));
    fixture.until("unrelated change", |f| f.uri("z").is_some()).await;
    assert_eq!(fixture.uri("t").as_deref(), Some("http://one"));
    assert_eq!(fixture.uri("y").as_deref(), Some("http://y1"));

    fixture.write("xy.yaml", &trigger("x", "default", "http://x3"));
    fixture.until("mended without y", |f| f.uri("y").is_none()).await;
    fixture.write("t.yaml", &trigger("t", "default", "http://three"));
    fixture.until("mended", |f| f.uri("t").as_deref() == Some("http://three") && f.faults().is_empty()).await;
    fixture.write("t.yaml", "kind: [Trigger");
    fixture.until("bad again", |f| f.faults().len() == 1).await;
    fixture.delete("t.yaml");
    fixture.until("deleted while bad", |f| f.uri("t").is_none() && f.faults().is_empty()).await;
    assert_eq!(fixture.metrics.manifest_faults.get(), 0);
    fixture.stop().await;
}

#[tokio::test]
async fn creation_is_the_first_reading_and_survives_a_restart() {
    let start_of = |fixture: &Fixture, name: &str| fixture.trigger(name).map(|entry| entry.start);
    let at = |micros: u64| Some(StartPosition::At(UnixMicros(micros)));
    let mut fixture = Fixture::started(&files(&[("t.yaml", trigger("t", "default", "http://one"))])).await;
    assert_eq!(start_of(&fixture, "t"), at(1_000));
    assert_eq!(fixture.store.unflushed.load(Ordering::Relaxed), 0, "durable before it is published");
    fixture.now.store(2_000, Ordering::Release);
    fixture.write("t.yaml", &trigger("t", "default", "http://two"));
    fixture.until("edited", |f| f.uri("t").as_deref() == Some("http://two")).await;
    assert_eq!(start_of(&fixture, "t"), at(1_000), "an edit is no creation");

    fixture.stop().await;
    fixture.write("t.yaml", "kind: [");
    fixture.now.store(3_000, Ordering::Release);
    fixture.start().await;
    assert_eq!(start_of(&fixture, "t"), None, "bad at the start: nothing known to keep");
    fixture.write("t.yaml", &trigger("t", "default", "http://three"));
    fixture.until("mended", |f| f.uri("t").is_some()).await;
    assert_eq!(start_of(&fixture, "t"), at(1_000), "a bad file is no deletion");

    fixture.delete("t.yaml");
    fixture.until("deleted", |f| f.uri("t").is_none()).await;
    fixture.until("forgotten", |f| f.store.values.lock().unwrap().is_empty()).await;
    fixture.now.store(4_000, Ordering::Release);
    fixture.write("t.yaml", &trigger("t", "default", "http://four"));
    fixture.until("created anew", |f| f.uri("t").is_some()).await;
    assert_eq!(start_of(&fixture, "t"), at(4_000));

    fixture.stop().await;
    fixture.delete("t.yaml");
    fixture.start().await;
    assert!(fixture.store.values.lock().unwrap().is_empty(), "deleted while the broker was down");
    fixture.stop().await;
}

#[tokio::test]
async fn the_broker_of_a_trigger_is_immutable() {
    let mut fixture = Fixture::started(&files(&[("t.yaml", trigger("t", "default", "http://one"))])).await;
    fixture.write("t.yaml", &trigger("t", "other", "http://two"));
    let refused = |f: &Fixture| {
        f.faults().iter().any(|fault| fault.starts_with("t.yaml:6: spec.broker: ") && fault.contains("immutable"))
    };
    fixture.until("refused", refused).await;
    assert_eq!(fixture.uri("t").as_deref(), Some("http://one"), "as last read");
    fixture.stop().await;
    fixture.start().await;
    assert!(refused(&fixture), "also across a restart: {:?}", fixture.faults());
    assert_eq!(fixture.uri("t"), None);
    fixture.delete("t.yaml");
    fixture.until("removed", |f| f.faults().is_empty()).await;
    fixture.write("t.yaml", &trigger("t", "other", "http://two"));
    fixture.until("created anew", |f| f.uri("t").as_deref() == Some("http://two")).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_file_that_is_being_written_deletes_nothing() {
    let mut fixture = Fixture::started(&files(&[("t.yaml", trigger("t", "default", "http://one"))])).await;
    let mut source = fixture.running().source.clone();
    source.changed().await;
    // What a copying program does: empty the file, and write it some time later.
    fixture.write("t.yaml", "");
    tokio::time::sleep(DEBOUNCE + Duration::from_millis(50)).await;
    fixture.write("t.yaml", &trigger("t", "default", "http://two"));
    let table = tokio::time::timeout(DEADLINE, source.changed()).await.unwrap().unwrap();
    assert_eq!(table.brokers.values().map(|broker| broker.triggers.len()).sum::<usize>(), 1, "never without it");
    fixture.until("written", |f| f.uri("t").as_deref() == Some("http://two")).await;
    fixture.stop().await;
}

#[tokio::test]
async fn links_of_a_config_map_are_followed() {
    use std::os::unix::fs::symlink;
    let mut fixture = Fixture::new(&[]);
    let link = |from: &str, to: &Path| symlink(from, to).unwrap();
    let at = |fixture: &Fixture, name: &str| fixture.directory.path().join(name);
    for (version, uri) in [("..v1", "http://one"), ("..v2", "http://two")] {
        fs::create_dir(at(&fixture, version)).unwrap();
        fs::write(at(&fixture, version).join("all.yaml"), format!("{BROKERS}---\n{}", trigger("t", "default", uri)))
            .unwrap();
    }
    link("..v1", &at(&fixture, "..data"));
    link("..data/all.yaml", &at(&fixture, "all.yaml"));
    fixture.start().await;
    assert_eq!(fixture.uri("t").as_deref(), Some("http://one"));
    // As the kubelet does: one rename swaps all files.
    link("..v2", &at(&fixture, "..data_tmp"));
    fs::rename(at(&fixture, "..data_tmp"), at(&fixture, "..data")).unwrap();
    fixture.until("swapped", |f| f.uri("t").as_deref() == Some("http://two")).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_directory_that_goes_away_changes_nothing_and_is_found_again() {
    let mut fixture = Fixture::started(&files(&[("t.yaml", trigger("t", "default", "http://one"))])).await;
    let place = fixture.directory.path().to_owned();
    let aside = place.with_extension("aside");
    fs::rename(&place, &aside).unwrap();
    fixture.until("noticed", |f| f.faults().iter().any(|fault| fault.contains("no such directory"))).await;
    assert_eq!(fixture.uri("t").as_deref(), Some("http://one"));
    fs::rename(&aside, &place).unwrap();
    fixture.write("t.yaml", &trigger("t", "default", "http://two"));
    fixture.until("found again", |f| f.uri("t").as_deref() == Some("http://two") && f.faults().is_empty()).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_missing_directory_is_refused_at_start() {
    let fixture = Fixture::new(&[]);
    let config = ManifestConfig {
        directory: fixture.directory.path().join("missing"),
        defaults: Defaults { retention: Retention::default(), dead_letters: Retention::default(), concurrency: 8 },
        clock: Clock::system(),
        store: fixture.store.clone(),
        metrics: Metrics::new(),
    };
    let error = Manifests::start(config).await.unwrap_err();
    assert!(error.to_string().contains("there is no such directory"), "{error}");
}
