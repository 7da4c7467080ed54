//! How many attempts may be under way at once: additive increase, multiplicative decrease. Pure.

/// The adaptive limit of one Trigger: starts at the configured one, halves when attempts fail, grows by one with
/// each that works. However many attempts fail together, they halve it once: only an attempt begun after the last
/// halving says something about the new limit.
#[derive(Debug)]
pub(super) struct Congestion {
    limit: usize,
    max: usize,
    next: u64,
    heard_from: u64,
}

impl Congestion {
    /// Nothing has failed yet.
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self { limit: max, max, next: 0, heard_from: 0 }
    }

    /// Attempts that may be under way at once; at least 1.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Follows a change of the configured limit.
    pub(super) fn set_max(&mut self, max: usize) {
        let max = max.max(1);
        // One that was not held back by failures is not held back by its former maximum either.
        self.limit = if self.limit == self.max { max } else { self.limit.min(max) };
        self.max = max;
    }

    /// Numbers an attempt.
    pub(super) fn begin(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// An attempt worked.
    pub(super) fn success(&mut self) {
        self.limit = (self.limit + 1).min(self.max);
    }

    /// The attempt of this number failed in a way that may be overload.
    pub(super) fn failure(&mut self, number: u64) {
        if number >= self.heard_from {
            self.limit = (self.limit / 2).max(1);
            self.heard_from = self.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_halve_once_per_round_and_successes_add_one() {
        let mut congestion = Congestion::new(64);
        let burst: Vec<u64> = (0..64).map(|_| congestion.begin()).collect();
        burst.iter().for_each(|number| congestion.failure(*number));
        assert_eq!(congestion.limit(), 32);
        for expected in [16, 8, 4, 2, 1, 1] {
            let number = congestion.begin();
            congestion.failure(number);
            assert_eq!(congestion.limit(), expected);
        }
        (0..100).for_each(|_| congestion.success());
        assert_eq!(congestion.limit(), 64);
    }

    #[test]
    fn the_configured_limit_is_followed() {
        let mut congestion = Congestion::new(8);
        congestion.set_max(16);
        assert_eq!(congestion.limit(), 16);
        let number = congestion.begin();
        congestion.failure(number);
        congestion.set_max(32);
        assert_eq!(congestion.limit(), 8);
        congestion.set_max(0);
        assert_eq!(congestion.limit(), 1);
    }
}
