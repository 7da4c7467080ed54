//! A waker for each kind of target.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{AwakeGuard, WakeError, WakeState, WakeTarget, Waker, misdirected};
use crate::names::TriggerKey;

/// Asks the waker that a target is for.
#[derive(Debug)]
pub struct EachWaker {
    /// For local commands.
    pub exec: Arc<dyn Waker>,
    /// For workloads in Kubernetes, where there is one.
    pub scale: Option<Arc<dyn Waker>>,
}

impl EachWaker {
    fn of(&self, target: &WakeTarget) -> Option<&Arc<dyn Waker>> {
        match target {
            WakeTarget::Exec(_) => Some(&self.exec),
            WakeTarget::Scale(_) => self.scale.as_ref(),
        }
    }
}

impl Waker for EachWaker {
    fn ensure_awake(
        &self,
        trigger: &TriggerKey,
        target: &WakeTarget,
    ) -> BoxFuture<'static, Result<AwakeGuard, WakeError>> {
        match self.of(target) {
            Some(waker) => waker.ensure_awake(trigger, target),
            None => async { Err(misdirected()) }.boxed(),
        }
    }

    fn roused(&self, target: &WakeTarget) -> BoxFuture<'static, ()> {
        self.of(target).map_or_else(|| std::future::pending().boxed(), |waker| waker.roused(target))
    }

    fn turned(&self, target: &WakeTarget, from: WakeState) -> BoxFuture<'static, ()> {
        self.of(target).map_or_else(|| std::future::pending().boxed(), |waker| waker.turned(target, from))
    }

    fn state(&self, target: &WakeTarget) -> WakeState {
        self.of(target).map_or(WakeState::Failed, |waker| waker.state(target))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {
            self.exec.stop().await;
            if let Some(scale) = &self.scale {
                scale.stop().await;
            }
        }
        .boxed()
    }
}
