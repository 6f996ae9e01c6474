//! When an HTTP provider polls.
//!
//! Only the clock lives here: which ids a poll asks for, and how its requests are cut and paced, is the poller's
//! (`transport`). Waits after failures come from `backoff`.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, BackoffConfig, LONGEST_WAIT};
use super::later::later;

/// How often, and how a failure is answered.
#[derive(Clone, Debug)]
pub struct ScheduleConfig {
    /// Between two ticks. Less than a millisecond counts as one.
    pub interval: Duration,
    /// From the start to the first tick, less than `interval` (the rest is dropped); see [`phase_of`].
    pub phase: Duration,
    /// How many ticks a failure costs: those that fall into its wait.
    pub backoff: BackoffConfig,
}

/// Failed polls in a row after which a poll begins with one request on trial.
pub const TRIAL_AFTER: u32 = 3;

/// Whether a poll may send all it has.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Circuit {
    /// It may.
    #[default]
    Closed,
    /// [`TRIAL_AFTER`] polls in a row failed; the next one is still ahead.
    Open,
    /// A poll after those is under way: one request first, and the others only if it is answered.
    HalfOpen,
}

impl Circuit {
    /// Every state, in the order of the numbers that metrics give them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Poll now, and say how it went: [`Schedule::handle_done`] or [`Schedule::handle_failed`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Poll {
    /// When the poll was due. What has passed since is the host's own lateness.
    pub due: Instant,
}

/// When to poll: at `start + phase + n * interval`, one poll at a time.
///
/// A tick that finds a poll under way, or falls into the wait after a failure, is skipped and never made up for; the
/// others stay where they are. Two polls begin at least half an interval apart even if the first began late, so a
/// host that wakes from sleep does not poll twice in a breath. A failure never makes a poll come sooner: the venue's
/// poll interval is a limit.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    first_tick: Instant,
    backoff: Backoff,
    state: State,
    /// No poll begins before this, not even one asked for by [`Schedule::poll_now`]: the wait after a failure.
    not_before: Instant,
}

#[derive(Clone, Debug)]
enum State {
    Waiting { due: Instant },
    UnderWay { since: Instant, again: bool },
}

impl Schedule {
    /// The first poll is due at `start + phase`. Whoever wants a first value at once calls [`Schedule::poll_now`].
    pub fn new(config: ScheduleConfig, start: Instant) -> Self {
        let interval = config.interval.max(Duration::from_millis(1));
        let phase = config.phase.as_nanos() % interval.as_nanos();
        let first_tick = later(start, duration_of(phase));
        Self {
            interval,
            first_tick,
            backoff: Backoff::new(config.backoff),
            state: State::Waiting { due: first_tick },
            not_before: start,
        }
    }

    /// Failed polls in a row.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// What the failures so far mean for the next poll, or for the one under way.
    pub fn circuit(&self) -> Circuit {
        match self.state {
            _ if self.failures() < TRIAL_AFTER => Circuit::Closed,
            State::Waiting { .. } => Circuit::Open,
            State::UnderWay { .. } => Circuit::HalfOpen,
        }
    }

    /// The poll under way is over and the venue answered it.
    pub fn handle_done(&mut self, now: Instant) {
        let State::UnderWay { since, again } = self.state else {
            return;
        };
        self.backoff.reset();
        self.wait(now, since, now, again);
    }

    /// The poll under way failed. The next one is at the first tick after the wait, which is the longer of the
    /// backoff and `retry_after`, what the venue asked for (at most [`LONGEST_WAIT`]). `random`: from 0 up to, but
    /// not, 1.
    pub fn handle_failed(&mut self, now: Instant, retry_after: Option<Duration>, random: f64) {
        let State::UnderWay { since, again } = self.state else {
            return;
        };
        let asked = retry_after.unwrap_or_default().min(LONGEST_WAIT);
        let wait = self.backoff.failed(None, random).max(asked);
        self.wait(now, since, later(now, wait), again);
    }

