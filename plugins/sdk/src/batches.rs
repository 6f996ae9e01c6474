//! Which ids may share a request, when one bad id costs all of its request and the venue does not say which it is. For
//! polling only: while streaming, the host looks for the bad id by itself.

use crate::{
    Key, Subscription,
    http::{Missing, Outcome},
};

/// Ids share one batch until a request fails because of one of them. Its ids are then asked for in halves, and the
/// halves of a half that fails again, until the bad one stands alone: each poll halves the search, and everybody
/// outside the suspected half keeps its values.
///
/// ```
/// # use feedgate_sdk::{Batches, Subscription};
/// # let subscriptions = [0, 1].map(|key| Subscription { key, id: key.to_string() });
/// let mut batches = Batches::default();
/// // In `create_requests`: a request for each group. In `parse_response`, where the venue blames an id of the request:
/// assert_eq!(batches.group(&subscriptions).len(), 1);
/// batches.failed(&[0, 1], "no such symbol");
/// assert_eq!(batches.group(&subscriptions).len(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Batches {
    suspects: Vec<Vec<Key>>,
}

impl Batches {
    /// The groups that may share requests: those above suspicion first.
    pub fn group<'a>(&self, subscriptions: &'a [Subscription]) -> Vec<Vec<&'a Subscription>> {
        let group_of = |key| self.suspects.iter().position(|suspects| suspects.contains(&key));
        let mut groups = vec![Vec::new(); self.suspects.len() + 1];
        for subscription in subscriptions {
            groups[group_of(subscription.key).map_or(0, |index| index + 1)].push(subscription);
        }
        groups.retain(|group| !group.is_empty());
        groups
    }

    /// A request was answered: nobody in it is bad.
    pub fn passed(&mut self, keys: &[Key]) {
        for suspects in &mut self.suspects {
            suspects.retain(|key| !keys.contains(key));
        }
        self.suspects.retain(|suspects| !suspects.is_empty());
    }

    /// A request failed because of one of its ids: what this means for each of them. An id that was alone in it is unknown
    /// to the venue. `words` are the venue's.
    pub fn failed(&mut self, keys: &[Key], words: &str) -> Vec<Outcome> {
        self.passed(keys);
        if let [key] = keys {
            return vec![Outcome::missing(*key, Missing::UnknownId, words)];
        }
        let (first, second) = keys.split_at(keys.len() / 2);
        self.suspects.push(first.to_vec());
        self.suspects.push(second.to_vec());
        let text = format!("one of {} ids is unknown; the next polls find it: {words}", keys.len());
        keys.iter().map(|&key| Outcome::missing(key, Missing::Undecided, text.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bad_ids_among_a_hundred_are_found_and_cost_nobody_else() {
        let bad = [17, 71];
        let mut wanted: Vec<Subscription> = (0..100).map(|key| Subscription { key, id: key.to_string() }).collect();
        let mut batches = Batches::default();
        let unknown = |outcome| match outcome {
            Outcome::Unresolved(unresolved) if unresolved.why == Missing::UnknownId => Some(unresolved.key),
            _ => None,
        };
        let mut found = Vec::new();
        let mut polls = 0;
        let mut silent = vec![0; 100];
        while found.len() < bad.len() {
            polls += 1;
            for group in batches.group(&wanted) {
                let keys: Vec<Key> = group.iter().map(|subscription| subscription.key).collect();
                if keys.iter().any(|key| bad.contains(key)) {
                    keys.iter().for_each(|&key| silent[key as usize] += 1);
                    found.extend(batches.failed(&keys, "").into_iter().filter_map(unknown));
                } else {
                    batches.passed(&keys);
                }
            }
            wanted.retain(|subscription| !found.contains(&subscription.key));
            assert!(polls < 10);
        }
        assert_eq!(found, bad);
        assert_eq!(silent[99], 2);
        assert_eq!(batches.group(&wanted).len(), 1);
    }
}
