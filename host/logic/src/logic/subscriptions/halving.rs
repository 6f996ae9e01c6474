//! Keys that are to be asked for in smaller messages than before.
//!
//! A venue that refuses a whole message because of one bad id does not say which one it is. So the keys of the message
//! are asked for in two halves, and so on, until the bad id stands alone. What happens to an id that is refused alone
//! is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::take::take;
use crate::contract::observation::Key;

/// Keys that are to be asked for in messages of at most so many.
///
/// Invariant: each key is in one portion, and no portion is empty.
#[derive(Clone, Default, Debug)]
pub(super) struct Halving {
    portions: BTreeMap<usize, BTreeSet<Key>>,
}

impl Halving {
    pub(super) fn contains(&self, key: Key) -> bool {
        self.portions.values().any(|keys| keys.contains(&key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.portions.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.portions.values().map(BTreeSet::len).sum()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.portions.values().flatten()
    }

    /// The key was refused in a message of `portion` keys: it is asked for in one of half as many.
    pub(super) fn add_refused(&mut self, key: Key, portion: usize) {
        self.portions.entry(portion.div_ceil(2)).or_default().insert(key);
    }

    /// The key is to be asked for in a message of its own.
    pub(super) fn add_alone(&mut self, key: Key) {
        self.portions.entry(1).or_default().insert(key);
    }

    /// The key need not be asked for any more. Answers whether it was here.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        let found = self.portions.values_mut().any(|keys| keys.remove(&key));
        self.portions.retain(|_, keys| !keys.is_empty());
        found
    }

    /// The keys of the next message, at most `most`. The largest portions come first: they hold most keys.
    pub(super) fn take(&mut self, most: usize) -> Option<Vec<Key>> {
        let mut largest = self.portions.last_entry()?;
        let portion = *largest.key();
        let keys = take(largest.get_mut(), most.min(portion));
        if largest.get().is_empty() {
            largest.remove();
        }
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_id_among_a_hundred_is_found_in_some_messages() {
        const BAD: Key = Key(42);
        let mut halving = Halving::default();
        (0..100).map(Key).for_each(|key| halving.add_refused(key, 100));
        let (mut alone, mut messages) = (Vec::new(), 0);
        while let Some(keys) = halving.take(usize::MAX) {
            messages += 1;
            match keys.as_slice() {
                [only] if *only == BAD => alone.push(*only),
                keys if keys.contains(&BAD) => keys.iter().for_each(|key| halving.add_refused(*key, keys.len())),
                _ => {}
            }
        }
        assert_eq!(alone, [BAD]);
        assert!(messages <= 14, "two for each halving of 100: {messages}");
    }

    #[test]
    fn a_message_never_holds_more_than_the_venue_allows() {
        let mut halving = Halving::default();
        (0..10).map(Key).for_each(|key| halving.add_refused(key, 10));
        halving.add_alone(Key(99));
        let sizes: Vec<usize> = std::iter::from_fn(|| halving.take(3)).map(|keys| keys.len()).collect();
        assert_eq!(sizes, [3, 3, 3, 1, 1]);
        assert!(halving.is_empty());
    }
}
