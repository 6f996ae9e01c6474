//! The channels `live_trades_MARKET`: each trade, and nothing before the first one.

use std::collections::BTreeSet;

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, WebSocket,
    json::{Number, Text, object},
    log,
    websocket::{Reconnect, Step},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{Bitstamp, check};

pub(crate) const ORIGIN: &str = "wss://ws.bitstamp.net";

const CHANNEL: &str = "live_trades_";

/// "A few seconds" is what the venue gives to whom it asks to reconnect.
const RECONNECT_MS: u32 = 4_000;

/// The messages that were sent and have no answer.
///
/// A refusal names no channel, but each message has one answer: as soon as there are as many refusals as markets
/// without an answer, the refusals are theirs.
#[derive(Default)]
pub(crate) struct Answers {
    waiting: BTreeSet<String>,
    refusals: usize,
    /// Of the last refusal.
    words: String,
}

impl Answers {
    fn accepted(&mut self, market: &str) {
        self.waiting.remove(market);
        if self.waiting.is_empty() {
            self.refusals = 0;
        }
    }

    /// The markets that are refused for certain.
    fn refused(&mut self) -> BTreeSet<String> {
        if self.refusals == 0 || self.refusals < self.waiting.len() {
            return BTreeSet::new();
        }
        self.refusals = 0;
        std::mem::take(&mut self.waiting)
    }
}

/// What comes all the time, read in one pass.
#[derive(Deserialize)]
struct Streamed<'a> {
    event: &'a str,
    channel: &'a str,
    #[serde(borrow)]
    data: Trade<'a>,
}

/// Whatever else comes.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    /// `price` beside it is a number that has gone through a float.
    #[serde(borrow, rename = "price_str")]
    price: Number<'a>,
    /// In a string. `timestamp` beside it is in seconds, and for derivatives in milliseconds.
    #[serde(borrow)]
    microtimestamp: Text<'a>,
}

#[derive(Deserialize)]
struct Fault<'a> {
    code: Option<i64>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

impl WebSocket for Bitstamp {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(ORIGIN))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        check(subscriptions)?;
        let markets = self.ids.add_all(subscriptions);
        let frames = markets.iter().map(|market| request("bts:subscribe", market)).collect();
        self.answers.waiting.extend(markets);
        Ok(frames)
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused = self.ids.remove_all(subscriptions);
        unused.iter().for_each(|market| self.answers.accepted(market));
        Ok(unused.iter().map(|market| request("bts:unsubscribe", market)).collect())
    }

    fn heartbeat(&mut self, _: &Context) -> Vec<Frame> {
        vec![Frame::json(&json!({ "event": "bts:heartbeat" }))]
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"data":{"id":"#)
            && let Ok(Streamed { event: "trade", channel, data }) = object(text)
            && let Some(market) = channel.strip_prefix(CHANNEL)
        {
            return self.trade(market, &data, events);
        }
        let message: Message<'_> = object(text)?;
        let market = message.channel.as_ref().and_then(|channel| channel.strip_prefix(CHANNEL));
        match (&*message.event, market) {
            ("trade", Some(market)) => {
                let data = message.data.ok_or(Malformed::new("a trade without data"))?;
                self.trade(market, &object(data.get())?, events)?;
            }
            ("bts:subscription_succeeded", Some(market)) => {
                self.answers.accepted(market);
                self.ids.keys(market).iter().for_each(|&key| events.subscribed(key));
                // That may leave only those that were refused.
                self.reject(false, events);
            }
            ("bts:error", _) => self.error(&message, events)?,
            ("bts:heartbeat", _) => events.alive(),
            ("bts:request_reconnect", _) => events.reconnect(Reconnect::OverlapWithin(RECONNECT_MS)),
            _ => {}
        }
        Ok(())
    }
}

impl Bitstamp {
    fn trade(
        &self,
        market: &str,
        Trade { price, microtimestamp }: &Trade<'_>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        let value = price.value()?;
        if value.is_zero() {
            return Ok(());
        }
        let time = microtimestamp.parse().map_err(|_| Malformed::new("no number of microseconds"))?;
        for &key in self.ids.keys(market) {
            events.observed(Observation::new(key, value.clone()).at(Timestamp::Micros(time)));
        }
        Ok(())
    }

    fn error(&mut self, message: &Message<'_>, events: &mut Events) -> Result<(), Malformed> {
        let data = message.data.ok_or(Malformed::new("an error without data"))?;
        let Fault { code, message } = object(data.get())?;
        let words = message.as_deref().unwrap_or("no reason given");
        let reason = code.map_or(words.to_owned(), |code| format!("{words} (code {code})"));
        if self.answers.waiting.is_empty() {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {reason}"));
            return Ok(());
        }
        self.answers.refusals += 1;
        self.answers.words = reason;
        // Only one that is alone can be meant beyond doubt.
        let permanent = words.contains("Invalid channel") && self.answers.waiting.len() == 1;
        self.reject(permanent, events);
        Ok(())
    }

    fn reject(&mut self, permanent: bool, events: &mut Events) {
        for market in self.answers.refused() {
            for &key in self.ids.keys(&market) {
                events.rejected(Rejection { key, reason: self.answers.words.clone(), permanent });
            }
        }
    }
}

fn request(event: &str, market: &str) -> Frame {
    Frame::json(&json!({ "event": event, "data": { "channel": format!("{CHANNEL}{market}") } }))
}
