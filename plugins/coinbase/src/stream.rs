//! The channels `ticker` and `heartbeats`, and what the venue says of subscriptions.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Level, Malformed, Observation, Rejection, Response, Subscription,
    Timestamp, WebSocket,
    json::{self, Item, Number, Object, Text, object, read},
    log, names, rfc3339,
    websocket::Step,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{Coinbase, check};

pub(crate) const ORIGIN: &str = "wss://advanced-trade-ws.coinbase.com";

/// What comes all the time, read in one pass: one ticker in one event, and no error.
#[derive(Deserialize)]
struct Streamed<'a> {
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
    timestamp: &'a str,
    sequence_num: u64,
    #[serde(borrow)]
    events: (Event<'a>,),
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    tickers: (Ticker<'a>,),
}

/// Whatever else comes.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<Text<'a>>,
    sequence_num: Option<u64>,
    #[serde(borrow)]
    events: Option<Vec<Item<Part<'a>>>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

/// What is in a message of either channel.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    tickers: Option<Vec<Item<Ticker<'a>>>>,
    /// The products of each channel.
    #[serde(borrow)]
    subscriptions: Option<Object<'a>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow)]
    price: Option<Number<'a>>,
}

impl WebSocket for Coinbase {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(ORIGIN))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        check(subscriptions)?;
        let products = self.ids.add_all(subscriptions);
        let mut frames = vec![request("subscribe", "ticker", &products)];
        if !self.hears_heartbeats {
            // Without them a connection whose products are quiet looks dead, and the venue closes it.
            frames.push(request("subscribe", "heartbeats", &[]));
            self.hears_heartbeats = true;
        }
        self.waiting.extend(products);
        Ok(frames)
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused = self.ids.remove_all(subscriptions);
        self.waiting.retain(|product| !unused.contains(product));
        // An empty list would end the whole channel.
        Ok(if unused.is_empty() { Vec::new() } else { vec![request("unsubscribe", "ticker", &unused)] })
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        let text = frame.text()?;
        // What is not read so is read again below, and told of there.
        if text.starts_with(r#"{"channel":"ticker","#)
            && let Ok(streamed) = object(text)
            && let Streamed { kind: None, timestamp, sequence_num, events: (Event { tickers: (ticker,) },) } = streamed
        {
            self.gaps.count(sequence_num, events);
            return self.ticker(&ticker, rfc3339(timestamp)?, Some(sequence_num), events);
        }
        let message: Message<'_> = object(text)?;
        if message.kind.as_deref() == Some("error") {
            self.refused(message.message.as_deref().unwrap_or("no reason given"), events);
            return Ok(());
        }
        if let Some(number) = message.sequence_num {
            self.gaps.count(number, events);
        }
        let parts = message.events.unwrap_or_default();
        match message.channel.as_deref() {
            Some("ticker") => {
                let time = message.timestamp.ok_or(Malformed::new("a ticker without a timestamp"))?;
                self.tickers(parts, rfc3339(&time)?, message.sequence_num, events)?;
            }
            Some("heartbeats") => events.alive(),
            Some("subscriptions") => {
                for Item(part) in parts {
                    let active = part?.subscriptions.ok_or(Malformed::new("no list of subscriptions"))?;
                    self.accepted(&active, events)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Coinbase {
    /// Reads every ticker of a message. One that cannot be read does not cost the others.
    fn tickers(
        &self,
        parts: Vec<Item<Part<'_>>>,
        time: Timestamp,
        sequence: Option<u64>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        json::each_item(parts, |part| {
            let tickers = part.tickers.ok_or(Malformed::new("an event without tickers"))?;
            json::each_item(tickers, |ticker| self.ticker(&ticker, time, sequence, events))
        })
    }

    fn ticker(
        &self,
        Ticker { product_id, price }: &Ticker<'_>,
        time: Timestamp,
        sequence: Option<u64>,
        events: &mut Events,
    ) -> Result<(), Malformed> {
        // Products that never traded have an empty price.
        let Some(value) = json::price(price.as_ref())? else { return Ok(()) };
        for &key in self.ids.keys(product_id) {
            events.observed(Observation::new(key, value.clone()).at(time).sequence(sequence));
        }
        Ok(())
    }

    /// The venue lists all that is subscribed.
    fn accepted(&mut self, active: &Object<'_>, events: &mut Events) -> Result<(), Malformed> {
        let products: Vec<String> = read(active.get("ticker").unwrap_or("[]"))?;
        for product in products {
            if self.waiting.remove(&product) {
                for &key in self.ids.keys(&product) {
                    events.subscribed(key);
                }
            }
        }
        self.next_alone(events);
        Ok(())
    }

    /// An error names neither its request nor, always, its product. Products that it names are refused; when it names
    /// none, everything still open is asked for again one by one, so that the next error can mean only one.
    fn refused(&mut self, text: &str, events: &mut Events) {
        let named: Vec<String> = self.waiting.iter().filter(|product| names(text, product)).cloned().collect();
        if !named.is_empty() {
            for product in named {
                self.reject(&product, text, true, events);
            }
            if self.alone.is_empty() && !self.waiting.is_empty() {
                // It may have cost the others of its request, too. Twice does no harm.
                let others: Vec<String> = self.waiting.iter().cloned().collect();
                events.reply(request("subscribe", "ticker", &others));
            }
        } else if let Some(product) = self.alone.front().cloned() {
            self.reject(&product, text, false, events);
        } else if self.waiting.len() == 1 {
            let product = self.waiting.iter().next().cloned().unwrap_or_default();
            self.reject(&product, text, false, events);
        } else if self.waiting.is_empty() {
            log(Level::Warn, &format!("an error of the venue that fits no subscription: {text}"));
        } else {
            self.alone = self.waiting.iter().cloned().collect();
            self.ask_alone(events);
            return;
        }
        self.next_alone(events);
    }

    fn reject(&mut self, product: &str, reason: &str, permanent: bool, events: &mut Events) {
        self.waiting.remove(product);
        for &key in self.ids.keys(product) {
            events.rejected(Rejection { key, reason: reason.to_owned(), permanent });
        }
    }

    /// Goes on to the next lone product when the one under way has its answer.
    fn next_alone(&mut self, events: &mut Events) {
        let before = self.alone.len();
        while self.alone.front().is_some_and(|product| !self.waiting.contains(product)) {
            self.alone.pop_front();
        }
        if self.alone.len() < before {
            self.ask_alone(events);
        }
    }

    fn ask_alone(&self, events: &mut Events) {
        if let Some(product) = self.alone.front() {
            events.reply(request("subscribe", "ticker", std::slice::from_ref(product)));
        }
    }
}

fn request(kind: &str, channel: &str, products: &[String]) -> Frame {
    Frame::json(&json!({ "channel": channel, "product_ids": products, "type": kind }))
}
