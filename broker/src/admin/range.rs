//! Ends of ranges: a moment, an offset, or a count back from the end.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::UnixMicros;
use crate::log::{EventLog, Offset, ReadError};

/// One end of a range, as people write it. Ranges are from inclusive to exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `now`: the durable end of the log.
    Now,
    /// `#1000`: an offset.
    Offset(Offset),
    /// `-10`: this many events back from the end.
    Last(u64),
    /// `-2h`, `-PT2H`: this long ago.
    Ago(Duration),
    /// RFC 3339: the first event appended then or later.
    At(UnixMicros),
}

/// Why a text is no [`Bound`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place in a log; write `now`, `-2h`, `2026-01-31T12:00:00Z`, `#1000`, or `-10` for ten back")]
pub struct BoundError(pub String);

impl FromStr for Bound {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, BoundError> {
        let fault = || BoundError(text.chars().take(80).collect());
        let text = text.trim();
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::Now);
        }
        if let Some(offset) = text.strip_prefix('#') {
            return digits(offset).map(|n| Self::Offset(Offset(n))).ok_or_else(fault);
        }
        if let Some(back) = text.strip_prefix('-') {
            return digits(back).map(Self::Last).or_else(|| length(back).map(Self::Ago)).ok_or_else(fault);
        }
        UnixMicros::from_rfc3339(text).map(Self::At).ok_or_else(fault)
    }
}

/// A number without a sign, which `parse` alone would take.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A length of time without a sign, ISO 8601 or friendly; a day is 24 hours.
fn length(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim_start().parse().ok()?;
    Duration::try_from(span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?).ok()
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Offset(offset) => offset.fmt(f),
            Self::Last(count) => write!(f, "-{count}"),
            Self::Ago(length) => write!(f, "-{length:?}"),
            Self::At(moment) => f.write_str(&moment.to_rfc3339()),
        }
    }
}

impl Bound {
    /// The offset that this means in a log at this moment, inside the log's extent.
    ///
    /// # Errors
    /// What the search for a moment in the log ran into.
    pub async fn resolve(self, log: &dyn EventLog, now: UnixMicros) -> Result<Offset, ReadError> {
        let bounds = log.bounds();
        let offset = match self {
            Self::Now => bounds.next,
            Self::Offset(offset) => offset,
            Self::Last(count) => Offset(bounds.next.0.saturating_sub(count)),
            Self::Ago(length) => log.seek_time(now.before(length)).await?,
            Self::At(moment) => log.seek_time(moment).await?,
        };
        Ok(offset.clamp(bounds.first, bounds.next.max(bounds.first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_as_people_write_them() {
        let hours = |n: u64| Bound::Ago(Duration::from_secs(n * 3600));
        for (text, bound) in [
            ("now", Bound::Now),
            (" NOW ", Bound::Now),
            ("#0", Bound::Offset(Offset(0))),
            ("#1000", Bound::Offset(Offset(1000))),
            ("-10", Bound::Last(10)),
            ("-0", Bound::Last(0)),
            ("-2h", hours(2)),
            ("-PT2H", hours(2)),
            ("-7d", hours(7 * 24)),
            ("-1h 30m", Bound::Ago(Duration::from_secs(5400))),
            ("2023-11-14T22:13:20Z", Bound::At(UnixMicros(1_700_000_000_000_000))),
            ("2023-11-14T23:13:20.5+01:00", Bound::At(UnixMicros(1_700_000_000_500_000))),
        ] {
            assert_eq!(text.parse(), Ok(bound), "{text}");
        }
        for bad in
            ["", "#", "#-1", "#+1", "-", "--2h", "-+3", "10", "2h", "-2 parsecs", "yesterday", "2023-11-14", "-1mo"]
        {
            assert_eq!(bad.parse::<Bound>(), Err(BoundError(bad.to_owned())), "{bad}");
        }
        assert!(BoundError("x".to_owned()).to_string().contains("`-2h`"));
    }
}
