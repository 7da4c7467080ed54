//! Waking a workload in Kubernetes: its `/scale` is raised from zero, once, and its Service's endpoints say when it is
//! up.
//!
//! *Inputs*: a [`ScaleSpec`], as the controller found it; the [`Directory`] of endpoints. *Outputs*: guards of a
//! Service that has an endpoint which takes requests. *Invariants*: replicas are only ever raised, only from zero, and
//! only by compare-and-set on the version that was read, so that of several brokers one writes and nobody's own
//! scaling is undone (putting to sleep is asked for, and in [`ScaleSpec::idle_period`]); one request per workload is under way at a time, however many events and Triggers ask; a
//! workload that somebody scales back to zero is raised [`REVERTS_MAX`] times, then left alone for
//! [`REVERT_PAUSE`]. *Not here*: which workload ([`ScaleSpec::workload`] comes from the
//! controller). While a wake waits, pods and ReplicaSets are watched for what keeps them
//! from starting.
//!
//! Level-triggered: whoever has events for a Service without endpoints asks, at the start as later, and asks again
//! every [`LOOK_AGAIN`], so that no notice that went missing leaves a workload asleep.

mod ask;
mod diagnose;
mod idle;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use schemas::annotations::Workload;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::ask::Api;
use super::single_flight::SingleFlight;
use super::{AwakeGuard, WakeError, WakeState, WakeTarget, Waker, misdirected};
use crate::metrics::Metrics;
use crate::names::TriggerKey;
use crate::resolve::{Directory, Port};
use crate::triggers::ScaleSpec;

/// Pause between two looks at a workload that was raised and has no endpoint yet.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often a workload that somebody scales back to zero is raised again.
pub const REVERTS_MAX: u32 = 3;
/// How long it is left alone then.
pub const REVERT_PAUSE: Duration = Duration::from_secs(300);
/// Time for the first list of endpoints after a start.
const KNOW_WAIT: Duration = Duration::from_secs(3);
/// Tries of one compare-and-set before it is reported; somebody else has to write as often in between.
const CAS_TRIES: usize = 5;
/// Most workloads whose wakes are remembered; those that were woken longest ago are forgotten first.
const REMEMBERED_MAX: usize = 4096;

/// A workload and its namespace.
type Key = (String, Workload);

/// What was done to a workload since it was up last.
#[derive(Debug, Clone, Copy)]
struct Raised {
    times: u32,
    last: Instant,
}

/// Wakes workloads.
#[derive(Debug)]
pub struct ScaleWaker(Arc<Shared>);

struct Shared {
    api: Api,
    directory: Directory,
    metrics: Metrics,
    /// What each gives is the selector of the workload's pods.
    flights: SingleFlight<Key, Result<String, WakeError>>,
    raised: Mutex<HashMap<Key, Raised>>,
    uses: idle::Uses,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("raised", &self.raised).finish_non_exhaustive()
    }
}

impl ScaleWaker {
    /// Raises through `client`, and learns from `directory` what is up.
    #[must_use]
    pub fn new(client: Client, directory: Directory, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            api: Api::new(client),
            directory,
            metrics,
            flights: SingleFlight::default(),
            raised: Mutex::default(),
            uses: idle::Uses::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }
}

impl Waker for ScaleWaker {
    fn ensure_awake(
        &self,
        trigger: &TriggerKey,
        target: &WakeTarget,
    ) -> BoxFuture<'static, Result<AwakeGuard, WakeError>> {
        let WakeTarget::Scale(spec) = target else { return Box::pin(async { Err(misdirected()) }) };
        let port = self.0.directory.port(&spec.port);
        if port.is_up() {
            self.0.is_up(spec);
            return Box::pin(std::future::ready(Ok(self.0.guard(spec))));
        }
        let wake = Wake { shared: self.0.clone(), port, spec: spec.clone(), trigger: trigger.clone() };
        Box::pin(wake.run())
    }

    fn roused(&self, target: &WakeTarget) -> BoxFuture<'static, ()> {
        let WakeTarget::Scale(spec) = target else { return Box::pin(std::future::pending()) };
        let port = self.0.directory.port(&spec.port);
        Box::pin(async move { port.up().await })
    }

    fn state(&self, target: &WakeTarget) -> WakeState {
        let WakeTarget::Scale(spec) = target else { return WakeState::Failed };
        self.0.state(&self.0.directory.port(&spec.port))
    }

    fn turned(&self, target: &WakeTarget, from: WakeState) -> BoxFuture<'static, ()> {
        let WakeTarget::Scale(spec) = target else { return Box::pin(std::future::pending()) };
        let (shared, port) = (self.0.clone(), self.0.directory.port(&spec.port));
        Box::pin(async move { port.until(|| shared.state(&port) != from).await })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.stopping.cancel();
        self.0.tasks.close();
        Box::pin(self.0.tasks.wait())
    }
}

