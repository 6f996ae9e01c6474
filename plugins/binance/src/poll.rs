//! Polling: one request for many symbols.

use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Value,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{Item, Number, Text, each, object},
    mid, url,
};
use serde::Deserialize;

use super::{Binance, Price, check};

pub(crate) const ORIGIN: &str = "https://api.binance.com";
/// The last one has market data only.
pub(crate) const MIRRORS: [&str; 6] = [
    "https://api-gcp.binance.com",
    "https://api1.binance.com",
    "https://api2.binance.com",
    "https://api3.binance.com",
    "https://api4.binance.com",
    "https://data-api.binance.vision",
];

/// What of a URL is left for symbols, so that the whole stays below the 2048 bytes that everything on the way takes.
const ROOM: usize = 1_900;

/// What either endpoint has of a symbol. A bad price leaves the symbol readable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Text<'a>,
    #[serde(borrow)]
    price: Option<Item<Number<'a>>>,
    #[serde(borrow)]
    bid_price: Option<Item<Number<'a>>>,
    #[serde(borrow)]
    ask_price: Option<Item<Number<'a>>>,
}

/// A price that must be there.
fn given<'t, 'a>(price: &'t Option<Item<Number<'a>>>) -> Result<&'t Number<'a>, Malformed> {
    match price {
        Some(Item(price)) => price.as_ref().map_err(Clone::clone),
        None => Err(Malformed::new("a symbol without its price")),
    }
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    msg: String,
}

impl Http for Binance {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check(subscriptions)?;
        let path = match self.price {
            Price::Last => "/api/v3/ticker/price",
            Price::Mid => "/api/v3/ticker/bookTicker",
        };
        let mut requests = Vec::new();
        for group in self.batches.group(subscriptions) {
            let named = group
                .into_iter()
                .map(|subscription| (subscription.key, url::encode(&format!("\"{}\"", self.ids.add(subscription)))));
            for batch in url::fill(named, ROOM, |(_, symbol)| symbol.len() + "%2C".len()) {
                let (keys, mut symbols): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                // Two ids may be one symbol, which the venue refuses to see twice.
                symbols.sort_unstable();
                symbols.dedup();
                let request = get(format!("{ORIGIN}{path}?symbols=%5B{}%5D", symbols.join("%2C")));
                requests.push(PlannedRequest { request, keys });
            }
        }
        Ok(requests)
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        // Prices come as an array. An object is an error, whatever its status says.
        let body = json_text(response)?;
        if response.status != 200 || body.trim_start().starts_with('{') {
            return self.fault(keys, response);
        }
        let mut answers = Answers::to(keys);
        each(body, |ticker: Result<Ticker<'_>, Malformed>| {
            let Ok(ticker) = ticker else { return };
            for &key in self.ids.keys(&ticker.symbol) {
                answers.add(key, || {
                    let read = self.value(&ticker).map(|value| value.map(|value| Observation::new(key, value)));
                    Outcome::read(key, read, "no trades or an empty side of the book")
                });
            }
        })?;
        self.batches.passed(keys);
        Ok(answers.with_the_missing())
    }
}

/// What an answer says of the keys that it was asked for.
struct Answers<'k> {
    keys: &'k [Key],
    /// By key, since keys are small: each is an index.
    given: Vec<Given>,
    outcomes: Vec<Outcome>,
}

#[derive(Clone, Copy)]
enum Given {
    NotAsked,
    Waiting,
    /// The place in the outcomes.
    At(usize),
}

impl<'k> Answers<'k> {
    fn to(keys: &'k [Key]) -> Self {
        let mut given = vec![Given::NotAsked; keys.iter().max().map_or(0, |&key| key as usize + 1)];
        keys.iter().for_each(|&key| given[key as usize] = Given::Waiting);
        Self { keys, given, outcomes: Vec::with_capacity(keys.len()) }
    }

    fn add(&mut self, key: Key, outcome: impl FnOnce() -> Outcome) {
        match self.given.get_mut(key as usize) {
            Some(given @ Given::Waiting) => {
                *given = Given::At(self.outcomes.len());
                self.outcomes.push(outcome());
            }
            Some(Given::At(place)) => {
                self.outcomes[*place] = Outcome::missing(key, Missing::Malformed, "two answers for one symbol");
            }
            Some(Given::NotAsked) | None => {}
        }
    }

    fn with_the_missing(mut self) -> Vec<Outcome> {
        for &key in self.keys {
            if let Given::Waiting = self.given[key as usize] {
                self.outcomes.push(Outcome::missing(key, Missing::Undecided, "left out of the answer"));
            }
        }
        self.outcomes
    }
}

impl Binance {
    /// The price in one item of the answer; none where the venue writes zero for want of one.
    fn value(&self, ticker: &Ticker<'_>) -> Result<Option<Value>, Malformed> {
        let value = match self.price {
            Price::Last => given(&ticker.price)?.value()?,
            Price::Mid => {
                let (bid, ask) = (given(&ticker.bid_price)?.value()?, given(&ticker.ask_price)?.value()?);
                if bid.is_zero() || ask.is_zero() {
                    return Ok(None);
                }
                mid(&bid, &ask)?
            }
        };
        Ok(Some(value).filter(|value| !value.is_zero()))
    }

    /// An error object. One unknown symbol costs the answer for all, without being named.
    fn fault(&mut self, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        let Ok(Fault { code, msg }) = object(json_text(response)?) else {
            return Err(Error::Malformed(excerpt(response)));
        };
        match code {
            // Unknown symbol; characters that no symbol has.
            -1121 | -1100 => Ok(self.batches.failed(keys, &msg)),
            -1003 => Err(Error::rate_limited(None, format!("{msg} (code {code})"))),
            _ => Err(Error::Unavailable(format!("{msg} (code {code})"))),
        }
    }
}
