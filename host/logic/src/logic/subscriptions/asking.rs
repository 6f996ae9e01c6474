//! Keys that were asked for and have no answer: how often each was asked for, when it is asked for again, and in how
//! large a message.
//!
//! What the venue answers is not decided here: whoever hears an answer removes the key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::contract::observation::Key;
use crate::logic::later::later;

/// How often one connection asks for a key that the venue does not acknowledge.
pub const ASKS: u32 = 3;

/// The keys that were asked for and have no answer.
///
/// A key is asked for again after the time for the answer, and once more after twice that time. The second message
/// holds as many keys as the square root of what one may hold, the third a single key. So a venue that drops a whole
/// message because of one bad id costs us that id and no other, at the price of about two square roots of messages.
///
/// Invariant: no key is both in `pending` and in `given_up`.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    /// How long the answer to the first message may take.
    ack_timeout: Duration,
    /// An answer may still come, or the message is on its way.
    pending: BTreeMap<Key, Pending>,
    /// No answer came, and the last message that we were willing to send was sent. A late answer still counts.
    given_up: BTreeSet<Key>,
}

#[derive(Copy, Clone, Debug)]
struct Pending {
    /// Messages so far.
    asks: u32,
    /// When to ask again. `None` while the message is on its way.
    due: Option<Instant>,
    /// How many keys the message held.
    portion: usize,
}

impl Asking {
    pub(super) fn new(ack_timeout: Duration) -> Self {
        Self { ack_timeout, pending: BTreeMap::new(), given_up: BTreeSet::new() }
    }

    /// How often the key was asked for. `None` if it is not here.
    pub(super) fn asks(&self, key: Key) -> Option<u32> {
        match self.pending.get(&key) {
            Some(pending) => Some(pending.asks),
            None => self.has_given_up(key).then_some(ASKS),
        }
    }

    /// How many keys the message was of that is not answered yet. 1 if none is waited for.
    pub(super) fn portion(&self, key: Key) -> usize {
        self.pending.get(&key).map_or(1, |pending| pending.portion)
    }

    /// Whether the key was asked for as often as it may be.
    pub(super) fn has_given_up(&self, key: Key) -> bool {
        self.given_up.contains(&key)
    }

    /// Whether an answer is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many keys have no answer, those that were given up included.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.given_up.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.pending.keys().chain(&self.given_up)
    }

    /// A message asks for these keys, each for the `asks`-th time. It is not on its way yet.
    pub(super) fn handle_asked(&mut self, keys: &[Key], asks: u32) {
        for key in keys {
            self.pending.insert(*key, Pending { asks, due: None, portion: keys.len() });
        }
    }

    /// The message that asked for this key is on its way. Ignored if the key was removed in the meantime.
    pub(super) fn handle_sent(&mut self, key: Key, now: Instant) {
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        if pending.asks >= ASKS {
            self.pending.remove(&key);
            self.given_up.insert(key);
        } else {
            let wait = self.ack_timeout.saturating_mul(1 << (pending.asks - 1));
            pending.due = Some(later(now, wait));
        }
    }

    /// The key has its answer, or is not to be asked for again. Answers whether it was here.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        self.pending.remove(&key).is_some() | self.given_up.remove(&key)
    }

    /// The keys that are to be asked for again in one message of at most `most`, and how many times they will have been asked for
    /// then.
    /// `answered`: how many keys of this connection have their answer.
    pub(super) fn next(&self, now: Instant, most: usize, answered: usize) -> Option<(Vec<Key>, u32)> {
        let is_due = |pending: &Pending| pending.due.is_some_and(|due| due <= now);
        let asks = self.pending.values().filter(|pending| is_due(pending)).map(|pending| pending.asks).min()?;
        let carried = self.pending.len() + answered;
        let most = if asks + 1 < ASKS { ceiling_of_root(most.min(carried)) } else { 1 };
        let due = self.pending.iter().filter(|(_, pending)| pending.asks == asks && is_due(pending));
        let keys = due.map(|(key, _)| *key).take(most).collect();
        Some((keys, asks + 1))
    }

    /// When [`Asking::next`] has something next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.pending.values().filter_map(|pending| pending.due).min()
    }
}

fn ceiling_of_root(number: usize) -> usize {
    let root = number.isqrt();
    if root * root < number { root + 1 } else { root.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::chance::beginning;

    #[test]
    fn the_second_message_holds_a_square_root_of_the_keys_and_the_third_a_single_one() {
        let start = beginning();
        let mut asking = Asking::new(Duration::from_secs(10));
        let keys: Vec<Key> = (0..10).map(Key).collect();
        let mut now = start;
        let mut sizes = Vec::new();
        asking.handle_asked(&keys, 1);
        keys.iter().for_each(|key| asking.handle_sent(*key, now));
        while let Some(due) = asking.next_at() {
            now = now.max(due);
            let (keys, asks) = asking.next(now, usize::MAX, 0).expect("it is due");
            sizes.push(keys.len());
            asking.handle_asked(&keys, asks);
            keys.iter().for_each(|key| asking.handle_sent(*key, now));
        }
        assert_eq!(sizes, [[4, 4, 2].as_slice(), &[1; 10]].concat());
        assert!(!asking.is_waiting());
        assert_eq!(asking.len(), 10);
    }

    #[test]
    fn roots_are_rounded_up_and_never_nothing() {
        let roots = [0, 1, 2, 4, 5, 9, 10, 100].map(ceiling_of_root);
        assert_eq!(roots, [1, 1, 2, 2, 3, 3, 4, 10]);
    }
}
