//! Why the pods of a workload do not come up, in seconds instead of at the end of a timeout.
//!
//! *In*: its pods and ReplicaSets, watched while a wake waits. *Out*: a [`WakeError`] in Kubernetes' own words, with a
//! reason for programs. *Invariants*: what is not allowed to be read explains nothing and breaks nothing.
//! A Deployment's own conditions are no help: after one rollout that worked they stay as they were.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::Api;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};

use crate::apiserver::{Pause, WATCH_SECONDS};
use crate::wake::WakeError;

/// So many restarts are no accident.
const RESTARTS: i32 = 2;

/// Waits for a reason why the pods which `selector` (as in a scale's status) selects do not start; for ever where
/// there is none.
pub(super) async fn trouble(client: Client, namespace: &str, selector: &str) -> WakeError {
    let wanted = || Config::default().labels(selector).timeout(WATCH_SECONDS);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let sets: Api<ReplicaSet> = Api::namespaced(client, namespace);
    let pods = watcher(pods, wanted()).backoff(Pause::default()).map(|event| event.map(Seen::of_pod));
    let sets = watcher(sets, wanted()).backoff(Pause::default()).map(|event| event.map(Seen::of_set));
    let seen = futures_util::stream::select(pods, sets);
    futures_util::pin_mut!(seen);
    let mut known = Known::default();
    while let Some(event) = seen.next().await {
        // What may not be read, or not now, is looked at again after a while.
        let Ok(event) = event else { continue };
        known.take(event);
        if let Some(error) = known.trouble() {
            return error;
        }
    }
    std::future::pending().await
}

/// What a watch says.
enum Seen {
    Pods(Option<Pod>, bool),
    Sets(Option<ReplicaSet>, bool),
    Listing,
}

impl Seen {
    fn of_pod(event: Event<Pod>) -> Self {
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => Self::Pods(Some(pod), true),
            Event::Delete(pod) => Self::Pods(Some(pod), false),
            Event::Init => Self::Pods(None, false),
            Event::InitDone => Self::Listing,
        }
    }

    fn of_set(event: Event<ReplicaSet>) -> Self {
        match event {
            Event::Apply(set) | Event::InitApply(set) => Self::Sets(Some(set), true),
            Event::Delete(set) => Self::Sets(Some(set), false),
            Event::Init => Self::Sets(None, false),
            Event::InitDone => Self::Listing,
        }
    }
}

#[derive(Default)]
struct Known {
    pods: BTreeMap<String, Pod>,
    sets: BTreeMap<String, ReplicaSet>,
}

impl Known {
    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Pods(Some(pod), true) => drop(self.pods.insert(pod.name_any(), pod)),
            Seen::Pods(Some(pod), false) => drop(self.pods.remove(&pod.name_any())),
            Seen::Pods(None, _) => self.pods.clear(),
            Seen::Sets(Some(set), true) => drop(self.sets.insert(set.name_any(), set)),
            Seen::Sets(Some(set), false) => drop(self.sets.remove(&set.name_any())),
            Seen::Sets(None, _) => self.sets.clear(),
            Seen::Listing => {}
        }
    }

    fn trouble(&self) -> Option<WakeError> {
        let (reason, message) = self.sets.values().find_map(of_set).or_else(|| self.pods.values().find_map(of_pod))?;
        Some(WakeError { reason, message })
    }
}

/// Quota, admission: the workload was scaled, but its pods are refused.
fn of_set(set: &ReplicaSet) -> Option<(&'static str, String)> {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1) > 0;
    let conditions = set.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let failure = conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    let words = failure.message.as_deref().or(failure.reason.as_deref()).unwrap_or_default();
    wanted.then(|| ("PodCreateFailed", format!("its pods are refused: {words}")))
}

