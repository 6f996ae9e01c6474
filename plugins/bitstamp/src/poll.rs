//! Polling: all markets in one answer, of which most are nobody's.

use std::collections::{BTreeMap, BTreeSet};

use feedgate_sdk::{
    Absences, Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Timestamp,
    http::{Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{self, Number, Text, object, read},
    keys_of,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Bitstamp, check, market};

pub(crate) const ORIGIN: &str = "https://www.bitstamp.net";

/// What is read of every market, to find those that were asked for.
#[derive(Deserialize)]
struct Named<'a> {
    /// `BTC/USD`, and `BTC/USD-PERP` under `market`.
    #[serde(borrow)]
    pair: Option<Text<'a>>,
    #[serde(borrow)]
    market: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    last: Option<Number<'a>>,
    /// Seconds, in a string.
    #[serde(borrow)]
    timestamp: Option<Text<'a>>,
}

/// An answer that is no list.
#[derive(Deserialize)]
struct Fault<'a> {
    #[serde(borrow)]
    response_code: Option<Text<'a>>,
    #[serde(borrow, alias = "message", alias = "response_explanation")]
    reason: Option<Text<'a>>,
}

impl Http for Bitstamp {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check(subscriptions)?;
        self.ids.add_all(subscriptions);
        let keys = keys_of(subscriptions);
        Ok(vec![PlannedRequest { request: get(format!("{ORIGIN}/api/v2/ticker/")), keys }])
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let body = json_text(response)?;
        if response.status != 200 || body.trim_ascii_start().starts_with('{') {
            return Err(fault(body, response));
        }
        let wanted: BTreeSet<&str> = keys.iter().filter_map(|&key| self.ids.symbol(key)).collect();
        let mut answers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let tickers: Vec<&RawValue> = read(body)?;
        if tickers.is_empty() {
            return Ok(Absences::of_an_empty_list(keys));
        }
        for ticker in tickers {
            // One that has no name is nobody's.
            let Ok(Named { pair, market: name }) = object(ticker.get()) else { continue };
            let Some(name) = name.or(pair).map(|name| market(&name)) else { continue };
            if wanted.contains(name.as_str()) {
                answers.entry(name).or_default().push(ticker.get());
            }
        }
        let mut outcomes = Vec::with_capacity(keys.len());
        for &key in keys {
            let Some(market) = self.ids.symbol(key) else { continue };
            let Some(tickers) = answers.get(market) else {
                outcomes.push(self.absences.absent(key, market));
                continue;
            };
            self.absences.present(market);
            let read = match tickers[..] {
                [ticker] => last_price(key, ticker),
                _ => Err(Malformed::new("two answers for one market")),
            };
            outcomes.push(Outcome::read(key, read, "never traded"));
        }
        Ok(outcomes)
    }
}

/// The price of one market and its time, where there is a price.
fn last_price(key: Key, ticker: &str) -> Result<Option<Observation>, Malformed> {
    let Ticker { last, timestamp } = object(ticker)?;
    let Some(value) = json::price(last.as_ref())? else { return Ok(None) };
    let time = timestamp.map(|seconds| seconds.parse().map(Timestamp::Seconds));
    let time = time.transpose().map_err(|_| Malformed::new("`timestamp` is no number of seconds"))?;
    Ok(Some(Observation::new(key, value).at(time)))
}

/// An object in place of the list, or a status that is not 200: what it says where it can be read.
fn fault(body: &str, response: &Response) -> Error {
    let Ok(Fault { response_code, reason: Some(reason) }) = object(body) else {
        return Error::Malformed(excerpt(response));
    };
    match response_code.as_deref() {
        Some("400.002" | "400.067" | "400.068") => Error::rate_limited(None, reason.into_owned()),
        _ => Error::Unavailable(reason.into_owned()),
    }
}
