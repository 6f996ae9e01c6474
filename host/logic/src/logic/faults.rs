//! What follows when instances of a build die: another try, a pause, quarantine.
//!
//! One machine for each build and all providers that run it. What the faults are is `codec::Death`'s; keeping the inputs
//! and telling anyone is the shell's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many within [`SHORT`], and every further one costs a pause.
const PATIENCE: usize = 3;
const SHORT: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// So many within [`LONG`], and the build is quarantined.
const LIMIT: usize = 10;
const LONG: Duration = Duration::from_secs(600);

/// So many inputs are remembered.
const INPUTS: usize = 64;

/// What to do after a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// A fresh instance, as after any lost connection.
    Retry,
    /// A fresh instance, not before this.
    Pause(Duration),
    /// No instance of this build any more; why, in words.
    Quarantine(String),
}

#[derive(Clone, Default, Debug)]
pub struct Faults {
    recent: VecDeque<Instant>,
    /// Hashes of what instances died of.
    inputs: VecDeque<u64>,
    pauses: u32,
}

impl Faults {
    /// An instance died; `input`: the hash of what it was given, where it was given something from outside.
    pub fn handle_fault(&mut self, input: Option<u64>, now: Instant) -> After {
        self.recent.retain(|at| now.saturating_duration_since(*at) < LONG);
        self.recent.push_back(now);
        let within =
            |time: Duration| self.recent.iter().filter(|at| now.saturating_duration_since(**at) < time).count();
        if let Some(input) = input {
            if self.inputs.contains(&input) {
                return After::Quarantine("it died twice of the same input".to_owned());
            }
            self.inputs.push_back(input);
            if self.inputs.len() > INPUTS {
                self.inputs.pop_front();
            }
        }
        if within(LONG) >= LIMIT {
            return After::Quarantine(format!("it died {LIMIT} times within {} minutes", LONG.as_secs() / 60));
        }
        if within(SHORT) < PATIENCE {
            // A minute of health, and pauses begin small again.
            if within(SHORT) == 1 {
                self.pauses = 0;
            }
            return After::Retry;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16)).min(LONGEST_PAUSE);
        self.pauses += 1;
        After::Pause(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::{Chance, beginning};
    use super::*;

    /// Each fault: seconds since the beginning and its input (0: none). The answers: `.`, seconds of pause, `same`, `many`.
    #[track_caller]
    fn check(faults: &[(u64, u64)], expected: &str) {
        let (mut machine, start) = (Faults::default(), beginning());
        let words = faults.iter().map(|(at, input)| {
            let input = (*input > 0).then_some(*input);
            match machine.handle_fault(input, start + Duration::from_secs(*at)) {
                After::Retry => ".".to_owned(),
                After::Pause(pause) => pause.as_secs().to_string(),
                After::Quarantine(why) => why.split(' ').nth(2).unwrap_or_default().to_owned(),
            }
        });
        assert_eq!(words.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_fault_now_and_then_costs_nothing() {
        check(&[(0, 1), (100, 2), (200, 3), (300, 4), (400, 5)], ". . . . .");
        check(&[(0, 0), (1, 0), (100, 0), (101, 0)], ". . . .");
    }

    #[test]
    fn repeated_faults_cost_longer_and_longer_pauses_and_then_quarantine() {
        let quick: Vec<_> = (0..10).map(|second| (second, 0)).collect();
        check(&quick, ". . 1 2 4 8 16 32 64 10");
        check(&[(0, 0), (1, 0), (2, 0), (3, 0), (70, 0), (71, 0), (72, 0)], ". . 1 2 . . 1");
    }

    #[test]
    fn dying_twice_of_the_same_is_enough() {
        check(&[(0, 7), (500, 8), (9_000, 7)], ". . twice");
        check(&[(0, 0), (1, 0)], ". .");
    }

    /// Whatever the times: never more than nine faults in ten minutes go unpunished.
    #[test]
    fn no_build_dies_often_and_stays() {
        for seed in 0..200 {
            let (mut chance, mut machine) = (Chance::new(seed), Faults::default());
            let mut at = beginning();
            let mut times = Vec::new();
            for _ in 0..500 {
                at += Duration::from_secs(chance.below(120));
                times.push(at);
                let recent = times.iter().filter(|time| at.saturating_duration_since(**time) < LONG).count();
                let quarantined = matches!(machine.handle_fault(None, at), After::Quarantine(_));
                assert_eq!(quarantined, recent >= LIMIT, "seed {seed}");
            }
        }
    }
}
