//! The requests of one poll, as the codec planned them: which are still to be sent, and which ids stand in them. Whose turn
//! it is is decided by `logic::turns`.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::codec::PlannedRequest;
use crate::contract::observation::Key;

/// The requests of one poll. Those that are sent are taken out.
pub(super) struct Plan {
    requests: Vec<Option<PlannedRequest>>,
    keys: Vec<Vec<Key>>,
    /// In how many of them each id stands.
    named: BTreeMap<Key, usize>,
}

impl Plan {
    pub(super) fn new(planned: Vec<PlannedRequest>) -> Self {
        let keys: Vec<Vec<Key>> = planned.iter().map(|planned| planned.keys.clone()).collect();
        let mut named = BTreeMap::new();
        for key in keys.iter().flatten() {
            *named.entry(*key).or_default() += 1;
        }
        Self { requests: planned.into_iter().map(Some).collect(), keys, named }
    }

    /// Whether any request is about the id.
    pub(super) fn names(&self, key: Key) -> bool {
        self.named.contains_key(&key)
    }

    /// Whether only one request is about the id.
    pub(super) fn is_alone(&self, key: Key) -> bool {
        self.named.get(&key) == Some(&1)
    }

    /// The ids of each request, also of those that are sent.
    pub(super) fn keys(&self) -> Vec<&[Key]> {
        self.keys.iter().map(Vec::as_slice).collect()
    }

    /// One request, to be sent; `None` if it was taken before.
    pub(super) fn take(&mut self, at: usize) -> Option<PlannedRequest> {
        self.requests.get_mut(at).and_then(Option::take)
    }

    /// The ids that stand in requests that were not sent.
    pub(super) fn waiting(&self) -> BTreeSet<Key> {
        self.requests.iter().flatten().flat_map(|planned| &planned.keys).copied().collect()
    }
}
