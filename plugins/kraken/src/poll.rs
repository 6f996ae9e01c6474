//! Polling: one request for many pairs.

use std::collections::{BTreeMap, BTreeSet};

use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Value, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, get, json_text},
    json::{Number, Object, object},
    url,
};
use serde::Deserialize;

use super::{Kraken, pair};

pub(crate) const ORIGIN: &str = "https://api.kraken.com";

/// What of a URL is left for pairs, so that the whole stays below the 2048 bytes that everything on the way takes.
const ROOM: usize = 1_900;

#[derive(Deserialize)]
struct Answer<'a> {
    error: Vec<String>,
    #[serde(borrow)]
    result: Option<Object<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    /// Price and volume of the last trade. Not `p`, which is the day's average.
    #[serde(borrow, rename = "c")]
    last: Vec<Number<'a>>,
}

impl Http for Kraken {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        // An empty list would ask for every pair there is.
        let possible = |id: &str| {
            !id.trim_matches('/').is_empty()
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        };
        check_ids(subscriptions, possible, "not a pair: write it like BTC/USD or XBTUSD")?;
        let mut requests = Vec::new();
        for group in self.batches.group(subscriptions) {
            let named =
                group.into_iter().map(|subscription| (subscription.key, url::encode(self.polled.add(subscription))));
            for batch in url::fill(named, ROOM, |(_, pair)| pair.len() + ",".len()) {
                let (keys, mut pairs): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                // Two ids may be one pair.
                pairs.sort_unstable();
                pairs.dedup();
                let request = get(format!("{ORIGIN}/0/public/Ticker?pair={}", pairs.join(",")));
                requests.push(PlannedRequest { request, keys });
            }
        }
        Ok(requests)
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let Answer { error, result } = object(json_text(response)?)?;
        // What begins with W is a warning.
        let faults: Vec<&str> = error.iter().map(String::as_str).filter(|fault| !fault.starts_with('W')).collect();
        if !faults.is_empty() {
            return self.fault(keys, &faults);
        }
        let result = result.ok_or(Error::Malformed("neither an error nor a result".to_owned()))?;
        self.batches.passed(keys);

        let mut open: BTreeSet<&str> = keys.iter().filter_map(|&key| self.polled.symbol(key)).collect();
        let mut answers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, ticker) in result.iter() {
            answers.entry(pair::for_rest(name)).or_default().push(ticker);
        }
        let mut outcomes = Vec::with_capacity(keys.len());
        let mut strangers = Vec::new();
        for (symbol, tickers) in &answers {
            if open.remove(symbol.as_str()) {
                self.read(symbol, keys, tickers, &mut outcomes);
            } else {
                strangers.push(tickers);
            }
        }
        // The venue renames a pair when its coin is renamed. When one answer and one question are left, they belong
        // together; with more there is no telling.
        if let ([tickers], 1, Some(symbol)) = (&strangers[..], open.len(), open.first()) {
            self.read(symbol, keys, tickers, &mut outcomes);
        } else {
            let left_out =
                keys.iter().filter(|key| self.polled.symbol(**key).is_none_or(|symbol| open.contains(symbol)));
            outcomes.extend(left_out.map(|&key| Outcome::missing(key, Missing::Undecided, "left out of the answer")));
        }
        Ok(outcomes)
    }
}

impl Kraken {
    fn read(&self, symbol: &str, keys: &[Key], tickers: &[&str], outcomes: &mut Vec<Outcome>) {
        let last = match tickers {
            [ticker] => last_price(ticker),
            _ => Err(Malformed::new("two answers for one pair")),
        };
        for &key in self.polled.keys(symbol).iter().filter(|key| keys.contains(key)) {
            outcomes.push(match &last {
                Ok(value) if Value::is_zero(value) => Outcome::missing(key, Missing::NoValue, "never traded"),
                Ok(value) => Outcome::Observed(Observation::new(key, value.clone())),
                Err(text) => Outcome::missing(key, Missing::Malformed, text.0.clone()),
            });
        }
    }

    /// The venue reports errors inside a 200. One unknown pair costs the answer for all, without being named.
    fn fault(&mut self, keys: &[Key], faults: &[&str]) -> Result<Vec<Outcome>, Error> {
        let words = faults.join(", ");
        let blames = |fault: &&str| fault.starts_with("EQuery:") && fault.contains("asset pair");
        if faults.iter().any(blames) {
            return Ok(self.batches.failed(keys, &words));
        }
        if words.contains("Rate limit exceeded") || words.contains("Too many requests") {
            return Err(Error::rate_limited(None, words));
        }
        Err(Error::Unavailable(words))
    }
}

fn last_price(ticker: &str) -> Result<Value, Malformed> {
    let Ticker { last } = object(ticker)?;
    last.first().ok_or(Malformed::new("an empty `c`"))?.value()
}
