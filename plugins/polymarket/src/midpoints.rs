//! The endpoint `POST /midpoints`: many tokens in one request.

use std::collections::BTreeMap;

use feedgate_sdk::{
    Absences, Context, Error, Http, Key, Observation, Response, Subscription, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, json_text, post_json},
    json::{self, Number, Object, object, read},
};
use serde_json::json;

use crate::Polymarket;

pub(crate) const ORIGIN: &str = "https://clob.polymarket.com";

/// As many tokens as the venue takes in one request.
const MOST: usize = 500;

/// The token of an id, which may have its market before it: `0x1234…/7132…`.
pub(crate) fn token(id: &str) -> String {
    id.rsplit_once('/').map_or(id, |(_, token)| token).to_owned()
}

/// Whether it is a number of 256 bits as the venue writes it, or at least as long as one.
fn possible(id: &str) -> bool {
    let token = token(id);
    (1..=78).contains(&token.len()) && !token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit())
}

impl Http for Polymarket {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        // One id that is no number costs the answer for all.
        check_ids(subscriptions, possible, "not a token: write its number of 77 digits")?;
        // Two ids may be one token.
        let mut tokens: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for subscription in subscriptions {
            tokens.entry(self.ids.add(subscription).to_owned()).or_default().push(subscription.key);
        }
        let tokens: Vec<(String, Vec<Key>)> = tokens.into_iter().collect();
        let planned = tokens.chunks(MOST).map(|batch| {
            let asked: Vec<_> = batch.iter().map(|(token, _)| json!({ "token_id": token })).collect();
            let request = post_json(format!("{ORIGIN}/midpoints"), &json!(asked));
            PlannedRequest { request, keys: batch.iter().flat_map(|(_, keys)| keys).copied().collect() }
        });
        Ok(planned.collect())
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let midpoints: Object<'_> = object(json_text(response)?)?;
        // Tokens are numbers, so that `error` is none of them.
        if response.status != 200 || midpoints.get("error").is_some() {
            return Err(Error::Unavailable(excerpt(response)));
        }
        if midpoints.is_empty() {
            return Ok(Absences::of_an_empty_list(keys));
        }
        Ok(keys.iter().filter_map(|&key| self.outcome(key, &midpoints, keys)).collect())
    }
}

impl Polymarket {
    fn outcome(&mut self, key: Key, midpoints: &Object<'_>, keys: &[Key]) -> Option<Outcome> {
        let token = self.ids.symbol(key)?;
        let Some(midpoint) = midpoints.get(token) else {
            // An object of other names is an error in a shape of its own, and counts against nobody.
            let mut asked = keys.iter().filter_map(|&key| self.ids.symbol(key));
            return Some(match asked.any(|token| midpoints.get(token).is_some()) {
                true => self.absences.absent(key, token),
                false => Outcome::missing(key, Missing::Undecided, "the answer names none of the ids asked for"),
            });
        };
        self.absences.present(token);
        let value = read::<Option<Number<'_>>>(midpoint).and_then(|midpoint| json::price(midpoint.as_ref()));
        let read = value.map(|value| value.map(|value| Observation::new(key, value)));
        Some(Outcome::read(key, read, "an empty book"))
    }
}
