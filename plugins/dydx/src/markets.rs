//! The endpoint `/v4/perpetualMarkets`: one market, or all of them.

use feedgate_sdk::{
    Absences, Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Value, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{Number, Object, Text, object},
    keys_of, url,
};
use serde::Deserialize;

use crate::Dydx;

pub(crate) const ORIGIN: &str = "https://indexer.dydx.trade";

#[derive(Deserialize)]
struct Answer<'a> {
    /// By ticker.
    #[serde(borrow)]
    markets: Option<Object<'a>>,
    #[serde(default)]
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    msg: String,
    param: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Market<'a> {
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    oracle_price: Option<Number<'a>>,
}

/// Tickers are in capitals, but for those with a token's address within: `FOO,RAYDIUM,7GC…-USD`.
pub(crate) fn spell(id: &str) -> String {
    if id.contains(',') { id.to_owned() } else { id.to_uppercase() }
}

impl Http for Dydx {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        let possible = |id: &str| {
            id.contains('-')
                && id.len() <= 100
                && id.chars().all(|character| character.is_alphanumeric() || "-_,.".contains(character))
        };
        check_ids(subscriptions, possible, "not a market: write it like BTC-USD")?;
        let markets = self.ids.add_all(subscriptions);
        // The list of all is long. It is worth it as soon as it saves a request.
        let url = match &markets[..] {
            [] => return Ok(Vec::new()),
            [market] => format!("{ORIGIN}/v4/perpetualMarkets?ticker={}", url::encode(market)),
            _ => format!("{ORIGIN}/v4/perpetualMarkets"),
        };
        let keys = keys_of(subscriptions);
        Ok(vec![PlannedRequest { request: get(url), keys }])
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let Answer { markets, errors } = object(json_text(response)?)?;
        if let Some(markets) = markets.filter(|_| response.status == 200) {
            if markets.is_empty() {
                return Ok(Absences::of_an_empty_list(keys));
            }
            return Ok(keys.iter().filter_map(|&key| self.outcome(key, &markets)).collect());
        }
        let Some(fault) = errors.first() else { return Err(Error::Malformed(excerpt(response))) };
        // Only a request for one market names it.
        if response.status == 400 && fault.param.as_deref() == Some("ticker") {
            let unknown = |&key: &Key| Outcome::missing(key, Missing::UnknownId, fault.msg.clone());
            return Ok(keys.iter().map(unknown).collect());
        }
        Err(Error::Unavailable(fault.msg.clone()))
    }
}

impl Dydx {
    fn outcome(&mut self, key: Key, markets: &Object<'_>) -> Option<Outcome> {
        let symbol = self.ids.symbol(key)?;
        let Some(market) = markets.get(symbol) else {
            return Some(self.absences.absent(key, symbol));
        };
        self.absences.present(symbol);
        Some(match read(market) {
            Ok(Ok(value)) => Outcome::Observed(Observation::new(key, value)),
            Ok(Err(why)) => Outcome::missing(key, Missing::NoValue, why),
            Err(malformed) => Outcome::missing(key, Missing::Malformed, malformed.0),
        })
    }
}

/// The price of one market, or why it has none.
fn read(market: &str) -> Result<Result<Value, &'static str>, Malformed> {
    let Market { status, oracle_price } = object(market)?;
    // The last price stays in the list for ever.
    if status.as_deref() == Some("FINAL_SETTLEMENT") {
        return Ok(Err("the market is in final settlement"));
    }
    let Some(price) = oracle_price else { return Ok(Err("the oracle has no price")) };
    let value = price.value()?;
    Ok(if value.is_zero() { Err("the oracle has no price") } else { Ok(value) })
}
