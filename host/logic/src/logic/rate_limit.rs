//! At most so many of something in any window of time.
//!
//! Counts and answers when; whoever asked waits, and shares the machine behind a lock where several count into it.
//! One [`RateLimit`] stands for one bucket of a plugin's description.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::later::later;

/// A limit of `count` units in *any* window of `per`, wherever it begins.
///
/// A bucket that is refilled at fixed times, or drop by drop, lets almost twice as much through around a boundary,
/// and venues that ban do count that way. This one remembers each unit until its window has passed: at most `count`
/// instants. Quiet windows save nothing up for later ones.
///
/// What is booked is when a unit *may* be used. Use it then, or the window that the venue sees is not this one.
#[derive(Clone, Debug)]
pub struct RateLimit {
    count: usize,
    per: Duration,
    /// The last units granted, oldest first, at most `count`; those too old to matter are gone.
    granted: VecDeque<Instant>,
    /// Nothing is granted before this: the last unit granted, or the end of a pause.
    earliest: Option<Instant>,
}

impl RateLimit {
    /// At most `count` units in any window of `per`. The window is open at its end: a unit comes free when exactly
    /// `per` has passed.
    pub fn new(count: NonZeroU32, per: Duration) -> Self {
        Self {
            count: usize::try_from(count.get()).unwrap_or(usize::MAX),
            per,
            granted: VecDeque::new(),
            earliest: None,
        }
    }

    /// When the next unit could be used if it were asked for at `now`. Books nothing.
    pub fn peek(&self, now: Instant) -> Instant {
        let free = if self.granted.len() < self.count {
            None
        } else {
            self.granted.front().map(|oldest| later(*oldest, self.per))
        };
        [free, self.earliest].into_iter().flatten().fold(now, Instant::max)
    }

    /// Books one unit and answers when it may be used: `now` or later, and never before a unit booked earlier.
    pub fn reserve(&mut self, now: Instant) -> Instant {
        let at = self.peek(now);
        // Later units are granted at `at` or after it, so these can never stand in the way again.
        while self.granted.front().is_some_and(|oldest| later(*oldest, self.per) <= at) {
            self.granted.pop_front();
        }
        self.granted.push_back(at);
        self.earliest = Some(at);
        at
    }

    /// Grants nothing before `until`: the venue said "not now" to one of those who share this limit. Never shortens
    /// a pause, and leaves units that are already booked alone.
    pub fn pause(&mut self, until: Instant) {
        self.earliest = self.earliest.max(Some(until));
    }
}

/// Books one unit in each of `limits`, all for the same instant, which it answers. One frame may count as "send" and
/// as "subscribe", for its connection and for its origin: booked one after another, the first would be used later
/// than it was booked for, and its window would hold too many.
pub fn reserve_all(limits: &mut [&mut RateLimit], now: Instant) -> Instant {
    let at = limits.iter().map(|limit| limit.peek(now)).fold(now, Instant::max);
    for limit in limits {
        limit.reserve(at);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::super::chance::{Chance, beginning};
    use super::*;

    fn limit(count: u32, per: u64) -> RateLimit {
        RateLimit::new(NonZeroU32::new(count).unwrap(), Duration::from_millis(per))
    }

    /// Books at each of `asked` and compares with `granted`, all in milliseconds.
    #[track_caller]
    fn check(mut limit: RateLimit, asked: &[u64], granted: &[u64]) {
        let start = beginning();
        let found: Vec<u64> = asked
            .iter()
            .map(|at| limit.reserve(start + Duration::from_millis(*at)))
            .map(|at| (at - start).as_millis() as u64)
            .collect();
        assert_eq!(found, granted);
    }

    #[test]
    fn a_burst_is_let_through_and_then_spread() {
        check(limit(1, 100), &[0, 0, 0], &[0, 100, 200]);
        check(limit(3, 1_000), &[0, 0, 0, 0, 0], &[0, 0, 0, 1_000, 1_000]);
        check(limit(2, 1_000), &[0, 1_000, 1_001], &[0, 1_000, 1_001]);
    }

    /// A bucket with aligned windows would grant 999 and 1000, four in two milliseconds.
    #[test]
    fn a_window_may_begin_anywhere() {
        check(limit(2, 1_000), &[999, 999, 1_000, 1_000], &[999, 999, 1_999, 1_999]);
    }

    #[test]
    fn a_quiet_hour_saves_nothing_up() {
        check(limit(2, 1_000), &[0, 3_600_000, 3_600_000, 3_600_000], &[0, 3_600_000, 3_600_000, 3_601_000]);
    }

    #[test]
    fn a_clock_that_goes_back_gains_nothing() {
        check(limit(2, 1_000), &[500, 0, 0], &[500, 500, 1_500]);
    }

    #[test]
    fn a_pause_holds_everyone_and_is_never_shortened() {
        let start = beginning();
        let mut paused = limit(2, 1_000);
        paused.pause(start + Duration::from_millis(2_000));
        paused.pause(start + Duration::from_millis(5_000));
        paused.pause(start + Duration::from_millis(1_000));
        check_from(start, paused, &[0, 0, 0], &[5_000, 5_000, 6_000]);
    }

    #[track_caller]
    fn check_from(start: Instant, mut limit: RateLimit, asked: &[u64], granted: &[u64]) {
        for (asked, granted) in asked.iter().zip(granted) {
            let found = limit.reserve(start + Duration::from_millis(*asked));
            assert_eq!((found - start).as_millis() as u64, *granted);
        }
    }

    #[test]
    fn several_limits_agree_on_one_instant() {
        let start = beginning();
        let (mut send, mut subscribe) = (limit(2, 1_000), limit(1, 400));
        let mut granted = Vec::new();
        for _ in 0..4 {
            let at = reserve_all(&mut [&mut send, &mut subscribe], start);
            granted.push((at - start).as_millis() as u64);
        }
        // One after another, `send` would have booked 0, 0 and then freed both at 1000.
        assert_eq!(granted, [0, 400, 1_000, 1_400]);
    }

    /// Virtual days of lulls and bursts. Two units `count` apart are at least `per` apart, which is to say that no
    /// window holds more; and no unit waits longer than that demands.
    #[test]
    fn no_window_ever_holds_more_than_the_limit() {
        for seed in 0..60 {
            let mut chance = Chance::new(seed);
            let count = 1 + chance.below(40) as u32;
            let per = 1 + chance.below(60_000);
            let mut limit = limit(count, per);
            let count = count as usize;
            let start = beginning();
            let mut now = start;
            let mut granted: Vec<Instant> = Vec::new();
            for _ in 0..2_000 {
                now += match chance.below(10) {
                    0 => Duration::from_millis(chance.below(3_600_000)),
                    1..4 => Duration::from_millis(chance.below(per * 2)),
                    _ => Duration::ZERO,
                };
                let peeked = limit.peek(now);
                let at = limit.reserve(now);
                assert_eq!(at, peeked, "seed {seed}: peek and reserve disagree");
                let mut expected = now.max(granted.last().copied().unwrap_or(now));
                if granted.len() >= count {
                    let window = granted[granted.len() - count] + Duration::from_millis(per);
                    expected = expected.max(window);
                }
                assert_eq!(at, expected, "seed {seed}: {count} in {per} ms");
                assert!(limit.granted.len() <= count, "seed {seed}: remembers too much");
                granted.push(at);
            }
        }
    }
}
