//! JSON-RPC: the height of the chain and `slot0()` of several pools in one body.

use std::collections::BTreeMap;

use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Value, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, json_text, post_json},
    json::{Text, object},
    keys_of,
    pool::{BigUint, price},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{EvmPool, pools::Pool};

/// The first four bytes of the hash of `slot0()`.
const SLOT0: &str = "0x3850c7bd";

/// How many calls stand in one body. Public nodes refuse longer ones as a whole.
const MOST: usize = 10;

/// The id of the question for the height; pools have their key plus one.
const HEIGHT: u64 = 0;

/// The fixed point of the square root.
const BITS: u64 = 96;

/// The roots of the lowest and the highest price that a pool can have.
const LOWEST: &[u8] = b"4295128739";
const HIGHEST: &[u8] = b"1461446703485210103287273052203988822378723970342";

#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Http for EvmPool {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check_ids(subscriptions, |id| self.settings.pools.contains_key(id), "no such pool in the setting `pools`")?;
        self.ids.add_all(subscriptions);
        Ok(subscriptions.chunks(MOST - 1).map(|batch| self.request(batch)).collect())
    }

    fn parse_response(&mut self, _: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error> {
        check_status(response)?;
        let body = json_text(response)?;
        // One object in place of the list: the whole body was refused.
        if body.trim_ascii_start().starts_with('{') {
            let Answer { error, .. } = object(body)?;
            return Err(error.map_or_else(|| Error::Malformed("one answer for many calls".to_owned()), refused));
        }
        let mut answers: BTreeMap<u64, Answer<'_>> = BTreeMap::new();
        for item in serde_json::from_str::<Vec<&RawValue>>(body)? {
            // What cannot be read answers nothing, and costs no other.
            let Ok(answer) = object::<Answer<'_>>(item.get()) else { continue };
            if let Some(fault) = answer.error.as_ref().filter(|fault| is_limit(fault)) {
                return Err(Error::rate_limited(None, words(fault)));
            }
            let Some(id) = answer.id else { continue };
            if answers.insert(id, answer).is_some() {
                return Err(Error::Malformed(format!("two answers to call {id}")));
            }
        }
        // Without it nobody knows which of two answers is newer, or whether the node stands still.
        let height = match answers.get(&HEIGHT) {
            Some(Answer { error: Some(fault), .. }) => Err(words(fault)),
            Some(Answer { result: Some(result), .. }) => hexadecimal(result).and_then(|digits| height(&digits)),
            _ => Err("the node does not say its height".to_owned()),
        };
        let height = height.map_err(Error::Unavailable)?;
        Ok(keys.iter().filter_map(|&key| self.outcome(key, answers.get(&id_of(key)), height)).collect())
    }
}

impl EvmPool {
    fn request(&self, batch: &[Subscription]) -> PlannedRequest {
        let mut calls = vec![json!({ "id": HEIGHT, "jsonrpc": "2.0", "method": "eth_blockNumber", "params": [] })];
        for Subscription { key, id } in batch {
            let Some(pool) = self.settings.pools.get(id) else { continue };
            let to = pool.address.as_ref().unwrap_or(id);
            calls.push(json!({
                "id": id_of(*key),
                "jsonrpc": "2.0",
                "method": "eth_call",
                "params": [{ "data": SLOT0, "to": to }, "latest"],
            }));
        }
        let request = post_json(self.settings.rpc.clone(), &json!(calls));
        PlannedRequest { request, keys: keys_of(batch) }
    }

    fn outcome(&self, key: Key, answer: Option<&Answer<'_>>, height: u64) -> Option<Outcome> {
        let pool = self.settings.pools.get(self.ids.symbol(key)?)?;
        let Some(answer) = answer else {
            return Some(Outcome::missing(key, Missing::Undecided, "left out of the answer"));
        };
        Some(match (&answer.error, answer.result) {
            // 3, or one of the many codes with these words: there is a contract, and it is no such pool.
            (Some(fault), _) if fault.code == 3 || fault.message.contains("revert") => {
                Outcome::missing(key, Missing::NoValue, words(fault))
            }
            (Some(fault), _) => Outcome::missing(key, Missing::Undecided, words(fault)),
            (None, None) => Outcome::missing(key, Missing::Malformed, "neither a result nor an error"),
            (None, Some(result)) => match read(result, pool) {
                Ok(Ok(value)) => Outcome::Observed(Observation::new(key, value).sequence(height)),
                Ok(Err(why)) => Outcome::missing(key, Missing::NoValue, why),
                Err(malformed) => Outcome::missing(key, Missing::Malformed, malformed.0),
            },
        })
    }
}

/// The price of a pool, or why it has none.
fn read(result: &RawValue, pool: &Pool) -> Result<Result<Value, &'static str>, Malformed> {
    let digits = hexadecimal(result).map_err(Malformed::new)?;
    if digits.is_empty() {
        return Ok(Err("no contract at this address, or not on this chain yet"));
    }
    let Some(root) = root(&digits)? else { return Ok(Err("the pool has no price yet")) };
    let [zero, one] = pool.decimals.map(i32::from);
    price(&root, BITS, zero - one, pool.invert).map(Ok)
}

fn id_of(key: Key) -> u64 {
    u64::from(key) + 1
}

fn words(Fault { code, message }: &Fault) -> String {
    format!("{message} (code {code})")
}

/// Nodes agree on no code for it.
fn is_limit(Fault { code, message }: &Fault) -> bool {
    let message = message.to_lowercase();
    matches!(code, 429 | -32005 | -32016 | -32029 | -32097)
        || ["rate limit", "too many requests", "limit exceeded"].iter().any(|words| message.contains(words))
}

fn refused(fault: Fault) -> Error {
    if is_limit(&fault) { Error::rate_limited(None, words(&fault)) } else { Error::Unavailable(words(&fault)) }
}

/// The digits of a result.
fn hexadecimal(result: &RawValue) -> Result<String, String> {
    let text: Text<'_> = serde_json::from_str(result.get()).map_err(|error| error.to_string())?;
    let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.map(str::to_owned).ok_or_else(|| "not hexadecimal digits after 0x".to_owned())
}

fn height(digits: &str) -> Result<u64, String> {
    u64::from_str_radix(digits, 16).map_err(|error| format!("the node's height: {error}"))
}

/// The first word of what `slot0()` answers: `sqrtPriceX96`. What follows differs between the forks of Uniswap.
/// Zero, before the first liquidity, is none.
fn root(digits: &str) -> Result<Option<BigUint>, Malformed> {
    let word = digits.get(..64).filter(|_| digits.len().is_multiple_of(64));
    let root = word.and_then(|word| BigUint::parse_bytes(word.as_bytes(), 16));
    let root = root.ok_or(Malformed::new("not the words of slot0()"))?;
    if root == BigUint::ZERO {
        return Ok(None);
    }
    let bound = |digits| BigUint::parse_bytes(digits, 10).unwrap_or_default();
    if root < bound(LOWEST) || root >= bound(HIGHEST) {
        return Err(Malformed::new("a square root beyond those of a pool"));
    }
    Ok(Some(root))
}
