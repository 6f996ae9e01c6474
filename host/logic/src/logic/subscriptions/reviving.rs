//! Keys that the venue accepted and of which nothing is heard: which of them may be given up and asked for again now.
//!
//! That is how a subscription comes back to life which the venue has forgotten. The messages are made elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::contract::observation::Key;
use crate::logic::later::later;

/// How often one connection gives a key up and asks for it again because nothing came for it.
pub const REVIVALS: u32 = 2;

/// The attempts to revive silent keys.
///
/// Invariants: between two attempts, of whatever keys, is at least the gap: hundreds of quiet markets must not use up
/// what the venue allows to be asked. After an attempt with a key its next one is a gap away, then two. After
/// [`REVIVALS`] attempts there are no more until the key was heard of in between.
#[derive(Clone, Debug)]
pub(super) struct Reviving {
    gap: Duration,
    /// To be given up and asked for again.
    chosen: BTreeSet<Key>,
    /// Of each key that is silent: what was tried.
    attempts: BTreeMap<Key, Attempts>,
    /// No key is chosen before this.
    again_at: Option<Instant>,
}

#[derive(Copy, Clone, Default, Debug)]
struct Attempts {
    times: u32,
    not_before: Option<Instant>,
}

impl Reviving {
    /// `gap`: the least time between two attempts.
    pub(super) fn new(gap: Duration) -> Self {
        Self { gap, chosen: BTreeSet::new(), attempts: BTreeMap::new(), again_at: None }
    }

    /// Whether no key is to be given up.
    pub(super) fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Nothing was heard of exactly these keys for too long. `is_held`: whether the venue should be sending the key.
    /// Answers whether one of them was revived as often as it may be, and in vain.
    pub(super) fn handle_silence(
        &mut self,
        silent: &BTreeSet<Key>,
        now: Instant,
        is_held: impl Fn(Key) -> bool,
    ) -> bool {
        self.attempts.retain(|key, _| silent.contains(key));
        let mut in_vain = false;
        for key in silent.iter().copied().filter(|key| is_held(*key)) {
            let attempts = self.attempts.entry(key).or_default();
            if attempts.not_before.is_some_and(|at| now < at) {
                continue;
            }
            if attempts.times >= REVIVALS {
                in_vain = true;
                continue;
            }
            if self.again_at.is_some_and(|at| now < at) {
                continue;
            }
            self.again_at = Some(later(now, self.gap));
            attempts.not_before = Some(later(now, self.gap.saturating_mul(1 << attempts.times)));
            attempts.times += 1;
            self.chosen.insert(key);
        }
        in_vain
    }

    /// The key need not be given up: it has an answer, or is not wanted any more.
    pub(super) fn cancel(&mut self, key: Key) {
        self.chosen.remove(&key);
    }

    /// The next key to be given up and asked for again.
    pub(super) fn take(&mut self) -> Option<Key> {
        self.chosen.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::chance::beginning;

    /// Which key may be revived at each second, of keys 1 and 2 that are both silent throughout.
    #[test]
    fn silent_keys_are_revived_one_at_a_time_and_each_twice() {
        let start = beginning();
        let silent = BTreeSet::from([Key(1), Key(2)]);
        let mut reviving = Reviving::new(Duration::from_secs(30));
        let mut found = Vec::new();
        for at in 0..300 {
            reviving.handle_silence(&silent, start + Duration::from_secs(at), |_| true);
            found.extend(reviving.take().map(|key| (at, key.0)));
            assert!(reviving.is_empty(), "two at once");
        }
        assert_eq!(found, [(0, 1), (30, 1), (60, 2), (90, 2)]);
    }

    #[test]
    fn what_the_venue_does_not_hold_is_not_revived() {
        let mut reviving = Reviving::new(Duration::from_secs(30));
        assert!(!reviving.handle_silence(&BTreeSet::from([Key(1)]), beginning(), |_| false));
        assert_eq!(reviving.take(), None);
    }
}
