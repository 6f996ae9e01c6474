//! The counters behind the venues' limits. They only count: who refuses what is the protocols'
//! business.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::nanos;

/// At most `count` events within any `per`, the way venues word it ("5 messages per second").
pub(crate) struct Window {
    count: usize,
    per: u64,
    times: VecDeque<u64>,
}

impl Window {
    pub(crate) fn new(count: usize, per: Duration) -> Self {
        Self { count, per: nanos(per), times: VecDeque::with_capacity(count) }
    }

    /// Whether one more event at `now` is within the limit. One that is not does not count.
    pub(crate) fn admit(&mut self, now: u64) -> bool {
        while self.times.front().is_some_and(|first| now.saturating_sub(*first) >= self.per) {
            self.times.pop_front();
        }
        let within = self.times.len() < self.count;
        if within {
            self.times.push_back(now);
        }
        within
    }
}

/// What was spent in the current minute, as HTTP venues count it.
#[derive(Default)]
pub(crate) struct Minute {
    minute: u64,
    used: u64,
}

impl Minute {
    /// Adds `weight` and returns what the minute has cost so far.
    pub(crate) fn spend(&mut self, now: u64, weight: u64) -> u64 {
        let minute = now / MINUTE;
        if minute != self.minute {
            *self = Self { minute, used: 0 };
        }
        self.used += weight;
        self.used
    }

    /// Seconds until the next minute begins.
    pub(crate) fn rest(now: u64) -> u64 {
        (MINUTE - now % MINUTE).div_ceil(1_000_000_000)
    }
}

const MINUTE: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_admits_its_count_and_forgets_after_its_length() {
        let mut window = Window::new(2, Duration::from_nanos(10));
        let rows = [(0, true), (1, true), (9, false), (10, true), (10, false), (11, true), (30, true)];
        for (now, within) in rows {
            assert_eq!(window.admit(now), within, "at {now}");
        }
    }

    #[test]
    fn a_minute_starts_again_from_zero() {
        let mut minute = Minute::default();
        assert_eq!([(0, 2), (1, 3), (MINUTE, 4)].map(|(now, weight)| minute.spend(now, weight)), [2, 5, 4]);
        assert_eq!(Minute::rest(MINUTE - 1), 1);
    }
}
