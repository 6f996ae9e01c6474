//! Adding to an instant without overflow.

use std::time::{Duration, Instant};

/// No machine lives to see the end of it, and no clock overflows by it: a hundred years.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `now + by`, without the overflow that a venue or a configuration could cause with an absurd number.
pub(super) fn later(now: Instant, by: Duration) -> Instant {
    now + by.min(FOREVER)
}
