//! Putting a workload to sleep again, where its owner asked for it (`reveille.dev/idle-period`).
//!
//! *Invariants*: the clock starts when the last delivery to it is over; nothing is scaled down while anybody holds a
//! guard, nor what is above the replicas that a wake gives, for then somebody else has scaled it; what is written is
//! compared with what was read. An event that comes in between finds the workload going, and wakes it again.
//! *Not here*: other senders. They are not seen, so this is for subscribers that only this broker sends to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Key, Shared};
use crate::wake::{AwakeGuard, WakeError};

/// Wait before a try that failed is repeated.
const AGAIN: Duration = Duration::from_secs(10);

/// Who uses which workload.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<Key, Use>>);

#[derive(Debug)]
struct Use {
    guards: usize,
    /// When it was used last.
    since: Instant,
    /// A task waits for it to be idle.
    watched: bool,
}

impl Uses {
    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_used(&self, key: &Key) -> bool {
        self.locked().get(key).is_some_and(|entry| entry.guards > 0)
    }
}

/// Keeps the workload awake as long as the guard lives, and for `period` after the last one.
pub(super) fn hold(shared: &Arc<Shared>, key: Key, period: Duration) -> AwakeGuard {
    {
        let mut uses = shared.uses.locked();
        let entry = uses.entry(key.clone()).or_insert_with(|| Use { guards: 0, since: Instant::now(), watched: false });
        entry.guards += 1;
    }
    let shared = shared.clone();
    AwakeGuard::new(move || {
        let begin = {
            let mut uses = shared.uses.locked();
            let Some(entry) = uses.get_mut(&key) else { return };
            entry.guards = entry.guards.saturating_sub(1);
            entry.since = Instant::now();
            entry.guards == 0 && !std::mem::replace(&mut entry.watched, true)
        };
        if begin {
            let (tasks, stopping) = (shared.tasks.clone(), shared.stopping.clone());
            tasks.spawn(async move { stopping.run_until_cancelled(watch(&shared, &key, period)).await });
        }
    })
}

/// Waits until the workload has been idle for `period`, and puts it to sleep; or until it is used.
async fn watch(shared: &Shared, key: &Key, period: Duration) {
    loop {
        let idle_at = {
            let mut uses = shared.uses.locked();
            let Some(entry) = uses.get_mut(key) else { return };
            if entry.guards > 0 {
                entry.watched = false;
                return;
            }
            entry.since + period
        };
        if Instant::now() < idle_at {
            sleep_until(idle_at).await;
            continue;
        }
        match put_to_sleep(shared, key).await {
            Ok(()) => {
                let mut uses = shared.uses.locked();
                // Whoever came meanwhile begins a watch of its own when it goes.
                match uses.get_mut(key) {
                    Some(entry) if entry.guards > 0 => entry.watched = false,
                    _ => drop(uses.remove(key)),
                }
                return;
            }
            Err(error) => {
                let (namespace, workload) = key;
                tracing::warn!(namespace, name = workload.name, %error, "subscriber could not be put to sleep");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn put_to_sleep(shared: &Shared, key: &Key) -> Result<(), WakeError> {
    let (namespace, workload) = key;
    let scale = shared.api.scale(namespace, workload).await?;
    let Some(version) = super::ask::lowerable(&scale) else { return Ok(()) };
    if shared.uses.is_used(key) {
        return Ok(());
    }
    if shared.api.lower(namespace, workload, &version).await? {
        tracing::info!(namespace, kind = workload.kind, name = workload.name, "subscriber put to sleep");
    }
    Ok(())
}
