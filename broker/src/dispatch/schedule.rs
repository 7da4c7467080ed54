//! How long to wait before a retry. Pure: jitter is handed in.

use std::time::Duration;

use crate::triggers::{Backoff, DeliveryPolicy};

/// Longest wait between two attempts. Exponential growth has to end somewhere; a day is beyond any outage that a
/// retry is meant for, and well within what durations can hold.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest `Retry-After` that is obeyed where the Trigger does not say: what a maintenance window announces, not
/// what a typing error in a header does.
pub const RETRY_AFTER_MAX_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// The part by which jitter lengthens a wait at the most.
pub const JITTER_MAX: f64 = 0.1;

/// The wait before the `retry`-th retry (from 1), without jitter: n × delay or 2^(n−1) × delay, at most
/// [`RETRY_WAIT_MAX`].
#[must_use]
pub fn backoff(policy: &DeliveryPolicy, retry: u32) -> Duration {
    let factor = match policy.backoff {
        Backoff::Linear => Some(retry),
        Backoff::Exponential => 2_u32.checked_pow(retry.saturating_sub(1)),
    };
    let wait = match factor {
        Some(factor) => policy.backoff_delay.checked_mul(factor).unwrap_or(RETRY_WAIT_MAX),
        None if policy.backoff_delay.is_zero() => Duration::ZERO,
        None => RETRY_WAIT_MAX,
    };
    wait.min(RETRY_WAIT_MAX)
}

/// The wait before the `retry`-th retry (from 1): [`backoff`] lengthened by up to [`JITTER_MAX`], and not shorter
/// than what the subscriber asked for, as far as the policy lets it ask. `jitter` lies in 0..1.
#[must_use]
pub fn wait(policy: &DeliveryPolicy, retry: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let jittered = backoff(policy, retry).mul_f64(1.0 + JITTER_MAX * jitter.clamp(0.0, 1.0));
    let limit = policy.retry_after_max.unwrap_or(RETRY_AFTER_MAX_DEFAULT).min(RETRY_WAIT_MAX);
    jittered.max(retry_after.unwrap_or_default().min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(backoff: Backoff, delay_ms: u64, retry_after_max: Option<u64>) -> DeliveryPolicy {
        DeliveryPolicy {
            retry: 10,
            backoff,
            backoff_delay: Duration::from_millis(delay_ms),
            timeout: Duration::from_secs(60),
            retry_after_max: retry_after_max.map(Duration::from_secs),
            dead_letter_sink: None,
        }
    }

    #[test]
    fn waits_grow_as_documented() {
        use Backoff::{Exponential, Linear};
        let day = RETRY_WAIT_MAX.as_millis();
        for (kind, delay_ms, retry, expected_ms) in [
            (Linear, 1_000, 1, 1_000),
            (Linear, 1_000, 3, 3_000),
            (Linear, 0, 9, 0),
            (Exponential, 200, 1, 200),
            (Exponential, 200, 2, 400),
            (Exponential, 200, 10, 102_400),
            (Exponential, 200, 33, day),
            (Exponential, 200, u32::MAX, day),
            (Exponential, 0, u32::MAX, 0),
            (Linear, u64::MAX, u32::MAX, day),
        ] {
            let got = backoff(&policy(kind, delay_ms, None), retry);
            assert_eq!(got.as_millis(), expected_ms, "{kind:?} {delay_ms} {retry}");
        }
    }

    #[test]
    fn the_shipped_default_waits_204_seconds_in_all() {
        let policy = policy(Backoff::Exponential, 200, None);
        let all: Duration = (1..=10).map(|retry| backoff(&policy, retry)).sum();
        assert_eq!(all.as_millis(), 204_600);
    }

    #[test]
    fn jitter_and_retry_after_only_lengthen() {
        let ten_minutes = RETRY_AFTER_MAX_DEFAULT.as_millis();
        for (max, asked, jitter, expected_ms) in [
            (None, None, 0.0, 1_000),
            (None, None, 1.0, 1_100),
            (None, None, 7.0, 1_100),
            (None, Some(2), 0.5, 2_000),
            (None, Some(0), 0.0, 1_000),
            (None, Some(86_400), 0.0, ten_minutes),
            (Some(0), Some(2), 0.0, 1_000),
            (Some(5), Some(60), 0.0, 5_000),
        ] {
            let policy = policy(Backoff::Linear, 1_000, max);
            let got = wait(&policy, 1, asked.map(Duration::from_secs), jitter);
            assert_eq!(got.as_millis(), expected_ms, "{max:?} {asked:?} {jitter}");
        }
    }
}
