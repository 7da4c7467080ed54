//! What subscribers in pods printed, also those that are gone; and the account of it.

use std::collections::BTreeSet;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::tests::cluster::Cluster;
use serde::Deserialize;

/// How often it is looked for new logs. A pod lives for seconds, and so does its log.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The logs of all containers of a namespace. The kubelet removes a pod's with the pod, so a second name is given to
/// each as soon as it is there.
pub(crate) struct Record {
    kept: PathBuf,
    stop: Arc<AtomicBool>,
}

/// One event that a subscriber took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The pod that took it.
    pub(crate) pod: String,
    /// Its id.
    pub(crate) id: String,
}

impl Record {
    pub(crate) fn start(cluster: &Cluster, namespace: &str) -> Self {
        let kept = cluster.directory().join("kept").join(namespace);
        std::fs::create_dir_all(&kept).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let record = Self { kept: kept.clone(), stop: Arc::clone(&stop) };
        let (logs, prefix) = (cluster.pod_logs(), format!("{namespace}_"));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                keep(&logs, &prefix, &kept);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        record
    }

    /// Everything that was answered with a success so far, as the subscribers say.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        let logs = std::fs::read_dir(&self.kept).unwrap().map(|entry| entry.unwrap().path());
        logs.flat_map(|log| {
            let name = log.file_name().unwrap().to_str().unwrap();
            let pod = name.split('_').nth(1).unwrap().to_owned();
            let text = std::fs::read_to_string(&log).unwrap();
            text.lines().filter_map(taken).map(|id| Taken { pod: pod.clone(), id }).collect::<Vec<_>>()
        })
        .collect()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Gives every log of `logs/PREFIX…/CONTAINER/RESTARTS.log` a name of its own in `kept`.
fn keep(logs: &Path, prefix: &str, kept: &Path) {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let pods =
        entries(logs).filter(|pod| pod.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    for log in pods.flat_map(|pod| entries(&pod)).flat_map(|container| entries(&container)) {
        // A pod may go, log and all, while it is looked at; what is linked already is left as it is.
        let Ok(metadata) = std::fs::metadata(&log) else { continue };
        let pod = log.iter().rev().nth(2).unwrap_or_default().to_string_lossy().into_owned();
        let _ = std::fs::hard_link(&log, kept.join(format!("{pod}_{}", metadata.st_ino())));
    }
}

/// The id in a line of a container's log: `TIME STREAM F {"code":200,"event":{"id":…}}`.
fn taken(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Item {
        code: u16,
        event: Event,
    }
    #[derive(Deserialize)]
    struct Event {
        id: String,
    }
    let (_, item) = line.split_once(" stdout F ")?;
    let item: Item = serde_json::from_str(item).ok()?;
    (200..300).contains(&item.code).then_some(item.event.id)
}

/// What must not be, of ids published and acknowledged, and ids taken. One may be taken more than once.
pub(crate) fn faults(acknowledged: &BTreeSet<String>, taken: &[Taken]) -> Vec<String> {
    let seen: BTreeSet<&str> = taken.iter().map(|one| one.id.as_str()).collect();
    let lost = acknowledged.iter().filter(|id| !seen.contains(id.as_str())).map(|id| format!("{id} is lost"));
    let invented = seen.iter().filter(|id| !acknowledged.contains(**id)).map(|id| format!("{id} is nobody's"));
    lost.chain(invented).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_finds_what_is_lost_and_what_is_invented() {
        let acknowledged = ["a", "b"].map(str::to_owned).into();
        let taken =
            |ids: &[&str]| ids.iter().map(|id| Taken { pod: "p".to_owned(), id: (*id).to_owned() }).collect::<Vec<_>>();
        assert_eq!(faults(&acknowledged, &taken(&["b", "a", "b"])), [""; 0]);
        assert_eq!(faults(&acknowledged, &taken(&["a"])), ["b is lost"]);
        assert_eq!(faults(&acknowledged, &taken(&["a", "b", "c"])), ["c is nobody's"]);
    }

    #[test]
    fn lines_of_a_log_are_read() {
        let line = |rest: &str| taken(&format!("2026-11-25T14:25:45.345086Z {rest}"));
        assert_eq!(line("stdout F {\"code\":200,\"event\":{\"id\":\"7\",\"type\":\"t\"}}"), Some("7".to_owned()));
        assert_eq!(line("stdout F {\"code\":503,\"event\":{\"id\":\"7\"}}"), None, "it will come again");
        assert_eq!(line("stderr F listening at http://0.0.0.0:8080"), None);
    }
}
