//! Follows the EndpointSlices of the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watched};
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, Names};
use super::slices::{SERVICE_LABEL, Slice};
use crate::apiserver::{self, Pause, watching};

/// Keeps `directory` current until it is stopped. `silence` is how long the watch may say nothing.
pub async fn run(client: Client, directory: Directory, silence: Duration, stop: CancellationToken) {
    let api: Api<EndpointSlice> = Api::all(client);
    let wanted = watching(silence).labels(SERVICE_LABEL);
    let stream = watched(api, wanted).backoff(Pause::default());
    futures_util::pin_mut!(stream);
    let mut listed = BTreeSet::new();
    while let Some(Some(event)) = stop.run_until_cancelled(stream.next()).await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(slice)) => {
                listed.insert(names(&slice));
                directory.set(names(&slice), Slice::of(&slice));
            }
            Ok(Event::InitDone) => {
                directory.only(&std::mem::take(&mut listed));
            }
            Ok(Event::Apply(slice)) => directory.set(names(&slice), Slice::of(&slice)),
            Ok(Event::Delete(slice)) => directory.set(names(&slice), None),
            Err(error) => {
                let error = words(&error);
                if directory.is_current() || !directory.was_read() {
                    tracing::warn!(error, "endpoints stay as last known, and Services are dialled by name otherwise");
                }
                directory.follows(Err(error));
            }
        }
    }
}

/// A client whose answers tell the directory that the API server is there.
///
/// # Errors
/// When the configuration makes no client.
pub fn client(config: Config, directory: &Directory, silence: Duration) -> Result<Client, kube::Error> {
    let told = directory.clone();
    apiserver::client(config, silence, move || told.answers())
}

fn names(slice: &EndpointSlice) -> Names {
    let meta = &slice.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// An error in plain words, with the next step.
fn words(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status))
            if status.code == 403 =>
        {
            "not allowed to list and watch endpointslices.discovery.k8s.io; its ServiceAccount needs get, list and watch"
                .to_owned()
        }
        other => format!("the EndpointSlices cannot be followed: {other}"),
    }
}
