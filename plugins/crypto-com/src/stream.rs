//! The channels `ticker.INSTRUMENT`, and heartbeats that want an answer.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, WebSocket, check_ids,
    json::{self, Item, Number, Text, object},
    keys_of, log,
    websocket::Step,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::CryptoCom;

pub(crate) const ORIGIN: &str = "wss://stream.crypto.com";

const CHANNEL: &str = "ticker.";

/// What comes all the time, read in one pass: an answer of one ticker.
#[derive(Deserialize)]
struct Streamed<'a> {
    #[serde(borrow)]
    result: Data<'a, (Ticker<'a>,)>,
}

/// What the venue says to requests; data come as answers, too.
#[derive(Deserialize)]
struct Message<'a> {
    /// Data that answer no request have -1, or nothing.
    id: Option<i64>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    code: Option<i64>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    /// Of an answer without data.
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Data<'a, T> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow, rename = "instrument_name")]
    instrument: Option<Text<'a>>,
    data: T,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow, rename = "i")]
    instrument: Option<Text<'a>>,
    /// Null where there was no trade yet.
    #[serde(borrow, rename = "a")]
    last: Option<Number<'a>>,
    #[serde(rename = "t")]
    time: Option<i64>,
}

impl WebSocket for CryptoCom {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/exchange/v1/market")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        // One that has odd characters could cost its whole message.
        let possible = |id: &str| {
            id.len() <= 60
                && id.contains(['_', '-'])
                && id.chars().all(|part| part.is_alphanumeric() || "-_".contains(part))
        };
        check_ids(subscriptions, possible, "not an instrument: write it like BTC_USD")?;
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

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"id":-1,"method":"subscribe","code":0,"#)
            && let Ok(Streamed { result: Data { channel, instrument, data: (ticker,) } }) = object(text)
        {
            return self.data(Data { channel, instrument, data: [Item(Ok(ticker))] }, events);
        }
        let message: Message<'_> = object(text)?;
        match message.method.as_deref() {
            Some("public/heartbeat") => {
                let id = message.id.ok_or(Malformed::new("a heartbeat without an id"))?;
                events.alive();
                events.reply(Frame::json(&json!({ "id": id, "method": "public/respond-heartbeat" })));
            }
            Some("subscribe") if message.code.is_some_and(|code| code != 0) => self.refused(&message, events),
            Some("subscribe") => match (message.result, &message.channel) {
                (Some(result), _) => self.data(object::<Data<'_, Vec<_>>>(result.get())?, events)?,
                (None, Some(channel)) => {
                    if let Some(instrument) = channel.strip_prefix(CHANNEL) {
                        self.accepted(instrument, events);
                    }
                }
                // An answer to a whole request, as the venue gave it to all channels once.
                (None, None) => {
                    self.answered(&message).into_iter().for_each(|key| events.subscribed(key));
                }
            },
            _ => {}
        }
        Ok(())
    }
}

impl CryptoCom {
    /// The keys of the request that a message answers, but for those that have their answer.
    fn answered(&mut self, message: &Message<'_>) -> Vec<Key> {
        let number = message.id.and_then(|id| u64::try_from(id).ok());
        self.requests.answered(number)
    }

    fn accepted(&mut self, instrument: &str, events: &mut Events) {
        for &key in self.ids.keys(instrument) {
            if self.requests.settle(key) {
                events.subscribed(key);
            }
        }
    }

    /// The first data of a channel are the answer to its subscription.
    fn data<'a>(
        &mut self,
        result: Data<'a, impl IntoIterator<Item = Item<Ticker<'a>>>>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        if result.channel != "ticker" {
            return Ok(());
        }
        if let Some(instrument) = &result.instrument {
            self.accepted(instrument, events);
        }
        // One that cannot be read does not cost the others.
        let mut first_fault = Ok(());
        for Item(ticker) in result.data {
            let read = ticker.and_then(|ticker| self.ticker(ticker, result.instrument.as_deref(), events));
            first_fault = first_fault.and(read);
        }
        first_fault
    }

    fn ticker(
        &self,
        Ticker { instrument, last, time }: Ticker<'_>,
        of: Option<&str>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        let instrument = instrument.as_deref().or(of).ok_or(Malformed::new("a ticker of no instrument"))?;
        let Some(value) = json::price(last.as_ref())? else { return Ok(()) };
        for &key in self.ids.keys(instrument) {
            events.observed(Observation::new(key, value.clone()).at(time.map(Timestamp::Millis)));
        }
        Ok(())
    }

    /// A refusal names its channel. One that names none is of the whole request: only what waits for its answer is
    /// refused, until the host asks in smaller portions.
    fn refused(&mut self, message: &Message<'_>, events: &mut Events) {
        let code = message.code.unwrap_or_default();
        let reason = format!("{} (code {code})", message.message.as_deref().unwrap_or("no reason given"));
        // Invalid request, missing argument. Others, such as too many requests or channels, may pass.
        let unknown = matches!(code, 40003 | 40004);
        let named = message.channel.as_deref().and_then(|channel| channel.strip_prefix(CHANNEL));
        let (refused, alone) = match named {
            Some(instrument) => (self.ids.keys(instrument).to_vec(), true),
            None => {
                let keys = self.answered(message);
                let alone = keys.len() == 1;
                (keys, alone)
            }
        };
        let permanent = unknown && alone;
        if refused.is_empty() {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {reason}"));
        }
        for key in refused {
            self.requests.settle(key);
            events.rejected(Rejection { key, reason: reason.clone(), permanent });
        }
    }
}

fn request(number: u64, method: &str, instruments: &[String]) -> Frame {
    let channels: Vec<String> = instruments.iter().map(|instrument| format!("{CHANNEL}{instrument}")).collect();
    Frame::json(&json!({ "id": number, "method": method, "params": { "channels": channels } }))
}
