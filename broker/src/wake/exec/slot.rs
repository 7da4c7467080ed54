//! What is known of one local command: whether it runs, who uses it, and when it may be stopped or started again.
//!
//! *Invariants*: decisions that exclude each other (hand out a guard, stop) are made under one lock, so a guard that
//! was handed out always wins over the idle timer. *Not here*: processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::{AwakeGuard, WakeState};

/// Shortest idle period: those who waited for the start must get to take their guards before it ends.
pub(super) const IDLE_PERIOD_MIN: Duration = Duration::from_millis(100);

/// A command that ends sooner than this after it began counts as crashing.
pub(super) const QUICK_DEATH: Duration = Duration::from_secs(5);

/// Wait before the start that follows the second quick death in a row; doubles with each further one. The first is
/// started again at once: it may just have been restarted by hand.
pub(super) const RESTART_DELAY_FIRST: Duration = Duration::from_millis(200);

/// Longest wait between starts of a crashing command: short enough that a repair is seen soon.
pub(super) const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);

/// How long a listener that is not ours is believed to be there still, so that a busy Trigger does not dial it
/// for every event.
pub(super) const FOREIGN_TRUST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asleep,
    Failed,
    Waking,
    Awake,
    /// Somebody else listens at the address; seen at this moment.
    Foreign(Instant),
    Stopping,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts starts, so that a guard of an earlier process does not count for a later one.
    generation: u64,
    users: usize,
    idle_since: Instant,
    idle_period: Option<Duration>,
    quick_deaths: u32,
    not_before: Option<Instant>,
}

/// One command and its state. Shared by those who ask, the start that is under way and the keeper of the process.
#[derive(Debug)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// Rung when the last user leaves; the keeper waits on it.
    unused: Notify,
    /// Rung when a stop has ended; the next start waits on it.
    stopped: Notify,
}

