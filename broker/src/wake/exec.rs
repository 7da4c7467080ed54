//! Standalone wake: a local command, started when the first event needs it and stopped when it is idle.
//!
//! *Inputs*: an [`ExecSpec`] (`reveille.dev/exec`, `reveille.dev/idle-period`, `reveille.dev/wake-timeout`).
//! *Outputs*: guards of a subscriber that accepts connections. *Invariants*: one process group per command and
//! address, however many Triggers name it; what was not started here is used and never stopped; nothing that was
//! started here outlives the waker, nor a broker that is killed. *Not here*: waiting events ([`crate::dispatch`]), workloads in Kubernetes.
//!
//! ```text
//! asleep ──ask──▶ waking ──accepts──▶ awake ──idle, no guard──▶ stopping ──▶ asleep
//!                   │                   └──ended by itself──▶ asleep (a start after quick ends waits a little)
//!                   └──ended, or too slow──▶ failed ──ask──▶ waking
//! ```

mod child;
mod heir;
mod slot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::child::Child;
use self::slot::Slot;
use super::single_flight::SingleFlight;
use super::{AwakeGuard, WakeError, WakeState, WakeTarget, Waker};
use crate::metrics::Metrics;
use crate::names::TriggerKey;
use crate::triggers::ExecSpec;

/// Time between a stop's SIGTERM and its SIGKILL: enough to answer what is in flight, short enough for a shutdown.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// Pause between two attempts to connect to a command that is starting.
const DIAL_PAUSE: Duration = Duration::from_millis(15);

/// Limit of one attempt to connect. Local addresses answer at once or never.
const DIAL_TIMEOUT: Duration = Duration::from_millis(250);

/// Most commands that are known at once. Far more than one machine runs; those that sleep are forgotten first.
const SLOTS_MAX: usize = 4096;

/// Most rounds of start and ask again for one guard: a command that ends each time before its guard is taken is
/// reported instead of started for ever.
const ROUNDS_MAX: usize = 4;

/// Which command, where. Triggers that name the same share one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    command: String,
    address: String,
}

impl From<&ExecSpec> for Key {
    fn from(spec: &ExecSpec) -> Self {
        Self { command: spec.command.clone(), address: spec.address.clone() }
    }
}

/// Wakes local commands.
#[derive(Debug)]
pub struct ExecWaker {
    shared: Arc<Shared>,
    /// Stops everything when the waker is dropped without [`Waker::stop`].
    _stopping: DropGuard,
}

#[derive(Debug)]
struct Shared {
    allow_exec: bool,
    stop_grace: Duration,
    metrics: Metrics,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    flights: SingleFlight<Key, Result<(), WakeError>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl ExecWaker {
    /// A waker that starts commands if `allow_exec` says so, and otherwise refuses with the reason.
    /// `stop_grace` is the time between SIGTERM and SIGKILL; see [`STOP_GRACE`].
    #[must_use]
    pub fn new(allow_exec: bool, stop_grace: Duration, metrics: Metrics) -> Self {
        let stopping = CancellationToken::new();
        let shared = Shared {
            allow_exec,
            stop_grace,
            metrics,
            slots: Mutex::default(),
            flights: SingleFlight::default(),
            stopping: stopping.clone(),
            tasks: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared), _stopping: stopping.drop_guard() }
    }
}

impl Waker for ExecWaker {
    fn ensure_awake(
        &self,
        trigger: &TriggerKey,
        target: &WakeTarget,
    ) -> BoxFuture<'static, Result<AwakeGuard, WakeError>> {
        let WakeTarget::Exec(spec) = target else { return Box::pin(async { Err(super::misdirected()) }) };
        let (shared, trigger, spec) = (Arc::clone(&self.shared), trigger.clone(), spec.clone());
        Box::pin(async move { shared.ensure_awake(trigger, spec).await })
    }

    fn state(&self, target: &WakeTarget) -> WakeState {
        let WakeTarget::Exec(spec) = target else { return WakeState::Asleep };
        let slots = self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(&Key::from(spec)).map_or(WakeState::Asleep, |slot| slot.shown())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        Box::pin(self.shared.tasks.wait())
    }
}

impl Shared {
    async fn ensure_awake(self: Arc<Self>, trigger: TriggerKey, spec: ExecSpec) -> Result<AwakeGuard, WakeError> {
        if !self.allow_exec {
            let message = "the Trigger has a command to start its subscriber (reveille.dev/exec), and this broker may \
                           not start commands; pass --allow-exec to `reveille serve`, or start the subscriber yourself";
            return Err(WakeError { reason: "ExecNotAllowed", message: message.to_owned() });
        }
        let key = Key::from(&spec);
        for _ in 0..ROUNDS_MAX {
            let slot = self.slot(&key)?;
            if let Some(guard) = slot.guard(spec.idle_period) {
                return Ok(guard);
            }
            let flight = self.flights.join(&key, || {
                let start = Start { shared: Arc::clone(&self), slot, trigger: trigger.clone(), spec: spec.clone() };
                self.tasks.track_future(start.run())
            });
            flight.result().await.map_err(|error| WakeError { reason: "WakeLost", message: error.to_string() })??;
        }
        let message = format!("`{}` was up {ROUNDS_MAX} times and gone before an event could be sent", spec.command);
        Err(WakeError { reason: "CrashLoop", message })
    }

