//! How long to wait after a failure.
//!
//! Only the length of the wait lives here; who waits, and for what, is the caller's: see `session` and `schedule`.
//! What a venue itself asks for (`Retry-After`) is theirs too.

use std::time::Duration;

/// The longest wait that a venue may impose on us with one answer: a day. Longer ones are cut to this. The longest
/// bans known are of some days, and one attempt a day is no storm; an hour's typing error in a venue's header must
/// not silence a feed for years.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The bounds of a [`Backoff`]. Cannot be made inverted or empty.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BackoffConfig {
    first: Duration,
    max: Duration,
    reset_after: Duration,
}

impl BackoffConfig {
    /// `first`: the most that the first wait takes; each further failure doubles it. `max`: where the doubling ends.
    /// `reset_after`: how long a connection must have lived for its failures to be forgotten.
    ///
    /// An error, in words for the operator, if `first` or `reset_after` is zero or `max` is less than `first`.
    pub fn new(first: Duration, max: Duration, reset_after: Duration) -> Result<Self, &'static str> {
        if first.is_zero() {
            return Err("the first wait must be longer than zero");
        }
        if max < first {
            return Err("the longest wait must not be shorter than the first");
        }
        if reset_after.is_zero() {
            return Err("the life after which failures are forgotten must be longer than zero");
        }
        Ok(Self { first, max, reset_after })
    }

    /// The most that the first wait takes.
    pub fn first(&self) -> Duration {
        self.first
    }

    /// Whether a connection that lived this long counts as a success.
    pub fn is_stable(&self, lived: Duration) -> bool {
        lived >= self.reset_after
    }
}

impl Default for BackoffConfig {
    /// 1 s, 64 s, 60 s: a blip costs a second, and a venue that is down for an hour sees about a hundred attempts.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(64), reset_after: Duration::from_secs(60) }
    }
}

/// Exponential backoff with full jitter.
///
/// The wait is uniform between half of `first` and a ceiling of `first`, 2·`first`, 4·`first` … `max`. The spread
/// keeps connections that fell together from coming back together; the floor keeps a lucky draw from spinning. To
/// have connected is no success: a venue that accepts and closes would be hammered without a pause. To have lived is.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub fn new(config: BackoffConfig) -> Self {
        Self { config, failures: 0 }
    }

    /// The bounds in force.
    pub fn config(&self) -> &BackoffConfig {
        &self.config
    }

    /// Failures in a row, the last included. 0 after a success. A stable life is noticed when it ends.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A failure: how long to wait from now. `lived`: how long what failed had worked, `None` if it never did; a
    /// stable life makes this the first failure. `random`: from 0 up to, but not, 1.
    pub fn failed(&mut self, lived: Option<Duration>, random: f64) -> Duration {
        if lived.is_some_and(|lived| self.config.is_stable(lived)) {
            self.failures = 0;
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let ceiling = self.config.first.saturating_mul(factor).min(self.config.max);
        self.failures = self.failures.saturating_add(1);
        let floor = self.config.first / 2;
        let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        // Rounding could exceed the ceiling by a nanosecond.
        (floor + (ceiling - floor).mul_f64(random)).min(ceiling)
    }

    /// A success: the failures are forgotten.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Other bounds from the next failure on. The failures so far stay counted.
    pub fn set_config(&mut self, config: BackoffConfig) {
        self.config = config;
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    const NEVER_OPENED: Option<u64> = None;

    /// Fails once for each life (seconds) and compares the waits (milliseconds).
    #[track_caller]
    fn check(random: f64, lives: &[Option<u64>], waits: &[u64]) {
        let mut backoff = Backoff::new(BackoffConfig::default());
        let found: Vec<u64> = lives
            .iter()
            .map(|lived| backoff.failed(lived.map(Duration::from_secs), random))
            .map(|wait| wait.as_millis() as u64)
            .collect();
        assert_eq!(found, waits);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let ceilings = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 64_000];
        check(1.0, &[NEVER_OPENED; 8], &ceilings);
        check(0.5, &[NEVER_OPENED; 3], &[750, 1_250, 2_250]);
    }

    #[test]
    fn no_luck_makes_a_wait_shorter_than_half_the_first() {
        check(0.0, &[NEVER_OPENED; 4], &[500; 4]);
        check(f64::NAN, &[NEVER_OPENED; 2], &[500; 2]);
        check(-1.0, &[NEVER_OPENED; 2], &[500; 2]);
    }

    /// Bothan and barter reset on connect: accept-then-close was a loop without a pause.
    #[test]
    fn to_have_connected_is_no_success_and_to_have_lived_is() {
        check(1.0, &[Some(0), Some(1), Some(59)], &[1_000, 2_000, 4_000]);
        check(1.0, &[Some(0), Some(1), Some(60), None], &[1_000, 2_000, 1_000, 2_000]);
    }

    #[test]
    fn bounds_cannot_be_inverted() {
        let check = |first, max, reset_after| {
            BackoffConfig::new(Duration::from_secs(first), Duration::from_secs(max), Duration::from_secs(reset_after))
        };
        assert!(check(1, 64, 60) == Ok(BackoffConfig::default()));
        assert!(check(1, 1, 1).is_ok());
        assert!(check(0, 64, 60).is_err());
        assert!(check(2, 1, 60).is_err());
        assert!(check(1, 64, 0).is_err());
    }

    #[test]
    fn every_wait_of_every_backoff_is_within_its_bounds() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let first = Duration::from_nanos(1 + chance.below(5_000_000_000));
            let max = first.saturating_mul(1 + chance.below(1_000) as u32);
            let config = BackoffConfig::new(first, max, Duration::from_secs(60)).unwrap();
            let mut backoff = Backoff::new(config);
            for _ in 0..100 {
                let wait = backoff.failed(None, chance.fraction());
                assert!(first / 2 <= wait && wait <= max, "seed {seed}: waited {wait:?}");
            }
            assert_eq!(backoff.failures(), 100);
        }
    }
}
