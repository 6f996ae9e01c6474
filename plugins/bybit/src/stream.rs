//! The topics `tickers.SYMBOL`, and the answers to requests, which stand or fall as a whole.

use feedgate_sdk::{
    Blame, Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response,
    Subscription, Timestamp, WebSocket, check_ids,
    json::{self, Number, Text, object},
    keys_of, log,
    websocket::Step,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::Bybit;

pub(crate) const ORIGIN: &str = "wss://stream.bybit.com";

const CHANNEL: &str = "tickers.";

/// What comes all the time, read in one pass.
#[derive(Deserialize)]
struct Streamed<'a> {
    ts: Option<i64>,
    cs: Option<u64>,
    #[serde(borrow)]
    data: Ticker<'a>,
}

/// What answers and pushes have between them.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    ts: Option<i64>,
    /// The cross sequence. It stays the same while only other figures than the price move.
    cs: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<Text<'a>>,
    success: Option<bool>,
    #[serde(borrow)]
    ret_msg: Option<Text<'a>>,
    #[serde(borrow)]
    req_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Text<'a>,
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
        check_ids(subscriptions, possible, "not a spot symbol: write it like BTCUSDT")?;
        self.ids.add_all(subscriptions);
        Ok(vec![self.ask(keys_of(subscriptions))])
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused = self.ids.remove_all(subscriptions);
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![request(self.requests.number(), "unsubscribe", &unused)])
    }

    fn heartbeat(&mut self, _: &Context) -> Vec<Frame> {
        vec![Frame::json(&json!({ "op": "ping" }))]
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"topic":"tickers."#)
            && let Ok(Streamed { ts, cs, data }) = object(text)
        {
            return self.ticker(data, ts, cs, events);
        }
        let message: Message<'_> = object(text)?;
        if let Some(topic) = &message.topic {
            if !topic.starts_with(CHANNEL) {
                return Ok(());
            }
            let data = message.data.ok_or(Malformed::new("a topic without data"))?;
            return self.ticker(object(data.get())?, message.ts, message.cs, events);
        }
        match (message.op.as_deref(), message.success) {
            (Some("ping" | "pong"), _) => events.alive(),
            (Some("subscribe"), Some(true)) => {
                self.answered(&message).into_iter().for_each(|key| events.subscribed(key));
            }
            (Some("subscribe"), Some(false)) => self.refused(&message, events),
            _ => {}
        }
        Ok(())
    }
}

impl Bybit {
    fn ticker(
        &self,
        Ticker { symbol, last }: Ticker<'_>,
        ts: Option<i64>,
        cs: Option<u64>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        // Never traded.
        let Some(value) = json::price(last.as_ref())? else { return Ok(()) };
        let time = ts.map(Timestamp::Millis);
        for &key in self.ids.keys(&symbol) {
            events.observed(Observation::new(key, value.clone()).at(time).sequence(cs));
        }
        Ok(())
    }

    fn ask(&mut self, keys: Vec<Key>) -> Frame {
        let symbols = self.ids.symbols(&keys);
        request(self.requests.wait(keys), "subscribe", &symbols)
    }

    /// The keys of the request that a message answers, but for those that were given up in the meantime.
    fn answered(&mut self, message: &Message<'_>) -> Vec<Key> {
        let number = message.req_id.as_ref().and_then(|number| number.parse().ok());
        let mut keys = self.requests.answered(number);
        keys.retain(|&key| self.ids.symbol(key).is_some());
        keys
    }

    /// The venue refused a request as a whole. Its words name the first topic that it did not like: that one has its
    /// answer, and the others are asked for again. Where they name none, all wait for the host's smaller portions.
    fn refused(&mut self, message: &Message<'_>, events: &mut Events) {
        let words = message.ret_msg.as_deref().unwrap_or("no reason given");
        let keys = self.answered(message);
        if keys.is_empty() {
            log(Level::Warn, &format!("the venue refused no known request: {words}"));
            return;
        }
        let unknown = words.contains("handler not found") || words.contains("nvalid symbol");
        let Blame { refused, again, certain } = Blame::of(&self.ids, words, keys);
        let permanent = unknown && certain;
        for key in refused {
            if words.contains("already subscribed") {
                events.subscribed(key);
            } else {
                events.rejected(Rejection { key, reason: words.to_owned(), permanent });
            }
        }
        if !again.is_empty() {
            events.reply(self.ask(again));
        }
    }
}

fn request(number: u64, operation: &str, symbols: &[String]) -> Frame {
    let topics: Vec<String> = symbols.iter().map(|symbol| format!("{CHANNEL}{symbol}")).collect();
    Frame::json(&json!({ "req_id": number.to_string(), "op": operation, "args": topics }))
}
