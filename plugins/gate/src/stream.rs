//! The channel `spot.tickers` of WebSocket version 4.

use feedgate_sdk::{
    Blame, Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response,
    Subscription, Timestamp, WebSocket, check_ids,
    json::{self, Number, Text, object},
    keys_of, log,
    websocket::{Reconnect, Step},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};

use crate::Gate;

pub(crate) const ORIGIN: &str = "wss://api.gateio.ws";

const CHANNEL: &str = "spot.tickers";

/// The venue says "soon" of the end of a connection, and no more.
const UPGRADE_MS: u32 = 5_000;

/// The code of errors that blame the arguments of a request.
const INVALID_ARGUMENT: i64 = 2;

/// What comes all the time, read in one pass: an update, and neither an error nor a notice.
#[derive(Deserialize)]
struct Streamed<'a> {
    time: Option<i64>,
    time_ms: Option<i64>,
    channel: &'a str,
    event: &'a str,
    #[serde(borrow)]
    result: Ticker<'a>,
    error: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
}

/// An answer, an update or a notice: each has some of these.
#[derive(Deserialize)]
struct Message<'a> {
    time: Option<i64>,
    time_ms: Option<i64>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    /// Of notices.
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Fault<'a> {
    code: i64,
    #[serde(borrow)]
    message: Text<'a>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    currency_pair: Text<'a>,
    #[serde(borrow)]
    last: Option<Number<'a>>,
}

impl WebSocket for Gate {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/ws/v4/")))
    }

    fn subscribe(&mut self, context: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let possible = |id: &str| {
            id.contains('_') && id.chars().all(|character| character.is_alphanumeric() || "_-.".contains(character))
        };
        check_ids(subscriptions, possible, "not a currency pair: write it like BTC_USDT")?;
        self.ids.add_all(subscriptions);
        Ok(vec![self.ask(context, keys_of(subscriptions))])
    }

    fn unsubscribe(&mut self, context: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused = self.ids.remove_all(subscriptions);
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![request(context, self.requests.number(), "unsubscribe", &unused)])
    }

    fn heartbeat(&mut self, context: &Context) -> Vec<Frame> {
        vec![Frame::json(&json!({ "channel": "spot.ping", "time": context.now_ms / 1_000 }))]
    }

    fn handle(&mut self, context: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"time":"#)
            && let Ok(Streamed { time, time_ms, channel: CHANNEL, event: "update", result, error: None, kind: None }) =
                object(text)
        {
            return self.ticker(&result, instant(time_ms, time), events);
        }
        let message: Message<'_> = object(text)?;
        if message.kind.as_deref() == Some("upgrade") {
            events.reconnect(Reconnect::OverlapWithin(UPGRADE_MS));
            return Ok(());
        }
        let id = message.id.and_then(|id| id.get().parse().ok());
        match (message.channel.as_deref(), message.event.as_deref()) {
            _ if message.error.is_some() => self.refused(context, id, message.error, events)?,
            (Some(CHANNEL), Some("update")) => {
                let ticker = message.result.ok_or(Malformed::new("an update without a result"))?;
                self.ticker(&object(ticker.get())?, instant(message.time_ms, message.time), events)?;
            }
            (Some(CHANNEL), Some("subscribe")) => {
                for key in self.requests.answered(id) {
                    events.subscribed(key);
                }
            }
            (Some("spot.pong"), _) => events.alive(),
            _ => {}
        }
        Ok(())
    }
}

impl Gate {
    fn ask(&mut self, context: &Context, keys: Vec<Key>) -> Frame {
        let pairs = self.ids.symbols(&keys);
        request(context, self.requests.wait(keys), "subscribe", &pairs)
    }

    fn ticker(&self, ticker: &Ticker<'_>, time: Option<Timestamp>, events: &mut Events) -> Result<(), Malformed> {
        // Never traded.
        let Some(value) = json::price(ticker.last.as_ref())? else { return Ok(()) };
        for &key in self.ids.keys(&ticker.currency_pair) {
            events.observed(Observation::new(key, value.clone()).at(time));
        }
        Ok(())
    }

    /// The venue refused a request as a whole. The pairs that it names are rejected, and the others of the request
    /// asked for again.
    fn refused(
        &mut self,
        context: &Context,
        id: Option<u64>,
        fault: Option<&RawValue>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        let Fault { code, message } = object(fault.map_or("", RawValue::get))?;
        let keys = self.requests.answered(id);
        if keys.is_empty() {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {message} (code {code})"));
            return Ok(());
        }
        let Blame { refused, again, certain } = Blame::of(&self.ids, &message, keys);
        let permanent = code == INVALID_ARGUMENT && certain;
        for key in refused {
            events.rejected(Rejection { key, reason: format!("{message} (code {code})"), permanent });
        }
        if !again.is_empty() {
            events.reply(self.ask(context, again));
        }
        Ok(())
    }
}

/// Seconds are all that the oldest form has.
fn instant(millis: Option<i64>, seconds: Option<i64>) -> Option<Timestamp> {
    millis.map(Timestamp::Millis).or(seconds.map(Timestamp::Seconds))
}

fn request(context: &Context, id: u64, event: &str, pairs: &[String]) -> Frame {
    let time = context.now_ms / 1_000;
    Frame::json(&json!({ "channel": CHANNEL, "event": event, "id": id, "payload": pairs, "time": time }))
}
