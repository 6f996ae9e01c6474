//! Which id goes on which connection.
//!
//! One pure function. What a venue allows on a connection is data of its plugin; opening and closing connections is
//! `session`'s.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use crate::contract::observation::Key;

/// Spreads `wanted` over connections of at most `per_connection` ids (`None`: all on one), changing as little as
/// possible of `current`, the spread so far.
///
/// Set `i` of the answer is what connection `i` of `current` carries from now on; sets beyond `current` are new
/// connections. Every wanted key is in exactly one set.
///
/// - A key keeps its connection as long as the limit allows. When the limit was tightened, the highest keys of a
///   connection move.
/// - A removed key leaves a hole. A connection that lost its last key keeps its place as an empty set (it is to be
///   closed), unless it is at the end: the answer never ends with an empty set, so connections from its length on
///   are to be closed too.
/// - A new key fills the first hole of a connection that carries something, then an empty place, then a new
///   connection. So one key added or removed touches one connection, and nobody else's subscriptions.
///
/// Equal arguments give equal answers.
pub fn assign(
    wanted: &BTreeSet<Key>,
    per_connection: Option<NonZeroUsize>,
    current: &[BTreeSet<Key>],
) -> Vec<BTreeSet<Key>> {
    let room = per_connection.map_or(usize::MAX, NonZeroUsize::get);
    let mut homeless = wanted.clone();
    let mut connections: Vec<BTreeSet<Key>> = current
        .iter()
        .map(|keys| {
            let kept = keys.iter().filter(|key| homeless.contains(key));
            let kept: BTreeSet<Key> = kept.take(room).copied().collect();
            for key in &kept {
                homeless.remove(key);
            }
            kept
        })
        .collect();
    // Those with room, so that those that are open come before those that would have to be opened.
    let mut places: Vec<usize> = (0..connections.len()).filter(|place| connections[*place].len() < room).collect();
    places.sort_by_key(|place| connections[*place].is_empty());
    let mut places = places.into_iter();
    let mut place = places.next();
    for key in homeless {
        while place.is_some_and(|place| connections[place].len() >= room) {
            place = places.next();
        }
        let place = *place.get_or_insert(connections.len());
        if place == connections.len() {
            connections.push(BTreeSet::new());
        }
        connections[place].insert(key);
    }
    while connections.last().is_some_and(BTreeSet::is_empty) {
        connections.pop();
    }
    connections
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    /// `"1 2|3"`: keys 1 and 2 on the first connection, 3 on the second.
    fn spread(text: &str) -> Vec<BTreeSet<Key>> {
        let keys = |part: &str| part.split_whitespace().map(|key| Key(key.parse().unwrap())).collect();
        if text.is_empty() { Vec::new() } else { text.split('|').map(keys).collect() }
    }

    #[track_caller]
    fn check(room: usize, current: &str, wanted: &str, expected: &str) {
        let wanted = spread(wanted).pop().unwrap_or_default();
        let found = assign(&wanted, NonZeroUsize::new(room), &spread(current));
        assert_eq!(found, spread(expected));
    }

    const NO_LIMIT: usize = 0;

    #[test]
    fn ids_fill_one_connection_after_another() {
        check(2, "", "", "");
        check(2, "", "1 2 3", "1 2|3");
        check(NO_LIMIT, "", "1 2 3", "1 2 3");
    }

    /// Connect opened an extra, empty connection at exact multiples (a5b1d3d3).
    #[test]
    fn an_exact_multiple_opens_no_empty_connection() {
        check(2, "", "1 2 3 4", "1 2|3 4");
        check(1, "", "1 2", "1|2");
    }

    /// Connect's map order decided anew, at each change, which ids share a connection.
    #[test]
    fn a_key_keeps_its_connection() {
        check(2, "5 9|1 7", "1 5 7 9", "5 9|1 7");
        check(2, "5 9|1 7", "1 2 5 7 9", "5 9|1 7|2");
        check(NO_LIMIT, "1|2", "1 2 3", "1 3|2");
    }

    #[test]
    fn holes_are_filled_before_connections_are_opened() {
        check(2, "1 2|3 4", "1 3 4", "1|3 4");
        check(2, "1|3 4", "1 3 4 5 6", "1 5|3 4|6");
        check(2, "|3", "3 5 6", "6|3 5");
    }

    #[test]
    fn a_connection_without_ids_keeps_its_place_unless_it_is_last() {
        check(2, "1 2|3", "3", "|3");
        check(2, "1 2|3", "1 2", "1 2");
        check(2, "1 2|3", "", "");
    }

    #[test]
    fn a_tighter_limit_moves_only_what_no_longer_fits() {
        check(2, "1 2 3|4", "1 2 3 4", "1 2|3 4");
        check(1, "1 2|3", "1 2 3", "1|3|2");
    }

    #[test]
    fn a_key_that_stood_twice_stands_once() {
        check(2, "1 2|2 3", "1 2 3", "1 2|3");
    }

    /// Connect's connections overlapped (a5b1d3d3).
    #[test]
    fn nothing_is_lost_doubled_or_moved_without_need() {
        for seed in 0..60 {
            let mut chance = Chance::new(seed);
            let mut limit = NonZeroUsize::new(chance.below(6) as usize);
            let mut wanted = BTreeSet::new();
            let mut connections = Vec::new();
            for _ in 0..150 {
                let before = connections.clone();
                let key = Key(chance.below(40) as u32);
                let tightened = chance.one_in(50);
                if tightened {
                    limit = NonZeroUsize::new(chance.below(6) as usize);
                } else if !wanted.remove(&key) {
                    wanted.insert(key);
                }
                connections = assign(&wanted, limit, &before);

                let carried: usize = connections.iter().map(BTreeSet::len).sum();
                assert_eq!(carried, wanted.len(), "seed {seed}: lost or doubled");
                let all: BTreeSet<Key> = connections.iter().flatten().copied().collect();
                assert_eq!(all, wanted, "seed {seed}");
                let room = limit.map_or(usize::MAX, NonZeroUsize::get);
                let most = connections.iter().map(BTreeSet::len).max().unwrap_or(0);
                assert!(most <= room, "seed {seed}: {most} on one connection");
                let length = before.len().max(connections.len());
                let nothing = BTreeSet::new();
                let at = |spread: &[BTreeSet<Key>], place: usize| spread.get(place).unwrap_or(&nothing).clone();
                let touched = (0..length).filter(|place| at(&before, *place) != at(&connections, *place)).count();
                assert!(tightened || touched == 1, "seed {seed}: {touched} connections touched");
                assert_eq!(assign(&wanted, limit, &connections), connections, "seed {seed}");
            }
        }
    }
}
