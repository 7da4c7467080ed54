//! Random histories of a window against a plain model of what may not be missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn broker() -> BrokerKey {
    "ns/default".parse().unwrap()
}

/// One step of a history; numbers choose among what is possible.
#[derive(Debug, Clone)]
enum Step {
    Skip,
    Admit {
        lane: Option<u64>,
    },
    Take,
    TakeForSink,
    Settle(usize),
    Retry(usize),
    Defer(usize),
    Strike(usize),
    ToSink(usize),
    /// A group is taken; what comes of it is applied at once, as the worker does, from the last to the first.
    Group {
        most: usize,
        ends: u64,
    },
    Later,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Skip),
        6 => proptest::option::of(0_u64..3).prop_map(|lane| Step::Admit { lane }),
        6 => Just(Step::Take),
        2 => Just(Step::TakeForSink),
        4 => any::<usize>().prop_map(Step::Settle),
        3 => any::<usize>().prop_map(Step::Retry),
        1 => any::<usize>().prop_map(Step::Defer),
        1 => any::<usize>().prop_map(Step::Strike),
        1 => any::<usize>().prop_map(Step::ToSink),
        3 => (1_usize..6, any::<u64>()).prop_map(|(most, ends)| Step::Group { most, ends }),
        3 => Just(Step::Later),
        1 => Just(Step::Restart),
    ]
}

/// What is known of an event from outside the window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    lane: Option<u64>,
    attempts: u32,
    phase: Phase,
}

struct Model {
    window: Window<()>,
    /// Matched and not settled.
    alive: BTreeMap<Offset, Known>,
    under_way: BTreeSet<Offset>,
    next: Offset,
    now: Instant,
}

impl Model {
    fn pick(&mut self, choice: usize) -> Option<Offset> {
        let count = self.under_way.len();
        let offset = self.under_way.iter().nth(choice.checked_rem(count)?).copied()?;
        self.under_way.remove(&offset);
        Some(offset)
    }

    fn took(&mut self, taken: Option<Taken<()>>, phase: Phase) {
        let Some(taken) = taken else { return };
        let known = self.alive[&taken.offset];
        assert_eq!((known.attempts, known.phase), (taken.attempts, phase), "{:?}", taken.offset);
        if let (Some(lane), Phase::Subscriber) = (known.lane, phase) {
            let earlier = self.alive.range(..taken.offset);
            let blocked = earlier.filter(|(_, k)| k.lane == Some(lane) && k.phase == Phase::Subscriber).count();
            assert_eq!(blocked, 0, "{:?} overtook its lane", taken.offset);
        }
        assert!(self.under_way.insert(taken.offset), "{:?} is under way twice", taken.offset);
    }

    fn apply(&mut self, step: Step) {
        let soon = self.now + Duration::from_secs(1);
        match step {
            Step::Skip => {
                self.next = self.next.next();
                self.window.scan_to(self.next);
            }
            Step::Admit { lane } => {
                self.window.admit(self.next, UnixMicros(1), 1, lane, None);
                self.alive.insert(self.next, Known { lane, attempts: 0, phase: Phase::Subscriber });
                self.next = self.next.next();
            }
            Step::Take => {
                let taken = self.window.take();
                self.took(taken, Phase::Subscriber);
            }
            Step::TakeForSink => {
                let taken = self.window.take_for_sink();
                self.took(taken, Phase::DeadLetterSink);
            }
            Step::Settle(choice) => {
                if let Some(offset) = self.pick(choice) {
                    self.window.settle(offset);
                    self.alive.remove(&offset);
                }
            }
            Step::Retry(choice) => {
                if let Some(offset) = self.pick(choice) {
                    self.window.retry(offset, UnixMicros(9), soon);
                    self.alive.get_mut(&offset).unwrap().attempts += 1;
                }
            }
            Step::Defer(choice) => {
                if let Some(offset) = self.pick(choice) {
                    self.window.defer(offset, soon);
                }
            }
            Step::Strike(choice) => {
                if let Some(offset) = self.pick(choice) {
                    self.window.strike(offset);
                }
            }
            Step::ToSink(choice) => {
                if let Some(offset) = self.pick(choice) {
                    self.window.turn_to_sink(offset, offset);
                    let known = self.alive.get_mut(&offset).unwrap();
                    *known = Known { attempts: 0, phase: Phase::DeadLetterSink, ..*known };
                }
            }
            Step::Group { most, ends } => self.group(most, ends, soon),
            Step::Later => {
                self.now += Duration::from_millis(600);
                self.window.wake_due(self.now);
            }
            Step::Restart => self.restart(),
        }
    }

