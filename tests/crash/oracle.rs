//! The account: what must be true of a history of publishes, kills and deliveries. Pure, and tested on bad histories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// One Trigger's side of the story.
pub(super) struct Sink {
    /// Its name.
    pub(super) name: String,
    /// Whether it asked for log order.
    pub(super) ordered: bool,
    /// What its subscriber took, and when, in order of arrival.
    pub(super) taken: Vec<(String, Instant)>,
    /// Ids of its dead letters.
    pub(super) dead: BTreeSet<String>,
}

/// Everything that was seen from outside.
pub(super) struct History {
    /// Ids of all events that publishers tried to publish; each was sent once.
    pub(super) attempted: BTreeSet<String>,
    /// Ids of those that were answered with 202.
    pub(super) acknowledged: Vec<String>,
    /// Offsets and ids in the log at the end.
    pub(super) log: Vec<(u64, String)>,
    /// When the broker was killed, in order.
    pub(super) kills: Vec<Instant>,
    /// The Triggers; every one of them wants every event.
    pub(super) sinks: Vec<Sink>,
}

impl History {
    /// In one line, for the person who reads the output of the test.
    pub(super) fn summary(&self) -> String {
        let taken: usize = self.sinks.iter().map(|sink| sink.taken.len()).sum();
        let dead: usize = self.sinks.iter().map(|sink| sink.dead.len()).sum();
        let unanswered = self.attempted.len() - self.acknowledged.len();
        format!(
            "{} kills, {} acknowledged, {unanswered} without an answer, {} in the log, {taken} taken, {dead} dead",
            self.kills.len(),
            self.acknowledged.len(),
            self.log.len()
        )
    }

    /// Everything that must not be.
    pub(super) fn faults(&self, flush_window: Duration) -> Vec<String> {
        let mut faults = self.faults_of_log();
        for sink in &self.sinks {
            faults.extend(self.losses(sink));
            faults.extend(self.repeats(sink, flush_window));
            if sink.ordered {
                faults.extend(self.disorder(sink));
            }
        }
        faults
    }

    fn faults_of_log(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
        for (expected, (offset, id)) in (0..).zip(&self.log) {
            if *offset != expected {
                faults.push(format!("offset {offset} stands where {expected} should"));
            }
            if !self.attempted.contains(id) {
                faults.push(format!("{id} at offset {offset} was never published"));
            }
            if let Some(first) = stored.insert(id, *offset) {
                faults.push(format!("{id} is stored twice, at {first} and {offset}"));
            }
        }
        let lost = self.acknowledged.iter().filter(|id| !stored.contains_key(id.as_str()));
        faults.extend(lost.map(|id| format!("{id} was acknowledged and is not in the log")));
        faults
    }

    /// What is in the log, or was acknowledged, and neither was taken nor is a dead letter: a cursor was ahead.
    fn losses(&self, sink: &Sink) -> Vec<String> {
        let taken: BTreeSet<&str> = sink.taken.iter().map(|(id, _)| id.as_str()).collect();
        let wanted: BTreeSet<&str> =
            self.log.iter().map(|(_, id)| id.as_str()).chain(self.acknowledged.iter().map(String::as_str)).collect();
        let lost = wanted.into_iter().filter(|id| !taken.contains(id) && !sink.dead.contains(*id));
        lost.map(|id| format!("{}: {id} was neither taken nor is it a dead letter", sink.name)).collect()
    }

    /// What was taken again though no kill followed its first delivery within the flush window.
    fn repeats(&self, sink: &Sink, flush_window: Duration) -> Vec<String> {
        let mut faults = Vec::new();
        let mut last: BTreeMap<&str, Instant> = BTreeMap::new();
        for (id, at) in &sink.taken {
            if let Some(before) = last.insert(id, *at) {
                let excused =
                    self.kills.iter().any(|kill| before <= *kill && kill <= at && *kill - before <= flush_window);
                if !excused {
                    let since = self.kills.iter().rev().find(|kill| *kill <= at).map(|kill| *at - *kill);
                    faults.push(format!(
                        "{}: {id} was taken again after {:?}, {since:?} after a kill, without a kill to excuse it",
                        sink.name,
                        *at - before
                    ));
                }
            }
        }
        faults
    }

