//! When silence means that a venue does not know an id. A venue that names the ids it does not know needs none of this.

use std::collections::BTreeMap;

use crate::{
    Key,
    http::{Missing, Outcome},
};

/// After how many answers in a row without it an id is unknown.
const ENOUGH: u8 = 3;

/// What the answers so far say of each symbol, for venues that leave out what they do not know, without a word.
///
/// To call an id unknown is final, so one answer is not enough, which may have come from a cache in a bad moment or from
/// one of several servers that lags behind; and an id that was there once is known, whatever happens later.
#[derive(Debug, Default)]
pub struct Absences(BTreeMap<String, Standing>);

#[derive(Debug)]
enum Standing {
    Known,
    /// Never there, so many answers in a row, by key: two keys of one symbol are told of the same answer.
    Absent(BTreeMap<Key, u8>),
}

impl Absences {
    /// The answer names the symbol, with a value or without.
    pub fn present(&mut self, symbol: &str) {
        match self.0.get_mut(symbol) {
            Some(Standing::Known) => {}
            Some(standing) => *standing = Standing::Known,
            None => _ = self.0.insert(symbol.to_owned(), Standing::Known),
        }
    }

    /// The answer leaves the symbol out: what this means for the id. Call it once for each answer and key.
    pub fn absent(&mut self, key: Key, symbol: &str) -> Outcome {
        let keys = match self.0.entry(symbol.to_owned()).or_insert_with(|| Standing::Absent(BTreeMap::new())) {
            Standing::Known => return Outcome::missing(key, Missing::Undecided, "left out of the answer"),
            Standing::Absent(keys) => keys,
        };
        let times = keys.entry(key).or_insert(0);
        if *times + 1 < ENOUGH {
            *times += 1;
            return Outcome::missing(
                key,
                Missing::Undecided,
                format!("left out of {times} of {ENOUGH} answers so far"),
            );
        }
        Outcome::missing(key, Missing::UnknownId, format!("left out of {ENOUGH} answers"))
    }

    /// The answer names no symbol at all. An empty list is no list: venues send one while they start or are maintained, so
    /// it counts against nobody.
    pub fn of_an_empty_list(keys: &[Key]) -> Vec<Outcome> {
        keys.iter()
            .map(|&key| Outcome::missing(key, Missing::Undecided, "an empty list, which says nothing of any id"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_absences_in_a_row_are_final_unless_it_was_there_once() {
        let mut absences = Absences::default();
        let mut why = |symbol: &str| match absences.absent(0, symbol) {
            Outcome::Unresolved(unresolved) => unresolved.why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [why("a"), why("a"), why("a"), why("a")],
            [Missing::Undecided, Missing::Undecided, Missing::UnknownId, Missing::UnknownId]
        );
        let mut absences = Absences::default();
        absences.absent(0, "b");
        absences.present("b");
        for _ in 0..5 {
            assert_eq!(absences.absent(0, "b"), Outcome::missing(0, Missing::Undecided, "left out of the answer"));
        }
    }

    #[test]
    fn an_answer_counts_once_however_many_keys_a_symbol_has() {
        let mut absences = Absences::default();
        for times in 1..ENOUGH {
            for key in 0..4 {
                let text = format!("left out of {times} of 3 answers so far");
                assert_eq!(absences.absent(key, "a"), Outcome::missing(key, Missing::Undecided, text));
            }
        }
        assert_eq!(absences.absent(0, "a"), Outcome::missing(0, Missing::UnknownId, "left out of 3 answers"));
    }
}
