//! Coinbase Advanced Trade market data: one envelope for every channel, numbered per connection.
//!
//! After the [overview] and [channels] pages and a recorded session. What they leave open is done
//! as seen from outside: an unknown channel is an "authentication failure", anything malformed is
//! "subscribe or unsubscribe required", errors carry no number, data may come before its
//! acknowledgement, and products that do not exist are missing from the `subscriptions` that answer
//! every request.
//!
//! [overview]: https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview
//! [channels]: https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels

mod rest;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::nanos;
use crate::http::{Request, Response};
use crate::limit::Window;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, strings};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "coinbase",
    origins: &["wss://advanced-trade-ws.coinbase.com", "https://api.coinbase.com"],
    prices: PRICES,
    connects: Some((8, 1)),
    // 10 a second.
    budget: 600,
    open: |target, _, world| open(target, world),
    answer: |request, _, world| rest::answer(request, world),
    error: |_, text| format!("{{\"error\":\"UNAVAILABLE\",\"error_details\":\"\",\"message\":{text}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC-USD", "67251.03"),
    ("ETH-USD", "3512.61"),
    ("SOL-USD", "172.55"),
    ("XRP-USD", "0.5232"),
    ("DOGE-USD", "0.15874"),
    ("ADA-USD", "0.4567"),
    ("AVAX-USD", "36.19"),
    ("LINK-USD", "17.204"),
    ("ETH-BTC", "0.05223"),
    ("BTC-EUR", "61874.40"),
];

struct Session {
    /// The products of each channel, in order of subscription.
    channels: BTreeMap<&'static str, Vec<usize>>,
    has_heartbeats: bool,
    sequence: u64,
    messages: Window,
    /// Without a subscription by then, the connection is closed. Zero once there was one.
    subscribe_by: u64,
    heartbeat_every: u64,
    next_heartbeat: u64,
    heartbeats: u64,
}

