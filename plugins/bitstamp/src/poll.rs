//! Polling: all markets in one answer, of which most are nobody's.

use std::collections::{BTreeMap, BTreeSet};

use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Timestamp, Value,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, get, text},
    json::{Number, Text, object, read},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Bitstamp, impossible, market};

pub(crate) const ORIGIN: &str = "https://www.bitstamp.net";

/// After how many answers in a row without it a market is unknown. To call it that is final, and one answer may be
/// incomplete.
const ABSENCES: u8 = 3;

/// What the answers so far say of the markets that were not in all of them.
#[derive(Default)]
pub(crate) struct Standings {
    /// These were there once, and stay known whatever happens later.
    known: BTreeSet<String>,
    absences: BTreeMap<String, u8>,
}

impl Standings {
    fn absent(&mut self, key: Key, market: &str) -> Outcome {
        if self.known.contains(market) {
            return Outcome::missing(key, Missing::Undecided, "left out of the answer");
        }
        let times = self.absences.entry(market.to_owned()).or_default();
        *times = times.saturating_add(1);
        if *times < ABSENCES {
            let text = format!("left out of {times} of {ABSENCES} answers so far");
            return Outcome::missing(key, Missing::Undecided, text);
        }
        Outcome::missing(key, Missing::UnknownId, format!("left out of {ABSENCES} answers"))
    }
}

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
        let impossible = impossible(subscriptions);
        if !impossible.is_empty() {
            return Err(Error::Rejected(impossible));
        }
        for subscription in subscriptions {
            self.ids.add(subscription);
        }
        let keys = subscriptions.iter().map(|subscription| subscription.key).collect();
        Ok(vec![PlannedRequest { request: get(format!("{ORIGIN}/api/v2/ticker/")), keys }])
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let body = text(response)?;
        if response.status != 200 || body.trim_ascii_start().starts_with('{') {
            return Err(fault(body, response));
        }
        let wanted: BTreeSet<&str> = keys.iter().filter_map(|&key| self.ids.symbol(key)).collect();
        let mut answers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for ticker in read::<Vec<&RawValue>>(body)? {
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
            let read = match answers.get(market).map(Vec::as_slice) {
                None => {
                    outcomes.push(self.standings.absent(key, market));
                    continue;
                }
                Some([ticker]) => last_price(ticker),
                Some(_) => Err(Malformed::new("two answers for one market")),
            };
            if !self.standings.known.contains(market) {
                self.standings.known.insert(market.to_owned());
            }
            outcomes.push(match read {
                Ok(Some((value, time))) => Outcome::Observed(Observation::new(key, value).at(time)),
                Ok(None) => Outcome::missing(key, Missing::NoValue, "never traded"),
                Err(malformed) => Outcome::missing(key, Missing::Malformed, malformed.0),
            });
        }
        Ok(outcomes)
    }
}

/// The price of one market and its time, where there is a price.
fn last_price(ticker: &str) -> Result<Option<(Value, Option<Timestamp>)>, Malformed> {
    let Ticker { last, timestamp } = object(ticker)?;
    let Some(last) = last.filter(|last| !last.text().is_empty()) else { return Ok(None) };
    let value = last.value()?;
    let time = timestamp.map(|seconds| seconds.parse().map(Timestamp::Seconds));
    let time = time.transpose().map_err(|_| Malformed::new("`timestamp` is no number of seconds"))?;
    Ok((!value.is_zero()).then_some((value, time)))
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
