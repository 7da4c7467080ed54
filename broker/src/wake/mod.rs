//! Waking subscribers that are asleep.
//!
//! [`Waker`] is the seam: dispatch asks it before every delivery; while it waits, the event uses no attempt and no
//! retry. [`exec`] starts a local command, [`scale`] scales a workload in Kubernetes; [`each`] has one for each.

pub mod each;
pub mod exec;
pub mod scale;
pub mod single_flight;

use futures_util::future::BoxFuture;

use crate::names::TriggerKey;
pub use crate::triggers::WakeTarget;

/// Whether a subscriber is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeState {
    /// Nothing runs.
    Asleep,
    /// It is being started.
    Waking,
    /// It takes events.
    Awake,
    /// The last start failed; see the error the waiting deliveries got.
    Failed,
}

/// A subscriber that is up. While one of these lives, it is not put to sleep; dropping the last one starts its idle
/// period.
#[must_use = "the subscriber may be put to sleep as soon as this is dropped"]
pub struct AwakeGuard(Option<Box<dyn FnOnce() + Send>>);

impl AwakeGuard {
    /// A guard that calls `release` when dropped.
    pub fn new(release: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl std::fmt::Debug for AwakeGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AwakeGuard")
    }
}

impl Drop for AwakeGuard {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

/// Why a wake failed. The event waits in the log and the wake is tried again; no attempt is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct WakeError {
    /// CamelCase, as on the condition `SubscriberAwake`: `NotReadyInTime`, `CrashLoop`, `ExecNotAllowed`, …
    pub reason: &'static str,
    /// In plain words, with the next step.
    pub message: String,
}

/// Wakes subscribers.
///
/// # Guarantees
/// - One wake per target at a time, however many ask (single flight).
/// - Resolves `Ok` only once the subscriber accepts connections.
/// - Never puts a subscriber to sleep that somebody holds an [`AwakeGuard`] of.
pub trait Waker: Send + Sync + std::fmt::Debug + 'static {
    /// Makes sure the target is awake.
    ///
    /// # Cancel safety
    /// May be dropped; the wake goes on for others.
    fn ensure_awake(
        &self,
        trigger: &TriggerKey,
        target: &WakeTarget,
    ) -> BoxFuture<'static, Result<AwakeGuard, WakeError>>;

    /// Resolves once the target is up, whoever brought it up; for ever pending where that cannot be noticed. Nothing
    /// is woken for it.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    fn roused(&self, target: &WakeTarget) -> BoxFuture<'static, ()> {
        let _ = target;
        Box::pin(std::future::pending())
    }

    /// Resolves once [`Waker::state`] is not `from` any more; for ever pending where that cannot be noticed.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    fn turned(&self, target: &WakeTarget, from: WakeState) -> BoxFuture<'static, ()> {
        let _ = (target, from);
        Box::pin(std::future::pending())
    }

    /// Whether the target is up now.
    fn state(&self, target: &WakeTarget) -> WakeState;

    /// Stops what it started, waiting a short while for it to end by itself.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// What a waker says of a target that is not its own. [`each`] never asks one so.
fn misdirected() -> WakeError {
    WakeError { reason: "NotWakeable", message: "the broker was not set up to wake this kind of subscriber".into() }
}
