//! How often a connection may be replaced because one of its ids stays silent.
//!
//! Asking for such an id again comes first; that is in `subscriptions`. Here it was in vain.

use std::time::{Duration, Instant};

use crate::logic::later::later;

/// The least time between two such replacements, in gaps between two revivals. It is doubled after each replacement.
const FIRST_GAP: u32 = 10;
const LONGEST_GAP: u32 = 240;

/// The replacements because of a silent id, across connections: a market that nobody trades must not cost a connection
/// every few minutes.
///
/// Invariant: the time between two replacements doubles, until the longest has passed without a reason for one.
#[derive(Clone, Debug)]
pub(super) struct Silences {
    revive_gap: Duration,
    /// Replacements in a row.
    times: u32,
    again_at: Option<Instant>,
}

impl Silences {
    pub(super) fn new(revive_gap: Duration) -> Self {
        Self { revive_gap, times: 0, again_at: None }
    }

    /// An id stays silent although it was asked for again. Answers whether the connection is to be replaced, which
    /// then counts as done.
    pub(super) fn handle_in_vain(&mut self, now: Instant) -> bool {
        if self.again_at.is_some_and(|at| now < at) {
            return false;
        }
        let longest = self.revive_gap.saturating_mul(LONGEST_GAP);
        // After a long time without a replacement the gaps begin short again.
        if self.again_at.is_some_and(|at| now >= later(at, longest)) {
            self.times = 0;
        }
        let gap = self.revive_gap.saturating_mul(FIRST_GAP << self.times.min(16)).min(longest);
        self.times += 1;
        self.again_at = Some(later(now, gap));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::chance::beginning;

    #[test]
    fn gaps_double_up_to_the_longest_and_begin_short_again_after_it() {
        let start = beginning();
        let mut silences = Silences::new(Duration::from_secs(1));
        let replaced = |seconds: std::ops::Range<u64>, silences: &mut Silences| -> Vec<u64> {
            seconds.filter(|at| silences.handle_in_vain(start + Duration::from_secs(*at))).collect()
        };
        assert_eq!(replaced(0..700, &mut silences), [0, 10, 30, 70, 150, 310, 550]);
        // The next was allowed at 790. From 1,030 on the longest gap has passed without one.
        assert_eq!(replaced(1_030..1_070, &mut silences), [1_030, 1_040, 1_060]);
    }
}
