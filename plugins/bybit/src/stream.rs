//! The topics `tickers.SYMBOL`, and the answers to requests, which stand or fall as a whole.

use std::{borrow::Cow, collections::BTreeMap};

use feedgate_sdk::{
    Context, Error, Events, Frame, Level, Malformed, Observation, Rejection, Response, Subscription, Timestamp,
    WebSocket,
    json::{Number, object},
    log,
    websocket::Step,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::Bybit;

pub(crate) const ORIGIN: &str = "wss://stream.bybit.com";

const CHANNEL: &str = "tickers.";

/// The requests that wait for their answer, by number: the symbols of each.
#[derive(Default)]
pub(crate) struct Requests {
    last: u64,
    waiting: BTreeMap<u64, Vec<String>>,
}

impl Requests {
    fn frame(&mut self, operation: &str, symbols: &[String]) -> Frame {
        self.last += 1;
        let topics: Vec<String> = symbols.iter().map(|symbol| format!("{CHANNEL}{symbol}")).collect();
        Frame::json(&json!({ "req_id": self.last.to_string(), "op": operation, "args": topics }))
    }

    fn subscribe(&mut self, symbols: Vec<String>) -> Frame {
        let frame = self.frame("subscribe", &symbols);
        self.waiting.insert(self.last, symbols);
        frame
    }
}

/// What answers and pushes have between them.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    ts: Option<i64>,
    /// The cross sequence. It stays the same while only other figures than the price move.
    cs: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    success: Option<bool>,
    #[serde(borrow)]
    ret_msg: Option<Cow<'a, str>>,
    #[serde(borrow)]
    req_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow, rename = "lastPrice")]
    last: Option<Number<'a>>,
}

impl WebSocket for Bybit {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/v5/public/spot")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        // One that has odd characters would cost its whole message.
        let possible = |id: &str| (1..=40).contains(&id.len()) && id.chars().all(char::is_alphanumeric);
        let impossible: Vec<_> = subscriptions
            .iter()
            .filter(|subscription| !possible(&subscription.id))
            .map(|subscription| Rejection::permanent(subscription.key, "not a spot symbol: write it like BTCUSDT"))
            .collect();
        if !impossible.is_empty() {
            return Err(Error::Rejected(impossible));
        }
        let mut symbols: Vec<String> =
            subscriptions.iter().map(|subscription| self.ids.add(subscription).to_owned()).collect();
        symbols.sort_unstable();
        symbols.dedup();
        Ok(vec![self.requests.subscribe(symbols)])
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused: Vec<String> =
            subscriptions.iter().filter_map(|subscription| self.ids.remove(subscription)).collect();
        Ok(if unused.is_empty() { Vec::new() } else { vec![self.requests.frame("unsubscribe", &unused)] })
    }

    fn heartbeat(&mut self, _: &Context) -> Vec<Frame> {
        vec![Frame::json(&json!({ "op": "ping" }))]
    }

    fn handle(&mut self, _: &Context, frame: &Frame, events: &mut Events) -> Result<(), Malformed> {
        let message: Message<'_> = object(frame.text()?)?;
        if let Some(topic) = &message.topic {
            return if topic.starts_with(CHANNEL) { self.ticker(&message, events) } else { Ok(()) };
        }
        match (message.op.as_deref(), message.success) {
            (Some("ping" | "pong"), _) => events.alive(),
            (Some("subscribe"), Some(true)) => {
                for symbol in self.answered(&message).unwrap_or_default() {
                    self.ids.keys(&symbol).iter().for_each(|&key| events.subscribed(key));
                }
            }
            (Some("subscribe"), Some(false)) => self.refused(&message, events),
            _ => {}
        }
        Ok(())
    }
}

impl Bybit {
    fn ticker(&self, message: &Message<'_>, events: &mut Events) -> Result<(), Malformed> {
        let data = message.data.ok_or(Malformed::new("a topic without data"))?;
        let Ticker { symbol, last } = object(data.get())?;
        // Never traded.
        let Some(last) = last.filter(|last| !last.text().is_empty()) else { return Ok(()) };
        let value = last.value()?;
        if value.is_zero() {
            return Ok(());
        }
        let time = message.ts.map(Timestamp::Millis);
        for &key in self.ids.keys(&symbol) {
            events.observed(Observation::new(key, value.clone()).at(time).sequence(message.cs));
        }
        Ok(())
    }

    /// The symbols of the request that a message answers.
    fn answered(&mut self, message: &Message<'_>) -> Option<Vec<String>> {
        self.requests.waiting.remove(&message.req_id.as_ref()?.parse().ok()?)
    }

    /// The venue refused a request as a whole. Its words name the first topic that it did not like: that one has its
    /// answer, and the others are asked for again. Where they name none, all wait for the host's smaller portions.
    fn refused(&mut self, message: &Message<'_>, events: &mut Events) {
        let words = message.ret_msg.as_deref().unwrap_or("no reason given");
        let Some(mut symbols) = self.answered(message) else {
            log(Level::Warn, &format!("the venue refused no known request: {words}"));
            return;
        };
        let unknown = words.contains("handler not found") || words.contains("nvalid symbol");
        let blamed = symbols.iter().position(|symbol| names(words, symbol));
        let (refused, permanent) = match blamed {
            Some(at) => (vec![symbols.swap_remove(at)], unknown),
            None => {
                let alone = symbols.len() == 1;
                (std::mem::take(&mut symbols), alone && unknown)
            }
        };
        for &key in refused.iter().flat_map(|symbol| self.ids.keys(symbol)) {
            if words.contains("already subscribed") {
                events.subscribed(key);
            } else {
                events.rejected(Rejection { key, reason: words.to_owned(), permanent });
            }
        }
        // What was given up in the meantime is not asked for again.
        symbols.retain(|symbol| !self.ids.keys(symbol).is_empty());
        symbols.sort_unstable();
        if !symbols.is_empty() {
            events.reply(self.requests.subscribe(symbols));
        }
    }
}

/// Whether words name a symbol: `error:handler not found,topic:tickers.NOPEUSDT`, `Invalid symbol :[tickers.NOPEUSDT]`,
/// `Invalid symbol :[NOPEUSDT]`.
fn names(words: &str, symbol: &str) -> bool {
    words.split(|part: char| !part.is_alphanumeric()).any(|word| word == symbol)
}
