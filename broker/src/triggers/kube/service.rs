//! Keeps the inventory and its table current.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, Link, News};
use super::inventory::{Doubt, Inventory, Names};
use super::record::{Kind, names};
use super::store::Ledger;
use super::{Kube, State};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::state::{StateError, StateStore};
use crate::triggers::convert::Defaults;
use crate::triggers::table::{Knowledge, Table, TableSource, TableWriter};

/// How long a start waits for the API server before it serves what was last known.
const START_WAIT: Duration = Duration::from_secs(3);
/// News taken in before the table is made again; also what may wait between a watch and here.
const BATCH_MAX: usize = 1024;
/// Wait before the API server is asked again about objects that its list lacks.
const DOUBT_RETRY: Duration = Duration::from_secs(5);

/// What the source needs.
#[derive(Clone)]
pub struct KubeConfig {
    /// Brokers that name no class are ours too.
    pub default_class: bool,
    /// After how long a silent connection to the API server counts as dead; whole seconds.
    pub api_timeout: Duration,
    /// What objects leave unsaid.
    pub defaults: Defaults,
    /// The time.
    pub clock: Clock,
    /// Keeps what the table is made of, under `kube/`.
    pub store: Arc<dyn StateStore>,
    /// Counts faults and tells whether the API server answers.
    pub metrics: Metrics,
    /// Told what is wrong with the connection, and what is served meanwhile.
    pub tell: Arc<dyn Fn(Option<String>) + Send + Sync>,
}

impl fmt::Debug for KubeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeConfig").field("default_class", &self.default_class).finish_non_exhaustive()
    }
}

/// Why the source cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody says where the API server is.
    #[error("--kube finds no cluster: {0}; set KUBECONFIG, or run in a pod with a ServiceAccount")]
    NoCluster(String),
    /// The client cannot be made.
    #[error("--kube cannot set up its client: {0}; look at the certificates in KUBECONFIG")]
    Client(String),
    /// The state store cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Follows the API server until it is stopped.
#[derive(Debug)]
pub struct KubeService {
    config: KubeConfig,
    kube: Kube,
    link: Arc<Link>,
    writer: TableWriter,
    inventory: Inventory,
    ledgers: [Ledger; 2],
    feeds: [Feed; 2],
    news: mpsc::Receiver<News>,
    _watches: JoinSet<()>,
    listed: [BTreeSet<Names>; 2],
    complete: [bool; 2],
    restored: bool,
    doubts: BTreeSet<Doubt>,
    ask_at: Instant,
    down: bool,
}

fn at(kind: Kind) -> usize {
    match kind {
        Kind::Broker => 0,
        Kind::Trigger => 1,
    }
}

impl KubeService {
    /// Reads what was last known, and waits a moment for the API server; the service keeps the table current.
    ///
    /// # Errors
    /// [`StartError`]; an API server that does not answer is no error.
    pub async fn start(config: KubeConfig) -> Result<(Kube, TableSource, Self), StartError> {
        let cluster = kube::Config::infer().await.map_err(|error| StartError::NoCluster(error.to_string()))?;
        let link = Arc::new(Link::default());
        let feed = |kind| Feed::new(kind, cluster.clone(), link.clone(), config.api_timeout);
        let feeds = [feed(Kind::Broker), feed(Kind::Trigger)];
        let [brokers, triggers] = feeds;
        let client = |error: kube::Error| StartError::Client(error.to_string());
        let feeds = [brokers.map_err(client)?, triggers.map_err(client)?];
        let mut inventory = Inventory::new(config.default_class);
        let store = config.store.as_ref();
        let ledgers = [Ledger::load(store, Kind::Broker).await?, Ledger::load(store, Kind::Trigger).await?];
        let mut restored = false;
        for (kind, ledger) in [Kind::Broker, Kind::Trigger].into_iter().zip(&ledgers) {
            for (names, record) in ledger.records() {
                restored = true;
                inventory.restore(kind, names.clone(), record.clone());
            }
        }
        let (sender, news) = mpsc::channel(BATCH_MAX);
        let mut watches = JoinSet::new();
        for feed in &feeds {
            watches.spawn(feed.clone().run(sender.clone()));
        }
        let (writer, source) = TableSource::new();
        writer.publish(Table { knowledge: Knowledge::Nothing, ..Table::default() });
        let kube = Kube::default();
        let mut service = Self {
            config,
            kube: kube.clone(),
            link,
            writer,
            inventory,
            ledgers,
            feeds,
            news,
            _watches: watches,
            listed: Default::default(),
            complete: [false; 2],
            restored,
            doubts: BTreeSet::new(),
            ask_at: Instant::now(),
            down: false,
        };
        service.settle().await;
        Ok((kube, source, service))
    }

