//! JSON-RPC: the method `getMultipleAccounts`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Value, check_ids,
    http::{Outcome, PlannedRequest, check_status, excerpt, json_text, post_json},
    json::{Text, object},
    keys_of,
    pool::price,
    rpc::Fault,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    SolanaAccount,
    address::is_address,
    layout::{self, State},
};

/// How many accounts the method takes.
const MOST: usize = 100;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Accounts<'a> {
    context: At,
    /// In the order of the addresses.
    #[serde(borrow)]
    value: Vec<Option<&'a RawValue>>,
}

#[derive(Deserialize)]
struct At {
    slot: u64,
}

#[derive(Deserialize)]
struct Account<'a> {
    #[serde(borrow)]
    owner: Text<'a>,
    /// The content and how it is written.
    #[serde(borrow)]
    data: (Text<'a>, Text<'a>),
}

impl Http for SolanaAccount {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        let possible = |id: &str| is_address(self.address(id));
        check_ids(subscriptions, possible, "neither an address nor a name in the setting `pools`")?;
        self.ids.add_all(subscriptions);
        Ok(subscriptions.chunks(MOST).map(|batch| self.request(batch)).collect())
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let body = json_text(response)?;
        let answer = match object::<Answer<'_>>(body) {
            Ok(answer) => answer,
            // Some answer with a list where one object was asked for.
            Err(malformed) => return Err(Fault::in_list(body).map_or_else(|| malformed.into(), refused)),
        };
        let Answer { result: Some(result), error: None } = answer else {
            return Err(Fault::in_answer(body).map_or_else(|| Error::Malformed(excerpt(response)), refused));
        };
        let Accounts { context: At { slot }, value } = object(result.get())?;
        if value.len() != keys.len() {
            return Err(Error::Malformed(format!("{} accounts where {} were asked for", value.len(), keys.len())));
        }
        Ok(keys.iter().zip(value).filter_map(|(&key, account)| self.outcome(key, account, slot)).collect())
    }
}

impl SolanaAccount {
    /// The address that an id stands for: its own, or that of its name.
    fn address<'a>(&'a self, id: &'a str) -> &'a str {
        self.settings.pools.get(id).and_then(|pool| pool.address.as_deref()).unwrap_or(id)
    }

    fn request(&self, batch: &[Subscription]) -> PlannedRequest {
        let addresses: Vec<&str> = batch.iter().map(|subscription| self.address(&subscription.id)).collect();
        let call = json!({
            "id": 1,
            "jsonrpc": "2.0",
            "method": "getMultipleAccounts",
            "params": [addresses, {
                "commitment": "confirmed",
                "dataSlice": { "length": layout::LENGTH, "offset": 0 },
                "encoding": "base64",
            }],
        });
        let request = post_json(self.settings.rpc.clone(), &call);
        PlannedRequest { request, keys: keys_of(batch) }
    }

    fn outcome(&mut self, key: Key, account: Option<&RawValue>, slot: u64) -> Option<Outcome> {
        let id = self.ids.symbol(key)?;
        let Some(account) = account else {
            // One of several nodes behind a name may not have it yet.
            return Some(match self.absences.absent(key, id) {
                Outcome::Unresolved(absent) => {
                    Outcome::missing(key, absent.why, format!("no such account at this node: {}", absent.text))
                }
                other => other,
            });
        };
        self.absences.present(id);
        let invert = self.settings.pools.get(id).is_some_and(|pool| pool.invert);
        let observation = |value| Observation::new(key, value).sequence(slot);
        let read = read(account.get(), invert).map(|value| value.map(observation));
        Some(Outcome::read(key, read, "the pool has no price yet"))
    }
}

fn refused(fault: Fault) -> Error {
    let words = fault.to_string();
    let is_limit = matches!(fault.code, Some(429 | -32429)) || fault.says_too_often();
    if is_limit { Error::rate_limited(None, words) } else { Error::Unavailable(words) }
}

fn read(account: &str, invert: bool) -> Result<Option<Value>, Malformed> {
    let Account { owner, data: (content, encoding) } = object(account)?;
    if owner != layout::PROGRAM {
        return Err(Malformed::new("an account of another program than Raydium's pools"));
    }
    if encoding != "base64" {
        return Err(Malformed::new("an account that is not in base 64"));
    }
    let content =
        STANDARD.decode(content.as_bytes()).map_err(|error| Malformed::new(format!("not base 64: {error}")))?;
    let State { decimals: [zero, one], root } = layout::read(&content)?;
    let price = |root| price(&root, layout::BITS, i32::from(zero) - i32::from(one), invert);
    root.map(price).transpose()
}
