//! ISO 8601 durations such as `PT0.2S`, as delivery blocks and annotations write them.

use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::temporal::SpanParser;

/// Longest text read as a duration, in characters; the schema's limit too.
pub const DURATION_CHARS_MAX: usize = 64;

/// Why a text is no duration that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not ISO 8601.
    #[error("`{0}` is no ISO 8601 duration; write for example PT30S, PT0.2S, PT5M, PT1H or P7D")]
    NotIso8601(String),
    /// Years and months.
    #[error("`{0}` has years or months, whose length differs; write days, such as P30D")]
    NoFixedLength(String),
    /// Below zero.
    #[error("`{0}` is negative; durations are zero or more, such as PT30S")]
    Negative(String),
}

/// Reads an ISO 8601 duration with weeks, days (of 24 hours), hours, minutes, seconds and fractions.
///
/// # Errors
/// [`DurationError`] says what is wrong and what to write instead.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let shown = || text.chars().take(DURATION_CHARS_MAX).collect::<String>();
    if text.len() > DURATION_CHARS_MAX || !text.starts_with(['P', '-', '+']) {
        return Err(DurationError::NotIso8601(shown()));
    }
    let span = SpanParser::new().parse_span(text).map_err(|_| DurationError::NotIso8601(shown()))?;
    if span.is_negative() {
        return Err(DurationError::Negative(shown()));
    }
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(DurationError::NoFixedLength(shown()));
    }
    let length =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| DurationError::NotIso8601(shown()))?;
    Duration::try_from(length).map_err(|_| DurationError::Negative(shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_is_read() {
        let check = |text: &str, micros: u64| {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        };
        check("PT0.2S", 200_000);
        check("PT0S", 0);
        check("PT30S", 30_000_000);
        check("PT1M30S", 90_000_000);
        check("PT1.5H", 5_400_000_000);
        check("P1D", 86_400_000_000);
        check("P1W", 604_800_000_000);
        check("P1DT1H", 90_000_000_000);
    }

    #[test]
    fn everything_else_is_refused_with_the_reason() {
        let check = |text: &str, part: &str| {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        };
        for text in
            ["", "P", "PT", "5s", "30", "5 seconds", "T5S", "PT5", "PTS", "P1S", &"9".repeat(1000), "PT5S ", "é"]
        {
            check(text, "is no ISO 8601 duration");
        }
        check("P1Y", "years or months");
        check("P2M", "write days");
        check("-PT5S", "negative");
        check(&format!("PT{}S", "9".repeat(40)), "is no ISO 8601");
    }
}
