//! The channels `market.SYMBOL.ticker`: one request, one answer and one channel for each id.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, WebSocket, check_ids,
    json::{Number, Text, object, read},
    log,
    websocket::Step,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};

use crate::Htx;

pub(crate) const ORIGIN: &str = "wss://api.huobi.pro";

/// The same, for those whose machines are at Amazon.
pub(crate) const MIRROR: &str = "wss://api-aws.huobi.pro";

/// What comes all the time, read in one pass: a ticker, and no ping.
#[derive(Deserialize)]
struct Streamed<'a> {
    ping: Option<IgnoredAny>,
    ch: &'a str,
    ts: Option<i64>,
    #[serde(borrow)]
    tick: Tick<'a>,
}

/// A ping, an answer or a channel's message: each has some of these.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    ping: Option<&'a RawValue>,
    #[serde(borrow)]
    ch: Option<Text<'a>>,
    ts: Option<i64>,
    #[serde(borrow)]
    tick: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    subbed: Option<Text<'a>>,
    #[serde(borrow, rename = "err-code")]
    code: Option<Text<'a>>,
    #[serde(borrow, rename = "err-msg")]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Tick<'a> {
    /// Not `close`, which the venue words as the day's.
    #[serde(borrow, rename = "lastPrice")]
    last: Option<Number<'a>>,
}

impl WebSocket for Htx {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/ws")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let possible = |id: &str| !id.is_empty() && id.chars().all(char::is_alphanumeric);
        check_ids(subscriptions, possible, "not a symbol: write it like btcusdt")?;
        let symbols = self.ids.add_all(subscriptions);
        Ok(symbols.iter().map(|symbol| request("sub", symbol)).collect())
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused = self.ids.remove_all(subscriptions);
        Ok(unused.iter().map(|symbol| request("unsub", symbol)).collect())
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"ch":"market."#)
            && let Ok(Streamed { ping: None, ch, ts, tick }) = object(text)
            && let Some(symbol) = symbol_of(ch)
        {
            return self.tick(symbol, &tick, ts, events);
        }
        let message: Message<'_> = object(text)?;
        if let Some(ping) = message.ping {
            // Whatever its size, the number goes back as it came.
            if !ping.get().bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Malformed::new("a ping without a number"));
            }
            events.reply(Frame::Text(format!("{{\"pong\":{ping}}}")));
            events.alive();
        } else if let Some(symbol) = message.ch.as_deref().and_then(symbol_of) {
            let tick = message.tick.ok_or(Malformed::new("a ticker without a tick"))?;
            self.tick(symbol, &object(tick.get())?, message.ts, events)?;
        } else if let Some(symbol) = message.subbed.as_deref().and_then(symbol_of) {
            self.ids.keys(symbol).iter().for_each(|&key| events.subscribed(key));
        } else if message.status.as_deref() == Some("error") {
            self.refused(&message, events);
        }
        Ok(())
    }
}

impl Htx {
    fn tick(&self, symbol: &str, tick: &Tick<'_>, ts: Option<i64>, events: &mut Events) -> Result<(), Malformed> {
        let Some(last) = &tick.last else { return Ok(()) };
        let value = last.value()?;
        if value.is_zero() {
            // Never traded.
            return Ok(());
        }
        for &key in self.ids.keys(symbol) {
            events.observed(Observation::new(key, value.clone()).at(ts.map(Timestamp::Millis)));
        }
        Ok(())
    }

    /// A request's number is its symbol, so an error names the symbol even where its words do not.
    fn refused(&self, message: &Message<'_>, events: &mut Events) {
        let code = message.code.as_deref().unwrap_or("no code");
        let words = message.text.as_deref().unwrap_or("no reason given");
        let reason = format!("{words} ({code})");
        let asked = message.id.and_then(|id| read::<Text<'_>>(id.get()).ok());
        let named = || words.split_ascii_whitespace().find_map(symbol_of);
        let keys = asked.as_deref().or_else(named).map_or(&[][..], |symbol| self.ids.keys(symbol));
        if keys.is_empty() {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {reason}"));
        }
        // Other reasons, such as too many requests, say nothing against the symbol.
        let permanent = words.contains("invalid topic") || words.contains("invalid symbol");
        for &key in keys {
            events.rejected(Rejection { key, reason: reason.clone(), permanent });
        }
    }
}

fn request(verb: &str, symbol: &str) -> Frame {
    Frame::json(&json!({ "id": symbol, verb: topic(symbol) }))
}

fn topic(symbol: &str) -> String {
    format!("market.{symbol}.ticker")
}

/// The symbol of a ticker's topic; none of other topics.
fn symbol_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("market.")?.strip_suffix(".ticker")
}
