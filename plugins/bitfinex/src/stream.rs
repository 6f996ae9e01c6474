//! The channel `ticker`: one subscription, one channel number and one acknowledgement for each id.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, Value, WebSocket, check_ids,
    json::{Number, Object, Text, object, read},
    log,
    websocket::{Reconnect, Step},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};

use super::Bitfinex;

pub(crate) const ORIGIN: &str = "wss://api-pub.bitfinex.com";

/// Flags of `conf`.
const TIMESTAMP: u64 = 32_768;
const SEQUENCE: u64 = 65_536;

/// Where a trading ticker has its last price, and how many fields it has at least. (A funding ticker has others.)
const LAST_PRICE: usize = 6;
const FIELDS: usize = 10;

/// What comes all the time, read in one pass: the channel's number, a ticker of so many fields and its last price among
/// them, and the sequence number.
type Streamed<'a> =
    (u64, (Passed, Passed, Passed, Passed, Passed, Passed, Option<Number<'a>>, Passed, Passed, Passed), u64);
type Passed = IgnoredAny;

/// The venue says that maintenance takes two minutes at most.
const MAINTENANCE_MS: u32 = 120_000;

/// A payload by itself: nothing happened on the channel.
const HEARTBEAT: &str = r#""hb""#;

/// A channel of an unknown number is of no use to us; the others are, until a new connection serves.
const LOST_CHANNEL_MS: u32 = 60_000;

/// What follows the payload of each message.
#[derive(Default)]
pub(crate) struct Extras {
    sequence: bool,
    timestamp: bool,
}

impl Extras {
    /// Reads them: the sequence number first, then the time in milliseconds.
    fn read(&self, extras: &[&RawValue]) -> Result<(Option<u64>, Option<Timestamp>), Malformed> {
        let mut extras = extras.iter().map(|extra| extra.get());
        let sequence = if self.sequence {
            let sequence = extras.next().and_then(|text| text.parse().ok());
            Some(sequence.ok_or(Malformed::new("no sequence number behind the payload"))?)
        } else {
            None
        };
        let time = if self.timestamp {
            let time = extras.next().and_then(|text| text.parse().ok());
            Some(Timestamp::Millis(time.ok_or(Malformed::new("no time behind the payload"))?))
        } else {
            None
        };
        Ok((sequence, time))
    }

    /// The sequence number of a message of any channel. A kind, as of trades (`"te"`), stands before its payload.
    fn number(&self, payload: &RawValue, extras: &[&RawValue]) -> Option<u64> {
        let has_kind = payload.get().starts_with('"') && payload.get() != HEARTBEAT;
        let number = extras.get(usize::from(has_kind)).filter(|_| self.sequence)?;
        number.get().parse().ok()
    }
}

/// What all messages that are objects have between them.
#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(rename = "chanId")]
    channel_id: Option<u64>,
    #[serde(borrow)]
    symbol: Option<Text<'a>>,
    #[serde(borrow)]
    pair: Option<Text<'a>>,
    code: Option<i64>,
    #[serde(borrow)]
    msg: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    flags: Option<u64>,
    #[serde(borrow)]
    platform: Option<Object<'a>>,
}

impl WebSocket for Bitfinex {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/ws/2")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let possible = |id: &str| {
            id.strip_prefix('t').is_some_and(|pair| {
                pair.len() >= 6
                    && pair.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b':')
            })
        };
        check_ids(subscriptions, possible, "not a trading pair: write it like tBTCUSD")?;
        let mut frames = Vec::with_capacity(subscriptions.len() + 1);
        let flags =
            if self.settings.sequence { SEQUENCE } else { 0 } + if self.settings.timestamp { TIMESTAMP } else { 0 };
        if !self.configured && flags != 0 {
            frames.push(Frame::json(&json!({ "event": "conf", "flags": flags })));
        }
        self.configured = true;
        for subscription in subscriptions {
            let symbol = self.ids.add(subscription);
            self.leaving.remove(symbol);
            frames.push(Frame::json(&json!({ "channel": "ticker", "event": "subscribe", "symbol": symbol })));
        }
        Ok(frames)
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let mut frames = Vec::new();
        for subscription in subscriptions {
            let Some(symbol) = self.ids.remove(subscription) else {
                continue;
            };
            // A channel is left by its number.
            match self.channel_of(&symbol) {
                Some(channel) => {
                    self.channels.remove(&channel);
                    frames.push(leave(channel));
                }
                None => _ = self.leaving.insert(symbol),
            }
        }
        Ok(frames)
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        if !text.starts_with('[') {
            self.notice(&object(text)?, events);
            return Ok(());
        }
        // What is not read so is read again below, and told of there.
        if let Extras { sequence: true, timestamp: false } = self.extras
            && let Ok(streamed) = read(text)
        {
            return self.streamed(streamed, events);
        }
        self.message(&read::<Vec<&RawValue>>(text)?, events)
    }
}

impl Bitfinex {
    fn channel_of(&self, symbol: &str) -> Option<u64> {
        self.channels.iter().find(|(_, of)| *of == symbol).map(|(channel, _)| *channel)
    }

