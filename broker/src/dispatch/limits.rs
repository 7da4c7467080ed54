//! The limits of dispatch, in one place.

use std::time::Duration;

/// How much dispatch holds and how often it saves. The defaults suit one small machine; tests use smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchLimits {
    /// Unsettled events of a Trigger, those that wait for a retry included. 4,096 covers 64 attempts under way many
    /// times over and keeps a saved cursor below 100 KiB even if all of them were tried.
    pub window_events: usize,
    /// Events that lie between the router and a worker: one page, so that a worker that is only busy for a moment
    /// need not read the log by itself.
    pub feed_events: usize,
    /// Bytes of events kept in memory for one Trigger, the one event excepted that it needs to go on. 4 MiB are
    /// thousands of usual events.
    pub trigger_bytes: usize,
    /// Bytes of events kept in memory for all Triggers together (shared events count for each). 64 MiB leave room
    /// below the 100 MiB that the broker may take.
    pub total_bytes: usize,
    /// How often changed cursors are saved: what a crash may repeat.
    pub flush_interval: Duration,
    /// How often retention looks at the logs.
    pub retention_interval: Duration,
    /// How long the cursor of a deleted Trigger is kept for `reveille.dev/start: resume`.
    pub retired_kept: Duration,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self {
            window_events: 4096,
            feed_events: 1024,
            trigger_bytes: 4 << 20,
            total_bytes: 64 << 20,
            flush_interval: Duration::from_secs(1),
            retention_interval: Duration::from_secs(60),
            retired_kept: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Pages of workers that read by themselves, in memory at once: 8 MiB at the most, and more than a disk does side
/// by side.
pub(super) const READS_AT_ONCE_MAX: usize = 8;

/// First wait after a read or a wake failed: long enough not to spin, short enough that nobody notices a hiccup.
pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// Longest wait between two tries to read, wake, or load: a person who repairs something sees it within this time.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Wait before an event is tried again whose dead letter, or whose record, could not be stored or read.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Events in one request of a batched Trigger. The gain of a batch is nearly all there at 100 (a request costs as much
/// as some tens of events), and a subscriber still answers in time.
pub(super) const BATCH_EVENTS_MAX: usize = 100;

/// Bytes of events in one request of a batched Trigger, one event excepted that is larger: what servers commonly take
/// as a body.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;

/// Waits that double from [`PAUSE_FIRST`] to [`PAUSE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Pause(Option<Duration>);

impl Pause {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0.map_or(PAUSE_FIRST, |last| (last * 2).min(PAUSE_MAX));
        self.0 = Some(wait);
        wait
    }

    /// Whether it has not waited since the last reset: the moment to log what is wrong, once.
    pub(super) fn is_first(&self) -> bool {
        self.0.is_none()
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let mut pause = Pause::default();
        assert!(pause.is_first());
        let waits: Vec<u64> = (0..7).map(|_| pause.next().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert!(!pause.is_first());
        pause.reset();
        assert_eq!(pause.next(), PAUSE_FIRST);
    }
}
