//! What a node that speaks JSON-RPC says in place of a result. Nodes and the services before them agree on no shape for it.

use std::fmt;

use serde_json::value::RawValue;

use crate::json::{Number, Object, Text, read};

/// How many characters of what has no words of its own are repeated.
const LONGEST: usize = 120;

/// Where an error's words may stand.
const WORDS: [&str; 6] = ["message", "details", "detail", "reason", "error", "data"];

/// What speaks of too many requests, in small letters. Nodes agree on no code for it.
const LIMITS: [&str; 11] = [
    "rate limit",
    "rate-limit",
    "ratelimit",
    "rate exceeded",
    "too many requests",
    "limit exceeded",
    "limit reached",
    "request limit",
    "requests per second",
    "quota",
    "throttle",
];

/// An error in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: Option<i64>,
    /// The node's words; the error's JSON where it has none.
    pub message: String,
}

impl Fault {
    /// Of the JSON of an error, whatever its shape: an object, a text or anything else.
    ///
    /// ```
    /// # use feedgate_sdk::rpc::Fault;
    /// let fault = Fault::of(r#"{"code":-32005,"message":"Too Many Requests"}"#);
    /// assert_eq!((fault.code, fault.says_too_often()), (Some(-32005), true));
    /// assert_eq!(fault.to_string(), "Too Many Requests (code -32005)");
    /// assert_eq!(Fault::of(r#""rate limited""#).to_string(), "rate limited");
    /// ```
    pub fn of(error: &str) -> Self {
        let text = |json: &str| read::<Text<'_>>(json).ok().filter(|text| !text.is_empty()).map(Text::into_owned);
        let members: Object<'_> = read(error).unwrap_or_default();
        let message = text(error).or_else(|| WORDS.iter().find_map(|name| members.get(name).and_then(text)));
        let code = members.get("code").and_then(|code| read::<Number<'_>>(code).ok());
        Self {
            code: code.and_then(|code| code.integer().ok()),
            message: message.unwrap_or_else(|| error.chars().take(LONGEST).collect()),
        }
    }

    /// Of an answer that is an object: its member `error`, or all of it where it is an error without an envelope. None where
    /// it is no error.
    pub fn in_answer(answer: &str) -> Option<Self> {
        let members: Object<'_> = read(answer).ok()?;
        if let Some(error) = members.get("error").filter(|error| *error != "null") {
            return Some(Self::of(error));
        }
        let bare =
            members.get("result").is_none() && ["code", "message"].iter().any(|name| members.get(name).is_some());
        bare.then(|| Self::of(answer))
    }

    /// The first in a list of answers that stands in place of one object.
    pub fn in_list(list: &str) -> Option<Self> {
        read::<Vec<&RawValue>>(list).ok()?.into_iter().find_map(|answer| Self::in_answer(answer.get()))
    }

    /// Whether its words say that there were too many requests. What its code says is the chain's.
    pub fn says_too_often(&self) -> bool {
        let message = self.message.to_lowercase();
        LIMITS.iter().any(|words| message.contains(words))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.code.map_or(Ok(()), |code| write!(f, " (code {code})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_its_words() {
        for (answer, said) in [
            (
                r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32007,"message":"limit reached"}}"#,
                "limit reached (code -32007)",
            ),
            (r#"{"id":0,"error":{"details":"Bad parameters","code":-32602}}"#, "Bad parameters (code -32602)"),
            (r#"{"id":0,"error":"rate limited"}"#, "rate limited"),
            (r#"{"error":{"code":"-32005","message":"","data":"slow down"}}"#, "slow down (code -32005)"),
            (r#"{"error":{"code":-1}}"#, r#"{"code":-1} (code -1)"#),
            (r#"{"error":7}"#, "7"),
            (r#"{"code":-32005,"message":"Too Many Requests","data":{"see":"x"}}"#, "Too Many Requests (code -32005)"),
            (r#"{"message":"no"}"#, "no"),
        ] {
            assert_eq!(Fault::in_answer(answer).expect(answer).to_string(), said);
            assert_eq!(Fault::in_list(&format!("[{answer}]")), Fault::in_answer(answer));
        }
        for answer in
            ["{}", "[]", "7", "{", r#"{"result":1}"#, r#"{"result":1,"error":null}"#, r#"{"result":1,"code":0}"#]
        {
            assert_eq!(Fault::in_answer(answer), None, "{answer}");
        }
    }

    #[test]
    fn too_often_is_said_in_many_ways() {
        for (words, expected) in [
            ("20/second request limit reached - reduce calls per second", true),
            ("daily request count exceeded, request rate limited", true),
            ("Too Many Requests", true),
            ("project ID request rate exceeded", true),
            ("Node is behind by 42 slots", false),
            ("execution reverted", false),
        ] {
            assert_eq!(Fault { code: None, message: words.to_owned() }.says_too_often(), expected, "{words}");
        }
    }
}
