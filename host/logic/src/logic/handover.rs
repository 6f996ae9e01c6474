//! When a provider that runs anew takes the place of the one that serves: another build of its plugin, or other settings.
//!
//! Both run side by side, and the new one, the *heir*, makes an id its own by delivering it. The old one goes once nothing
//! is missed without it. Who writes which slot is the store's; here is only the decision.

use std::time::{Duration, Instant};

/// How long an heir that is connected may still lack ids that nobody hears of: markets that do not trade.
pub const SETTLE: Duration = Duration::from_secs(5);

/// How long an heir that is connected may lack an id that the old one delivers.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long an heir may take to connect, while the old one delivers.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(120);

/// One id that both are to serve.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Id {
    /// The heir has delivered it.
    pub taken: bool,
    /// When anything was last heard of it, by whoever owns it.
    pub heard: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    Wait,
    TakeOver,
    /// The ids, by their places, that the old one delivers and the heir does not.
    GiveUp(Vec<usize>),
}

/// One replacement under way.
#[derive(Clone, Debug)]
pub struct Handover {
    began: Instant,
    settled: Option<Instant>,
}

impl Handover {
    pub fn new(now: Instant) -> Self {
        Self { began: now, settled: None }
    }

    /// Since when the heir was connected, at the last decision.
    pub fn settled(&self) -> Option<Instant> {
        self.settled
    }

    /// `settled`: the heir is connected, subscribed or has polled, everywhere.
    pub fn decide(&mut self, settled: bool, ids: &[Id], now: Instant) -> Decision {
        self.settled = if settled { self.settled.or(Some(now)) } else { None };
        if ids.iter().all(|id| id.taken) && (settled || !ids.is_empty()) {
            return Decision::TakeOver;
        }
        let (since, patience) = match self.settled {
            Some(since) => (since, PATIENCE),
            None => (self.began, CONNECT_PATIENCE),
        };
        let waited = now.saturating_duration_since(since);
        if waited < SETTLE || (!settled && waited < patience) {
            return Decision::Wait;
        }
        let missed = |(_, id): &(usize, &Id)| !id.taken && id.heard.is_some_and(|heard| heard > since);
        let lacking: Vec<usize> = ids.iter().enumerate().filter(missed).map(|(place, _)| place).collect();
        if lacking.is_empty() {
            // Also when nobody delivers: an heir that cannot connect is no worse then, and may be the cure.
            Decision::TakeOver
        } else if waited < patience {
            Decision::Wait
        } else {
            Decision::GiveUp(lacking)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::beginning;
    use super::*;

    /// Each step is seconds since the beginning, whether the heir is settled, and the ids: `t` taken, a number the second
    /// in which it was last heard, `-` never. The answers: `.`, `over`, `up 0,2`.
    #[track_caller]
    fn check(steps: &[(u64, bool, &str, &str)]) {
        let start = beginning();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut handover = Handover::new(at(0));
        for (seconds, settled, ids, expected) in steps {
            let id = |word: &str| Id { taken: word == "t", heard: word.parse().ok().map(at) };
            let ids: Vec<Id> = ids.split_whitespace().map(id).collect();
            let found = match handover.decide(*settled, &ids, at(*seconds)) {
                Decision::Wait => ".".to_owned(),
                Decision::TakeOver => "over".to_owned(),
                Decision::GiveUp(lacking) => {
                    format!("up {}", lacking.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
                }
            };
            assert_eq!(found, *expected, "after {seconds} s");
        }
    }

    #[test]
    fn it_takes_over_once_it_delivers_everything() {
        check(&[(0, false, "0 0", "."), (1, true, "t 1", "."), (2, true, "t t", "over")]);
        check(&[(1, false, "t t", "over")]);
    }

    #[test]
    fn ids_of_which_nobody_hears_are_not_waited_for_long() {
        check(&[(1, true, "t - 0", "."), (5, true, "t - 0", "."), (6, true, "t - 0", "over")]);
        check(&[(1, true, "t 4", "."), (7, true, "t 4", "."), (30, true, "t 29", "."), (31, true, "t t", "over")]);
    }

    #[test]
    fn one_that_lacks_what_the_old_one_delivers_is_given_up() {
        check(&[(1, true, "t 1 2", "."), (60, true, "t 59 0", "."), (61, true, "t 60 0", "up 1")]);
    }

    #[test]
    fn one_that_does_not_connect_is_given_up_only_while_the_old_one_delivers() {
        check(&[(119, false, "118 0", "."), (120, false, "119 0", "up 0")]);
        check(&[(119, false, "0 -", "."), (120, false, "0 -", "over")]);
    }

    #[test]
    fn a_lost_connection_starts_the_count_anew() {
        check(&[(1, true, "t 1", "."), (20, false, "t 20", "."), (30, true, "t 30", "."), (89, true, "t 89", ".")]);
    }

    #[test]
    fn nothing_in_common_needs_a_connection_only() {
        check(&[(0, false, "", "."), (1, true, "", "over")]);
    }
}
