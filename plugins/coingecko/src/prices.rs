//! The endpoint `/simple/price`: many coins in one request.

use feedgate_sdk::{
    Absences, Context, Error, Header, Http, Key, Malformed, Observation, Response, Subscription, Timestamp, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, excerpt, get, json_text},
    json::{self, Number, Object, object},
    url,
};
use serde::Deserialize;

use crate::{CoinGecko, Plan};

pub(crate) const PUBLIC: &str = "https://api.coingecko.com";
pub(crate) const PRO: &str = "https://pro-api.coingecko.com";

/// What of a URL is left for ids, so that the whole stays below the 2048 bytes that everything on the way takes.
const ROOM: usize = 1_800;

#[derive(Deserialize)]
struct Status {
    error_code: i64,
    #[serde(default)]
    error_message: String,
}

impl Http for CoinGecko {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check_ids(subscriptions, |id| !id.is_empty(), "an empty id")?;
        let named =
            subscriptions.iter().map(|subscription| (subscription.key, url::encode(self.ids.add(subscription))));
        let batches = url::fill(named, ROOM, |(_, id)| id.len() + "%2C".len());
        Ok(batches.into_iter().map(|batch| self.request(batch)).collect())
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let coins: Object<'_> = object(json_text(response)?)?;
        // There is a coin called `status`, but it has no error code.
        if let Some(Ok(status)) = coins.get("status").map(object::<Status>) {
            let words = format!("{} (code {})", status.error_message, status.error_code);
            return Err(match status.error_code {
                429 => Error::rate_limited(None, words),
                _ => Error::Unavailable(words),
            });
        }
        if response.status != 200 || coins.get("error").is_some_and(|error| error.starts_with('"')) {
            return Err(Error::Unavailable(excerpt(response)));
        }
        if coins.is_empty() {
            return Ok(Absences::of_an_empty_list(keys));
        }
        Ok(keys.iter().filter_map(|&key| self.outcome(key, &coins, keys)).collect())
    }
}

impl CoinGecko {
    fn request(&self, batch: Vec<(Key, String)>) -> PlannedRequest {
        let (keys, ids): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let (origin, header) = match self.settings.plan {
            Plan::Public => (PUBLIC, None),
            Plan::Demo => (PUBLIC, Some("x-cg-demo-api-key")),
            Plan::Pro => (PRO, Some("x-cg-pro-api-key")),
        };
        let mut request = get(format!(
            "{origin}/api/v3/simple/price?ids={}&vs_currencies={}&include_last_updated_at=true&precision=full",
            ids.join("%2C"),
            self.settings.currency
        ));
        request
            .headers
            .extend(header.map(|name| Header { name: name.to_owned(), value: "${secret.api_key}".to_owned() }));
        PlannedRequest { request, keys }
    }

    fn outcome(&mut self, key: Key, coins: &Object<'_>, keys: &[Key]) -> Option<Outcome> {
        let id = self.ids.symbol(key)?;
        let Some(coin) = coins.get(id) else {
            // An object of other names is an error in a shape of its own, and counts against nobody.
            let mut asked = keys.iter().filter_map(|&key| self.ids.symbol(key));
            return Some(match asked.any(|id| coins.get(id).is_some()) {
                true => self.absences.absent(key, id),
                false => Outcome::missing(key, Missing::Undecided, "the answer names none of the ids asked for"),
            });
        };
        self.absences.present(id);
        Some(Outcome::read(key, read(key, coin, &self.settings.currency), "the venue has no price"))
    }
}

/// The price of one coin and its time, where there is a price.
fn read(key: Key, coin: &str, currency: &str) -> Result<Option<Observation>, Malformed> {
    let Some(coin) = json::read::<Option<Object<'_>>>(coin)? else {
        return Ok(None);
    };
    let price = coin.get(currency).map(json::read::<Option<Number<'_>>>).transpose()?.flatten();
    let Some(price) = price else { return Ok(None) };
    let value = price.value()?;
    let updated = coin.get("last_updated_at").map(json::read::<Option<i64>>).transpose()?.flatten();
    Ok((!value.is_zero()).then_some(Observation::new(key, value).at(updated.map(Timestamp::Seconds))))
}