    /// Waits for complete lists, but not for long; then there is a table, if there can be one.
    async fn settle(&mut self) {
        let deadline = Instant::now() + START_WAIT;
        while !(self.is_complete() && self.doubts.is_empty()) && Instant::now() < deadline {
            let _ = tokio::time::timeout_at(deadline, self.step()).await;
        }
        self.publish().await;
    }

    fn is_complete(&self) -> bool {
        self.complete == [true; 2]
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.step() => {}
            }
            self.publish().await;
        }
    }

    /// Takes in what comes next. Cancelled, it may lose an answer about a doubt, which is asked for again.
    async fn step(&mut self) {
        let mut batch = Vec::new();
        tokio::select! {
            _ = self.news.recv_many(&mut batch, BATCH_MAX) => {}
            () = self.link.changed() => {}
            () = tokio::time::sleep_until(self.ask_at), if !self.doubts.is_empty() => self.ask().await,
        }
        for news in batch {
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Listing(kind) => {
                if let Some(listed) = self.listed.get_mut(at(kind)) {
                    listed.clear();
                }
            }
            News::Listed(kind, object) => {
                let (namespace, name) = names(&object);
                if let Some(listed) = self.listed.get_mut(at(kind)) {
                    listed.insert((namespace.to_owned(), name.to_owned()));
                }
                self.see(kind, &object);
            }
            News::Seen(kind, object) => self.see(kind, &object),
            News::Gone(doubt) => self.inventory.gone(&doubt),
            News::Complete(kind) => {
                if let (Some(listed), Some(complete)) = (self.listed.get_mut(at(kind)), self.complete.get_mut(at(kind)))
                {
                    let listed = std::mem::take(listed);
                    self.doubts.retain(|doubt| doubt.kind != kind);
                    self.doubts.extend(self.inventory.missing(kind, &listed));
                    *complete = true;
                    self.ask_at = Instant::now();
                }
            }
        }
    }

    fn see(&mut self, kind: Kind, object: &serde_json::Value) {
        if self.inventory.seen(kind, object, self.config.clock.now()) {
            self.config.metrics.kube_object_faults.inc();
        }
    }

    /// Asks about every object that a complete list lacks; only a clear no counts.
    async fn ask(&mut self) {
        for doubt in self.doubts.clone() {
            let Some(feed) = self.feeds.get(at(doubt.kind)) else { continue };
            match feed.get(&doubt.names).await {
                Ok(None) => self.inventory.gone(&doubt),
                Ok(Some(object)) => self.see(doubt.kind, &object),
                Err(error) => {
                    let (namespace, name) = &doubt.names;
                    tracing::debug!(%error, "cannot find out whether {namespace}/{name} is gone; it stays");
                    self.ask_at = Instant::now() + DOUBT_RETRY;
                    break;
                }
            }
            self.doubts.remove(&doubt);
        }
    }

    /// Makes durable what the table rests on.
    async fn save(&mut self) {
        let complete = self.is_complete();
        let mut changed = false;
        for (kind, ledger) in [Kind::Broker, Kind::Trigger].into_iter().zip(&mut self.ledgers) {
            for (key, value) in ledger.follow(&self.inventory.records(kind), complete) {
                self.config.store.put(key, value);
                changed = true;
            }
        }
        if changed && let Err(error) = self.config.store.flush().await {
            tracing::warn!(%error, "the last known Triggers could not be made durable");
        }
    }

    /// Makes the table, tells what is wrong, and stores what the table rests on.
    async fn publish(&mut self) {
        let known = self.is_complete() || self.restored;
        if known {
            let knowledge = if self.is_complete() { Knowledge::Complete } else { Knowledge::Provisional };
            self.writer.publish(self.inventory.table(self.config.defaults, knowledge));
        }
        let faults = self.inventory.faults();
        let before = self.kube.0.load_full();
        for fault in faults.iter().filter(|fault| !before.faults.contains(fault)) {
            tracing::warn!(error = %fault, "object fault");
        }
        let error = self.link.error();
        if error.is_some() != self.down {
            self.down = error.is_some();
            match &error {
                Some(error) => tracing::warn!(%error, "the table stays as it was until the API server answers"),
                None => tracing::info!("the API server answers again"),
            }
        }
        let trouble = error.or_else(|| (!self.is_complete()).then(|| "the API server has not answered yet".into()));
        let trouble = trouble.map(|error| match (known, self.inventory.counts()) {
            (true, (brokers, triggers)) => {
                format!("serving {brokers} Brokers and {triggers} Triggers as last known: {error}")
            }
            (false, _) => error,
        });
        let metrics = &self.config.metrics;
        metrics.kube_connected.set(i64::from(trouble.is_none()));
        metrics.kube_faulty_objects.set(i64::try_from(faults.len()).unwrap_or(i64::MAX));
        (self.config.tell)(trouble);
        self.kube.0.store(Arc::new(State { faults }));
        self.save().await;
    }
}
