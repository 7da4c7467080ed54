//! Matched events come in: from the feed, or from the log where the worker reads by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::{Mode, Worker};
use crate::dispatch::limits::PAUSE_MAX;
use crate::dispatch::order;
use crate::log::{Page, ReadError, ReadLimit};

/// Room in the window below which a worker that reads by itself waits for more, so that it does not read a page for
/// every event that is settled.
const READ_ROOM_MIN: usize = 256;

/// Shortest page that is read, in bytes: below it the read costs more than what it brings.
const READ_BYTES_MIN: usize = 64 << 10;

/// Wait after a read that gave nothing where something should be.
const EMPTY_READ_PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// Takes in what there is room for.
    pub(super) fn intake(&mut self) {
        if self.mode == Mode::Fed {
            self.take_feed();
        }
        if self.mode != Mode::Fed {
            self.read_on();
        }
    }

    fn room(&self) -> usize {
        self.limits.window_events.saturating_sub(self.window.len())
    }

    fn take_feed(&mut self) {
        // Before the look into the queue: then everything below the position was in it.
        let position = self.hub.position();
        let room = self.room();
        let taken = self.feed.take(room, &mut self.inbox);
        let order = self.settings.entry.order;
        if !self.inbox.is_empty() {
            self.touched();
        }
        for fed in self.inbox.drain(..) {
            let lane = order::lane(order, &fed.kept.event);
            let bytes = fed.kept.event.size_bytes();
            self.window.admit(fed.offset, fed.appended, bytes, lane, Some(fed.kept));
        }
        if taken.emptied {
            match taken.detached_at {
                Some(at) => {
                    self.window.scan_to(at);
                    self.mode = Mode::Reading { until: None };
                    tracing::debug!(trigger = %self.means.key, offset = %at, "reads the log by itself");
                }
                None => self.window.scan_to(position),
            }
        }
        if taken.nudged {
            self.report.ask();
        }
    }

    /// Begins to read, or attaches to the router, if there is room.
    fn read_on(&mut self) {
        if self.reading.is_some() || self.read_at.is_some() {
            return;
        }
        let room = self.room();
        let bytes = self.feed.budget().room();
        let enough = room >= READ_ROOM_MIN.min(self.limits.window_events / 2).max(1) && bytes.is_some();
        // Where only waiting events fill the window, any room is worth using.
        let idle = self.attempts.is_empty() && !self.window.has_ready();
        if room == 0 || !(enough || idle) {
            return;
        }
        let at = self.window.scanned();
        let until = match self.mode {
            Mode::Reading { until: Some(until) } => Some(until),
            Mode::Reading { until: None } | Mode::Fed => self.hub.attach(&self.feed, at),
        };
        if until.is_some_and(|until| until <= at) {
            self.mode = Mode::Fed;
            self.take_feed();
            return;
        }
        self.mode = Mode::Reading { until };
        let logs = self.means.logs.clone();
        let most = ReadLimit::default();
        let bytes = bytes.unwrap_or(READ_BYTES_MIN).clamp(READ_BYTES_MIN, most.bytes);
        let limit = ReadLimit { records: room.min(most.records), bytes };
        let reads = self.reads.clone();
        self.reading = Some(Box::pin(async move {
            let permit = reads.acquire_owned().await.ok();
            (permit, logs.events.read(at, limit).await)
        }));
    }

    /// Takes in a page that the worker has read by itself.
    pub(super) fn on_page(&mut self, page: Result<Page, ReadError>) {
        let at = self.window.scanned();
        match page {
            Ok(page) => {
                self.read_pause.reset();
                if page.next <= at {
                    self.read_at = Some(Instant::now() + EMPTY_READ_PAUSE);
                }
                self.admit_page(&page);
            }
            Err(ReadError::Trimmed { asked, first }) => {
                let lost = first.0.saturating_sub(asked.0);
                tracing::warn!(
                    broker = %self.means.logs.key, trigger = %self.means.key, offset = %asked, next = %first,
                    "retention removed records before this trigger had read them"
                );
                self.report.meters.discarded_records.inc_by(lost);
                self.window.scan_to(first);
            }
            Err(ReadError::Closed) => self.read_at = Some(Instant::now() + PAUSE_MAX),
            Err(error @ ReadError::Io { .. }) => {
                if self.read_pause.is_first() {
                    tracing::error!(
                        broker = %self.means.logs.key, trigger = %self.means.key, offset = %at, %error,
                        "cannot read the log"
                    );
                }
                self.read_at = Some(Instant::now() + self.read_pause.next());
            }
        }
        self.touched();
    }

    fn admit_page(&mut self, page: &Page) {
        let until = match self.mode {
            Mode::Reading { until } => until,
            Mode::Fed => return,
        };
        for range in &page.lost {
            tracing::error!(
                broker = %self.means.logs.key, trigger = %self.means.key, offset = %range.start, end = %range.end,
                "records are damaged and cannot be delivered; `reveille log verify` inspects them"
            );
        }
        let entry = self.settings.entry.clone();
        for record in &page.records {
            if until.is_some_and(|until| record.offset >= until) {
                break;
            }
            if !entry.filter.matches(&record.event) {
                continue;
            }
            let lane = order::lane(entry.order, &record.event);
            // Without a permit it is read again when its turn comes.
            let kept = self.feed.budget().keep(&record.event.detach());
            self.window.admit(record.offset, record.appended, record.event.size_bytes(), lane, kept);
        }
        self.window.scan_to(until.map_or(page.next, |until| page.next.min(until)));
    }
}
