//! Objects of one kind from the API server, with back-off; and whether it answers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watched};
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use super::inventory::{Doubt, Names};
use super::record::Kind;
use crate::apiserver::{Pause, client, watching};

/// Longest wait for one object.
const GET_TIMEOUT: Duration = Duration::from_secs(5);

/// What the API server says.
#[derive(Debug)]
pub(super) enum News {
    Listing(Kind),
    Listed(Kind, Value),
    Complete(Kind),
    Seen(Kind, Value),
    Gone(Doubt),
}

/// Whether the API server answers, by kind.
#[derive(Debug, Default)]
pub(super) struct Link {
    errors: Mutex<[Option<String>; 2]>,
    changed: Notify,
}

impl Link {
    fn set(&self, kind: Kind, error: Option<String>) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let [broker, trigger] = &mut *errors;
        let slot = match kind {
            Kind::Broker => broker,
            Kind::Trigger => trigger,
        };
        if *slot != error {
            *slot = error;
            self.changed.notify_one();
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn error(&self) -> Option<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().next().cloned()
    }

    /// Waits for a change. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Access to one kind.
#[derive(Clone)]
pub(super) struct Feed {
    kind: Kind,
    client: Client,
    resource: ApiResource,
    link: Arc<Link>,
    silence: Duration,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Feed {
    /// `silence`: after how long a watch that says nothing is begun anew.
    pub(super) fn new(kind: Kind, config: Config, link: Arc<Link>, silence: Duration) -> Result<Self, kube::Error> {
        let told = link.clone();
        let client = client(config, silence, move || told.set(kind, None))?;
        let resource = match kind {
            Kind::Broker => ApiResource::erase::<schemas::Broker>(&()),
            Kind::Trigger => ApiResource::erase::<schemas::Trigger>(&()),
        };
        Ok(Self { kind, client, resource, link, silence })
    }

    /// Follows the kind until nobody listens.
    pub(super) async fn run(self, news: mpsc::Sender<News>) {
        let api: Api<DynamicObject> = Api::all_with(self.client, &self.resource);
        let stream = watched(api, watching(self.silence)).backoff(Pause::default());
        futures_util::pin_mut!(stream);
        let kind = self.kind;
        while let Some(event) = stream.next().await {
            let told = match event {
                Ok(Event::Init) => News::Listing(kind),
                Ok(Event::InitApply(object)) => News::Listed(kind, plain(&object)),
                Ok(Event::InitDone) => News::Complete(kind),
                Ok(Event::Apply(object)) => News::Seen(kind, plain(&object)),
                Ok(Event::Delete(object)) => News::Gone(doubt(kind, &object)),
                Err(error) => {
                    self.link.set(kind, Some(words(kind, &error)));
                    continue;
                }
            };
            if news.send(told).await.is_err() {
                return;
            }
        }
    }

    /// The object as it is now; `None` when the API server says that there is none of this name.
    pub(super) async fn get(&self, (namespace, name): &Names) -> Result<Option<Value>, String> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &self.resource);
        match tokio::time::timeout(GET_TIMEOUT, api.get(name)).await {
            Ok(Ok(object)) => Ok(Some(plain(&object))),
            // Without the name it would be about the kind, as from a server that is just starting.
            Ok(Err(kube::Error::Api(status)))
                if status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == *name) =>
            {
                Ok(None)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", GET_TIMEOUT.as_secs())),
        }
    }
}

fn plain(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn doubt(kind: Kind, object: &DynamicObject) -> Doubt {
    let meta = &object.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Doubt { kind, names: (text(&meta.namespace), text(&meta.name)), uid: text(&meta.uid) }
}

/// An error in plain words, with the next step.
fn words(kind: Kind, error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    let plural = format!("{}s.{}", kind.name().to_lowercase(), schemas::broker::GROUP);
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => match status.code {
            404 => format!("the cluster does not know {plural}; apply the CustomResourceDefinitions"),
            403 => format!("not allowed to list and watch {plural}; its ServiceAccount needs get, list and watch"),
            401 => "the API server does not accept the credentials; look at the ServiceAccount or KUBECONFIG".into(),
            code => format!("the API server answers {code} for {plural}: {}", status.message),
        },
        WatchError(status) => format!("the API server ended the watch of {plural}: {}", status.message),
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => {
            format!("the API server cannot be reached: {}", chain(error))
        }
        NoResourceVersion => format!("the API server gave {plural} without a version"),
    }
}

fn chain(error: &kube::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
