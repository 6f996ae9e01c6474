//! Polling: the newest trade, one product a request.

use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{Number, Text, object},
    rfc3339, url,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Coinbase, check};

pub(crate) const ORIGIN: &str = "https://api.coinbase.com";

/// The market trades of one product, newest first, or what stands in their place.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    trades: Option<Vec<&'a RawValue>>,
    error: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(borrow)]
    trade_id: Text<'a>,
    #[serde(borrow)]
    price: Number<'a>,
    #[serde(borrow)]
    time: Text<'a>,
}

impl Http for Coinbase {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check(subscriptions)?;
        let mut requests: Vec<(String, PlannedRequest)> = Vec::new();
        for subscription in subscriptions {
            let product = self.ids.add(subscription).to_owned();
            // Two ids may be one product.
            match requests.iter_mut().find(|(planned, _)| *planned == product) {
                Some((_, planned)) => planned.keys.push(subscription.key),
                None => {
                    let path = url::encode(&product);
                    let url = format!("{ORIGIN}/api/v3/brokerage/market/products/{path}/ticker?limit=1");
                    requests.push((product, PlannedRequest { request: get(url), keys: vec![subscription.key] }));
                }
            }
        }
        Ok(requests.into_iter().map(|(_, request)| request).collect())
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        if let Some((why, words)) = refusal(response) {
            return Ok(keys.iter().map(|&key| Outcome::missing(key, why, words.clone())).collect());
        }
        check_status(response)?;
        let Answer { trades, error, message } = object(json_text(response)?)?;
        let Some(trades) = trades.filter(|_| response.status == 200) else {
            return Err(match words(error, message) {
                Some(words) => Error::Unavailable(words),
                None => Error::Malformed(excerpt(response)),
            });
        };
        let read = trades.first().map_or(Ok(None), |newest| read(newest.get()));
        Ok(keys.iter().map(|&key| self.outcome(key, &read)).collect())
    }
}

/// A trade as it was read: its number and what it says. `None`: there was none.
type Read = Result<Option<(String, Observation)>, Malformed>;

impl Coinbase {
    /// A trade that was reported before is still the newest: what the host has is confirmed, at the trade's own time.
    fn outcome(&mut self, key: Key, read: &Read) -> Outcome {
        match read {
            Err(malformed) => Outcome::missing(key, Missing::Malformed, malformed.0.clone()),
            Ok(None) => Outcome::missing(key, Missing::NoValue, "never traded"),
            Ok(Some((trade, _))) if self.reported.get(&key) == Some(trade) => Outcome::Unchanged(key),
            Ok(Some((trade, observation))) => {
                self.reported.insert(key, trade.clone());
                Outcome::Observed(Observation { key, ..observation.clone() })
            }
        }
    }
}

/// What the venue says against the product of this request alone, which costs no other: a refusal in words, or a fault inside
/// the venue that came of asking for it.
fn refusal(response: &Response) -> Option<(Missing, String)> {
    if !matches!(response.status, 400 | 403 | 404 | 410 | 500) {
        return None;
    }
    let Answer { error, message, .. } = object(json_text(response).ok()?).ok()?;
    let code = error.clone().unwrap_or_default();
    let words = words(error, message)?;
    let small = words.to_lowercase();
    match (response.status, code.as_str()) {
        (404, "NOT_FOUND") | (400, "INVALID_ARGUMENT") => Some((Missing::UnknownId, words)),
        _ if small.contains("delisted") => Some((Missing::UnknownId, words)),
        // Other words may mean our address or key, and not the product.
        (403, _) => small.contains("product").then_some((Missing::NoValue, words)),
        _ => Some((Missing::Undecided, words)),
    }
}

fn words(error: Option<String>, message: Option<String>) -> Option<String> {
    match (error, message) {
        (Some(error), Some(message)) => Some(format!("{error}: {message}")),
        (error, message) => error.or(message),
    }
}

fn read(trade: &str) -> Read {
    let Trade { trade_id, price, time } = object(trade)?;
    if price.text().is_empty() {
        return Ok(None);
    }
    let value = price.value()?;
    let observation = Observation::new(Key::MAX, value).at(rfc3339(&time)?);
    Ok(Some((trade_id.into_owned(), observation)).filter(|(_, observation)| !observation.value.is_zero()))
}
