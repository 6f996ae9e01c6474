//! Whether the wall clock jumped: a machine that slept, or a clock that was set.
//!
//! Compares the two clocks; reading them, and telling people, is the caller's.

use std::time::{Duration, Instant};

use crate::contract::observation::UnixNanos;

/// Smaller steps are a clock being disciplined.
const JUMP: Duration = Duration::from_secs(1);

/// Watches the wall clock by the monotonic one.
#[derive(Clone, Debug, Default)]
pub struct ClockWatch {
    last: Option<(Instant, UnixNanos)>,
}

impl ClockWatch {
    /// Both clocks, read together. Answers by how many nanoseconds the wall clock has jumped since the last time:
    /// ahead, or back if negative.
    pub fn observe(&mut self, monotonic: Instant, wall: UnixNanos) -> Option<i64> {
        let (last_monotonic, last_wall) = self.last.replace((monotonic, wall))?;
        let passed = monotonic.saturating_duration_since(last_monotonic).as_nanos();
        let jumped = i128::from(wall.0) - i128::from(last_wall.0) - passed.cast_signed();
        let jumped = i64::try_from(jumped).unwrap_or(if jumped < 0 { i64::MIN } else { i64::MAX });
        (u128::from(jumped.unsigned_abs()) >= JUMP.as_nanos()).then_some(jumped)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::beginning;
    use super::*;

    #[test]
    fn a_jump_is_told_once_and_a_drift_is_none() {
        let start = beginning();
        let mut watch = ClockWatch::default();
        // (monotonic, wall, jumped), in milliseconds
        for (monotonic, wall, jumped) in [
            (0, 1_000_000, None),
            (250, 1_000_250, None),
            (500, 1_000_900, None),
            (750, 4_600_900, Some(3_599_750)),
            (1_000, 4_601_150, None),
            // Set back.
            (1_250, 1_001_150, Some(-3_600_250)),
            // The host was busy for a minute: both clocks went on.
            (61_250, 1_061_150, None),
        ] {
            let found = watch.observe(start + Duration::from_millis(monotonic), UnixNanos(wall * 1_000_000));
            assert_eq!(found, jumped.map(|ms: i64| ms * 1_000_000), "at {monotonic}");
        }
    }
}