    /// Polls as soon as allowed instead of at the next tick: at once, or when the poll under way is over, or when the
    /// wait after a failure is. The ticks stay where they are. For a first value, for new ids, for the operator.
    pub fn poll_now(&mut self) {
        match &mut self.state {
            State::Waiting { due } => *due = self.not_before,
            State::UnderWay { again, .. } => *again = true,
        }
    }

    /// What to do. `None` until the next poll is due, and while one is under way.
    pub fn poll_action(&mut self, now: Instant) -> Option<Poll> {
        let State::Waiting { due } = self.state else {
            return None;
        };
        if now < due {
            return None;
        }
        self.state = State::UnderWay { since: now, again: false };
        Some(Poll { due })
    }

    /// When to call [`Schedule::poll_action`]: the next poll, which may be in the past. `None` while one is under
    /// way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { due } => Some(due),
            State::UnderWay { .. } => None,
        }
    }

    /// The poll that began at `since` is over; the next one must not begin before `not_before`.
    fn wait(&mut self, now: Instant, since: Instant, not_before: Instant, again: bool) {
        self.not_before = not_before;
        let due = if again {
            not_before
        } else {
            self.tick_at_or_after(now.max(not_before).max(later(since, self.interval / 2)))
        };
        self.state = State::Waiting { due };
    }

    fn tick_at_or_after(&self, at: Instant) -> Instant {
        let passed = at.saturating_duration_since(self.first_tick).as_nanos();
        let ticks = passed.div_ceil(self.interval.as_nanos());
        later(self.first_tick, duration_of(ticks * self.interval.as_nanos()))
    }
}

/// A share of `interval` that depends on `name` only: the same after each restart, and different for each provider,
/// so that those who share an interval and an origin do not poll in step. Less than `interval`.
pub fn phase_of(name: &str, interval: Duration) -> Duration {
    // FNV-1a: stable across Rust versions, which std's hashers do not promise to be.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // Its last byte hardly reaches the top bits, which decide here: `feed-1` and `feed-2` would tick together.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let nanos = interval.as_nanos().min(u128::from(u64::MAX));
    duration_of((nanos * u128::from(hash)) >> 64)
}