    /// First deliveries that are not in log order.
    fn disorder(&self, sink: &Sink) -> Vec<String> {
        let offsets: BTreeMap<&str, u64> = self.log.iter().map(|(offset, id)| (id.as_str(), *offset)).collect();
        let mut seen = BTreeSet::new();
        let first: Vec<&str> = sink.taken.iter().map(|(id, _)| id.as_str()).filter(|id| seen.insert(*id)).collect();
        let swapped = first.windows(2).filter(|pair| offsets.get(pair[0]) > offsets.get(pair[1]));
        swapped.map(|pair| format!("{}: {} was taken before {}", sink.name, pair[0], pair[1])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(2);

    /// Events a, b, c; one kill in second 10; times in seconds.
    fn history(log: &[(u64, &str)], taken: &[(&str, u64)], dead: &[&str]) -> History {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        History {
            attempted: ["a", "b", "c"].map(str::to_owned).into(),
            acknowledged: ["a", "b"].map(str::to_owned).into(),
            log: log.iter().map(|(offset, id)| (*offset, (*id).to_owned())).collect(),
            kills: vec![at(10)],
            sinks: vec![Sink {
                name: "sink".to_owned(),
                ordered: true,
                taken: taken.iter().map(|(id, second)| ((*id).to_owned(), at(*second))).collect(),
                dead: dead.iter().map(|id| (*id).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn good_histories_pass_and_bad_ones_do_not() {
        let log: &[_] = &[(0, "a"), (1, "b")];
        for (what, history, words) in [
            ("all well", history(log, &[("a", 1), ("b", 2)], &[]), vec![]),
            ("a dead letter", history(log, &[("a", 1)], &["b"]), vec![]),
            (
                "stored without an answer",
                history(&[(0, "a"), (1, "b"), (2, "c")], &[("a", 1), ("b", 2), ("c", 3)], &[]),
                vec![],
            ),
            ("repeated after a kill", history(log, &[("a", 9), ("b", 9), ("a", 11)], &[]), vec![]),
            ("lost from the log", history(&[(0, "a")], &[("a", 1), ("b", 2)], &[]), vec!["b was acknowledged"]),
            ("not delivered", history(log, &[("a", 1)], &[]), vec!["b was neither"]),
            (
                "stored, never delivered",
                history(&[(0, "a"), (1, "b"), (2, "c")], &[("a", 1), ("b", 2)], &[]),
                vec!["c was neither"],
            ),
            ("a gap", history(&[(0, "a"), (2, "b")], &[("a", 1), ("b", 2)], &[]), vec!["offset 2 stands"]),
            (
                "invented",
                history(&[(0, "a"), (1, "b"), (2, "x")], &[("a", 1), ("b", 2), ("x", 3)], &[]),
                vec!["x at offset 2"],
            ),
            (
                "stored twice",
                history(&[(0, "a"), (1, "b"), (2, "a")], &[("a", 1), ("b", 2)], &[]),
                vec!["a is stored twice"],
            ),
            ("repeated without a kill", history(log, &[("a", 1), ("b", 2), ("a", 3)], &[]), vec!["a was taken again"]),
            (
                "settled long before the kill",
                history(log, &[("a", 1), ("b", 2), ("a", 11)], &[]),
                vec!["a was taken again"],
            ),
            ("out of order", history(log, &[("b", 1), ("a", 2)], &[]), vec!["b was taken before a"]),
        ] {
            let faults = history.faults(WINDOW);
            // An event in the log twice has no one place in it: only the first fault counts.
            assert_eq!(faults.is_empty(), words.is_empty(), "{what}: {faults:?}");
            for (fault, word) in faults.iter().zip(words) {
                assert!(fault.contains(word), "{what}: {faults:?}");
            }
        }
    }
}
