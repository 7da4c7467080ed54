//! Retention: which segments may go (pure), and their removal.

use std::io;

use super::spans::Segment;
use super::view::View;
use crate::clock::UnixMicros;
use crate::log::{Offset, Retention, TrimError, Trimmed};

/// What retention looks at in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First offset.
    pub(super) base: Offset,
    /// One past the last offset.
    pub(super) next: Offset,
    /// Bytes of its frames.
    pub(super) bytes: u64,
    /// Append time of its first record.
    pub(super) oldest: Option<UnixMicros>,
    /// Append time of its last record.
    pub(super) newest: Option<UnixMicros>,
}

impl From<&Segment> for Extent {
    fn from(segment: &Segment) -> Self {
        Self {
            base: segment.base,
            next: segment.next,
            bytes: segment.frame_bytes(),
            oldest: segment.oldest,
            newest: segment.newest,
        }
    }
}

/// Whether the segment being written should be sealed, so that it can go: its first record is older than the age
/// limit, or it alone exceeds a byte limit.
#[must_use]
pub(super) fn should_roll(active: &Extent, retention: &Retention, now: UnixMicros) -> bool {
    let old = retention.age.is_some_and(|age| active.oldest.is_some_and(|oldest| oldest < now.before(age)));
    let large = |limit: Option<u64>| limit.is_some_and(|limit| active.bytes > limit);
    active.next > active.base && (old || large(retention.bytes) || large(retention.discard_above_bytes))
}

/// How many of the sealed segments, lowest first, may go. `active_bytes` counts towards the log's size.
#[must_use]
pub(super) fn removable(
    sealed: &[Extent],
    active_bytes: u64,
    settled: Offset,
    retention: &Retention,
    now: UnixMicros,
) -> usize {
    let mut bytes = active_bytes + sealed.iter().map(|segment| segment.bytes).sum::<u64>();
    let mut count = 0;
    for segment in sealed {
        let above = |limit: Option<u64>| limit.is_some_and(|limit| bytes > limit);
        let old = retention.age.is_some_and(|age| segment.newest.is_none_or(|newest| newest < now.before(age)));
        let lets_go = segment.next <= settled && (old || above(retention.bytes));
        if !lets_go && !above(retention.discard_above_bytes) {
            break;
        }
        bytes = bytes.saturating_sub(segment.bytes);
        count += 1;
    }
    count
}

/// Removes what may go. Blocking. Each removal is made durable before the next, so that a crash never leaves an old
/// segment behind a gap.
///
/// # Errors
/// [`TrimError`] names the file; what was removed before it stays removed.
pub(super) fn trim(view: &View, settled: Offset, retention: &Retention, now: UnixMicros) -> Result<Trimmed, TrimError> {
    // Readers that miss a file wait for this before they look again.
    let _one_at_a_time = view.trimming();
    let sealed = view.sealed();
    let extents: Vec<Extent> = sealed.iter().map(|segment| Extent::from(segment.as_ref())).collect();
    let active_bytes = view.active().map_or(0, |active| active.frame_bytes());
    let count = removable(&extents, active_bytes, settled, retention, now);
    let mut trimmed = Trimmed::default();
    for segment in sealed.iter().take(count) {
        let failed = |error: io::Error| TrimError { file: segment.path.clone(), error: error.to_string() };
        match view.fs.remove(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => view.drop_first(segment.base),
        }
        view.fs.sync_dir(&view.dir).map_err(failed)?;
        trimmed.segments += 1;
        trimmed.bytes += segment.frame_bytes();
        trimmed.discarded_unsettled += segment.next.0.saturating_sub(segment.base.max(settled).0);
    }
    if trimmed.segments > 0 {
        view.room_made();
        view.metrics.discarded.inc_by(trimmed.discarded_unsettled);
        tracing::info!(broker = %view.metrics.labels, segments = trimmed.segments, bytes = trimmed.bytes,
            discarded = trimmed.discarded_unsettled, "retention removed segments");
    }
    trimmed.first = view.bounds().first;
    Ok(trimmed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn extent(n: u64) -> Extent {
        let time = |second: u64| Some(UnixMicros(second * 1_000_000));
        Extent { base: Offset(n * 10), next: Offset(n * 10 + 10), bytes: 100, oldest: time(n), newest: time(n + 1) }
    }

    fn check(settled: u64, retention: Retention, now_seconds: u64, expected: usize) {
        let sealed: Vec<Extent> = (0..4).map(extent).collect();
        let now = UnixMicros(now_seconds * 1_000_000);
        assert_eq!(removable(&sealed, 50, Offset(settled), &retention, now), expected, "{retention:?} {settled}");
    }

    #[test]
    fn segments_go_by_age_and_bytes_never_past_the_settled_offset() {
        let none = Retention::default();
        let age = Retention { age: Some(Duration::from_secs(10)), ..none };
        let bytes = |limit| Retention { bytes: Some(limit), ..none };
        let discard = |limit| Retention { discard_above_bytes: Some(limit), ..none };
        check(100, none, 1000, 0);
        check(100, age, 12, 1);
        check(100, age, 1000, 4);
        check(19, age, 1000, 1);
        check(100, bytes(450), 0, 0);
        check(100, bytes(449), 0, 1);
        check(100, bytes(0), 0, 4);
        check(5, bytes(0), 0, 0);
        check(0, discard(250), 0, 2);
        check(0, Retention { bytes: Some(0), ..discard(349) }, 0, 2);
    }

    #[test]
    fn the_segment_being_written_is_sealed_when_it_is_old_or_large() {
        let roll = |retention, now| should_roll(&extent(0), &retention, UnixMicros(now));
        let none = Retention::default();
        assert!(!roll(none, u64::MAX));
        assert!(roll(Retention { age: Some(Duration::from_secs(1)), ..none }, 1_000_001));
        assert!(!roll(Retention { age: Some(Duration::from_secs(1)), ..none }, 1_000_000));
        assert!(roll(Retention { bytes: Some(99), ..none }, 0));
        assert!(!roll(Retention { bytes: Some(100), ..none }, 0));
        let empty = Extent { next: Offset(0), ..extent(0) };
        assert!(!should_roll(&empty, &Retention { bytes: Some(0), ..none }, UnixMicros(0)));
    }
}
