//! Whether a build that has just taken over is worse than the one before it.
//!
//! Compared are counts of the same provider before and after. What is the venue's fault must not be the build's: ids are
//! held against it only while it is connected.

use std::time::{Duration, Instant};

/// So many outcomes are needed to speak of a rate.
const ENOUGH: u64 = 100;

/// How long an id that was fresh may not be, while the provider is connected.
const STALE_PATIENCE: Duration = Duration::from_secs(30);

/// So many faults end a probation.
const FAULTS: u64 = 3;

/// Slower than this, and so many times slower than before, is worse.
const SLOW: Duration = Duration::from_millis(2);
const TIMES_SLOWER: u32 = 5;

/// Counted since some beginning.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Values stored or confirmed, and ids or frames that came to nothing.
    pub good: u64,
    pub bad: u64,
    /// Calls that parse, and the time in them.
    pub calls: u64,
    pub busy: Duration,
    /// Instances that died.
    pub faults: u64,
}

impl Counts {
    /// What came on top.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            good: self.good.saturating_sub(before.good),
            bad: self.bad.saturating_sub(before.bad),
            calls: self.calls.saturating_sub(before.calls),
            busy: self.busy.saturating_sub(before.busy),
            faults: self.faults.saturating_sub(before.faults),
        }
    }

    fn errors_in_a_thousand(self) -> Option<u64> {
        let all = self.good + self.bad;
        (all >= ENOUGH).then(|| self.bad * 1_000 / all)
    }

    fn per_call(self) -> Option<Duration> {
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        (self.calls >= ENOUGH).then(|| self.busy / calls)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Wait,
    /// It is as good as the one before.
    Passed,
    /// Why it is not, in words.
    Failed(String),
}

/// One build on trial in one provider.
#[derive(Clone, Debug)]
pub struct Probation {
    ends: Instant,
    /// What the build before did, all in all.
    before: Counts,
    start: Counts,
    /// How many ids were fresh.
    fresh: usize,
    short_since: Option<Instant>,
}

impl Probation {
    /// `before`: what the build before counted while it served; `start`: the counters now; `fresh`: how many ids are.
    pub fn new(before: Counts, start: Counts, fresh: usize, lasts: Duration, now: Instant) -> Self {
        Self { ends: now + lasts, before, start, fresh, short_since: None }
    }

    /// The counters now, how many ids are fresh, and whether the provider is connected.
    pub fn observe(&mut self, counts: Counts, fresh: usize, connected: bool, now: Instant) -> Verdict {
        let ours = counts.since(self.start);
        if ours.faults >= FAULTS {
            return Verdict::Failed(format!("{} of its instances died", ours.faults));
        }
        if let Some(now) = ours.errors_in_a_thousand() {
            let before = self.before.errors_in_a_thousand().unwrap_or(0);
            if now > before * 2 && now > before + 50 {
                let share = |thousandth: u64| format!("{}.{} %", thousandth / 10, thousandth % 10);
                return Verdict::Failed(format!("{} of what it reads is bad, before {}", share(now), share(before)));
            }
        }
        if let (Some(now), Some(before)) = (ours.per_call(), self.before.per_call())
            && now > SLOW
            && now > before * TIMES_SLOWER
        {
            return Verdict::Failed(format!("a call takes {now:.1?}, before {before:.1?}"));
        }
        if connected && fresh < self.fresh {
            let since = *self.short_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= STALE_PATIENCE {
                return Verdict::Failed(format!("{fresh} ids are fresh, before {}", self.fresh));
            }
        } else {
            self.short_since = None;
        }
        if now >= self.ends { Verdict::Passed } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::beginning;
    use super::*;

    /// After a build that read 1 bad in 100 at 10 µs a call and had 5 fresh ids, a probation of ten minutes: each step is
    /// seconds, good, bad, µs a call, faults, fresh ids and whether it is connected.
    #[track_caller]
    fn check(steps: &[(u64, u64, u64, u64, u64, usize, bool)], expected: &str) {
        let start = beginning();
        let counts = |good, bad, each, faults| Counts {
            good,
            bad,
            calls: good + bad,
            busy: Duration::from_micros(each * (good + bad)),
            faults,
        };
        let before = counts(9_900, 100, 10, 0);
        let mut probation = Probation::new(before, before, 5, Duration::from_secs(600), start);
        let mut found = Verdict::Wait;
        for (at, good, bad, each, faults, fresh, connected) in steps {
            assert_eq!(found, Verdict::Wait, "before {at} s");
            let more = counts(*good, *bad, *each, *faults);
            let all = Counts {
                good: before.good + more.good,
                bad: before.bad + more.bad,
                calls: before.calls + more.calls,
                busy: before.busy + more.busy,
                faults: more.faults,
            };
            found = probation.observe(all, *fresh, *connected, start + Duration::from_secs(*at));
        }
        let words = match found {
            Verdict::Wait => "wait".to_owned(),
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed(why) => why,
        };
        assert_eq!(words, expected);
    }

    #[test]
    fn one_that_is_as_good_passes_when_its_time_is_up() {
        check(&[(1, 99, 0, 10, 0, 5, true)], "wait");
        check(&[(1, 99, 1, 10, 0, 5, true), (600, 990, 10, 10, 0, 5, true)], "passed");
        check(&[(600, 0, 0, 10, 0, 5, true)], "passed");
    }

    #[test]
    fn one_that_is_worse_fails_at_once() {
        check(&[(1, 90, 10, 10, 0, 5, true)], "10.0 % of what it reads is bad, before 1.0 %");
        check(&[(1, 95, 5, 10, 0, 5, true)], "wait");
        check(&[(1, 5, 5, 10, 0, 5, true)], "wait");
        check(&[(1, 200, 0, 3_000, 0, 5, true)], "a call takes 3.0ms, before 10.0µs");
        check(&[(1, 200, 0, 1_000, 0, 5, true)], "wait");
        check(&[(1, 0, 0, 0, 2, 5, true), (2, 0, 0, 0, 3, 5, true)], "3 of its instances died");
    }

    #[test]
    fn ids_that_are_fresh_no_more_count_only_while_it_is_connected() {
        check(&[(1, 0, 0, 0, 0, 4, true), (31, 0, 0, 0, 0, 4, true)], "4 ids are fresh, before 5");
        check(&[(1, 0, 0, 0, 0, 4, true), (20, 0, 0, 0, 0, 5, true), (40, 0, 0, 0, 0, 4, true)], "wait");
        check(&[(1, 0, 0, 0, 0, 0, false), (300, 0, 0, 0, 0, 0, false), (301, 0, 0, 0, 0, 0, true)], "wait");
    }
}
