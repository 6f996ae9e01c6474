//! Which ids a session is to ask for: those that are wanted, except those that were refused for good.
//!
//! Outlives every connection. What the venue said on the present one is in `subscriptions`.

use std::collections::BTreeSet;

use crate::contract::observation::Key;

/// What is wanted, and what of it was refused for good.
///
/// Invariant: every refused key is wanted. So a key that is dropped and wanted again is asked for again.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    keys: BTreeSet<Key>,
    refused: BTreeSet<Key>,
}

impl Wanted {
    /// All of `keys` are wanted and none is refused.
    pub(super) fn new(keys: BTreeSet<Key>) -> Self {
        Self { keys, refused: BTreeSet::new() }
    }

    /// What is wanted, refused or not.
    pub(super) fn keys(&self) -> &BTreeSet<Key> {
        &self.keys
    }

    pub(super) fn is_refused(&self, key: Key) -> bool {
        self.refused.contains(&key)
    }

    /// The ids that a new connection asks for.
    pub(super) fn to_ask(&self) -> BTreeSet<Key> {
        self.keys.difference(&self.refused).copied().collect()
    }

    /// Whether there is any id to ask for.
    pub(super) fn has_any_to_ask(&self) -> bool {
        self.keys.len() > self.refused.len()
    }

    /// Refused for good. Ignored if the key is not wanted.
    pub(super) fn handle_refused(&mut self, key: Key) {
        if self.keys.contains(&key) {
            self.refused.insert(key);
        }
    }

    /// The venue accepted the key after all.
    pub(super) fn handle_accepted(&mut self, key: Key) {
        self.refused.remove(&key);
    }

    /// Replaces what is wanted, and gives what was wanted before.
    pub(super) fn set(&mut self, keys: &BTreeSet<Key>) -> BTreeSet<Key> {
        self.refused.retain(|key| keys.contains(key));
        std::mem::replace(&mut self.keys, keys.clone())
    }
}