fn duration_of(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::chance::{Chance, beginning};
    use super::*;

    /// What happens at a given millisecond of a story.
    enum Then {
        /// The poll under way is answered.
        Done,
        /// It fails, and the venue says nothing.
        Failed,
        /// It fails, and the venue says for how many seconds not to come back.
        RetryAfter(u64),
        /// A poll is asked for out of turn.
        PollNow,
        /// The host comes back from sleep: nothing happened until now.
        Awake,
    }
    use Then::{Awake, Done, Failed, PollNow, RetryAfter};

    /// Every 10 s, first after 3 s, with waits of exactly 1, 2, 4 … 64 s after failures.
    fn schedule(start: Instant) -> Schedule {
        let config = ScheduleConfig {
            interval: Duration::from_secs(10),
            phase: Duration::from_secs(3),
            backoff: BackoffConfig::default(),
        };
        Schedule::new(config, start)
    }

    /// Tells a story of milliseconds and compares the times at which polls began. Polls begin on time except across
    /// [`Awake`].
    #[track_caller]
    fn check(story: &[(u64, Then)], until: u64, polls: &[u64]) {
        let start = beginning();
        let mut schedule = schedule(start);
        let mut found = Vec::new();
        let mut story = story.iter().peekable();
        loop {
            let event = story.peek().map_or(until, |(at, _)| *at);
            let due = schedule.poll_timeout().map(|due| (due - start).as_millis() as u64);
            let asleep = matches!(story.peek(), Some((_, Awake)));
            if let Some(due) = due.filter(|due| *due <= event && !asleep) {
                let due = due.max(found.last().copied().unwrap_or(0));
                assert!(schedule.poll_action(start + Duration::from_millis(due)).is_some());
                found.push(due);
                continue;
            }
            let Some((at, then)) = story.next() else {
                break;
            };
            let now = start + Duration::from_millis(*at);
            match then {
                Done => schedule.handle_done(now),
                Failed => schedule.handle_failed(now, None, 1.0),
                RetryAfter(secs) => {
                    schedule.handle_failed(now, Some(Duration::from_secs(*secs)), 1.0);
                }
                PollNow => schedule.poll_now(),
                Awake => {}
            }
            if matches!(then, Awake | PollNow) && schedule.poll_action(now).is_some() {
                found.push(*at);
            }
        }
        assert_eq!(found, polls);
    }

    #[test]
    fn polls_stay_on_their_ticks() {
        check(&[(3_200, Done), (13_900, Done), (23_001, Done)], 33_000, &[3_000, 13_000, 23_000, 33_000]);
    }

    /// Bothan's interval bursts: a request that used up its period was followed by another at once.
    #[test]
    fn missed_ticks_are_skipped() {
        check(&[(13_001, Done)], 30_000, &[3_000, 23_000]);
        check(&[(13_000, Done)], 30_000, &[3_000, 13_000]);
        check(&[(47_000, Done)], 60_000, &[3_000, 53_000]);
    }

    #[test]
    fn a_poll_that_never_ends_is_never_doubled() {
        check(&[], 3_600_000, &[3_000]);
    }

    #[test]
    fn a_host_that_slept_polls_once_and_not_twice_in_a_breath() {
        check(&[(2_999_000, Awake), (2_999_100, Done)], 3_013_000, &[2_999_000, 3_013_000]);
        check(&[(2_994_000, Awake), (2_994_100, Done)], 3_004_000, &[2_994_000, 3_003_000]);
    }

    #[test]
    fn a_failure_never_makes_a_poll_come_sooner() {
        check(&[(3_100, Failed), (13_100, Done)], 30_000, &[3_000, 13_000, 23_000]);
    }

    /// 1, 2, 4, 8 s fall between two ticks; 16 s cost one, 32 s three.
    #[test]
    fn failures_in_a_row_cost_more_and_more_ticks() {
        let failures = [3_000, 13_000, 23_000, 33_000, 43_000, 63_000].map(|at| (at, Failed));
        check(&failures, 110_000, &[3_000, 13_000, 23_000, 33_000, 43_000, 63_000, 103_000]);
    }

    #[test]
    fn a_success_makes_the_next_failure_a_first_one() {
        let story =
            [(3_000, Failed), (13_000, Failed), (23_000, Failed), (33_000, Failed), (43_000, Done), (53_000, Failed)];
        let polls = [3_000, 13_000, 23_000, 33_000, 43_000, 53_000, 63_000];
        check(&story, 63_000, &polls);
    }

    #[test]
    fn three_failures_open_the_circuit_and_one_answer_closes_it() {
        use Circuit::{Closed, HalfOpen, Open};
        let start = beginning();
        let mut schedule = schedule(start);
        let mut found = Vec::new();
        for answered in [true, false, false, false, false, true, false] {
            let due = schedule.poll_timeout().expect("at rest");
            assert!(schedule.poll_action(due).is_some());
            let during = schedule.circuit();
            if answered {
                schedule.handle_done(due);
            } else {
                schedule.handle_failed(due, None, 0.5);
            }
            found.push((during, schedule.circuit()));
        }
        let expected = [
            (Closed, Closed),
            (Closed, Closed),
            (Closed, Closed),
            (Closed, Open),
            (HalfOpen, Open),
            (HalfOpen, Closed),
            (Closed, Closed),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_phase_longer_than_the_interval_delays_nothing() {
        let start = beginning();
        let config = ScheduleConfig {
            interval: Duration::from_secs(10),
            phase: Duration::from_secs(23),
            backoff: BackoffConfig::default(),
        };
        let due = Schedule::new(config, start).poll_timeout();
        assert_eq!(due, Some(start + Duration::from_secs(3)));
    }

    /// Neither seed reads `Retry-After`.
    #[test]
    fn the_venue_is_not_asked_before_it_said() {
        check(&[(3_000, RetryAfter(120))], 130_000, &[3_000, 123_000]);
        check(&[(3_001, RetryAfter(120))], 140_000, &[3_000, 133_000]);
        check(&[(3_000, RetryAfter(u64::MAX))], 86_410_000, &[3_000, 86_403_000]);
    }

    #[test]
    fn a_poll_out_of_turn_leaves_the_ticks_alone() {
        check(&[(0, PollNow), (100, Done)], 13_000, &[0, 13_000]);
        check(&[(3_100, Done), (8_500, PollNow), (8_600, Done)], 30_000, &[3_000, 8_500, 23_000]);
        check(&[(3_100, Done), (6_000, PollNow), (6_100, Done)], 13_000, &[3_000, 6_000, 13_000]);
    }

    #[test]
    fn a_poll_out_of_turn_waits_for_the_one_under_way_and_for_the_venue() {
        check(&[(3_100, PollNow), (3_500, Done)], 5_000, &[3_000, 3_500]);
        check(&[(3_000, RetryAfter(60)), (4_000, PollNow)], 70_000, &[3_000, 63_000]);
    }

    #[test]
    fn names_spread_over_the_interval() {
        let interval = Duration::from_secs(60);
        let mut quarters = [0; 4];
        for number in 0..200 {
            let phase = phase_of(&format!("coingecko-{number}"), interval);
            assert!(phase < interval);
            quarters[(phase.as_secs() / 15) as usize] += 1;
        }
        assert!(quarters.iter().all(|names| *names > 30), "{quarters:?}");
        assert_eq!(phase_of("kraken", interval), phase_of("kraken", interval));
        assert_eq!(phase_of("kraken", Duration::ZERO), Duration::ZERO);
    }

    /// Slow polls, failures, sleeps and impatient operators over virtual weeks.
    #[test]
    fn a_schedule_keeps_its_promises_whatever_happens() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let start = beginning();
            let interval = Duration::from_millis(100 + chance.below(60_000));
            let phase = interval.mul_f64(chance.fraction());
            let backoff = BackoffConfig::default();
            let config = ScheduleConfig { interval, phase, backoff };
            let mut schedule = Schedule::new(config, start);
            let mut now = start;
            let (mut last, mut hold, mut out_of_turn) = (None::<Instant>, start, false);
            for _ in 0..500 {
                let due = schedule.poll_timeout().expect("a schedule at rest has a wake-up");
                let longest = now.max(hold) + Duration::from_secs(64) + interval * 2;
                assert!(due <= longest, "seed {seed}: waits until {due:?}");
                now = now.max(due);
                if chance.one_in(20) {
                    now += interval.mul_f64(5.0 * chance.fraction());
                }
                assert_eq!(schedule.poll_action(now), Some(Poll { due }), "seed {seed}");
                assert_eq!(schedule.poll_action(now), None, "seed {seed}: two at once");
                assert!(now >= hold, "seed {seed}: earlier than the venue allowed");
                if !out_of_turn {
                    let off = (due - start - phase).as_nanos() % interval.as_nanos();
                    assert_eq!(off, 0, "seed {seed}: off its ticks");
                    let gap = last.map_or(interval, |last| now - last);
                    assert!(gap >= interval / 2, "seed {seed}: polls bunched");
                }
                last = Some(now);
                out_of_turn = false;
                if chance.one_in(10) {
                    schedule.poll_now();
                    out_of_turn = true;
                }
                now += interval.mul_f64(2.0 * chance.fraction());
                if chance.one_in(3) {
                    let retry_after = Duration::from_secs(chance.below(300));
                    schedule.handle_failed(now, Some(retry_after), chance.fraction());
                    hold = now + retry_after;
                } else {
                    schedule.handle_done(now);
                }
                if chance.one_in(10) {
                    schedule.poll_now();
                    out_of_turn = true;
                }
            }
        }
    }
}
