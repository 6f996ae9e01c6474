//! The endpoint `/v2/cryptocurrency/quotes/latest`: many coins in one request.

use feedgate_sdk::{
    Absences, Context, Error, Header, Http, Key, Malformed, Observation, Response, Subscription, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{Number, Object, Text, object},
    rfc3339, url,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::CoinMarketCap;

pub(crate) const ORIGIN: &str = "https://pro-api.coinmarketcap.com";

/// What of a URL is left for ids, so that the whole stays below the 2048 bytes that everything on the way takes.
const ROOM: usize = 1_800;

const MINUTE_MS: u32 = 60_000;
const HOUR_MS: u32 = 60 * MINUTE_MS;

/// Every answer, whatever its HTTP status.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    status: Status<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    error_code: Number<'a>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct Coin<'a> {
    /// By currency.
    #[serde(borrow)]
    quote: Option<Object<'a>>,
}

#[derive(Deserialize)]
struct Quote<'a> {
    #[serde(borrow)]
    price: Option<Number<'a>>,
    #[serde(borrow)]
    last_updated: Option<Text<'a>>,
}

impl Http for CoinMarketCap {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        // One id that is no number costs the answer for all.
        check_ids(subscriptions, is_number, "not a coin's number: write 1 for Bitcoin")?;
        let named = subscriptions.iter().map(|subscription| (subscription.key, self.ids.add(subscription).to_owned()));
        let batches = url::fill(named, ROOM, |(_, id)| id.len() + ",".len());
        Ok(batches
            .into_iter()
            .map(|batch| {
                let (keys, ids): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                let mut request = get(format!(
                    "{ORIGIN}/v2/cryptocurrency/quotes/latest?id={}&convert={}&skip_invalid=true",
                    ids.join(","),
                    self.settings.convert
                ));
                request
                    .headers
                    .push(Header { name: "X-CMC_PRO_API_KEY".to_owned(), value: "${secret.api_key}".to_owned() });
                PlannedRequest { request, keys }
            })
            .collect())
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        // The code in the body says more than the HTTP status, and may stand inside a 200.
        let answer = json_text(response).and_then(|text| Ok(object::<Answer<'_>>(text)?));
        let Answer { status, data } = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(check_status(response).err().unwrap_or(error)),
        };
        let code = status.error_code.text();
        if code != "0" {
            let said = status.error_message.unwrap_or_default();
            return self.refused(keys, code, format!("{said} (code {code})"));
        }
        check_status(response)?;
        let (200, Some(data)) = (response.status, data) else {
            return Err(Error::Unavailable(excerpt(response)));
        };
        let coins: Object<'_> = object(data.get())?;
        if coins.is_empty() {
            return Ok(Absences::of_an_empty_list(keys));
        }
        Ok(keys.iter().filter_map(|&key| self.outcome(key, &coins)).collect())
    }
}

impl CoinMarketCap {
    fn refused(&self, keys: &[Key], code: &str, words: String) -> Result<Vec<Outcome>, Error> {
        match code {
            // By minute, by address; by day, by month.
            "1008" | "1011" => return Err(Error::rate_limited(Some(MINUTE_MS), words)),
            "1009" | "1010" => return Err(Error::rate_limited(Some(HOUR_MS), words)),
            "400" => {}
            _ => return Err(Error::Unavailable(words)),
        }
        // `Invalid value for "id": "99"`: what it names is refused, the others are asked for without it.
        let named = |key: &Key| self.ids.symbol(*key).is_some_and(|id| names(&words, id));
        if !keys.iter().any(named) {
            return Err(Error::Unavailable(words));
        }
        let why = |key: &Key| if named(key) { Missing::UnknownId } else { Missing::Undecided };
        Ok(keys.iter().map(|key| Outcome::missing(*key, why(key), words.clone())).collect())
    }

    fn outcome(&mut self, key: Key, coins: &Object<'_>) -> Option<Outcome> {
        let id = self.ids.symbol(key)?;
        let Some(coin) = coins.get(id) else {
            return Some(self.absences.absent(key, id));
        };
        self.absences.present(id);
        Some(Outcome::read(key, read(key, coin, &self.settings.convert), "the venue has no price"))
    }
}

/// Written as the payload writes it, so that it is found there.
fn is_number(id: &str) -> bool {
    (1..=10).contains(&id.len()) && !id.starts_with('0') && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an error's words name an id: `Invalid values for "id": "1,1027"`. Other numbers in them are none.
fn names(words: &str, id: &str) -> bool {
    let Some((_, listed)) = words.split_once("\"id\":") else { return false };
    let listed = listed.rsplit_once("(code").map_or(listed, |(listed, _)| listed);
    listed.split(|character: char| !character.is_ascii_digit()).any(|word| word == id)
}

/// The price of one coin and its time, where there is a price.
fn read(key: Key, coin: &str, currency: &str) -> Result<Option<Observation>, Malformed> {
    let Coin { quote } = object(coin)?;
    let Some(quote) = quote.as_ref().and_then(|quote| quote.get(currency)) else { return Ok(None) };
    let quote = if quote == "null" { return Ok(None) } else { object::<Quote<'_>>(quote)? };
    let Some(price) = quote.price else { return Ok(None) };
    let value = price.value()?;
    let time = quote.last_updated.map(|time| rfc3339(&time)).transpose()?;
    Ok((!value.is_zero()).then_some(Observation::new(key, value).at(time)))
}
