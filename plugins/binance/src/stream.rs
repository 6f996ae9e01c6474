//! Streaming: combined streams, and the requests on the same connection that start and end them.

use std::collections::BTreeMap;

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, Value, WebSocket,
    json::{Number, Text, object, present, read},
    log, mid,
    websocket::{Reconnect, Step},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};

use super::{Binance, Price, check};

pub(crate) const ORIGIN: &str = "wss://stream.binance.com:9443";
/// The same at another port; market data only.
pub(crate) const MIRRORS: [&str; 2] = ["wss://stream.binance.com", "wss://data-stream.binance.vision"];

/// The venue announces its restarts ten minutes ahead. Five leave time for a second attempt.
const SHUTDOWN_MS: u32 = 300_000;

/// The requests that wait for their answer.
#[derive(Default)]
pub(crate) struct Requests {
    last: u64,
    waiting: BTreeMap<u64, Vec<Wanted>>,
}

/// An id that a request asks for.
struct Wanted {
    key: Key,
    stream: String,
}

impl Requests {
    fn frame(&mut self, method: &str, mut streams: Vec<&str>) -> (u64, Frame) {
        self.last += 1;
        // Two ids may be one stream.
        streams.sort_unstable();
        streams.dedup();
        (self.last, Frame::json(&json!({ "id": self.last, "method": method, "params": streams })))
    }

    fn subscribe(&mut self, wanted: Vec<Wanted>) -> Frame {
        let (id, frame) = self.frame("SUBSCRIBE", wanted.iter().map(|wanted| wanted.stream.as_str()).collect());
        self.waiting.insert(id, wanted);
        frame
    }
}

/// What comes all the time, read in one pass.
#[derive(Deserialize)]
struct Streamed<'a, T> {
    #[serde(borrow)]
    stream: Text<'a>,
    data: T,
}

/// Whatever else comes: an event in its envelope, or the answer to a request, or neither.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    stream: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    // Success is `null`, so that absence must be told from it.
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    code: Option<i64>,
}

#[derive(Deserialize)]
struct Fault<'a> {
    code: i64,
    #[serde(borrow)]
    msg: Text<'a>,
}

/// What tells one event from another.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    e: Option<Text<'a>>,
    /// Only a book ticker, which names no kind, has it beside a symbol.
    #[serde(rename = "A")]
    best_ask_quantity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MiniTicker<'a> {
    #[serde(rename = "E")]
    event_time: i64,
    #[serde(borrow, rename = "s")]
    symbol: Text<'a>,
    #[serde(borrow, rename = "c")]
    last: Number<'a>,
}

#[derive(Deserialize)]
struct BookTicker<'a> {
    #[serde(rename = "u")]
    update: u64,
    #[serde(borrow, rename = "s")]
    symbol: Text<'a>,
    #[serde(borrow, rename = "b")]
    bid: Number<'a>,
    #[serde(borrow, rename = "a")]
    ask: Number<'a>,
}

impl WebSocket for Binance {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/stream")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        check(subscriptions)?;
        let channel = self.channel();
        let wanted = subscriptions.iter().map(|subscription| {
            let symbol = self.ids.add(subscription);
            Wanted { key: subscription.key, stream: stream(symbol, channel) }
        });
        Ok(vec![self.requests.subscribe(wanted.collect())])
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let channel = self.channel();
        let unused: Vec<String> = subscriptions
            .iter()
            .filter_map(|subscription| self.ids.remove(subscription))
            .map(|symbol| stream(&symbol, channel))
            .collect();
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        let (_, frame) = self.requests.frame("UNSUBSCRIBE", unused.iter().map(String::as_str).collect());
        Ok(vec![frame])
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        if text.starts_with('[') {
            return self.event(text, events);
        }
        // What is not read so is read again below, and told of there.
        match self.price {
            Price::Last => {
                if let Some(ticker) = streamed(text, "@miniTicker") {
                    return self.last(&ticker, events);
                }
            }
            Price::Mid => {
                if let Some(ticker) = streamed(text, "@bookTicker") {
                    return self.mid(&ticker, events);
                }
            }
        }
        let message: Message<'_> = object(text)?;
        if let Some(stream) = message.stream {
            let data = message.data.ok_or(Malformed::new("a stream without data"))?.get();
            return match stream.split_once('@') {
                Some((_, channel)) if channel == self.channel() => self.price(data, events),
                _ => self.event(data, events),
            };
        }
        let id = message.id.and_then(|id| id.get().parse().ok());
        if let Some(fault) = message.error {
            self.refused(id, &object(fault.get())?, events);
        } else if message.code.is_some() {
            self.refused(id, &object(text)?, events);
        } else if let Some(result) = message.result {
            if result.get() == "null" {
                self.accepted(id, events);
            }
        } else {
            self.event(text, events)?;
        }
        Ok(())
    }
}