    fn slot(&self, key: &Key) -> Result<Arc<Slot>, WakeError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= SLOTS_MAX {
            slots.retain(|key, slot| !slot.is_idle() || self.flights.contains(key));
        }
        if slots.len() >= SLOTS_MAX {
            let message = format!("{SLOTS_MAX} local commands run already; stop some, or give them an idle period");
            return Err(WakeError { reason: "TooManyCommands", message });
        }
        let slot = Arc::new(Slot::new());
        slots.insert(key.clone(), Arc::clone(&slot));
        Ok(slot)
    }
}

/// One start under way.
struct Start {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    trigger: TriggerKey,
    spec: ExecSpec,
}

impl Start {
    async fn run(self) -> Result<(), WakeError> {
        let (host, port) = split(&self.spec.address)?;
        let stopping = self.shared.stopping.clone();
        let startable = async {
            self.slot.startable().await;
            accepts(&self.spec.address).await
        };
        let foreign = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(broker_stops()),
            foreign = startable => foreign,
        };
        if foreign {
            self.slot.foreign();
            return Ok(());
        }
        self.slot.waking();
        let begun = Instant::now();
        match self.start(&host, port).await {
            Ok(child) => {
                let elapsed = begun.elapsed();
                self.shared.metrics.wake_seconds.observe(elapsed.as_secs_f64());
                tracing::info!(trigger = %self.trigger, elapsed_ms = elapsed.as_millis(), "subscriber awake");
                self.slot.awake();
                let tasks = self.shared.tasks.clone();
                tasks.spawn(self.keep(child, begun));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(trigger = %self.trigger, %error, "subscriber did not wake");
                self.slot.ended(begun.elapsed(), true);
                Err(error)
            }
        }
    }

    /// Starts the command and waits until it accepts connections.
    async fn start(&self, host: &str, port: u16) -> Result<Child, WakeError> {
        let (command, address) = (&self.spec.command, &self.spec.address);
        tracing::info!(trigger = %self.trigger, command, address, "starting subscriber");
        let mut child = Child::start(command, host, port, &self.trigger).map_err(|error| WakeError {
            reason: "StartFailed",
            message: format!("`{command}` cannot be started: {error}"),
        })?;
        let ready = async {
            while !accepts(address).await {
                tokio::time::sleep(DIAL_PAUSE).await;
            }
        };
        let error = tokio::select! {
            biased;
            () = self.shared.stopping.cancelled() => broker_stops(),
            how = child.ended() => WakeError {
                reason: "CrashLoop",
                message: format!("`{command}` did not stay up: {how}; mend the command, the events wait"),
            },
            ready = timeout(self.spec.wake_timeout, ready) => match ready {
                Ok(()) => return Ok(child),
                Err(_) => WakeError {
                    reason: "NotReadyInTime",
                    message: format!(
                        "`{command}` did not listen at {address} within {} s and was killed; it has to listen at \
                         $HOST:$PORT; raise reveille.dev/wake-timeout if it needs longer",
                        self.spec.wake_timeout.as_secs_f64()
                    ),
                },
            },
        };
        child.kill().await;
        Err(error)
    }

    /// Looks after a subscriber that is up, until it ends in one way or another.
    async fn keep(self, mut child: Child, begun: Instant) {
        let Self { shared, slot, trigger, .. } = self;
        loop {
            let why = tokio::select! {
                biased;
                () = shared.stopping.cancelled() => {
                    slot.stop();
                    "the broker stops"
                }
                how = child.ended() => {
                    tracing::warn!(%trigger, error = how, "subscriber ended by itself, the next event starts it again");
                    // What it left behind could hold the address.
                    child.kill().await;
                    return slot.ended(begun.elapsed(), false);
                }
                () = slot.unused() => match slot.stop_if_unused() {
                    true => "idle",
                    false => continue,
                },
            };
            child.stop(shared.stop_grace).await;
            slot.asleep();
            tracing::info!(%trigger, why, "subscriber put to sleep");
            return;
        }
    }
}

fn broker_stops() -> WakeError {
    WakeError { reason: "BrokerStopping", message: "the broker is stopping; the events wait for its next start".into() }
}

/// Whether somebody listens at `address`.
async fn accepts(address: &str) -> bool {
    matches!(timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Host (without the brackets of IPv6) and port.
fn split(address: &str) -> Result<(String, u16), WakeError> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port > 0 => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => Err(WakeError {
            reason: "AddressInvalid",
            message: format!("`{address}` is no host:port to listen at; give the subscriber's uri a port"),
        }),
    }
}

#[cfg(test)]
mod tests;
