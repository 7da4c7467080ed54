//! Starting and stopping, in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;
use super::doors::{Doors, Listeners};
use super::engine::LogOpener;
use super::keeper::LogKeeper;
use super::listen::Addrs;
use super::orphans::{OrphanKeeper, OrphanParts};
use crate::admin::{self, AdminParts, Token};
use crate::clock::Clock;
use crate::conditions::ConditionWriter;
use crate::config::{ServeConfig, Size};
use crate::deliver::Transport;
use crate::deliver::http::{HttpOptions, HttpTransport};
use crate::dispatch::status::StatusBoard;
use crate::dispatch::{DispatchLimits, DispatchParts, Dispatcher, FLUSH_GRACE, flush_by};
use crate::health::{HealthParts, LagReporter, Readiness};
use crate::ingress::{self, IngressLimits, IngressState};
use crate::log::segment::RealFs;
use crate::log::segment::fs::FileSystem;
use crate::log::{LogSet, Orphans};
use crate::metrics::Metrics;
use crate::resolve::{Directory, Routed, feed};
use crate::state::sled::{Options as StateOptions, SledStore};
use crate::telemetry::TelemetryHandle;
use crate::triggers::TableSource;
use crate::triggers::convert::Defaults;
use crate::triggers::kube::{KubeConfig, KubeService};
use crate::triggers::manifests::{ManifestConfig, Manifests};
use crate::wake::Waker;
use crate::wake::each::EachWaker;
use crate::wake::exec::{ExecWaker, STOP_GRACE};
use crate::wake::scale::ScaleWaker;

/// How long a publisher waits for a Broker that is not known: about what news from the API server may take.
const UNKNOWN_BROKER_WAIT: Duration = Duration::from_secs(2);

/// A broker that runs in this process.
#[derive(Debug)]
pub struct Running {
    addrs: Addrs,
    doors: Doors,
    dispatcher: Dispatcher,
    table_tasks: Vec<JoinHandle<()>>,
    waker: Arc<dyn Waker>,
    base: Base,
    drain_timeout: Duration,
    _data: Arc<DataDir>,
}

/// What every part is given.
#[derive(Debug, Clone)]
struct Base {
    clock: Clock,
    metrics: Metrics,
    logs: LogSet,
    board: StatusBoard,
    readiness: Readiness,
    state: Arc<SledStore>,
    orphans: Orphans,
    stop_table: CancellationToken,
}

/// Builds every part and starts it. Once this returns, publishers are served, or told to wait while nobody knows which
/// Brokers there are.
///
/// # Errors
/// One clear line: which address, directory or manifest is the trouble, and what to do.
pub async fn start(config: ServeConfig, telemetry: TelemetryHandle) -> anyhow::Result<Running> {
    start_on(config, telemetry, Arc::new(RealFs)).await
}

/// The same with another file system under the checkpoint of cursors.
async fn start_on(
    config: ServeConfig,
    telemetry: TelemetryHandle,
    checkpoint: Arc<dyn FileSystem>,
) -> anyhow::Result<Running> {
    config.validate()?;
    let data = Arc::new(DataDir::claim(&config.data)?);
    let token = config.admin_token_file.as_deref().map(Token::read).transpose()?;
    let listeners = Listeners::bind(&config).await?;
    let base = Base {
        clock: Clock::system(),
        metrics: Metrics::new(),
        logs: LogSet::new(),
        board: StatusBoard::new(),
        readiness: Readiness::new(),
        state: Arc::new(open_state(&data, &config, checkpoint)?),
        orphans: Orphans::new(),
        stop_table: CancellationToken::new(),
    };
    let mut triggers = base.triggers(&config, data.clone()).await?;
    let directory = Directory::default();
    let waker = base.waker(&config, &directory, &mut triggers).await?;
    let dispatcher = base.dispatcher(&config, triggers.table.clone(), waker.clone(), directory)?;
    let addrs = listeners.addrs()?;
    let stop_sides = CancellationToken::new();
    let health = crate::health::router(base.health_parts(telemetry));
    let admin = admin::router(AdminParts {
        logs: base.logs.clone(),
        orphans: base.orphans.clone(),
        board: base.board.clone(),
        table: triggers.table,
        state: base.state.clone(),
        clock: base.clock.clone(),
        token,
        faults: triggers.faults,
        stop: stop_sides.clone(),
    });
    let ingress = IngressState::new(base.logs.clone(), base.metrics.clone(), ingress_limits(&config));
    let doors = listeners.open(ingress::router(ingress), health, admin, &config, stop_sides);
    base.readiness.listening();
    Ok(Running {
        addrs,
        doors,
        dispatcher,
        table_tasks: triggers.tasks,
        waker,
        base,
        drain_timeout: config.drain_timeout.0,
        _data: data,
    })
}

