//! Taking some keys out of a set: what each of the machines here does when it fills a message.

use std::collections::BTreeSet;

use crate::contract::observation::Key;

/// Removes the first keys, at most `most`, and gives them.
pub(super) fn take(keys: &mut BTreeSet<Key>, most: usize) -> Vec<Key> {
    let taken: Vec<Key> = keys.iter().take(most).copied().collect();
    for key in &taken {
        keys.remove(key);
    }
    taken
}