fn of_pod(pod: &Pod) -> Option<(&'static str, String)> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    let scheduled = status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled");
    if let Some(refused) = scheduled.filter(|one| one.status == "False") {
        let words = refused.message.as_deref().unwrap_or("no node fits");
        return Some(("Unschedulable", format!("pod {name} has no node: {words}")));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.filter(|container| !container.ready).find_map(|container| of_container(&name, container))
}

fn of_container(pod: &str, container: &ContainerStatus) -> Option<(&'static str, String)> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let kind = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let words = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    let what = format!("container {} of pod {pod}", container.name);
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let killed = last.or(now).is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"));
    match kind {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some(("ImagePullFailed", format!("{what} has no image {}: {kind}: {words}", container.image)))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(("ContainerConfigError", format!("{what} cannot be made: {kind}: {words}")))
        }
        _ if kind == "CrashLoopBackOff" || container.restart_count >= RESTARTS || killed => {
            let ended = last.or(now).map_or_else(String::new, |ended| {
                format!(", at last with exit code {} ({})", ended.exit_code, ended.reason.as_deref().unwrap_or("Error"))
            });
            Some((
                "CrashLoop",
                format!("{what} has ended {} times{ended}; see `kubectl logs {pod} -p`", container.restart_count),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Option<(&'static str, String)> {
        of_pod(&serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap())
    }

    fn container(mut of: Value) -> Value {
        for (name, value) in [("name", "c"), ("image", "i"), ("imageID", "")] {
            of[name] = json!(value);
        }
        of["ready"] = json!(of.get("ready") == Some(&json!(true)));
        of["restartCount"] = of.get("restartCount").cloned().unwrap_or_else(|| json!(0));
        json!({"containerStatuses": [of]})
    }

    #[test]
    fn pods_tell_why_they_do_not_start() {
        let waiting = |reason: &str| container(json!({"state": {"waiting": {"reason": reason, "message": "words"}}}));
        let scheduled =
            |status: &str| json!({"conditions": [{"type": "PodScheduled", "status": status, "message": "0/1 nodes"}]});
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        for (status, reason, words) in [
            (scheduled("False"), "Unschedulable", "0/1 nodes"),
            (waiting("ErrImagePull"), "ImagePullFailed", "no image i: ErrImagePull: words"),
            (waiting("ImagePullBackOff"), "ImagePullFailed", "pod p"),
            (waiting("InvalidImageName"), "ImagePullFailed", "words"),
            (waiting("CreateContainerConfigError"), "ContainerConfigError", "words"),
            (waiting("CrashLoopBackOff"), "CrashLoop", "kubectl logs p -p"),
            (container(json!({"restartCount": 2, "state": {"running": {}}})), "CrashLoop", "ended 2 times"),
            (container(json!({"restartCount": 1, "lastState": ended})), "CrashLoop", "exit code 137 (OOMKilled)"),
        ] {
            let found = pod(status.clone()).unwrap_or_else(|| panic!("{status}"));
            assert!(found.0 == reason && found.1.contains(words), "{found:?}");
        }
        for status in [
            json!({}),
            scheduled("True"),
            waiting("ContainerCreating"),
            container(json!({"restartCount": 1, "state": {"running": {}}})),
            container(json!({"restartCount": 9, "ready": true, "state": {"running": {}}})),
        ] {
            assert_eq!(pod(status.clone()), None, "{status}");
        }
    }

    #[test]
    fn what_is_on_its_way_out_or_not_wanted_is_no_trouble() {
        let set = |replicas: i32| {
            let failure = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"});
            let set = json!({"spec": {"replicas": replicas, "selector": {}}, "status": {"replicas": 0, "conditions": [failure]}});
            of_set(&serde_json::from_value(set).unwrap())
        };
        assert!(set(1).is_some_and(|(reason, words)| reason == "PodCreateFailed" && words.contains("exceeded quota")));
        assert_eq!(set(0), None);
        let going = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False"}]}});
        assert_eq!(of_pod(&serde_json::from_value(going).unwrap()), None);
    }
}