/// What is wrong with Brokers and Triggers at the moment.
type Faults = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// A source of Brokers and Triggers: its faults, its table, and what keeps both current.
type Source = (Faults, TableSource, BoxFuture<'static, ()>);

/// Where Triggers come from, once it runs.
struct Triggers {
    faults: Faults,
    table: TableSource,
    tasks: Vec<JoinHandle<()>>,
}

impl Base {
    /// Reads the manifests, opens the logs of their Brokers, and keeps both current.
    async fn triggers(&self, config: &ServeConfig, data: Arc<DataDir>) -> anyhow::Result<Triggers> {
        let (faults, source, service) = match config.manifests.clone() {
            Some(directory) => self.manifests(config, directory).await?,
            None if config.kube => self.kube(config).await?,
            None => bail!("there is no source of Brokers and Triggers; give --manifests DIR or --kube"),
        };
        let opener = Arc::new(LogOpener::new(data.clone(), config, self.clock.clone(), self.metrics.clone()));
        let orphans = OrphanKeeper::new(OrphanParts {
            data,
            grace: config.orphan_grace.0,
            clock: self.clock.clone(),
            state: self.state.clone(),
            metrics: self.metrics.clone(),
            opener: opener.clone(),
            shown: self.orphans.clone(),
            stop: self.stop_table.clone(),
        });
        let (downstream, table) = TableSource::new();
        let (logs, readiness) = (self.logs.clone(), self.readiness.clone());
        let mut keeper = LogKeeper { source, downstream, logs, opener, readiness, orphans };
        let table_now = keeper.source.current();
        let failed = keeper.apply(&table_now).await;
        let tasks = vec![tokio::spawn(keeper.run(table_now, failed, self.stop_table.clone())), tokio::spawn(service)];
        Ok(Triggers { faults, table, tasks })
    }

    async fn manifests(&self, config: &ServeConfig, directory: PathBuf) -> anyhow::Result<Source> {
        let (manifests, source, service) = Manifests::start(ManifestConfig {
            directory,
            defaults: defaults(config),
            clock: self.clock.clone(),
            store: self.state.clone(),
            metrics: self.metrics.clone(),
        })
        .await?;
        let faults: Faults = Arc::new(move || manifests.faults().iter().map(ToString::to_string).collect());
        Ok((faults, source, service.run(self.stop_table.clone()).boxed()))
    }

    async fn kube(&self, config: &ServeConfig) -> anyhow::Result<Source> {
        let readiness = self.readiness.clone();
        let (kube, source, service) = KubeService::start(KubeConfig {
            default_class: config.default_class,
            api_timeout: config.api_timeout.0,
            defaults: defaults(config),
            clock: self.clock.clone(),
            store: self.state.clone(),
            metrics: self.metrics.clone(),
            tell: Arc::new(move |trouble| readiness.source(trouble)),
        })
        .await?;
        let faults: Faults = Arc::new(move || kube.faults());
        Ok((faults, source, service.run(self.stop_table.clone()).boxed()))
    }

    /// What wakes subscribers; in a cluster, also what follows their endpoints and tells of them.
    async fn waker(
        &self,
        config: &ServeConfig,
        directory: &Directory,
        Triggers { table, tasks, .. }: &mut Triggers,
    ) -> anyhow::Result<Arc<dyn Waker>> {
        let exec = Arc::new(ExecWaker::new(config.allow_exec, STOP_GRACE, self.metrics.clone()));
        let mut each = EachWaker { exec, scale: None };
        if config.kube {
            let cluster = kube::Config::infer().await.context("--kube finds no cluster")?;
            let silence = config.api_timeout.0;
            let client =
                feed::client(cluster.clone(), directory, silence).context("--kube cannot set up its client")?;
            tasks.push(tokio::spawn(feed::run(client.clone(), directory.clone(), silence, self.stop_table.clone())));
            let writer = ConditionWriter::new(cluster, silence, self.board.clone(), table.clone(), self.clock.clone());
            let writer = writer.context("--kube cannot set up its client")?;
            tasks.push(tokio::spawn(writer.run(self.stop_table.clone())));
            each.scale = Some(Arc::new(ScaleWaker::new(client, directory.clone(), self.metrics.clone())));
        }
        Ok(Arc::new(each))
    }

    fn dispatcher(
        &self,
        config: &ServeConfig,
        table: TableSource,
        waker: Arc<dyn Waker>,
        directory: Directory,
    ) -> anyhow::Result<Dispatcher> {
        let options = HttpOptions { reply_bytes_max: bytes(config.max_event_bytes), ..HttpOptions::default() };
        let transport = HttpTransport::new(options, self.clock.clone(), fastrand::Rng::new())
            .context("cannot set up the HTTP client")?;
        Ok(Dispatcher::start(DispatchParts {
            table,
            logs: self.logs.clone(),
            state: self.state.clone(),
            transport: Arc::new(Routed::new(Arc::new(transport), directory)) as Arc<dyn Transport>,
            waker,
            board: self.board.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            seed: fastrand::u64(..),
            limits: DispatchLimits { flush_interval: config.state_flush_interval.0, ..DispatchLimits::default() },
        }))
    }

    fn health_parts(&self, telemetry: TelemetryHandle) -> HealthParts {
        let (metrics, board, logs) = (self.metrics.clone(), self.board.clone(), self.logs.clone());
        HealthParts {
            readiness: self.readiness.clone(),
            logs: logs.clone(),
            state: self.state.clone(),
            metrics: metrics.clone(),
            lag: Arc::new(LagReporter::new(metrics, board, logs, self.clock.clone())),
            telemetry,
        }
    }
}

fn defaults(config: &ServeConfig) -> Defaults {
    Defaults {
        retention: config.retention(),
        dead_letters: config.dead_letter_retention(),
        concurrency: config.concurrency,
    }
}

fn open_state(data: &DataDir, config: &ServeConfig, files: Arc<dyn FileSystem>) -> anyhow::Result<SledStore> {
    let options = StateOptions { flush_interval: config.state_flush_interval.0, ..StateOptions::default() };
    Ok(SledStore::open(&data.state(), options, files)?)
}

fn ingress_limits(config: &ServeConfig) -> IngressLimits {
    IngressLimits {
        event_bytes: bytes(config.max_event_bytes),
        request_bytes: bytes(config.max_request_bytes),
        in_flight_bytes: bytes(config.max_in_flight_bytes),
        unknown_wait: if config.kube { UNKNOWN_BROKER_WAIT } else { Duration::ZERO },
        ..IngressLimits::default()
    }
}

/// A size as memory counts it.
fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// Waits until Brokers and Triggers are known and `/ready` may say so.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn until_loaded(&self) {
        self.base.readiness.until_triggers_loaded().await;
    }

    /// Stops in order: not ready any more, publishers' requests finished, deliveries under way finished or left for the
    /// next start, cursors durable, logs closed.
    ///
    /// # Errors
    /// When cursors could not be made durable: then the next start repeats some deliveries.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.base.readiness.drain();
        self.doors.stop_ingress.cancel();
        if let Err(error) = self.doors.ingress.await {
            tracing::error!(%error, "the publishers' server ended abnormally");
        }
        self.base.stop_table.cancel();
        for task in self.table_tasks {
            let _ = task.await;
        }
        let deadline = Instant::now() + self.drain_timeout;
        let drained = self.dispatcher.drain(deadline).await;
        self.waker.stop().await;
        for logs in self.base.logs.all() {
            logs.events.close().await;
            logs.dead_letters.close().await;
        }
        let flushed = flush_by(self.base.state.as_ref(), deadline + FLUSH_GRACE).await;
        self.doors.stop_sides.cancel();
        for side in self.doors.sides {
            let _ = side.await;
        }
        drained.context("cursors could not be saved; the next start repeats some deliveries")?;
        flushed.context("the state store could not be flushed; the next start repeats some deliveries")
    }
}

#[cfg(test)]
mod tests;