    fn streamed(&mut self, (channel, ticker, number): Streamed<'_>, events: &mut Events) -> Result<(), Malformed> {
        self.gaps.count(number, events);
        // Another channel's array may look the same.
        if let (Some(symbol), (.., Some(last), _, _, _)) = (self.channels.get(&channel), ticker) {
            observed(self.ids.keys(symbol), &last.value()?, Some(number), None, events);
        }
        Ok(())
    }

    /// A message of a channel: its number, its payload and the extras.
    fn message(&mut self, parts: &[&RawValue], events: &mut Events) -> Result<(), Malformed> {
        let [channel, payload, extras @ ..] = parts else {
            return Err(Malformed::new("a channel's message without a payload"));
        };
        if let Some(number) = self.extras.number(payload, extras) {
            self.gaps.count(number, events);
        }
        let channel: u64 = read(channel.get())?;
        // Other channels are not read at all: their arrays mean other things.
        let Some(symbol) = self.channels.get(&channel) else {
            return Ok(());
        };
        let keys = self.ids.keys(symbol);
        if payload.get() == HEARTBEAT {
            keys.iter().for_each(|&key| events.unchanged(key));
            return Ok(());
        }
        let fields: Vec<&RawValue> = read(payload.get())?;
        if fields.len() < FIELDS {
            return Err(Malformed::new(format!("a ticker of {} fields", fields.len())));
        }
        let Some(last) = read::<Option<Number<'_>>>(fields[LAST_PRICE].get())? else {
            return Ok(());
        };
        let value = last.value()?;
        let (sequence, time) = self.extras.read(extras)?;
        observed(keys, &value, sequence, time, events);
        Ok(())
    }

    fn notice(&mut self, notice: &Notice<'_>, events: &mut Events) {
        match &*notice.event {
            "subscribed" if notice.channel.as_deref() == Some("ticker") => self.subscribed(notice, events),
            "unsubscribed" => {
                if let Some(channel) = notice.channel_id {
                    self.channels.remove(&channel);
                }
            }
            "conf" if notice.status.as_deref() == Some("OK") => {
                let flags = notice.flags.unwrap_or_default();
                self.extras = Extras { sequence: flags & SEQUENCE != 0, timestamp: flags & TIMESTAMP != 0 };
            }
            "error" => self.error(notice, events),
            "info" => match notice.code {
                // Restarting; maintenance over, after which all subscriptions are void.
                Some(20051 | 20061) => events.reconnect(Reconnect::Now),
                Some(20060) => events.reconnect(Reconnect::After(MAINTENANCE_MS)),
                // The greeting.
                _ if notice.platform.as_ref().and_then(|platform| platform.get("status")) == Some("0") => {
                    events.reconnect(Reconnect::After(MAINTENANCE_MS));
                }
                _ => {}
            },
            "pong" => events.alive(),
            _ => {}
        }
    }

    fn subscribed(&mut self, notice: &Notice<'_>, events: &mut Events) {
        let (Some(channel), Some(symbol)) = (notice.channel_id, notice.symbol.as_deref()) else {
            return;
        };
        if self.leaving.remove(symbol) {
            events.reply(leave(channel));
            return;
        }
        let keys = self.ids.keys(symbol);
        if !keys.is_empty() {
            self.channels.insert(channel, symbol.to_owned());
        }
        keys.iter().for_each(|&key| events.subscribed(key));
    }

    fn error(&mut self, notice: &Notice<'_>, events: &mut Events) {
        let code = notice.code.unwrap_or_default();
        let words = notice.msg.as_deref().unwrap_or("no reason given");
        let symbol = match (&notice.symbol, &notice.pair) {
            (Some(symbol), _) => symbol.clone().into_owned(),
            (None, Some(pair)) => format!("t{pair}"),
            (None, None) => {
                log(Level::Warn, &format!("an error of the venue that fits no subscription: {words} (code {code})"));
                return;
            }
        };
        self.leaving.remove(&symbol);
        let running = self.channel_of(&symbol).is_some();
        if code == 10301 && !running && !self.ids.keys(&symbol).is_empty() {
            // The venue has a channel whose number was never understood here: only a new connection can tell it.
            return events.reconnect(Reconnect::OverlapWithin(LOST_CHANNEL_MS));
        }
        for &key in self.ids.keys(&symbol) {
            if code == 10301 {
                // Subscribed already, as when two ids are one symbol.
                events.subscribed(key);
            } else {
                // Unknown pair; invalid symbol. Others, such as too many channels, may pass.
                let permanent = code == 10001 || (code == 10300 && words.contains("invalid"));
                events.rejected(Rejection { key, reason: format!("{words} (code {code})"), permanent });
            }
        }
    }
}

fn observed(keys: &[Key], value: &Value, sequence: Option<u64>, time: Option<Timestamp>, events: &mut Events) {
    if value.is_zero() {
        // Never traded.
        return;
    }
    for &key in keys {
        events.observed(Observation::new(key, value.clone()).at(time).sequence(sequence));
    }
}

fn leave(channel: u64) -> Frame {
    Frame::json(&json!({ "chanId": channel, "event": "unsubscribe" }))
}
