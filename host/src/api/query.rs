//! Query parameters: which are known, and what they select. Unknown ones are refused by name, since a filter that is
//! silently ignored answers another question than the one that was asked.

use url::form_urlencoded;

use super::refusal::{Refusal, echo, existing};
use crate::store::{Reading, State};

/// Refuses a parameter that is not in `known`.
pub(super) fn check(query: Option<&str>, known: &[&str]) -> Result<(), Refusal> {
    let unknown: Vec<String> =
        pairs(query).filter(|(name, _)| !known.contains(&name.as_str())).map(|(name, _)| echo(&name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown = existing(unknown.iter().map(String::as_str));
    let known = existing(known.iter().copied());
    Err(Refusal::Malformed(format!("unknown query parameter {unknown}; there are: {known}")))
}

/// Which observations are asked for. What is empty selects everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Filter {
    pub(super) providers: Vec<String>,
    pub(super) ids: Vec<String>,
    states: Vec<State>,
    fresh: Option<bool>,
}

impl Filter {
    /// `provider` and `state` take several, comma-separated or repeated. `id` is repeated: an id may hold a comma.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let mut filter = Self::default();
        for (name, value) in pairs(query) {
            if value.is_empty() {
                return Err(Refusal::Malformed(format!("{name} has no value")));
            }
            match name.as_str() {
                "provider" => filter.providers.extend(value.split(',').map(str::to_owned)),
                "id" if filter.ids.contains(&value) => {}
                "id" => filter.ids.push(value),
                "state" => {
                    for word in value.split(',') {
                        filter.states.push(state(word)?);
                    }
                }
                "fresh" => {
                    let fresh = value
                        .parse()
                        .map_err(|_| Refusal::Malformed(format!("fresh is true or false, not {}", echo(&value))))?;
                    filter.fresh = Some(fresh);
                }
                other => {
                    return Err(Refusal::Malformed(format!("unknown query parameter {}", echo(other))));
                }
            }
        }
        Ok(filter)
    }

    /// Whether its state was asked for. Providers and ids are looked up, not filtered.
    pub(super) fn admits(&self, reading: &Reading) -> bool {
        (self.states.is_empty() || self.states.contains(&reading.state))
            && self.fresh.is_none_or(|fresh| fresh == (reading.state == State::Fresh))
    }
}

fn state(word: &str) -> Result<State, Refusal> {
    State::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
        let states = existing(State::ALL.map(State::as_str));
        Refusal::Malformed(format!("unknown state {}; there are: {states}", echo(word)))
    })
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(query: &str, expected: &str) {
        let Err(Refusal::Malformed(error)) = Filter::parse(Some(query)) else {
            panic!("{query} was accepted");
        };
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn several_may_be_asked_for() {
        let filter = Filter::parse(Some("provider=a,b&id=BTC%2FUSD&id=x,y&state=stale,provider-down&state=fresh"));
        let filter = filter.expect("well formed");
        assert_eq!(filter.providers, ["a", "b"]);
        assert_eq!(filter.ids, ["BTC/USD", "x,y"]);
        assert_eq!(filter.states, [State::Stale, State::ProviderDown, State::Fresh]);
        assert_eq!(Filter::parse(None), Ok(Filter::default()));
        assert_eq!(Filter::parse(Some("")), Ok(Filter::default()));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_what_can() {
        refused("state=old", "fresh, stale, waiting, rejected, unresolved, provider-down");
        refused("fresh=yes", "true or false");
        refused("provider=", "provider has no value");
        refused("providers=a", "\"providers\"");
        let refusal = check(Some("a=1&id=2&b"), &["id", "state"]);
        let expected = "unknown query parameter \"a\", \"b\"; there are: id, state";
        assert_eq!(refusal, Err(Refusal::Malformed(expected.to_owned())));
        assert_eq!(check(Some("id=2"), &["id"]), Ok(()));
    }
}
