//! Time as one number: nanoseconds since the Unix epoch, which never goes back and follows tokio's
//! paused clock.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// The one clock of a venue. The wall clock is read once, so that `start_paused` tests are exact.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    start_unix: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix: nanos(unix) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.start_unix.saturating_add(nanos(self.start.elapsed()))
    }

    /// When tokio's clock will show `at`.
    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_nanos(at.saturating_sub(self.start_unix))
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `2026-08-09T21:05:48.59377133Z`: nine digits at most and no trailing zeros, which is what the
/// venues send too.
pub(crate) fn rfc3339(unix_nanos: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(unix_nanos.into())
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_nanoseconds_and_no_trailing_zeros() {
        for (nanos, text) in [
            (1_786_309_548_593_771_330, "2026-08-09T21:05:48.59377133Z"),
            (1_786_309_548_228_846_629, "2026-08-09T21:05:48.228846629Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(nanos), text);
        }
    }
}
