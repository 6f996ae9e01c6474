//! The endpoint `token_price`: up to thirty tokens of one network in one request.

use std::collections::BTreeMap;

use feedgate_sdk::{
    Absences, Context, Error, Http, Key, Observation, Response, Subscription, check_ids,
    http::{Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{Number, Object, object, read},
};
use serde::Deserialize;

use crate::GeckoTerminal;

pub(crate) const ORIGIN: &str = "https://api.geckoterminal.com";

/// As many addresses as the venue takes in one request.
const MOST: usize = 30;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    attributes: Attributes<'a>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    /// By address: a string, or null.
    #[serde(borrow)]
    token_prices: Object<'a>,
}

#[derive(Deserialize)]
struct Fault {
    title: String,
}

/// Addresses that are a hexadecimal number come back in small letters. In others case tells one from another, even where
/// they begin alike: Move's have a name behind the number, `0x2::sui::SUI`.
pub(crate) fn spell(id: &str) -> String {
    match id.split_once('/') {
        Some((network, address)) if is_hexadecimal(address) => {
            format!("{}/{}", network.to_lowercase(), address.to_lowercase())
        }
        Some((network, address)) => format!("{}/{address}", network.to_lowercase()),
        None => id.to_owned(),
    }
}

fn is_hexadecimal(address: &str) -> bool {
    let digits = address.strip_prefix("0x").or_else(|| address.strip_prefix("0X"));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether an id is a network and an address, and can stand in a path.
fn possible(id: &str) -> bool {
    let Some((network, address)) = id.split_once('/') else { return false };
    let named = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    // Addresses of Move and TON have colons, dashes and underscores.
    named(network, b"-_") && named(address, b":_-") && address.len() <= 200
}

impl Http for GeckoTerminal {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check_ids(subscriptions, possible, "not a token: write it like eth/0xc02a…")?;
        // Two ids may be one token.
        let mut networks: BTreeMap<String, BTreeMap<String, Vec<Key>>> = BTreeMap::new();
        for subscription in subscriptions {
            if let Some((network, address)) = self.ids.add(subscription).split_once('/') {
                let tokens = networks.entry(network.to_owned()).or_default();
                tokens.entry(address.to_owned()).or_default().push(subscription.key);
            }
        }
        let mut requests = Vec::new();
        for (network, tokens) in networks {
            let tokens: Vec<(String, Vec<Key>)> = tokens.into_iter().collect();
            for batch in tokens.chunks(MOST) {
                let addresses: Vec<&str> = batch.iter().map(|(address, _)| address.as_str()).collect();
                let url = format!("{ORIGIN}/api/v2/simple/networks/{network}/token_price/{}", addresses.join(","));
                let keys = batch.iter().flat_map(|(_, keys)| keys).copied().collect();
                requests.push(PlannedRequest { request: get(url), keys });
            }
        }
        Ok(requests)
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let Answer { data, errors } = object(json_text(response)?)?;
        let none = Object::default();
        let prices = match (&data, response.status) {
            (Some(data), 200) if data.attributes.token_prices.is_empty() => {
                return Ok(Absences::of_an_empty_list(keys));
            }
            (Some(data), 200) => &data.attributes.token_prices,
            // No such network, or none of the tokens: as if all were left out.
            (None, 404) if !errors.is_empty() => &none,
            _ if errors.is_empty() => return Err(Error::Malformed(excerpt(response))),
            _ => {
                let words: Vec<String> = errors.into_iter().map(|fault| fault.title).collect();
                return Err(Error::Unavailable(words.join(", ")));
            }
        };
        Ok(keys.iter().filter_map(|&key| self.outcome(key, prices)).collect())
    }
}

impl GeckoTerminal {
    fn outcome(&mut self, key: Key, prices: &Object<'_>) -> Option<Outcome> {
        let id = self.ids.symbol(key)?;
        let (_, address) = id.split_once('/')?;
        let Some(price) = prices.get(address) else {
            return Some(self.absences.absent(key, id));
        };
        self.absences.present(id);
        let value = read::<Option<Number<'_>>>(price).and_then(|price| price.map(|price| price.value()).transpose());
        let value = value.map(|value| value.filter(|value| !value.is_zero()));
        let read = value.map(|value| value.map(|value| Observation::new(key, value)));
        Some(Outcome::read(key, read, "the venue has no price"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_lose_their_case() {
        for (id, expected) in [
            ("ETH/0xC02AAA39", "eth/0xc02aaa39"),
            ("eth/0XAB", "eth/0xab"),
            ("sui-network/0x2::sui::SUI", "sui-network/0x2::sui::SUI"),
            ("sui-network/0x06864A::cetus::CETUS", "sui-network/0x06864A::cetus::CETUS"),
            ("solana/So1111", "solana/So1111"),
            ("ton/EQBlqs", "ton/EQBlqs"),
            ("bitcoin", "bitcoin"),
        ] {
            assert_eq!(spell(id), expected, "{id}");
        }
    }
}
