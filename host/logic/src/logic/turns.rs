//! Which of a poll's requests go out this time, where a poll may send fewer than there are.
//!
//! Those whose ids were asked for longest ago. What is in a request and how it is sent is the poller's (`transport`),
//! when to poll is `schedule`'s.

use std::collections::BTreeMap;

use crate::contract::observation::Key;

/// When each id was asked for last, in choices made so far.
///
/// A poll that plans `requests` requests and sends `most` of them asks for every id once in [`polls_per_cycle`] polls.
/// A plan may group its ids anew each time: what is remembered belongs to ids, not to requests, and the id that has
/// waited longest is in the next choice whatever the plan. Where a plan names an id in several requests, each of its
/// places is remembered by itself.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Requests chosen so far.
    sent: u64,
    asked: BTreeMap<Place, u64>,
}

/// An id, and which request of the plan names it, counted from 0.
type Place = (Key, u32);

/// How many polls it takes to send each of so many requests once.
pub fn polls_per_cycle(requests: usize, most: usize) -> u32 {
    u32::try_from(requests.div_ceil(most.max(1)).max(1)).unwrap_or(u32::MAX)
}

impl Turns {
    /// Chooses at most `most` of the planned requests, each given as its ids, and takes their ids for asked. The
    /// longest unasked come first, never asked before all, and among equals the plan's order holds.
    pub fn choose(&mut self, planned: &[&[Key]], most: usize) -> Vec<usize> {
        let mut named: BTreeMap<Key, u32> = BTreeMap::new();
        let mut place = |key: Key| {
            let count = named.entry(key).or_default();
            *count += 1;
            (key, *count)
        };
        let places: Vec<Vec<Place>> = planned.iter().map(|keys| keys.iter().map(|key| place(*key)).collect()).collect();
        // A request about no id has nothing to be late with.
        let asked = |places: &Vec<Place>| {
            places.iter().map(|place| self.asked.get(place).copied()).min().unwrap_or(Some(u64::MAX))
        };
        let mut order: Vec<usize> = (0..planned.len()).collect();
        order.sort_by_cached_key(|at| places.get(*at).and_then(asked));
        order.truncate(most);
        // Each request has a number of its own: those of one choice keep their order in the next.
        for places in order.iter().filter_map(|at| places.get(*at)) {
            self.sent += 1;
            self.asked.extend(places.iter().map(|place| (*place, self.sent)));
        }
        order
    }

    /// The plan has no request for this id: there is nothing to wait for.
    pub fn skip(&mut self, key: Key) {
        self.asked.insert((key, 1), self.sent);
    }

    /// Whether the id was ever asked for.
    pub fn knows(&self, key: Key) -> bool {
        self.asked.contains_key(&(key, 1))
    }