/// One Trigger that has events for a Service which is not up.
struct Wake {
    shared: Arc<Shared>,
    port: Arc<Port>,
    spec: ScaleSpec,
    trigger: TriggerKey,
}

impl Wake {
    async fn run(self) -> Result<AwakeGuard, WakeError> {
        let began = Instant::now();
        let directory = &self.shared.directory;
        let _ = timeout(KNOW_WAIT, directory.settled()).await;
        if !directory.was_read() {
            // Nothing says that it sleeps: its name is dialled, as if nobody knew of endpoints.
            return Ok(AwakeGuard::new(|| ()));
        }
        let deadline = began + self.spec.wake_timeout;
        let mut raised = false;
        while !self.port.is_up() {
            let mut selector = String::new();
            if !self.port.has_any() {
                selector = self.raise().await?;
                raised = true;
            }
            let look = deadline.min(Instant::now() + LOOK_AGAIN);
            tokio::select! {
                biased;
                () = self.port.up() => {}
                error = self.trouble(&selector) => return Err(error),
                () = tokio::time::sleep_until(look) => {}
            }
            if !self.port.is_up() && Instant::now() >= deadline {
                return Err(self.late());
            }
        }
        self.shared.is_up(&self.spec);
        let guard = self.shared.guard(&self.spec);
        if raised {
            self.shared.metrics.wake_seconds.observe(began.elapsed().as_secs_f64());
            tracing::info!(
                trigger = %self.trigger, service = self.spec.port.service, elapsed_ms = began.elapsed().as_millis(),
                "subscriber awake"
            );
        }
        Ok(guard)
    }

    /// What keeps the pods from starting; for ever pending where nothing is known to.
    async fn trouble(&self, selector: &str) -> WakeError {
        if selector.is_empty() {
            return std::future::pending().await;
        }
        let client = self.shared.api.client().clone();
        diagnose::trouble(client, &self.spec.port.namespace, selector).await
    }

    /// Sees to it that the workload is not at zero. Gives the selector of its pods, where it says so.
    async fn raise(&self) -> Result<String, WakeError> {
        if let Some(trouble) = self.shared.directory.trouble() {
            let message = format!("it slept when the API server was last heard of, and cannot be woken now: {trouble}");
            return Err(WakeError { reason: "ApiServerUnreachable", message });
        }
        let workload = self.spec.workload.clone().map_err(|why| not_wakeable(&why))?;
        let key = (self.spec.port.namespace.clone(), workload);
        let shared = self.shared.clone();
        let (to, trigger) = (key.clone(), self.trigger.clone());
        let flight = self.shared.flights.join(&key, move || {
            let stopping = shared.stopping.clone();
            let tasks = shared.tasks.clone();
            let work = async move { shared.raise(&to, &trigger).await };
            tasks.track_future(async move {
                let stopped = WakeError { reason: "BrokerStopping", message: "the broker is stopping".into() };
                stopping.run_until_cancelled(work).await.unwrap_or(Err(stopped))
            })
        });
        let lost =
            |error: super::single_flight::FlightError| WakeError { reason: "WakeLost", message: error.to_string() };
        flight.result().await.map_err(lost)?
    }

    /// Nothing took requests in time.
    fn late(&self) -> WakeError {
        let (service, seconds) = (&self.spec.port.service, self.spec.wake_timeout.as_secs_f64());
        if self.port.has_any() {
            let message = format!(
                "Service {service} has ready endpoints, but none takes connections; does its port lead to the one that \
                 the pods listen at, and does a NetworkPolicy let the broker through?"
            );
            return WakeError { reason: "ReadyButUnreachable", message };
        }
        let message = format!(
            "Service {service} has had no ready endpoint for {seconds} s although its workload is not at zero; look at \
             its pods, or raise reveille.dev/wake-timeout if they need longer"
        );
        WakeError { reason: "NotReadyInTime", message }
    }
}

