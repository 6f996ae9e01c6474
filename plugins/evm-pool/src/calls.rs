//! JSON-RPC: the height of the chain and `slot0()` of several pools in one body.

use std::collections::BTreeMap;

use feedgate_sdk::{
    Context, Error, Http, Key, Malformed, Observation, Response, Subscription, Value, check_ids,
    http::{Missing, Outcome, PlannedRequest, check_status, json_text, post_json},
    json::{Text, object},
    keys_of,
    pool::{BigUint, price},
    rpc::Fault,
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
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What a node says to one call.
struct Said<'a> {
    result: Option<&'a RawValue>,
    fault: Option<Fault>,
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
            let fault = Fault::in_answer(body);
            return Err(fault.map_or_else(|| Error::Malformed("one answer for many calls".to_owned()), refused));
        }
        let mut answers: BTreeMap<u64, Said<'_>> = BTreeMap::new();
        let mut of_no_call = None;
        for item in serde_json::from_str::<Vec<&RawValue>>(body)? {
            // What cannot be read answers nothing, and costs no other.
            let Ok(Answer { id, result, error }) = object::<Answer<'_>>(item.get()) else { continue };
            let fault = match (error, id, result) {
                (Some(error), ..) => Some(Fault::of(error.get())),
                (None, None, None) => Fault::in_answer(item.get()),
                _ => None,
            };
            if let Some(fault) = fault.as_ref().filter(|fault| is_limit(fault)) {
                return Err(Error::rate_limited(None, fault.to_string()));
            }
            let Some(id) = id.and_then(|id| id.get().parse().ok()) else {
                of_no_call = of_no_call.or(fault);
                continue;
            };
            if answers.insert(id, Said { result, fault }).is_some() {
                return Err(Error::Malformed(format!("two answers to call {id}")));
            }
        }
        // Without it nobody knows which of two answers is newer, or whether the node stands still.
        let height = match answers.get(&HEIGHT) {
            Some(Said { fault: Some(fault), .. }) => Err(fault.to_string()),
            Some(Said { result: Some(result), .. }) => hexadecimal(result).and_then(|digits| height(&digits)),
            _ => {
                Err(of_no_call.map_or_else(|| "the node does not say its height".to_owned(), |fault| fault.to_string()))
            }
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

    fn outcome(&self, key: Key, answer: Option<&Said<'_>>, height: u64) -> Option<Outcome> {
        let pool = self.settings.pools.get(self.ids.symbol(key)?)?;
        let Some(answer) = answer else {
            return Some(Outcome::missing(key, Missing::Undecided, "left out of the answer"));
        };
        Some(match (&answer.fault, answer.result) {
            // There is a contract, and it is no such pool.
            (Some(fault), _) if is_revert(fault) => Outcome::missing(key, Missing::NoValue, fault.to_string()),
            (Some(fault), _) => Outcome::missing(key, Missing::Undecided, fault.to_string()),
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

/// A contract's refusal: 3, or one of the many codes with these words.
fn is_revert(fault: &Fault) -> bool {
    fault.code == Some(3) || fault.message.contains("revert")
}

/// A contract's own words are no limit of the node.
fn is_limit(fault: &Fault) -> bool {
    let by_code = matches!(fault.code, Some(429 | -32005 | -32016 | -32029 | -32097));
    by_code || (!is_revert(fault) && fault.says_too_often())
}

fn refused(fault: Fault) -> Error {
    let words = fault.to_string();
    if is_limit(&fault) { Error::rate_limited(None, words) } else { Error::Unavailable(words) }
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
