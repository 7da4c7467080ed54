//! Writes the condition `SubscriberAwake` of Triggers whose subscriber is a Service: asleep, waking, awake, or why it
//! cannot be woken.
//!
//! *In*: the [`StatusBoard`], as it turns. *Out*: writes to `status` of Triggers by server-side apply, one for each
//! change of state or reason. *Invariants*: nothing is written that is there already, nor to a Trigger made anew under
//! an old name; sleep is no error, so `Ready` does not depend on it; deliveries never wait for any of this. With several
//! brokers the last one to see a change has the last word. *Not here*: all other conditions, which are the controller's.

mod body;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Config};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::body::{Body, Finding, body, finding};
use crate::apiserver;
use crate::clock::Clock;
use crate::dispatch::status::StatusBoard;
use crate::names::TriggerKey;
use crate::triggers::{TableSource, WakeTarget};

/// Name that these writes carry. The controller knows it.
const FIELD_MANAGER: &str = "reveille-broker";
/// Changes that follow each other this closely are written as one.
const GATHER: Duration = Duration::from_millis(50);
/// Writes under way at once.
const WRITES: usize = 16;
/// Longest wait for one answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer.
pub struct ConditionWriter {
    client: Client,
    board: StatusBoard,
    table: TableSource,
    clock: Clock,
    written: BTreeMap<TriggerKey, Wanted>,
}

impl std::fmt::Debug for ConditionWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConditionWriter").field("written", &self.written).finish_non_exhaustive()
    }
}

/// What a Trigger's condition should say, and of which Trigger of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    uid: Arc<str>,
    finding: Finding,
}

impl ConditionWriter {
    /// A writer for what `board` shows of the Triggers in `table`. `silence` is how long a watch may say nothing, and
    /// with it how long an answer may take.
    ///
    /// # Errors
    /// When the configuration makes no client.
    pub fn new(
        config: Config,
        silence: Duration,
        board: StatusBoard,
        table: TableSource,
        clock: Clock,
    ) -> Result<Self, kube::Error> {
        let client = apiserver::client(config, silence, || ())?;
        Ok(Self { client, board, table, clock, written: BTreeMap::new() })
    }

    /// Writes until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = apiserver::Pause::default();
        let mut again = None;
        loop {
            let due = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.board.turned() => {}
                () = due => {}
            }
            tokio::time::sleep(GATHER).await;
            again = match self.write_all().await {
                Ok(()) => {
                    pause = apiserver::Pause::default();
                    None
                }
                Err(error) => {
                    tracing::debug!(error, "conditions could not be written and are tried again");
                    pause.next().map(|wait| Instant::now() + wait)
                }
            };
        }
    }

    /// Writes what differs from what was written; the first error, if any, after all were tried.
    async fn write_all(&mut self) -> Result<(), String> {
        let wanted = self.wanted();
        self.written.retain(|key, _| wanted.contains_key(key));
        let differs = wanted.into_iter().filter(|(key, wanted)| self.written.get(key) != Some(wanted));
        let (client, clock) = (&self.client, &self.clock);
        let done: Vec<_> = stream::iter(differs)
            .map(|(key, wanted)| async move {
                let result = write(client, &key, &wanted, clock).await;
                (key, wanted, result)
            })
            .buffer_unordered(WRITES)
            .collect()
            .await;
        let mut first = Ok(());
        for (key, wanted, result) in done {
            match result {
                Ok(()) => drop(self.written.insert(key, wanted)),
                Err(error) => first = first.and_then(|()| Err(format!("{key}: {error}"))),
            }
        }
        first
    }

    fn wanted(&self) -> BTreeMap<TriggerKey, Wanted> {
        let table = self.table.current();
        let triggers = table.brokers.values().flat_map(|broker| broker.triggers.values());
        let scaled = triggers.filter(|entry| matches!(entry.wake, Some(WakeTarget::Scale(_))));
        let wanted = scaled.filter_map(|entry| {
            let status = self.board.get(&entry.key)?;
            let finding = finding(status.wake?, status.last_error.as_deref());
            Some((entry.key.clone(), Wanted { uid: entry.incarnation.clone()?, finding }))
        });
        wanted.collect()
    }
}

async fn write(client: &Client, key: &TriggerKey, wanted: &Wanted, clock: &Clock) -> Result<(), String> {
    let resource = ApiResource::erase::<schemas::Trigger>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), key.namespace.as_str(), &resource);
    let name = key.name.as_str();
    let write = async {
        let Some(object) = api.get_opt(name).await? else { return Ok(()) };
        let object = serde_json::to_value(object).unwrap_or_default();
        if object.pointer("/metadata/uid").and_then(serde_json::Value::as_str) != Some(&wanted.uid) {
            return Ok(());
        }
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match body(&object, &wanted.finding, &clock.now().to_rfc3339()) {
            None => Ok(()),
            Some(Body::Apply(body)) => api.patch_status(name, &params.force(), &Patch::Apply(&body)).await.map(drop),
            Some(Body::Merge(body)) => api.patch_status(name, &params, &Patch::Merge(&body)).await.map(drop),
        }
    };
    match timeout(ASK_TIMEOUT, write).await {
        Ok(done) => done.map_err(|error: kube::Error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ASK_TIMEOUT.as_secs())),
    }
}
