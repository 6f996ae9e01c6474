//! WebSocket v2: the channel `ticker`.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response, Subscription,
    WebSocket, check_ids,
    json::{self, Number, Text, object, read},
    keys_of, log, rfc3339,
    websocket::{Reconnect, Step},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use super::Kraken;

pub(crate) const ORIGIN: &str = "wss://ws.kraken.com";

/// The venue asks for at least this wait after maintenance.
const MAINTENANCE_MS: u32 = 5_000;

/// What comes all the time, read in one pass: one ticker.
#[derive(Deserialize)]
struct Streamed<'a> {
    #[serde(borrow)]
    data: (Ticker<'a>,),
}

/// What a method's answer and a channel's message have between them.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    success: Option<bool>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    symbol: Option<Text<'a>>,
    req_id: Option<u64>,
}

#[derive(Deserialize)]
struct Subscribed<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow)]
    symbol: Text<'a>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Text<'a>,
    #[serde(borrow)]
    last: Option<Number<'a>>,
    #[serde(borrow)]
    timestamp: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    system: Text<'a>,
}

impl WebSocket for Kraken {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/v2")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let possible = |id: &str| id.split_once('/').is_some_and(|(base, quote)| !base.is_empty() && !quote.is_empty());
        check_ids(subscriptions, possible, "not a streamed pair: write it like BTC/USD")?;
        let symbols = self.streamed.add_all(subscriptions);
        let params = json!({ "channel": "ticker", "event_trigger": "trades", "snapshot": true, "symbol": symbols });
        let number = self.requests.wait(keys_of(subscriptions));
        Ok(vec![request(number, "subscribe", &params)])
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        self.requests.settle_all(subscriptions);
        let unused = self.streamed.remove_all(subscriptions);
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        let params = json!({ "channel": "ticker", "symbol": unused });
        Ok(vec![request(self.requests.number(), "unsubscribe", &params)])
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        if text.starts_with('[') {
            // A message of the old version, whose arrays mean other things.
            read::<IgnoredAny>(text)?;
            return Ok(());
        }
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"channel":"ticker","#)
            && let Ok(Streamed { data: (ticker,) }) = object(text)
        {
            return self.ticker(ticker, events);
        }
        let message: Message<'_> = object(text)?;
        let data = || {
            let data = message.data.map(RawValue::get);
            data.ok_or(Malformed::new("a channel's message without data"))
        };
        match (message.channel.as_deref(), message.method.as_deref()) {
            (Some("ticker"), _) => json::each_item(read(data()?)?, |ticker| self.ticker(ticker, events))?,
            (Some("heartbeat"), _) | (_, Some("pong")) => events.alive(),
            (Some("status"), _) => {
                for status in read::<Vec<&RawValue>>(data()?)? {
                    if object::<Status<'_>>(status.get())?.system == "maintenance" {
                        events.reconnect(Reconnect::After(MAINTENANCE_MS));
                    }
                }
            }
            (_, Some("subscribe")) => self.answered(&message, events)?,
            _ => {}
        }
        Ok(())
    }
}

impl Kraken {
    fn ticker(&self, Ticker { symbol, last, timestamp }: Ticker<'_>, events: &mut Events) -> Result<(), Malformed> {
        let Some(last) = last else { return Ok(()) };
        let value = last.value()?;
        if value.is_zero() {
            // Never traded.
            return Ok(());
        }
        let time = timestamp.map(|timestamp| rfc3339(&timestamp)).transpose()?;
        for &key in self.streamed.keys(&symbol) {
            events.observed(Observation::new(key, value.clone()).at(time));
        }
        Ok(())
    }

    /// Each symbol of a request has an answer of its own.
    fn answered(&mut self, message: &Message<'_>, events: &mut Events) -> Result<(), Malformed> {
        if message.success == Some(true) {
            let result = message.result.ok_or(Malformed::new("a success without a result"))?;
            let Subscribed { channel, symbol } = object(result.get())?;
            if channel == "ticker" {
                self.accepted(&symbol, events);
            }
            return Ok(());
        }
        let reason = message.error.as_deref().unwrap_or("no reason given");
        match (&message.symbol, message.req_id) {
            (Some(symbol), _) if reason.contains("Already subscribed") => self.accepted(symbol, events),
            (Some(symbol), _) => self.refused(self.streamed.keys(symbol).to_vec(), reason, events),
            // The whole request, but for those of it that have their answer.
            (None, Some(number)) => {
                let keys = self.requests.answered(Some(number));
                self.refused(keys, reason, events);
            }
            (None, None) => log(Level::Warn, &format!("an error of the venue that fits no subscription: {reason}")),
        }
        Ok(())
    }

    fn accepted(&mut self, symbol: &str, events: &mut Events) {
        for &key in self.streamed.keys(symbol) {
            self.requests.settle(key);
            events.subscribed(key);
        }
    }

    fn refused(&mut self, keys: Vec<Key>, reason: &str, events: &mut Events) {
        // Other reasons, such as too many messages, say nothing against the pair.
        let permanent = reason.contains("not supported");
        for key in keys {
            self.requests.settle(key);
            events.rejected(Rejection { key, reason: reason.to_owned(), permanent });
        }
    }
}

fn request(number: u64, method: &str, params: &Value) -> Frame {
    Frame::json(&json!({ "method": method, "params": params, "req_id": number }))
}
