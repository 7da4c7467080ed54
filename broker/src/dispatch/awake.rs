//! Whether a Trigger's subscriber is up, as its worker sees it: begins a wake when there is something to deliver,
//! keeps the subscriber awake meanwhile, lets it sleep after.
//!
//! *Invariants*: at most one wake of this worker is under way; events wait here, not in delivery slots; a pass is
//! handed out only while a guard is held. *Not here*: how to wake ([`crate::wake`]).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::limits::Pause;
use crate::names::TriggerKey;
use crate::wake::{AwakeGuard, WakeError, WakeState, WakeTarget, Waker};

/// Longest wait between two tries to wake a workload: a try is one request, and what kept it asleep may be mended at
/// any time. A command that falls over is started less often.
const SCALE_PAUSE_MAX: Duration = Duration::from_secs(8);

/// Leave to make one attempt; it keeps the subscriber awake, where the broker does that.
#[derive(Debug, Clone, Default)]
pub(super) struct AwakePass {
    _guard: Option<SharedGuard>,
    /// Of the wake that it comes from.
    pub(super) generation: u64,
}

/// Held by all attempts of a wake; nobody looks inside, the lock only lets threads share it.
type SharedGuard = Arc<Mutex<AwakeGuard>>;

type Waking = BoxFuture<'static, Result<AwakeGuard, WakeError>>;

enum State {
    Asleep,
    Waking(Waking),
    Awake(SharedGuard),
    /// Tried again after a while, or as soon as it is up by itself.
    Failed {
        until: Instant,
        roused: BoxFuture<'static, ()>,
    },
}

/// See the module.
pub(super) struct Awake {
    waker: Arc<dyn Waker>,
    trigger: TriggerKey,
    target: Option<WakeTarget>,
    state: State,
    generation: u64,
    pause: Pause,
}

impl std::fmt::Debug for Awake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awake").field("trigger", &self.trigger).field("shown", &self.shown()).finish_non_exhaustive()
    }
}

impl Awake {
    pub(super) fn new(waker: Arc<dyn Waker>, trigger: TriggerKey, target: Option<WakeTarget>) -> Self {
        Self { waker, trigger, target, state: State::Asleep, generation: 0, pause: Pause::default() }
    }

    /// Follows a change of the Trigger.
    pub(super) fn set_target(&mut self, target: Option<&WakeTarget>) {
        if target != self.target.as_ref() {
            self.target = target.cloned();
            self.state = State::Asleep;
            self.generation += 1;
            self.pause.reset();
        }
    }

    /// Whether attempts may be made now, or a wake has to come first.
    pub(super) fn is_up(&self) -> bool {
        self.target.is_none() || matches!(self.state, State::Awake(_))
    }

    /// Begins a wake, unless the subscriber is up, one is under way, or the last one failed a moment ago. Says
    /// whether it began one of a subscriber that slept.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let Some(target) = &self.target else { return false };
        let may = match self.state {
            State::Asleep => true,
            State::Failed { until, .. } => until <= now,
            State::Waking(_) | State::Awake(_) => false,
        };
        if !may {
            return false;
        }
        let slept = self.waker.state(target) != WakeState::Awake;
        self.state = State::Waking(self.waker.ensure_awake(&self.trigger, target));
        slept
    }

    /// Leave for one attempt; `None` while the subscriber is not up.
    pub(super) fn pass(&self) -> Option<AwakePass> {
        match (&self.target, &self.state) {
            (None, _) => Some(AwakePass::default()),
            (Some(_), State::Awake(guard)) => {
                Some(AwakePass { _guard: Some(guard.clone()), generation: self.generation })
            }
            (Some(_), State::Asleep | State::Waking(_) | State::Failed { .. }) => None,
        }
    }

    /// Waits for the wake under way; for ever when there is none. After a wake that failed, begins one once the
    /// subscriber is up all the same.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn woken(&mut self) -> Result<AwakeGuard, WakeError> {
        if let (State::Failed { roused, .. }, Some(target)) = (&mut self.state, &self.target) {
            roused.await;
            self.state = State::Waking(self.waker.ensure_awake(&self.trigger, target));
        }
        match &mut self.state {
            State::Waking(waking) => waking.await,
            State::Asleep | State::Awake(_) | State::Failed { .. } => std::future::pending().await,
        }
    }

    /// Applies what [`Awake::woken`] gave.
    pub(super) fn settle(&mut self, result: Result<AwakeGuard, WakeError>, now: Instant) -> Result<(), WakeError> {
        match result {
            Ok(guard) => {
                self.generation += 1;
                self.pause.reset();
                self.state = State::Awake(Arc::new(Mutex::new(guard)));
                Ok(())
            }
            Err(error) => {
                let roused = self.target.as_ref().map(|target| self.waker.roused(target));
                let roused = roused.unwrap_or_else(|| Box::pin(std::future::pending()));
                self.state = State::Failed { until: now + self.next_pause(), roused };
                Err(error)
            }
        }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause.next();
        match self.target {
            Some(WakeTarget::Scale(_)) => pause.min(SCALE_PAUSE_MAX),
            Some(WakeTarget::Exec(_)) | None => pause,
        }
    }

    /// An attempt of this generation found nobody: the subscriber has to be woken again.
    pub(super) fn lost(&mut self, generation: u64) {
        if generation == self.generation && matches!(self.state, State::Awake(_)) {
            self.state = State::Asleep;
        }
    }

    /// There is nothing to deliver now: the subscriber may sleep once attempts under way are over.
    pub(super) fn release(&mut self) {
        if matches!(self.state, State::Awake(_)) {
            self.state = State::Asleep;
        }
    }

    /// When a wake that failed may be tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Failed { until, .. } => Some(until),
            State::Asleep | State::Waking(_) | State::Awake(_) => None,
        }
    }

    /// Resolves once what is shown is not so any more, for a reason that is not this worker's doing.
    pub(super) fn turned(&self) -> Option<BoxFuture<'static, ()>> {
        let target = self.target.as_ref().filter(|target| matches!(target, WakeTarget::Scale(_)))?;
        matches!(self.state, State::Asleep).then(|| self.waker.turned(target, self.waker.state(target)))
    }

    /// Whether it may go to sleep without anybody noticing but by looking.
    pub(super) fn has_to_be_looked_at(&self) -> bool {
        matches!(self.target, Some(WakeTarget::Exec(_)))
    }

    /// What the status board shows; `None` where the broker does not wake the subscriber.
    pub(super) fn shown(&self) -> Option<WakeState> {
        let target = self.target.as_ref()?;
        Some(match self.state {
            State::Asleep => self.waker.state(target),
            State::Waking(_) => WakeState::Waking,
            State::Awake(_) => WakeState::Awake,
            State::Failed { .. } => WakeState::Failed,
        })
    }
}
