//! Several events for one request (`reveille.dev/content-mode: batched`): which go together, and how few may after a
//! request with them was refused. Pure.

use tokio::time::Instant;

use super::{Entry, Taken, Window};
use crate::log::Offset;

/// How much one request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct GroupMax {
    /// Events.
    pub(in crate::dispatch) events: usize,
    /// Bytes of events, a first one excepted that is larger.
    pub(in crate::dispatch) bytes: usize,
    /// Retries of an event; the attempt after these is its last, which it makes alone.
    pub(in crate::dispatch) retries: u32,
}

impl<B> Window<B> {
    /// Takes out events for one request, those first that have been ready the longest. Those behind them in their lanes
    /// come along, right after them: of what one request carries, the order is kept in it.
    pub(in crate::dispatch) fn take_group(&mut self, most: GroupMax, now: Instant) -> Vec<Taken<B>> {
        let mut group = Group { most, events: 0, bytes: 0 };
        let mut taken = Vec::new();
        while let Some(offset) = self.ready.front().copied() {
            let Some(entry) = self.entries.get(&offset) else { break };
            if !group.admits(entry) {
                break;
            }
            self.ready.pop_front();
            taken.extend(self.taken(offset));
            for follower in self.followers(offset, &mut group, now) {
                taken.extend(self.taken(follower));
            }
        }
        taken
    }

    /// Those directly behind `offset` in its lane that the group has room for.
    fn followers(&self, offset: Offset, group: &mut Group, now: Instant) -> Vec<Offset> {
        let lane = self.entries.get(&offset).and_then(|entry| entry.lane);
        let Some(queue) = lane.and_then(|lane| self.lanes.get(&lane)) else { return Vec::new() };
        let fits = |follower: &&Offset| {
            let entry = self.entries.get(*follower).filter(|entry| entry.due_at.is_none_or(|at| at <= now));
            entry.is_some_and(|entry| group.admits(entry))
        };
        queue.iter().skip(1).take_while(fits).copied().collect()
    }

    /// An event that was taken is ready again, and the next request with it carries no more than `most`; no attempt is
    /// used.
    pub(in crate::dispatch) fn part(&mut self, offset: Offset, most: usize) {
        self.narrow(offset, most);
        self.resume(offset);
    }

    /// The next requests with this event carry no more than `most`.
    pub(in crate::dispatch) fn narrow(&mut self, offset: Offset, most: usize) {
        if let Some(entry) = self.entries.get_mut(&offset) {
            entry.company_max = entry.company_max.min(most.max(1));
        }
    }
}

/// What a request carries so far.
struct Group {
    most: GroupMax,
    events: usize,
    bytes: usize,
}

impl Group {
    /// Counts an event in, if there is room for it.
    fn admits<B>(&mut self, entry: &Entry<B>) -> bool {
        let last = entry.attempts > 0 && entry.attempts >= self.most.retries;
        let events = self.most.events.min(if last { 1 } else { entry.company_max });
        let bytes = self.bytes.saturating_add(entry.bytes);
        let fits = self.events < events && (self.events == 0 || bytes <= self.most.bytes);
        if fits {
            self.most.events = events;
            self.events += 1;
            self.bytes = bytes;
        }
        fits
    }
}