    /// Forgets the ids that are no longer wanted.
    pub fn retain(&mut self, wanted: impl Fn(Key) -> bool) {
        self.asked.retain(|(key, _), _| wanted(*key));
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    /// Polls `plan` again and again and compares what is sent.
    #[track_caller]
    fn check(plan: &[&[u32]], most: usize, sent: &[&[usize]]) {
        let plan: Vec<Vec<Key>> = plan.iter().map(|keys| keys.iter().copied().map(Key).collect()).collect();
        let plan: Vec<&[Key]> = plan.iter().map(Vec::as_slice).collect();
        let mut turns = Turns::default();
        let found: Vec<_> = sent.iter().map(|_| turns.choose(&plan, most)).collect();
        assert_eq!(found, sent);
    }

    #[test]
    fn requests_take_turns() {
        check(&[&[0, 1], &[2]], 2, &[&[0, 1], &[0, 1]]);
        check(&[&[0, 1], &[2]], 9, &[&[0, 1], &[0, 1]]);
        check(&[&[0], &[1], &[2]], 1, &[&[0], &[1], &[2], &[0]]);
        check(&[&[0], &[1], &[2]], 2, &[&[0, 1], &[2, 0], &[1, 2], &[0, 1]]);
        // One id in two requests: its price and its time, say.
        check(&[&[0], &[0]], 1, &[&[0], &[1], &[0]]);
        check(&[], 3, &[&[]]);
        check(&[&[]], 1, &[&[0], &[0]]);
    }

    #[test]
    fn a_new_id_comes_first_and_one_that_is_gone_is_forgotten() {
        let key = |n| [Key(n)];
        let mut turns = Turns::default();
        let (a, b, c) = (key(0), key(1), key(2));
        assert_eq!(turns.choose(&[&a, &b], 1), [0]);
        assert_eq!(turns.choose(&[&a, &b, &c], 1), [1]);
        assert_eq!(turns.choose(&[&a, &b, &c], 1), [2]);
        turns.retain(|key| key != Key(1));
        assert!(turns.knows(Key(0)) && !turns.knows(Key(1)));
        assert_eq!(turns.choose(&[&a, &b, &c], 1), [1]);
        turns.skip(Key(7));
        assert!(turns.knows(Key(7)));
    }

    #[test]
    fn a_cycle_is_as_many_polls_as_it_takes() {
        for (requests, most, polls) in [(0, 1, 1), (1, 1, 1), (4, 4, 1), (5, 4, 2), (9, 2, 5), (3, 0, 3)] {
            assert_eq!(polls_per_cycle(requests, most), polls, "{requests} requests, {most} at once");
        }
    }

    /// The seeds' rule: every id once in `ceil(requests / most)` polls, and `ids per request × min(most, requests)`
    /// values a poll.
    #[test]
    fn every_id_is_asked_for_once_a_cycle() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let (requests, most) = (1 + chance.below(40) as usize, 1 + chance.below(12) as usize);
            let per_request = 1 + chance.below(5) as u32;
            let plan: Vec<Vec<Key>> =
                (0..requests as u32).map(|n| (0..per_request).map(|m| Key(n * per_request + m)).collect()).collect();
            let plan: Vec<&[Key]> = plan.iter().map(Vec::as_slice).collect();
            let cycle = polls_per_cycle(requests, most) as usize;
            let mut turns = Turns::default();
            let polls: Vec<Vec<usize>> = (0..5 * cycle).map(|_| turns.choose(&plan, most)).collect();
            for sent in &polls {
                let values: usize = sent.iter().map(|at| plan[*at].len()).sum();
                assert_eq!(values, per_request as usize * most.min(requests), "seed {seed}");
            }
            for window in polls.windows(cycle) {
                for request in 0..requests {
                    assert!(window.iter().flatten().any(|sent| *sent == request), "seed {seed}: {request} left out");
                }
            }
        }
    }

    /// Plans that group the ids anew each time: the id that has waited longest is always in the next choice.
    #[test]
    fn nobody_is_passed_over_whatever_the_plan() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let ids = 1 + chance.below(60) as usize;
            let most = 1 + chance.below(6) as usize;
            let mut turns = Turns::default();
            let mut asked: Vec<Option<(u32, usize)>> = vec![None; ids];
            for poll in 0..300 {
                let mut keys: Vec<Key> = (0..ids as u32).map(Key).collect();
                for at in (1..ids).rev() {
                    keys.swap(at, chance.below(at as u64 + 1) as usize);
                }
                let size = 1 + chance.below(10) as usize;
                let plan: Vec<&[Key]> = keys.chunks(size).collect();
                let sent = turns.choose(&plan, most);
                assert_eq!(sent.len(), most.min(plan.len()), "seed {seed}");
                let longest = asked.iter().min().copied().flatten();
                let reached = sent.iter().flat_map(|at| plan[*at]).any(|key| asked[key.index()] == longest);
                assert!(reached, "seed {seed}: who waited longest waits on");
                for (nth, at) in sent.iter().enumerate() {
                    plan[*at].iter().for_each(|key| asked[key.index()] = Some((poll, nth)));
                }
            }
        }
    }
}
