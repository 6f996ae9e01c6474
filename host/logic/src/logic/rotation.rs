//! When a connection that the venue will cut is replaced.
//!
//! One pure function: at which age. That it is done by opening a successor first is `session`'s.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The part of each day in which the operator wants connections replaced, from its start, in UTC. May span midnight.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// Since midnight, less than a day.
    pub start: Duration,
    /// More than nothing and at most a day.
    pub length: Duration,
}

/// The age at which to replace a connection that opens at `time_of_day` (UTC) and is cut at `max_age`.
///
/// Between 90 and 98 percent of what the venue allows, so that connections opened together do not all leave together.
/// With a window: in the last one that begins before that, so that it happens as seldom as it may; where none does,
/// as without. `random`: from 0 up to, but not, 1.
pub fn replace_after(max_age: Duration, window: Option<Window>, time_of_day: Duration, random: f64) -> Duration {
    let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
    let latest = max_age.mul_f64(0.98);
    let earliest = max_age.mul_f64(0.90);
    let usual = earliest + (latest - earliest).mul_f64(random);
    let Some(window) = window else { return usual };
    let into_day = Duration::from_secs(time_of_day.as_secs() % DAY.as_secs());
    let first = if window.start >= into_day { window.start - into_day } else { window.start + DAY - into_day };
    if first > latest {
        return usual;
    }
    let days = (latest - first).as_secs() / DAY.as_secs();
    let start = first + DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX));
    start + window.length.min(latest - start).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    fn hours(hours: f64) -> Duration {
        Duration::from_secs_f64(hours * 3600.0)
    }

    #[test]
    fn a_window_is_kept_where_the_venue_leaves_one() {
        let night = Some(Window { start: hours(2.0), length: hours(2.0) });
        let midnight = Some(Window { start: hours(23.0), length: hours(2.0) });
        for (max_age, window, opened_at, random, expected) in [
            (24.0, None, 12.0, 0.0, 21.6),
            (24.0, None, 12.0, 1.0, 23.52),
            // Opened at noon: the next night, fourteen hours later.
            (24.0, night, 12.0, 0.0, 14.0),
            (24.0, night, 12.0, 0.5, 15.0),
            // Opened in the window: the same time tomorrow, as long as the venue allows it.
            (24.0, night, 2.5, 0.0, 23.5),
            (24.0, night, 2.5, 1.0, 23.52),
            (24.0, night, 2.0, 0.0, 0.0),
            // As seldom as it may: not the next night but the third.
            (72.0, night, 12.0, 0.0, 62.0),
            (24.0, midnight, 22.0, 1.0, 3.0),
            // The venue cuts before the window comes.
            (1.0, night, 12.0, 0.0, 0.9),
        ] {
            let found = replace_after(hours(max_age), window, hours(opened_at), random);
            let apart = found.abs_diff(hours(expected));
            assert!(apart < Duration::from_secs(1), "{max_age} {window:?} {opened_at}: {found:?}");
        }
    }

    #[test]
    fn no_connection_outlives_what_the_venue_allows() {
        let mut chance = Chance::new(1);
        for _ in 0..10_000 {
            let max_age = Duration::from_millis(1 + chance.below(90 * 86_400_000));
            let window =
                Window { start: hours(chance.below(24) as f64), length: Duration::from_secs(1 + chance.below(86_399)) };
            let found =
                replace_after(max_age, Some(window), Duration::from_secs(chance.below(86_400)), chance.fraction());
            assert!(found < max_age, "{found:?} of {max_age:?}");
        }
    }
}