    fn group(&mut self, most: usize, ends: u64, soon: Instant) {
        let group = self.window.take_group(GroupMax { events: most, bytes: 4, retries: 3 }, self.now);
        assert!(group.len() <= most.min(4), "{group:?}");
        for (index, taken) in group.iter().enumerate() {
            let known = self.alive[&taken.offset];
            assert_eq!((known.attempts, known.phase), (taken.attempts, Phase::Subscriber));
            assert!(group.len() == 1 || known.attempts < 3, "{:?} makes its last attempt in company", taken.offset);
            let earlier = self.alive.range(..taken.offset);
            let mut blocking =
                earlier.filter(|(_, k)| known.lane.is_some() && k.lane == known.lane && k.phase == Phase::Subscriber);
            let before = &group[..index];
            assert!(blocking.all(|(offset, _)| before.iter().any(|other| other.offset == *offset)), "{group:?}");
            assert!(self.under_way.insert(taken.offset), "{:?} is under way twice", taken.offset);
        }
        let mut offsets: Vec<Offset> = group.iter().map(|taken| taken.offset).collect();
        offsets.sort_unstable();
        for (index, offset) in offsets.into_iter().enumerate().rev() {
            self.under_way.remove(&offset);
            match (ends >> (index * 3)) & 7 {
                0 => {
                    self.window.retry(offset, UnixMicros(9), soon);
                    self.alive.get_mut(&offset).unwrap().attempts += 1;
                }
                1 => self.window.part(offset, 1),
                2 => self.window.strike(offset),
                3 => self.window.defer(offset, soon),
                4 => {
                    self.window.turn_to_sink(offset, offset);
                    let known = self.alive.get_mut(&offset).unwrap();
                    *known = Known { attempts: 0, phase: Phase::DeadLetterSink, ..*known };
                }
                _ => {
                    self.window.settle(offset);
                    self.alive.remove(&offset);
                }
            }
        }
    }

    fn restart(&mut self) {
        let cursor = self.window.cursor((&broker(), LogId::default()), None);
        let mut window = Window::new(cursor.scanned);
        for unsettled in &cursor.unsettled {
            let known = self.alive[&unsettled.offset];
            assert_eq!((known.attempts, known.phase), (unsettled.attempts, unsettled.phase));
            window.restore(Restored {
                unsettled: *unsettled,
                lane: known.lane,
                appended: UnixMicros(1),
                bytes: 1,
                due_at: None,
                letter: None,
            });
        }
        // What lies above is matched once more; what was tried is in the list, so nothing starts from zero again.
        for (offset, known) in self.alive.range(cursor.scanned..) {
            assert_eq!((known.attempts, known.phase), (0, Phase::Subscriber), "{offset} lost its attempts");
            window.admit(*offset, UnixMicros(1), 1, known.lane, None);
        }
        window.scan_to(self.next);
        self.window = window;
        self.under_way.clear();
    }

    fn check(&self) {
        let cursor = self.window.cursor((&broker(), LogId::default()), None);
        let lowest = self.alive.keys().next().copied();
        assert_eq!(cursor.floor(), lowest.unwrap_or(self.next), "the floor is the lowest unsettled offset");
        for offset in self.alive.keys() {
            let listed = cursor.unsettled.iter().any(|unsettled| unsettled.offset == *offset);
            assert!(listed || *offset >= cursor.scanned, "{offset} would be missed after a restart");
        }
        assert!(cursor.unsettled.iter().all(|unsettled| self.alive.contains_key(&unsettled.offset)));
        assert!(cursor.unsettled.is_sorted_by_key(|unsettled| unsettled.offset));
        assert_eq!(self.window.len(), self.alive.len());
    }

    /// Delivers all that is left; whatever cannot be taken any more was lost.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.alive.is_empty() {
                break;
            }
            for step in [Step::Later, Step::Later, Step::Take, Step::TakeForSink, Step::Settle(0)] {
                self.apply(step);
            }
        }
        assert!(self.alive.is_empty(), "never delivered: {:?}", self.alive);
        assert!(self.window.lanes.is_empty() && self.window.waiting.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_history_misses_or_reorders(steps in proptest::collection::vec(step(), 0..200)) {
        let mut model = Model {
            window: Window::new(Offset(5)),
            alive: BTreeMap::new(),
            under_way: BTreeSet::new(),
            next: Offset(5),
            now: Instant::now(),
        };
        for step in steps {
            model.apply(step);
            model.check();
        }
        model.finish();
    }
}

#[test]
fn the_cursor_lists_only_what_was_tried() {
    let mut window: Window<()> = Window::new(Offset(0));
    (0..1000).for_each(|offset| window.admit(Offset(offset), UnixMicros(1), 1, None, None));
    let taken: Vec<Offset> = (0..3).map(|_| window.take().unwrap().offset).collect();
    window.settle(taken[0]);
    window.settle(taken[2]);
    let cursor = window.cursor((&broker(), LogId::default()), None);
    assert_eq!(cursor.unsettled.iter().map(|unsettled| unsettled.offset).collect::<Vec<_>>(), [Offset(1)]);
    assert_eq!((cursor.floor(), cursor.scanned, window.scanned()), (Offset(1), Offset(3), Offset(1000)));
}