impl Slot {
    pub(super) fn new() -> Self {
        let state = State {
            phase: Phase::Asleep,
            generation: 0,
            users: 0,
            idle_since: Instant::now(),
            idle_period: None,
            quick_deaths: 0,
            not_before: None,
        };
        Self { state: Mutex::new(state), unused: Notify::new(), stopped: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as others see it.
    pub(super) fn shown(&self) -> WakeState {
        match self.lock().phase {
            Phase::Asleep | Phase::Stopping => WakeState::Asleep,
            Phase::Failed => WakeState::Failed,
            Phase::Waking => WakeState::Waking,
            Phase::Awake | Phase::Foreign(_) => WakeState::Awake,
        }
    }

    /// Whether nothing would be lost by forgetting this slot.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.lock().phase, Phase::Asleep | Phase::Failed | Phase::Foreign(_))
    }

    /// A guard, if the subscriber is up. The idle period is that of the last one who asked.
    pub(super) fn guard(self: &Arc<Self>, idle_period: Option<Duration>) -> Option<AwakeGuard> {
        let mut state = self.lock();
        state.idle_period = idle_period.map(|period| period.max(IDLE_PERIOD_MIN));
        match state.phase {
            Phase::Awake => {
                state.users += 1;
                let (slot, generation) = (Arc::clone(self), state.generation);
                Some(AwakeGuard::new(move || slot.release(generation)))
            }
            Phase::Foreign(seen) if seen.elapsed() < FOREIGN_TRUST => Some(AwakeGuard::new(|| ())),
            _ => None,
        }
    }

    fn release(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        state.users = state.users.saturating_sub(1);
        if state.users == 0 {
            state.idle_since = Instant::now();
            drop(state);
            self.unused.notify_one();
        }
    }

    /// Waits until a stop that is under way has ended, and until a crashing command may be started again.
    pub(super) async fn startable(&self) {
        loop {
            let stopped = self.stopped.notified();
            let (stopping, until) = {
                let state = self.lock();
                (state.phase == Phase::Stopping, state.not_before)
            };
            match (stopping, until) {
                (true, _) => stopped.await,
                (false, Some(until)) => return tokio::time::sleep_until(until).await,
                (false, None) => return,
            }
        }
    }

    pub(super) fn foreign(&self) {
        self.lock().phase = Phase::Foreign(Instant::now());
    }

    pub(super) fn waking(&self) {
        self.lock().phase = Phase::Waking;
    }

    pub(super) fn awake(&self) {
        let mut state = self.lock();
        state.phase = Phase::Awake;
        state.generation += 1;
        state.users = 0;
        state.idle_since = Instant::now();
    }

    /// A start failed, or a process ended by itself `lived` after it began.
    pub(super) fn ended(&self, lived: Duration, failed_start: bool) {
        let mut state = self.lock();
        state.phase = if failed_start { Phase::Failed } else { Phase::Asleep };
        state.quick_deaths = if lived < QUICK_DEATH { state.quick_deaths.saturating_add(1) } else { 0 };
        let delay = restart_delay(state.quick_deaths);
        state.not_before = (!delay.is_zero()).then(|| Instant::now() + delay);
    }

    /// Resolves once nobody has used it for the idle period; look again with [`Slot::stop_if_unused`].
    pub(super) async fn unused(&self) {
        loop {
            let until = {
                let state = self.lock();
                state.idle_period.filter(|_| state.users == 0).map(|period| state.idle_since + period)
            };
            match until {
                Some(until) if until <= Instant::now() => return,
                Some(until) => tokio::time::sleep_until(until).await,
                None => self.unused.notified().await,
            }
        }
    }

    /// Takes it out of use if its idle period is over; from then on no guard is handed out.
    pub(super) fn stop_if_unused(&self) -> bool {
        let mut state = self.lock();
        let over = state.idle_period.is_some_and(|period| state.idle_since.elapsed() >= period);
        let stop = state.users == 0 && over && state.phase == Phase::Awake;
        if stop {
            state.phase = Phase::Stopping;
        }
        stop
    }

    /// Takes it out of use whoever holds a guard.
    pub(super) fn stop(&self) {
        self.lock().phase = Phase::Stopping;
    }

    /// The stop has ended.
    pub(super) fn asleep(&self) {
        let mut state = self.lock();
        state.phase = Phase::Asleep;
        state.quick_deaths = 0;
        state.not_before = None;
        drop(state);
        self.stopped.notify_waiters();
    }
}

/// How long a start waits after so many quick deaths in a row.
fn restart_delay(quick_deaths: u32) -> Duration {
    match quick_deaths.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => {
            RESTART_DELAY_FIRST.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(RESTART_DELAY_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Option<Duration> = Some(Duration::from_secs(3));

    #[test]
    fn crashes_are_restarted_ever_later() {
        for (deaths, millis) in [(0, 0), (1, 0), (2, 200), (3, 400), (7, 6400), (8, 10_000), (u32::MAX, 10_000)] {
            assert_eq!(restart_delay(deaths), Duration::from_millis(millis), "{deaths}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_wins_over_the_idle_timer() {
        let slot = Arc::new(Slot::new());
        assert!(slot.guard(IDLE).is_none());
        slot.awake();
        let first = slot.guard(IDLE).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!slot.stop_if_unused(), "it is in use");
        drop(first);
        assert!(!slot.stop_if_unused(), "its idle period has only begun");
        slot.unused().await;
        let second = slot.guard(IDLE).unwrap();
        assert!(!slot.stop_if_unused(), "it was taken just as the timer fired");
        drop(second);
        slot.unused().await;
        assert!(slot.stop_if_unused());
        assert!(slot.guard(IDLE).is_none(), "nobody gets what is being stopped");
        assert_eq!(slot.shown(), WakeState::Asleep);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_idle_period_it_stays() {
        let slot = Arc::new(Slot::new());
        slot.awake();
        drop(slot.guard(None));
        let outcome = tokio::time::timeout(Duration::from_secs(3600), slot.unused()).await;
        assert!(outcome.is_err() && !slot.stop_if_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn guards_of_a_dead_process_do_not_count_for_the_next() {
        let slot = Arc::new(Slot::new());
        slot.awake();
        let old = slot.guard(IDLE).unwrap();
        slot.ended(Duration::from_secs(60), false);
        slot.startable().await;
        slot.awake();
        let new = slot.guard(IDLE).unwrap();
        drop(old);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!slot.stop_if_unused());
        drop(new);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_a_stop_and_for_the_pause_after_crashes() {
        let slot = Arc::new(Slot::new());
        slot.stop();
        assert!(tokio::time::timeout(Duration::from_secs(9), slot.startable()).await.is_err());
        let (waiting, other) = (Arc::clone(&slot), Arc::clone(&slot));
        let waiter = tokio::spawn(async move { waiting.startable().await });
        tokio::task::yield_now().await;
        other.asleep();
        waiter.await.unwrap();
        for _ in 0..3 {
            slot.ended(Duration::ZERO, true);
        }
        assert_eq!(slot.shown(), WakeState::Failed);
        let begun = Instant::now();
        slot.startable().await;
        assert_eq!(begun.elapsed().as_millis(), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_listener_is_believed_for_a_while() {
        let slot = Arc::new(Slot::new());
        slot.foreign();
        assert!(slot.guard(IDLE).is_some());
        tokio::time::advance(FOREIGN_TRUST).await;
        assert!(slot.guard(IDLE).is_none());
        assert_eq!(slot.shown(), WakeState::Awake);
    }
}
