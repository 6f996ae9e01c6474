//! Requests that wait for their answers. Whom a refusal means, once its request is known, is `blame`'s.

use std::collections::BTreeMap;

use crate::{Key, Subscription};

/// The numbered requests of one connection, each with the keys that it asks for.
#[derive(Debug, Default)]
pub struct Requests {
    last: u64,
    waiting: BTreeMap<u64, Vec<Key>>,
}

impl Requests {
    /// The number of a request that nobody waits for.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The number of a request that asks for these keys.
    pub fn wait(&mut self, keys: Vec<Key>) -> u64 {
        let number = self.number();
        self.waiting.insert(number, keys);
        number
    }

    /// What an answer is about: the keys of its request, which waits no longer; none where no such request waits, or where
    /// the answer has no number.
    pub fn answered(&mut self, number: Option<u64>) -> Vec<Key> {
        number.and_then(|number| self.waiting.remove(&number)).unwrap_or_default()
    }

    /// One key has its answer, or was given up: no later answer to its request is about it. Whether it was waiting.
    pub fn settle(&mut self, key: Key) -> bool {
        let mut was_waiting = false;
        self.waiting.retain(|_, keys| {
            was_waiting |= keys.contains(&key);
            keys.retain(|&waiting| waiting != key);
            !keys.is_empty()
        });
        was_waiting
    }

    /// The same of ids that are given up.
    pub fn settle_all(&mut self, subscriptions: &[Subscription]) {
        for subscription in subscriptions {
            self.settle(subscription.key);
        }
    }

    /// Each waiting request, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = (u64, &[Key])> {
        self.waiting.iter().map(|(number, keys)| (*number, keys.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once() {
        let mut requests = Requests::default();
        assert_eq!((requests.wait(vec![7, 8]), requests.number(), requests.wait(vec![9])), (1, 2, 3));
        assert_eq!(requests.waiting().collect::<Vec<_>>(), [(1, &[7, 8][..]), (3, &[9])]);
        assert_eq!(
            (requests.answered(Some(1)), requests.answered(Some(1)), requests.answered(None)),
            (vec![7, 8], vec![], vec![])
        );
    }

    #[test]
    fn a_key_that_is_settled_is_no_part_of_its_request() {
        let mut requests = Requests::default();
        requests.wait(vec![7, 8]);
        requests.wait(vec![8]);
        assert_eq!((requests.settle(8), requests.settle(8), requests.settle(9)), (true, false, false));
        assert_eq!(requests.waiting().collect::<Vec<_>>(), [(1, &[7][..])]);
        assert_eq!((requests.answered(Some(1)), requests.answered(Some(2))), (vec![7], vec![]));
    }
}
