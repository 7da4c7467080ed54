//! Time as a value that is handed in, so that every decision can be tested at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A wall-clock moment, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The moment `by` later; stays at the largest moment instead of overflowing.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The moment `by` earlier; stays at the epoch instead of underflowing.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with microseconds.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        i64::try_from(self.0)
            .ok()
            .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
            .map_or_else(|| self.0.to_string(), |moment| format!("{moment:.6}"))
    }

    /// Reads RFC 3339; `None` when the text is none, or lies before 1970.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(moment.as_microsecond()).ok().map(Self)
    }
}

/// Where the program takes the time from.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at the value of `micros` until somebody changes it; for tests.
    #[must_use]
    pub fn manual(micros: Arc<AtomicU64>) -> Self {
        Self(Source::Manual(micros))
    }

    /// The present moment.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now(&self) -> UnixMicros {
        match &self.0 {
            Source::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                UnixMicros(since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
            }
            Source::Manual(micros) => UnixMicros(micros.load(Ordering::Acquire)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_round_trips() {
        let moment = UnixMicros(1_700_000_000_123_456);
        assert_eq!(moment.to_rfc3339(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(UnixMicros::from_rfc3339(&moment.to_rfc3339()), Some(moment));
        assert_eq!(UnixMicros::from_rfc3339("yesterday"), None);
    }
}
