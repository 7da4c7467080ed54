//! Objects of one kind from the API server, with back-off; and whether it answers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::client::{ClientBuilder, DynBody};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config as WatchConfig, Event};
use kube::runtime::{WatchStreamExt, watcher as watched};
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tower::util::MapResponseLayer;

use super::inventory::{Doubt, Names};
use super::record::Kind;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than a watch an answer may be silent: a silent watch ends itself 5 s after its time.
const READ_MARGIN: Duration = Duration::from_secs(10);
/// First wait after an error.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest wait: how late a server that is back is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(10);
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

/// Waits that double from [`PAUSE_FIRST`] to [`PAUSE_MAX`], each lengthened at random by up to a half, so that brokers
/// do not come back all at once.
#[derive(Debug)]
struct Pause(Duration);

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        Some(pause.mul_f64(1.0 + fastrand::f64() / 2.0))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.0 = PAUSE_FIRST;
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
    pub(super) fn new(kind: Kind, mut config: Config, link: Arc<Link>, silence: Duration) -> Result<Self, kube::Error> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(silence + READ_MARGIN);
        let told = link.clone();
        let tell = move |answer: http::Response<Box<DynBody>>| {
            if answer.status().is_success() {
                told.set(kind, None);
            }
            answer
        };
        let client = ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(tell)).build();
        let resource = match kind {
            Kind::Broker => ApiResource::erase::<schemas::Broker>(&()),
            Kind::Trigger => ApiResource::erase::<schemas::Trigger>(&()),
        };
        Ok(Self { kind, client, resource, link, silence })
    }

    /// Follows the kind until nobody listens.
    pub(super) async fn run(self, news: mpsc::Sender<News>) {
        let api: Api<DynamicObject> = Api::all_with(self.client, &self.resource);
        let seconds = u32::try_from(self.silence.as_secs()).unwrap_or(u32::MAX);
        let stream = watched(api, WatchConfig::default().timeout(seconds)).backoff(Pause(PAUSE_FIRST));
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