fn open(target: &str, world: &World<'_>) -> Opened {
    let request = Request { target: target.to_owned(), ..Request::default() };
    if request.path() != "/" {
        return Err(Response::html(404));
    }
    Ok(Box::new(Session {
        channels: BTreeMap::new(),
        has_heartbeats: false,
        sequence: 0,
        messages: Window::new(8, Duration::from_secs(1)),
        subscribe_by: world.now + SUBSCRIBE_WITHIN,
        heartbeat_every: nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(1))),
        next_heartbeat: 0,
        // A server that has been up for a while.
        heartbeats: 41_000,
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        if !self.messages.admit(world.now) && world.enforced("more than 8 messages in a second".into(), out) {
            // The limit is documented, the answer to breaking it is not.
            return out.push(error("rate limit exceeded"));
        }
        if let Err(why) = self.execute(text, world, out) {
            out.push(error(why));
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for channel in ["ticker", "ticker_batch"] {
            for at in 0..self.channels.get(channel).map_or(0, Vec::len) {
                let index = self.channels[channel][at];
                if let Some(quote) = changed(changes, index) {
                    self.send_ticker(channel, "update", index, quote, world, out);
                }
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if self.subscribe_by != 0 && world.now >= self.subscribe_by {
            self.subscribe_by = 0;
            out.push(Out::Violation("no subscription within 5 seconds".into()));
            out.push(Out::Close(1008, "subscribe required"));
        }
        if self.has_heartbeats && world.now >= self.next_heartbeat {
            self.next_heartbeat = world.now + self.heartbeat_every;
            self.heartbeats += 1;
            // The venue prints this time as Go does, with its monotonic clock.
            let time = world.rfc3339().replace('T', " ").replace('Z', "");
            let (count, time) = (self.heartbeats, format!("{time} +0000 UTC m=+{}.0", self.heartbeats));
            let events = json!([{ "current_time": time, "heartbeat_counter": count }]);
            self.send("heartbeats", &events.to_string(), world, out);
        }
    }

    fn deadline(&self) -> Option<u64> {
        let subscribe = (self.subscribe_by != 0).then_some(self.subscribe_by);
        let heartbeat = self.has_heartbeats.then_some(self.next_heartbeat);
        subscribe.into_iter().chain(heartbeat).min()
    }

    fn subscribed(&self) -> Vec<usize> {
        let tickers = self.channels.iter().filter(|(channel, _)| channel.starts_with("ticker"));
        tickers.flat_map(|(_, products)| products).copied().collect()
    }
}

impl Session {
    fn execute(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) -> Result<(), &'static str> {
        let request = serde_json::from_str::<Value>(text).map_err(|_| MALFORMED)?;
        let kind = request.get("type").and_then(Value::as_str).ok_or(MALFORMED)?;
        let channel = request.get("channel").and_then(Value::as_str).ok_or(MALFORMED)?;
        let products = match request.get("product_ids") {
            Some(products) => strings(products).ok_or(MALFORMED)?,
            None => Vec::new(),
        };
        let known = CHANNELS.iter().find(|known| **known == channel && !world.reject_all);
        let channel = *known.ok_or("authentication failure")?;
        match kind {
            "subscribe" if channel == HEARTBEATS => {
                self.has_heartbeats = true;
                self.next_heartbeat = world.now + self.heartbeat_every;
            }
            "subscribe" if products.is_empty() => return Err(MALFORMED),
            "subscribe" => {
                for index in products.into_iter().filter_map(|product| world.find(product)) {
                    let subscribed = self.channels.entry(channel).or_default();
                    if subscribed.contains(&index) {
                        continue;
                    }
                    subscribed.push(index);
                    if channel.starts_with("ticker") && !world.silent {
                        self.send_ticker(channel, "snapshot", index, world.quote(index), world, out);
                    }
                }
            }
            "unsubscribe" if channel == HEARTBEATS => self.has_heartbeats = false,
            // No products means the whole channel.
            "unsubscribe" if products.is_empty() => drop(self.channels.remove(channel)),
            "unsubscribe" => {
                if let Some(subscribed) = self.channels.get_mut(channel) {
                    subscribed.retain(|index| !products.contains(&world.listing(*index).id.as_str()));
                }
            }
            _ => return Err(MALFORMED),
        }
        self.channels.retain(|_, products| !products.is_empty());
        if self.has_heartbeats || !self.channels.is_empty() {
            self.subscribe_by = 0;
        }
        let ids = |products: &Vec<usize>| -> Value {
            products.iter().map(|index| world.listing(*index).id.as_str()).collect()
        };
        let channels = self.channels.iter().map(|(channel, products)| (*channel, ids(products)));
        let heartbeats = self.has_heartbeats.then(|| (HEARTBEATS, json!([HEARTBEATS])));
        let subscriptions: BTreeMap<_, _> = channels.chain(heartbeats).collect();
        let events = json!([{ "subscriptions": subscriptions }]).to_string();
        self.send("subscriptions", &events, world, out);
        Ok(())
    }

    fn send_ticker(
        &mut self,
        channel: &str,
        kind: &str,
        index: usize,
        quote: &Quote,
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) {
        let listing = world.listing(index);
        let (id, day) = (&listing.id, &listing.day);
        let events = format!(
            r#"[{{"type":"{kind}","tickers":[{{"type":"ticker","product_id":"{id}","price":"{}","volume_24_h":"2867.54532609","low_24_h":"{}","high_24_h":"{}","low_52_w":"{}","high_52_w":"{}","price_percent_chg_24_h":"0.09601107287722","best_bid":"{}","best_ask":"{}","best_bid_quantity":"0.20371215","best_ask_quantity":"0.24290402"}}]}}]"#,
            quote.last, day.low, day.high, day.low, day.high, quote.bid, quote.ask,
        );
        self.send(channel, &events, world, out);
        // Only data skips numbers: a gap is a lost message.
        self.sequence += world.sequence_step() - 1;
    }

    fn send(&mut self, channel: &str, events: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let (time, sequence) = (world.rfc3339(), self.sequence);
        self.sequence += 1;
        out.push(Out::Text(format!(
            r#"{{"channel":"{channel}","timestamp":"{time}","sequence_num":{sequence},"events":{events}}}"#
        )));
    }
}

fn error(message: &str) -> Out {
    Out::Text(json!({ "type": "error", "message": message }).to_string())
}

const MALFORMED: &str = "subscribe or unsubscribe required";
const SUBSCRIBE_WITHIN: u64 = 5_000_000_000;
const HEARTBEATS: &str = "heartbeats";
/// All are acknowledged; prices come on the tickers only.
const CHANNELS: &[&str] = &["ticker", "ticker_batch", HEARTBEATS, "candles", "level2", "market_trades", "status"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("BTC-USD", "67251.03"), ("ETH-USD", "3512.61")])
    }

    #[test]
    fn requests_and_their_answers() {
        let malformed = r#"{"type":"error","message":"subscribe or unsubscribe required"}"#;
        let refused = r#"{"type":"error","message":"authentication failure"}"#;
        let rows: &[(&str, &[&str])] = &[
            ("nonsense", &[malformed]),
            ("[]", &[malformed]),
            (r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker"]}"#, &[malformed]),
            (r#"{"type":"subscribe","product_ids":[1],"channel":"ticker"}"#, &[malformed]),
            (r#"{"type":"subscribe","channel":"ticker"}"#, &[malformed]),
            (r#"{"type":"follow","channel":"ticker","product_ids":["BTC-USD"]}"#, &[malformed]),
            (r#"{"type":"subscribe","channel":"tickers","product_ids":["BTC-USD"]}"#, &[refused]),
            (r#"{"type":"subscribe","channel":"ticker","product_ids":["ABC-USD"]}"#, &["0 {}"]),
            (
                r#"{"type":"subscribe","channel":"ticker","product_ids":["BTC-USD","ABC-USD"]}"#,
                &["0 snapshot BTC-USD 67251.03", r#"1 {"ticker":["BTC-USD"]}"#],
            ),
            (r#"{"type":"subscribe","channel":"heartbeats"}"#, &[r#"0 {"heartbeats":["heartbeats"]}"#]),
            (r#"{"type":"unsubscribe","channel":"ticker"}"#, &["0 {}"]),
        ];
        for (message, answers) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Coinbase, "/");
            let told = bench.tell(&mut *session, message);
            assert_eq!(told.iter().map(|text| brief(text)).collect::<Vec<_>>(), *answers, "{message}");
        }
    }

    #[test]
    fn numbers_grow_by_one_over_all_channels_and_by_two_when_there_are_gaps() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Coinbase, "/");
        for message in [
            r#"{"type":"subscribe","channel":"ticker","product_ids":["BTC-USD"]}"#,
            r#"{"type":"subscribe","channel":"heartbeats"}"#,
        ] {
            bench.tell(&mut *session, message);
        }
        let update = bench.push(&mut *session, "BTC-USD", "1.50");
        assert_eq!(brief(&update[0]), "3 update BTC-USD 1.50");
        let heartbeat = bench.wake(&mut *session);
        assert!(heartbeat[0].contains(r#""sequence_num":4,"#), "{heartbeat:?}");
        assert!(heartbeat[0].contains(r#""heartbeat_counter":41001"#), "{heartbeat:?}");
        assert!(heartbeat[0].contains(r#""current_time":"2023-11-14 22:13:21.123456789 +0000 UTC m="#));
        assert_eq!(bench.push(&mut *session, "ETH-USD", "1.50"), [""; 0]);
        bench.gaps = true;
        let updates = ["5 update BTC-USD 7", "7 update BTC-USD 7"];
        assert_eq!(updates.map(|_| brief(&bench.push(&mut *session, "BTC-USD", "7")[0])), updates);
    }

    #[test]
    fn a_connection_that_does_not_subscribe_is_closed_after_five_seconds() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Coinbase, "/");
        assert_eq!(session.deadline(), Some(bench.now + SUBSCRIBE_WITHIN));
        bench.tell(&mut *session, r#"{"type":"subscribe","channel":"ticker","product_ids":["ABC-USD"]}"#);
        assert_eq!(bench.wake(&mut *session).len(), 2);
    }

    #[test]
    fn more_than_eight_messages_in_a_second_are_too_many() {
        let bench = bench();
        let mut session = bench.open(Kind::Coinbase, "/");
        for _ in 0..8 {
            bench.tell(&mut *session, "{}");
        }
        let told = collect(|out| session.on_message("{}", &bench.world(), out));
        assert!(told[0].starts_with("Violation") && told[1].contains("rate limit exceeded"), "{told:?}");
    }

    /// The number and what it is about; errors whole.
    fn brief(text: &str) -> String {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let Some(event) = message.get("events").map(|events| &events[0]) else {
            return text.into();
        };
        match event.get("subscriptions") {
            Some(subscriptions) => format!("{} {subscriptions}", message["sequence_num"]),
            None => {
                let ticker = &event["tickers"][0];
                let words = [&event["type"], &ticker["product_id"], &ticker["price"]];
                let words = words.map(|word| word.as_str().unwrap_or_default().to_owned());
                format!("{} {}", message["sequence_num"], words.join(" "))
            }
        }
    }
}
