//! Requests and their answers are JSON; what is pushed is protobuf.

use feedgate_sdk::{
    Context, Error, Events, Frame, Incoming, Key, Level, Malformed, Observation, Rejection, Response, Subscription,
    WebSocket, check_ids, decimal,
    json::{Text, object},
    log, names,
    websocket::Step,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Mexc, Source, push};

pub(crate) const ORIGIN: &str = "wss://wbs-api.mexc.com";

/// All answers, with the code 0 whether they are a yes or a no.
#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    msg: Option<Text<'a>>,
}

impl WebSocket for Mexc {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        Ok(Step::dial(format!("{ORIGIN}/ws")))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let possible =
            |id: &str| !id.is_empty() && id.chars().all(|character| character.is_alphanumeric() || character == '_');
        check_ids(subscriptions, possible, "not a symbol: write it like BTCUSDT")?;
        let frames = subscriptions.iter().map(|subscription| {
            let channel = channel(self.source, self.ids.add(subscription));
            request(self.requests.wait(vec![subscription.key]), "SUBSCRIPTION", &channel)
        });
        Ok(frames.collect())
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        let unused = self.ids.remove_all(subscriptions);
        let frames = unused
            .iter()
            .map(|symbol| request(self.requests.number(), "UNSUBSCRIPTION", &channel(self.source, symbol)));
        Ok(frames.collect())
    }

    fn heartbeat(&mut self, _: &Context) -> Vec<Frame> {
        vec![Frame::json(&json!({ "method": "PING" }))]
    }

    fn handle(&mut self, _: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        match frame {
            Incoming::Text(text) => {
                self.answered(&object(text)?, events);
                Ok(())
            }
            Incoming::Binary(message) => self.pushed(message, events),
        }
    }
}

impl Mexc {
    fn pushed(&self, message: &[u8], events: &mut Events) -> Result<(), Malformed> {
        let Some(push) = push::read(message, self.source)?.filter(|push| !push.price.is_empty()) else {
            return Ok(());
        };
        let value = decimal(push.price)?;
        if value.is_zero() {
            // Never traded.
            return Ok(());
        }
        for &key in self.ids.keys(push.symbol) {
            events.observed(Observation::new(key, value.clone()).at(push.time));
        }
        Ok(())
    }

    /// An answer repeats the channel as it was asked for, or names it and says why not. Its number is the request's,
    /// or 0.
    fn answered(&mut self, answer: &Answer<'_>, events: &mut Events) {
        let words = answer.msg.as_deref().unwrap_or("no reason given");
        if words == "PONG" {
            events.alive();
            return;
        }
        let named = |key: &Key| self.ids.symbol(*key).is_some_and(|symbol| names(words, symbol));
        let by_words = self.requests.waiting().find(|(_, keys)| keys.iter().any(named));
        let number = answer.id.and_then(|id| u64::try_from(id).ok());
        let by_number = || self.requests.waiting().find(|(waiting, _)| Some(*waiting) == number);
        let Some((number, _)) = by_words.or_else(by_number) else {
            if !words.starts_with("spot@") {
                log(Level::Warn, &format!("an answer of the venue that fits no subscription: {words}"));
            }
            return;
        };
        for key in self.requests.answered(Some(number)) {
            let Some(symbol) = self.ids.symbol(key) else { continue };
            if words == channel(self.source, symbol) {
                events.subscribed(key);
            } else {
                // The venue blocks symbols, channels and addresses in the same words.
                events.rejected(Rejection { key, reason: words.trim().to_owned(), permanent: false });
            }
        }
    }
}

fn channel(source: Source, symbol: &str) -> String {
    match source {
        Source::Ticker => format!("spot@public.miniTicker.v3.api.pb@{symbol}@UTC+0"),
        Source::Deals => format!("spot@public.aggre.deals.v3.api.pb@100ms@{symbol}"),
    }
}

fn request(id: u64, method: &str, channel: &str) -> Frame {
    let params: Value = [channel].into_iter().collect();
    Frame::json(&json!({ "id": id, "method": method, "params": params }))
}
