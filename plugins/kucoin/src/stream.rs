//! The topic `/market/ticker`, and what the venue says of subscriptions.

use feedgate_sdk::{
    Blame, Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response,
    Subscription, Timestamp, WebSocket, check_ids,
    json::{self, Number, Text, object, read},
    keys_of, log, names,
    websocket::Step,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{Kucoin, token};

const TOPIC: &str = "/market/ticker:";

/// Codes that blame the topic: invalid, not found, missing.
const BLAMING: [u64; 3] = [400, 404, 406];

/// What comes all the time, read in one pass.
#[derive(Deserialize)]
struct Streamed<'a> {
    topic: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: Ticker<'a>,
}

/// Whatever else comes.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    price: Option<Number<'a>>,
    #[serde(borrow)]
    sequence: Option<Number<'a>>,
    /// Small in what comes, with a capital on older pages.
    #[serde(alias = "Time")]
    time: Option<i64>,
}

impl WebSocket for Kucoin {
    fn connect(&mut self, context: &Context, _: &[Subscription], previous: Option<Response>) -> Result<Step, Error> {
        match previous {
            None => Ok(Step::Fetch(token::request())),
            Some(response) => token::step(context, &response),
        }
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        // A comma would be two symbols, a colon another topic.
        let possible =
            |id: &str| id.contains('-') && id.chars().all(|character| character.is_alphanumeric() || character == '-');
        check_ids(subscriptions, possible, "not a symbol: write it like BTC-USDT")?;
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
        vec![Frame::json(&json!({ "id": self.requests.number().to_string(), "type": "ping" }))]
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"topic":"/market/ticker:"#)
            && let Ok(Streamed { topic, kind: "message", data }) = object(text)
            && let Some(symbol) = topic.strip_prefix(TOPIC)
        {
            return self.ticker(symbol, &data, events);
        }
        let message: Message<'_> = object(text)?;
        match &*message.kind {
            "message" => {
                let Some(symbol) = message.topic.as_deref().and_then(|topic| topic.strip_prefix(TOPIC)) else {
                    return Ok(());
                };
                let ticker = message.data.ok_or(Malformed::new("a ticker without data"))?;
                self.ticker(symbol, &object(ticker.get())?, events)?;
            }
            "ack" => {
                for key in self.requests.answered(number(message.id)) {
                    events.subscribed(key);
                }
            }
            "error" => {
                let words: Option<Text<'_>> = message.data.map(|words| read(words.get())).transpose()?;
                let words = words.as_deref().unwrap_or("no reason given");
                self.refused(number(message.id), number(message.code).unwrap_or_default(), words, events);
            }
            "welcome" => events.ready(),
            "pong" => events.alive(),
            _ => {}
        }
        Ok(())
    }
}

impl Kucoin {
    fn ask(&mut self, keys: Vec<Key>) -> Frame {
        let symbols = self.ids.symbols(&keys);
        request(self.requests.wait(keys), "subscribe", &symbols)
    }

    fn ticker(&self, symbol: &str, ticker: &Ticker<'_>, events: &mut Events) -> Result<(), Malformed> {
        // Never traded.
        let Some(value) = json::price(ticker.price.as_ref())? else { return Ok(()) };
        let sequence = match &ticker.sequence {
            Some(sequence) => Some(sequence.text().parse().map_err(|_| Malformed::new("not a sequence number"))?),
            None => None,
        };
        for &key in self.ids.keys(symbol) {
            let time = ticker.time.map(Timestamp::Millis);
            events.observed(Observation::new(key, value.clone()).at(time).sequence(sequence));
        }
        Ok(())
    }

    /// The venue refused a request as a whole. The symbols that it names are rejected, and the others of the request
    /// asked for again.
    fn refused(&mut self, id: Option<u64>, code: u64, words: &str, events: &mut Events) {
        let Some(id) = self.meant(id, words) else {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {words} (code {code})"));
            return;
        };
        // Words may repeat the whole topic: then they are certain of nobody.
        let Blame { refused, again, certain } = Blame::of(&self.ids, words, self.requests.answered(Some(id)));
        let permanent = BLAMING.contains(&code) && certain;
        for key in refused {
            events.rejected(Rejection { key, reason: format!("{words} (code {code})"), permanent });
        }
        if !again.is_empty() {
            events.reply(self.ask(again));
        }
    }

    /// Which request an error means. Its number is the request's or, as one page has it, the connection's; then it is
    /// the request whose symbols it names, or the only one.
    fn meant(&self, id: Option<u64>, words: &str) -> Option<u64> {
        let by_number = self.requests.waiting().find(|(number, _)| Some(*number) == id);
        let by_words = || self.requests.waiting().find(|(_, keys)| keys.iter().any(|&key| self.is_named(key, words)));
        let mut waiting = self.requests.waiting();
        let only = waiting.next().filter(|_| waiting.next().is_none());
        by_number.or_else(by_words).or(only).map(|(number, _)| number)
    }

    fn is_named(&self, key: Key, words: &str) -> bool {
        self.ids.symbol(key).is_some_and(|symbol| names(words, symbol))
    }
}

/// Numbers come as such or as text.
fn number(json: Option<&RawValue>) -> Option<u64> {
    json?.get().trim_matches('"').parse().ok()
}

fn request(id: u64, kind: &str, symbols: &[String]) -> Frame {
    let topic = format!("{TOPIC}{}", symbols.join(","));
    Frame::json(
        &json!({ "id": id.to_string(), "privateChannel": false, "response": true, "topic": topic, "type": kind }),
    )
}
