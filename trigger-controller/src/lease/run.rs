//! Reads and writes the Lease as the [`Elector`] decides.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Elector, Leadership, Record, Step, Timing};
use crate::error::{code, words};
use crate::metrics::Metrics;

/// Where the Lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// Takes part in the election until `stop`, then gives the Lease up. Returns the handle and the task.
pub(crate) fn run(
    client: Client,
    place: &Place,
    me: String,
    timing: Timing,
    metrics: Metrics,
    stop: CancellationToken,
) -> (Leadership, tokio::task::JoinHandle<()>) {
    let (say, hear) = watch::channel(None);
    let api = Api::namespaced(client, &place.namespace);
    let campaign = Campaign { api, name: place.name.clone(), me, timing, metrics, say };
    (Leadership(hear), tokio::spawn(campaign.run(stop)))
}

struct Campaign {
    api: Api<Lease>,
    name: String,
    me: String,
    timing: Timing,
    metrics: Metrics,
    say: watch::Sender<Option<Instant>>,
}

impl Campaign {
    async fn run(self, stop: CancellationToken) {
        let mut elector = Elector::new(&self.me, self.timing);
        let mut complained = false;
        loop {
            let round = tokio::select! {
                round = tokio::time::timeout(self.timing.round, self.round(&mut elector)) => round,
                () = stop.cancelled() => break,
            };
            let trouble = match round {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(words(&error)),
                Err(_) => Some("the API server did not answer in time".to_owned()),
            };
            match &trouble {
                Some(error) if !complained => tracing::warn!(lease = self.name, error, "lease cannot be kept up"),
                None if complained => tracing::info!(lease = self.name, "lease can be kept up again"),
                Some(_) | None => {}
            }
            complained = trouble.is_some();
            self.publish(&elector);
            let next = elector.next(Instant::now(), trouble.is_none());
            // A leader that cannot renew stops on time even if nothing wakes this loop earlier.
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = stop.cancelled() => break,
            }
        }
        let held = elector.valid_until(Instant::now()).is_some();
        self.say.send_replace(None);
        self.metrics.leader.set(0);
        if held {
            self.give_up().await;
        }
    }

    async fn round(&self, elector: &mut Elector) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        // Everything below is decided as of before the answer was asked for by the write.
        let started = Instant::now();
        let step = elector.decide(lease.as_ref().map(record), started);
        let written = match step {
            Step::Wait => return Ok(()),
            Step::Create => {
                let lease = Lease { metadata: self.metadata(), spec: Some(self.spec(None)) };
                self.api.create(&PostParams::default(), &lease).await
            }
            Step::Take | Step::Renew => {
                let mut lease = lease.unwrap_or_default();
                let old = lease.spec.take();
                let changes = old.as_ref().and_then(|old| old.lease_transitions).unwrap_or_default();
                let transitions = Some(changes.saturating_add(i32::from(step == Step::Take)));
                let old = old.filter(|_| step == Step::Renew);
                lease.spec = Some(LeaseSpec { lease_transitions: transitions, ..self.spec(old.as_ref()) });
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => {
                elector.renewed(started);
                Ok(())
            }
            // Another was faster: the next look shows who.
            Err(error) if code(&error) == Some(409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn publish(&self, elector: &Elector) {
        let until = elector.valid_until(Instant::now());
        let was = self.say.send_replace(until);
        self.metrics.leader.set(i64::from(until.is_some()));
        match (was.is_some(), until.is_some()) {
            (false, true) => tracing::info!(identity = self.me, "leader: this process writes"),
            (true, false) => tracing::warn!(identity = self.me, "no longer the leader: this process does not write"),
            (true, true) | (false, false) => {}
        }
    }

    /// Lets the next one take over at once.
    async fn give_up(&self) {
        let released = async {
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.me) {
                spec.holder_identity = Some(String::new());
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(self.timing.round, released).await {
            Ok(Ok(())) => tracing::info!(identity = self.me, "lease given up"),
            Ok(Err(error)) => tracing::warn!(error = words(&error), "lease cannot be given up; it runs out by itself"),
            Err(_) => tracing::warn!("lease cannot be given up in time; it runs out by itself"),
        }
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }
    }

    fn spec(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(i32::try_from(self.timing.duration.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: old.and_then(|old| old.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        version: lease.resource_version().unwrap_or_default(),
    }
}