impl Binance {
    fn channel(&self) -> &'static str {
        match self.price {
            Price::Last => "miniTicker",
            Price::Mid => "bookTicker",
        }
    }

    /// An event that does not come in the envelope of a symbol's stream.
    fn event(&self, data: &str, events: &mut Events) -> Result<(), Malformed> {
        if data.starts_with('[') {
            // All markets at once: never asked for.
            read::<IgnoredAny>(data)?;
            return Ok(());
        }
        let kind: Kind<'_> = object(data)?;
        match (kind.e.as_deref(), self.price) {
            (Some("serverShutdown"), _) => events.reconnect(Reconnect::OverlapWithin(SHUTDOWN_MS)),
            (Some("24hrMiniTicker"), Price::Last) => self.price(data, events)?,
            (None, Price::Mid) if kind.best_ask_quantity.is_some() => self.price(data, events)?,
            _ => {}
        }
        Ok(())
    }

    /// A payload of the channel that was asked for.
    fn price(&self, data: &str, events: &mut Events) -> Result<(), Malformed> {
        match self.price {
            Price::Last => self.last(&object(data)?, events),
            Price::Mid => self.mid(&object(data)?, events),
        }
    }

    fn last(&self, ticker: &MiniTicker<'_>, events: &mut Events) -> Result<(), Malformed> {
        self.observed(&ticker.symbol, &ticker.last.value()?, Some(Timestamp::Millis(ticker.event_time)), None, events);
        Ok(())
    }

    fn mid(&self, ticker: &BookTicker<'_>, events: &mut Events) -> Result<(), Malformed> {
        let (bid, ask) = (ticker.bid.value()?, ticker.ask.value()?);
        if bid.is_zero() || ask.is_zero() {
            // One side of the book is empty: there is no middle.
            return Ok(());
        }
        let mid = mid(&bid, &ask)?;
        self.observed(&ticker.symbol, &mid, None, Some(ticker.update), events);
        Ok(())
    }

    fn observed(
        &self,
        symbol: &str,
        value: &Value,
        time: Option<Timestamp>,
        sequence: Option<u64>,
        events: &mut Events,
    ) {
        if value.is_zero() {
            // Never traded.
            return;
        }
        for &key in self.ids.keys(symbol) {
            events.observed(Observation::new(key, value.clone()).at(time).sequence(sequence));
        }
    }

    fn accepted(&mut self, id: Option<u64>, events: &mut Events) {
        for wanted in id.and_then(|id| self.requests.waiting.remove(&id)).unwrap_or_default() {
            events.subscribed(wanted.key);
        }
    }

    /// The venue refused a request as a whole. Where it names several streams they are asked for again in halves, so
    /// that a bad one does not cost the others.
    fn refused(&mut self, id: Option<u64>, fault: &Fault<'_>, events: &mut Events) {
        let Some(mut wanted) = id.and_then(|id| self.requests.waiting.remove(&id)) else {
            log(Level::Warn, &format!("error {} for no known request: {}", fault.code, fault.msg));
            return;
        };
        // Codes 0 to 3 blame the request; anything else blames neither it nor its streams.
        let blamed = (0..=3).contains(&fault.code);
        if blamed && wanted.len() > 1 {
            let second = wanted.split_off(wanted.len() / 2);
            events.reply(self.requests.subscribe(wanted));
            events.reply(self.requests.subscribe(second));
            return;
        }
        let reason = format!("{} (code {})", fault.msg, fault.code);
        for Wanted { key, .. } in wanted {
            events.rejected(Rejection { key, reason: reason.clone(), permanent: blamed });
        }
    }
}

/// A payload of the channel that was asked for, in the envelope of its stream.
#[inline]
fn streamed<'a, T: Deserialize<'a>>(text: &'a str, channel: &str) -> Option<T> {
    if !text.starts_with(r#"{"stream""#) {
        return None;
    }
    let Streamed { stream, data } = object(text).ok()?;
    stream.ends_with(channel).then_some(data)
}

fn stream(symbol: &str, channel: &str) -> String {
    format!("{}@{channel}", symbol.to_lowercase())
}
