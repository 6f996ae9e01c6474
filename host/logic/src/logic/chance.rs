//! What the tests of the machines share: a first instant to count from, and random numbers that can be repeated.

use std::time::Instant;

/// Some instant. The tests count time from here.
#[allow(clippy::disallowed_methods, reason = "an Instant has no other source, and no test depends on which one it is")]
pub(super) fn beginning() -> Instant {
    Instant::now()
}

/// A xorshift generator: the same seed gives the same numbers.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        // Spread, because neighbouring seeds would begin alike, and never 0, which xorshift cannot leave.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `end - 1`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// From 0 up to, but not, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
