//! Keys that the venue, or the plugin, refused on this connection: for good, or for now and then for how long.
//!
//! Whether a refusal for good outlives the connection is decided in `session`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::contract::observation::Key;
use crate::logic::later::later;

/// How long a refusal that may pass is left alone: doubled each time, up to [`LONGEST_REFUSAL`].
const FIRST_REFUSAL: Duration = Duration::from_secs(60);
const LONGEST_REFUSAL: Duration = Duration::from_secs(60 * 60);

/// The keys that are refused, and how often in a row each was.
///
/// Invariant: the count of a key is kept while it is asked for again, and forgotten when it is accepted or not wanted
/// any more. So only refusals in a row make the waits longer.
#[derive(Clone, Default, Debug)]
pub(super) struct Refusals {
    keys: BTreeMap<Key, Refused>,
}

#[derive(Copy, Clone, Debug)]
struct Refused {
    /// How often in a row it was refused for now.
    times: u32,
    standing: Standing,
}

#[derive(Copy, Clone, Debug)]
enum Standing {
    /// Not asked for before this.
    Until(Instant),
    /// Not asked for on this connection.
    ForGood,
    /// Its time has passed and it was asked for again. Not refused at the moment.
    AskedAgain,
}

impl Refused {
    fn is_refused(self) -> bool {
        matches!(self.standing, Standing::Until(_) | Standing::ForGood)
    }

    fn until(self) -> Option<Instant> {
        match self.standing {
            Standing::Until(at) => Some(at),
            Standing::ForGood | Standing::AskedAgain => None,
        }
    }
}

impl Refusals {
    pub(super) fn contains(&self, key: Key) -> bool {
        self.keys.get(&key).is_some_and(|refused| refused.is_refused())
    }

    /// The key is refused, and will be.
    pub(super) fn handle_for_good(&mut self, key: Key) {
        self.keys.insert(key, Refused { times: 0, standing: Standing::ForGood });
    }

    /// The key is refused, but perhaps not for ever.
    pub(super) fn handle_for_now(&mut self, key: Key, now: Instant) {
        let times = self.keys.get(&key).map_or(0, |refused| refused.times);
        let wait = FIRST_REFUSAL.saturating_mul(1 << times.min(16)).min(LONGEST_REFUSAL);
        self.keys.insert(key, Refused { times: times + 1, standing: Standing::Until(later(now, wait)) });
    }

    /// The key was accepted, or is not wanted any more: all of it is forgotten. Answers whether it was refused.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        self.keys.remove(&key).is_some_and(Refused::is_refused)
    }

    /// A key whose time has passed. It is not refused from now on: ask for it again.
    pub(super) fn take(&mut self, now: Instant) -> Option<Key> {
        let is_over = |refused: &Refused| refused.until().is_some_and(|until| until <= now);
        let (key, refused) = self.keys.iter_mut().find(|(_, refused)| is_over(refused))?;
        refused.standing = Standing::AskedAgain;
        Some(*key)
    }

    /// When [`Refusals::take`] has something next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.keys.values().filter_map(|refused| refused.until()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::chance::beginning;

    const KEY: Key = Key(1);

    #[test]
    fn waits_double_from_a_minute_to_an_hour() {
        let mut refusals = Refusals::default();
        let mut now = beginning();
        let waits: Vec<u64> = (0..8)
            .map(|_| {
                refusals.handle_for_now(KEY, now);
                let until = refusals.next_at().expect("refused for now");
                let wait = (until - now).as_secs();
                now = until;
                assert_eq!(refusals.take(now), Some(KEY));
                assert!(!refusals.contains(KEY));
                wait
            })
            .collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    }

    #[test]
    fn what_is_refused_for_good_has_no_time() {
        let mut refusals = Refusals::default();
        refusals.handle_for_good(KEY);
        assert!(refusals.contains(KEY));
        assert_eq!(refusals.next_at(), None);
        assert!(refusals.remove(KEY));
        assert!(!refusals.contains(KEY));
    }
}
