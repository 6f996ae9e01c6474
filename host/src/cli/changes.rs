//! What changed between one look at the store and the next. Pure: it is given both.

use std::collections::BTreeMap;

use serde::Serialize;

use super::row::{Row, age};
use super::width::clean;
use crate::api::Observation;

/// The ids as they were last seen, by provider and id.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<(String, String), Observation>);

/// Something that a reader of lines wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// New, or with another value or state than before.
    Now(Box<Observation>),
    /// No longer configured.
    Removed { provider: String, id: String },
}

#[derive(Serialize)]
struct Removal<'a> {
    provider: &'a str,
    id: &'a str,
    removed: bool,
}

impl Seen {
    /// Takes the next look, and says what is different. An age that only grew is no change.
    pub(super) fn update(&mut self, next: Vec<Observation>) -> Vec<Change> {
        let next: BTreeMap<_, _> = next.into_iter().map(|o| ((o.provider.clone(), o.id.clone()), o)).collect();
        let mut changes = Vec::new();
        for (provider, id) in self.0.keys() {
            if !next.contains_key(&(provider.clone(), id.clone())) {
                changes.push(Change::Removed { provider: provider.clone(), id: id.clone() });
            }
        }
        for (key, new) in &next {
            let same = |old: &Observation| old.value == new.value && old.state == new.state;
            if !self.0.get(key).is_some_and(same) {
                changes.push(Change::Now(Box::new(new.clone())));
            }
        }
        self.0 = next;
        changes
    }
}

impl Change {
    /// One line of JSON: the API's observation, or `{"provider","id","removed":true}`.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Now(observation) => serde_json::to_string(observation),
            Self::Removed { provider, id } => serde_json::to_string(&Removal { provider, id, removed: true }),
        }
    }

    /// One line for people and for `grep`: provider, id, state, value, age, reason.
    pub(super) fn text(&self) -> String {
        let line = match self {
            Self::Now(observation) => {
                let row = Row::from(&**observation);
                let value = row.value.as_deref().unwrap_or("-");
                let age = row.age.map_or_else(|| "-".to_owned(), age);
                format!("{} {} {} {value} {age} {}", row.provider, row.id, row.state, row.reason)
            }
            Self::Removed { provider, id } => format!("{provider} {id} removed"),
        };
        clean(line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::example;
    use super::*;
    use crate::store::State;

    #[test]
    fn a_change_is_a_value_a_state_or_an_id_that_goes() {
        let mut seen = Seen::default();
        let mut check = |next: &[(&str, &str, State)], expected: &[&str]| {
            let next = next.iter().map(|(id, value, state)| example(id, value, *state)).collect();
            let texts: Vec<_> = seen.update(next).iter().map(Change::text).collect();
            assert_eq!(texts, expected);
        };
        check(
            &[("b", "", State::Waiting), ("a", "1", State::Fresh)],
            &["venue a fresh 1 1.5 s", "venue b waiting - - a reason"],
        );
        check(&[("b", "", State::Waiting), ("a", "1", State::Fresh)], &[]);
        check(
            &[("b", "2", State::Fresh), ("a", "1", State::Stale)],
            &["venue a stale 1 1.5 s a reason", "venue b fresh 2 1.5 s"],
        );
        check(&[("b", "2", State::Fresh)], &["venue a removed"]);
        check(&[], &["venue b removed"]);
    }

    #[test]
    fn lines_of_json_are_the_apis_own() {
        let removed = Change::Removed { provider: "venue".to_owned(), id: "a".to_owned() };
        let json = removed.json().expect("strings");
        assert_eq!(json, r#"{"provider":"venue","id":"a","removed":true}"#);
        let observation = example("a", "1", State::Fresh);
        let json = Change::Now(Box::new(observation.clone())).json().expect("strings");
        assert_eq!(serde_json::from_str::<Observation>(&json).ok(), Some(observation));
    }
}
