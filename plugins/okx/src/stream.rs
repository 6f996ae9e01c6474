//! The channel `tickers`: one subscription and one answer for each instrument.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, WebSocket, check_ids,
    json::{self, Number, Text, object, read},
    keys_of, log,
    websocket::{Reconnect, Step},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use crate::Okx;

pub(crate) const ORIGIN: &str = "wss://ws.okx.com:8443";
/// The same for clients in the cloud of another company, and for everybody else.
pub(crate) const MIRROR: &str = "wss://wsaws.okx.com:8443";

const CHANNEL: &str = "tickers";

/// The code of an instrument or a channel that does not exist.
const UNKNOWN: &str = "60018";

/// The code of the notice that the connection will be closed for an upgrade, and how long the host has: the page's
/// languages say 30 and 60 seconds.
const UPGRADE: &str = "64008";
const UPGRADE_MS: u32 = 20_000;

/// What comes all the time, read in one pass: a push of one ticker, and no answer.
#[derive(Deserialize)]
struct Streamed<'a> {
    event: Option<IgnoredAny>,
    #[serde(borrow)]
    data: (Ticker<'a>,),
}

/// What answers, notices and pushes have between them.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(borrow)]
    arg: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// The number of the request, as we wrote it.
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    msg: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Arg<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow, rename = "instId")]
    instrument: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow, rename = "instId")]
    instrument: Text<'a>,
    #[serde(borrow)]
    last: Option<Number<'a>>,
    /// Milliseconds, as a string.
    #[serde(borrow)]
    ts: Text<'a>,
}

impl WebSocket for Okx {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/ws/v5/public")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        // One that has odd characters could cost its whole message.
        let possible = |id: &str| {
            id.contains('-') && id.len() <= 60 && id.chars().all(|part| part.is_alphanumeric() || "-_".contains(part))
        };
        check_ids(subscriptions, possible, "not an instrument: write it like BTC-USDT")?;
        let instruments = self.ids.add_all(subscriptions);
        let number = self.requests.wait(keys_of(subscriptions));
        Ok(vec![request(number, "subscribe", &instruments)])
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        self.requests.settle_all(subscriptions);
        let unused = self.ids.remove_all(subscriptions);
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![request(self.requests.number(), "unsubscribe", &unused)])
    }

    fn heartbeat(&mut self, _: &Context) -> Vec<Frame> {
        vec![Frame::Text("ping".to_owned())]
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        if text == "pong" {
            events.alive();
            return Ok(());
        }
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"arg":{"channel":"tickers","#)
            && let Ok(Streamed { event: None, data: (ticker,) }) = object(text)
        {
            return self.ticker(ticker, events);
        }
        let message: Message<'_> = object(text)?;
        match message.event.as_deref() {
            None => self.push(&message, events),
            Some("subscribe") => {
                let arg: Arg<'_> = object(message.arg.ok_or(Malformed::new("an answer without `arg`"))?.get())?;
                if let (CHANNEL, Some(instrument)) = (&*arg.channel, &arg.instrument) {
                    for &key in self.ids.keys(instrument) {
                        self.requests.settle(key);
                        events.subscribed(key);
                    }
                }
                Ok(())
            }
            Some("error") => {
                self.error(&message, events);
                Ok(())
            }
            Some("notice") => {
                if message.code.as_deref() == Some(UPGRADE) {
                    events.reconnect(Reconnect::OverlapWithin(UPGRADE_MS));
                }
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

impl Okx {
    fn push(&self, message: &Message<'_>, events: &mut Events) -> Result<(), Malformed> {
        let Some(arg) = message.arg else { return Ok(()) };
        if object::<Arg<'_>>(arg.get())?.channel != CHANNEL {
            return Ok(());
        }
        let tickers = message.data.ok_or(Malformed::new("a push without `data`"))?;
        json::each_item(read(tickers.get())?, |ticker| self.ticker(ticker, events))
    }

    fn ticker(&self, Ticker { instrument, last, ts }: Ticker<'_>, events: &mut Events) -> Result<(), Malformed> {
        // Never traded.
        let Some(value) = json::price(last.as_ref())? else { return Ok(()) };
        let time = ts.parse().map_err(|_| Malformed::new("`ts` is no number of milliseconds"))?;
        for &key in self.ids.keys(&instrument) {
            events.observed(Observation::new(key, value.clone()).at(Timestamp::Millis(time)));
        }
        Ok(())
    }

    /// The words name the instrument where one is to blame. Otherwise the whole request was refused, and its number
    /// says which; instruments of it that were answered already keep their answers.
    fn error(&mut self, message: &Message<'_>, events: &mut Events) {
        let code = message.code.as_deref().unwrap_or("none");
        let words = message.msg.as_deref().unwrap_or("no reason given");
        let reason = format!("{words} (code {code})");
        let (refused, permanent) = match named(words) {
            Some(instrument) => (self.ids.keys(instrument).to_vec(), code == UNKNOWN),
            None => {
                let number = message.id.as_ref().and_then(|id| id.parse().ok());
                let keys = self.requests.answered(number);
                let alone = keys.len() == 1;
                (keys, alone && code == UNKNOWN)
            }
        };
        if refused.is_empty() {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {reason}"));
        }
        for key in refused {
            self.requests.settle(key);
            events.rejected(Rejection { key, reason: reason.clone(), permanent });
        }
    }
}

fn request(number: u64, operation: &str, instruments: &[String]) -> Frame {
    let args: Vec<Value> =
        instruments.iter().map(|instrument| json!({ "channel": CHANNEL, "instId": instrument })).collect();
    Frame::json(&json!({ "id": number.to_string(), "op": operation, "args": args }))
}

/// The instrument in `… channel:tickers,instId:NOPE-USDT doesn't exist …`. Words that repeat a request as JSON have the
/// name in quotes, and blame no instrument.
fn named(words: &str) -> Option<&str> {
    let (before, rest) = words.split_once("instId:")?;
    let instrument = rest.split(|part: char| part.is_whitespace() || part == ',').next()?;
    (before.contains("channel:tickers") && !instrument.is_empty()).then_some(instrument)
}