impl Shared {
    /// Keeps the workload from being put to sleep, where it would be.
    fn guard(self: &Arc<Self>, spec: &ScaleSpec) -> AwakeGuard {
        match (&spec.workload, spec.idle_period) {
            (Ok(workload), Some(period)) => idle::hold(self, (spec.port.namespace.clone(), workload.clone()), period),
            _ => AwakeGuard::new(|| ()),
        }
    }

    fn state(&self, port: &Port) -> WakeState {
        let up = !self.directory.was_read() || port.has_any();
        if up { WakeState::Awake } else { WakeState::Asleep }
    }

    async fn raise(&self, key: &Key, trigger: &TriggerKey) -> Result<String, WakeError> {
        let (namespace, workload) = key;
        let before = self.raised.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        for _ in 0..CAS_TRIES {
            let scale = self.api.scale(namespace, workload).await?;
            let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
            let ask::Step::Raise { version } = ask::decide(&scale) else { return Ok(selector) };
            if let Some(before) = before.filter(|before| is_given_up(*before, Instant::now())) {
                return Err(reverted(workload, before));
            }
            if self.api.raise(namespace, workload, &version).await? {
                self.remember(key);
                tracing::info!(%trigger, kind = workload.kind, name = workload.name, "waking subscriber");
                return Ok(selector);
            }
        }
        let message = format!("{} {} is written to by somebody else all the time", workload.kind, workload.name);
        Err(WakeError { reason: "WakeConflict", message })
    }

    fn remember(&self, key: &Key) {
        let now = Instant::now();
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.len() >= REMEMBERED_MAX {
            raised.retain(|_, entry| now.duration_since(entry.last) < REVERT_PAUSE);
        }
        let entry = raised.entry(key.clone()).or_insert(Raised { times: 0, last: now });
        // After the pause it is given as many chances as at first.
        let times = if now.duration_since(entry.last) >= REVERT_PAUSE { 0 } else { entry.times };
        *entry = Raised { times: times + 1, last: now };
    }

    /// Nobody undid the last raise: those before it count no more.
    fn is_up(&self, spec: &ScaleSpec) {
        let Ok(workload) = &spec.workload else { return };
        let key = (spec.port.namespace.clone(), workload.clone());
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

/// It was raised as often as it may be, and not long ago.
fn is_given_up(raised: Raised, now: Instant) -> bool {
    raised.times >= REVERTS_MAX && now.duration_since(raised.last) < REVERT_PAUSE
}

fn reverted(workload: &Workload, raised: Raised) -> WakeError {
    let message = format!(
        "{} {} was raised {} times and is at zero replicas again: who else writes its replicas (a GitOps tool, another \
         autoscaler)? have it leave spec.replicas alone; the next try is in some minutes",
        workload.kind, workload.name, raised.times
    );
    WakeError { reason: "WakeReverted", message }
}

/// The controller's `REASON: words`, in the form of an error.
fn not_wakeable(why: &str) -> WakeError {
    const REASONS: [&str; 4] = ["AmbiguousWakeTarget", "ManagedByOther", "NotPermitted", "NotWakeable"];
    let (reason, message) = why.split_once(": ").unwrap_or(("NotWakeable", why));
    let reason = REASONS.into_iter().find(|known| *known == reason).unwrap_or("NotWakeable");
    WakeError { reason, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_raises_in_vain_are_enough_for_a_while() {
        let now = Instant::now();
        for (times, since, given_up) in [(1, 0, false), (2, 0, false), (3, 0, true), (3, 299, true), (3, 300, false)] {
            let raised = Raised { times, last: now };
            assert_eq!(is_given_up(raised, now + Duration::from_secs(since)), given_up, "{times} {since}");
        }
    }

    #[test]
    fn the_controllers_words_become_an_error() {
        let of = |why: &str| not_wakeable(why).to_string();
        assert_eq!(of("AmbiguousWakeTarget: two of them"), "AmbiguousWakeTarget: two of them");
        assert_eq!(of("Odd: words"), "NotWakeable: words");
        assert_eq!(of("words"), "NotWakeable: words");
    }
}
