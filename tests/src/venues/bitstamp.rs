//! Bitstamp: live trades over WebSocket, where refusals name nothing and an unknown market is
//! accepted; [`rest`] is its HTTP API.
//!
//! After the [WebSocket page], with what a live session showed.
//!
//! [WebSocket page]: https://www.bitstamp.net/websocket/v2/

use std::time::Duration;

use serde_json::Value;

use crate::clock::nanos;
use crate::fault::Notice;
use crate::http::Response;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, quoted};
use crate::venues::Profile;

mod rest;

pub(super) const PROFILE: Profile = Profile {
    name: "bitstamp",
    origins: &["wss://ws.bitstamp.net", "https://www.bitstamp.net"],
    prices: PRICES,
    // 10,000 in ten minutes.
    budget: 1_000,
    open,
    answer: |request, _, world| rest::answer(request, world),
    error: |status, text| {
        let code = if status == 429 { "400.002".to_owned() } else { format!("{status}.001") };
        format!("{{\"response_code\":\"{code}\",\"response_explanation\":{text}}}")
    },
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC/USD", "67250"),
    ("ETH/USD", "3512.4"),
    ("SOL/USD", "172.54"),
    ("XRP/USD", "0.52316"),
    ("DOGE/USD", "0.15873"),
    ("ADA/USD", "0.45661"),
    ("AVAX/USD", "36.18"),
    ("LINK/USD", "17.203"),
    ("ETH/BTC", "0.05223000"),
    ("BTC/EUR", "61873"),
];

struct Session {
    channels: Vec<Channel>,
    trades: u64,
    expires: u64,
}

struct Channel {
    name: String,
    /// `None` for what is not listed, and for channels that this simulation does not feed.
    listing: Option<usize>,
}

fn open(target: &str, serial: u64, world: &World<'_>) -> Opened {
    if target != "/" {
        return Err(Response::html(404));
    }
    let age = world.options.max_age.unwrap_or(Duration::from_secs(90 * 24 * 3600));
    Ok(Box::new(Session {
        channels: Vec::new(),
        trades: 216_000_000 + 1_000_000 * serial,
        expires: world.now + nanos(age),
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        if text.len() > 512 && world.enforced("a message of more than 512 bytes".into(), out) {
            return out.push(Out::Close(1009, "read limited at 513 bytes"));
        }
        let Some(request) = serde_json::from_str::<Value>(text).ok().filter(Value::is_object) else {
            return out.push(error("Incorrect JSON format."));
        };
        let event = request.get("event").and_then(Value::as_str).unwrap_or_default();
        let channel = request.get("data").and_then(|data| data.get("channel")).and_then(Value::as_str);
        match (event, channel) {
            ("bts:heartbeat", _) => {
                out.push(Out::Text(r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.into()));
            }
            ("bts:subscribe" | "bts:unsubscribe", Some(channel)) if world.reject_all || !well_formed(channel) => {
                out.push(error("Invalid channel provided."));
            }
            ("bts:subscribe", Some(channel)) => self.subscribe(channel, world, out),
            ("bts:unsubscribe", Some(channel)) => {
                self.channels.retain(|live| live.name != channel);
                out.push(answer("bts:unsubscription_succeeded", channel));
            }
            _ => out.push(error("Bad subscription string.")),
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for channel in &self.channels {
            if let Some(quote) = channel.listing.and_then(|index| changed(changes, index)) {
                self.trades += 1;
                out.push(trade(&channel.name, self.trades, quote, world));
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.expires {
            out.push(Out::Close(1001, "90 days are over"));
        }
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.expires)
    }

    fn on_notice(&mut self, notice: Notice, _world: &World<'_>, out: &mut Vec<Out>) {
        if notice == Notice::Restart {
            out.push(Out::Text(r#"{"event":"bts:request_reconnect","channel":"","data":null}"#.into()));
        }
    }

    fn subscribed(&self) -> Vec<usize> {
        self.channels.iter().filter_map(|channel| channel.listing).collect()
    }
}

impl Session {
    /// Twice is once, and acknowledged twice. What does not exist is acknowledged, too.
    fn subscribe(&mut self, name: &str, world: &World<'_>, out: &mut Vec<Out>) {
        if self.channels.iter().all(|channel| channel.name != name) {
            let limit = world.options.subscription_limit.unwrap_or(1024);
            if self.channels.len() >= limit
                && world.enforced(format!("more than {limit} channels on one connection"), out)
            {
                return out.push(Out::Close(1000, ""));
            }
            let listing = name.strip_prefix("live_trades_").and_then(|market| {
                world.market.listings().iter().position(|listing| url_symbol(&listing.id) == market)
            });
            self.channels.push(Channel { name: name.to_owned(), listing });
        }
        out.push(answer("bts:subscription_succeeded", name));
    }
}

/// `live_trades_btcusd`: small letters only.
fn well_formed(channel: &str) -> bool {
    let kinds = ["live_trades_", "live_orders_", "order_book_", "detail_order_book_", "diff_order_book_"];
    let market = kinds.iter().find_map(|kind| channel.strip_prefix(kind)).unwrap_or_default();
    !market.is_empty() && market.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn url_symbol(id: &str) -> String {
    id.to_lowercase().replace('/', "")
}

fn error(words: &str) -> Out {
    let words = quoted(words);
    Out::Text(format!(r#"{{"event":"bts:error","channel":"","data":{{"code":null,"message":{words}}}}}"#))
}

fn answer(event: &str, channel: &str) -> Out {
    Out::Text(format!(r#"{{"event":"{event}","channel":{},"data":{{}}}}"#, quoted(channel)))
}

/// `price` has gone through a float, as the real one has.
fn trade(channel: &str, number: u64, quote: &Quote, world: &World<'_>) -> Out {
    let price = quote.last.parse::<f64>().ok().filter(|price| price.is_finite()).unwrap_or_default();
    let (last, micros, seconds) = (&quote.last, world.now / 1_000, world.now / 1_000_000_000);
    Out::Text(format!(
        r#"{{"data":{{"id":{number},"timestamp":"{seconds}","amount":0.0792,"amount_str":"0.07920000","price":{price},"price_str":"{last}","type":0,"microtimestamp":"{micros}","buy_order_id":1443875737346049,"sell_order_id":1443875731320832}},"channel":"{channel}","event":"trade"}}"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("BTC/USD", "67250.10"), ("ETH/USD", "3512.44")])
    }

    fn subscribe(channel: &str) -> String {
        format!(r#"{{"event":"bts:subscribe","data":{{"channel":"{channel}"}}}}"#)
    }

    #[test]
    fn requests_and_their_answers() {
        let error = |words: &str| {
            format!(r#"{{"event":"bts:error","channel":"","data":{{"code":null,"message":"{words}"}}}}"#)
        };
        let answer = |event: &str, channel: &str| format!(r#"{{"event":"{event}","channel":"{channel}","data":{{}}}}"#);
        let (json, bad, invalid) =
            (error("Incorrect JSON format."), error("Bad subscription string."), error("Invalid channel provided."));
        let rows = [
            ("hello".to_owned(), json.clone()),
            ("[]".to_owned(), json),
            ("{}".to_owned(), bad.clone()),
            (r#"{"event":"bts:ping"}"#.to_owned(), bad.clone()),
            (r#"{"event":"bts:subscribe"}"#.to_owned(), bad),
            (
                r#"{"event":"bts:heartbeat"}"#.to_owned(),
                r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.to_owned(),
            ),
            (subscribe("live_trades_BTCUSD"), invalid.clone()),
            (subscribe("live_trades_btc/usd"), invalid.clone()),
            (subscribe("ticker_btcusd"), invalid),
            (subscribe("live_trades_btcusd"), answer("bts:subscription_succeeded", "live_trades_btcusd")),
            // Accepted, and silent for ever.
            (subscribe("live_trades_nopeusd"), answer("bts:subscription_succeeded", "live_trades_nopeusd")),
            (
                subscribe("live_trades_btcusd").replace("subscribe", "unsubscribe"),
                answer("bts:unsubscription_succeeded", "live_trades_btcusd"),
            ),
        ];
        for (message, expected) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Bitstamp, "/");
            assert_eq!(bench.tell(&mut *session, &message), [expected], "{message}");
        }
        assert_eq!(open("/ws", 0, &bench().world()).err().map(|response| response.status), Some(404));
    }

    #[test]
    fn only_trades_bring_prices() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Bitstamp, "/");
        for _ in 0..2 {
            // No snapshot, and no second subscription.
            assert_eq!(bench.tell(&mut *session, &subscribe("live_trades_btcusd")).len(), 1);
        }
        let told = bench.push(&mut *session, "BTC/USD", "65114.20");
        assert_eq!(
            told,
            [
                r#"{"data":{"id":219000001,"timestamp":"1700000000","amount":0.0792,"amount_str":"0.07920000","price":65114.2,"price_str":"65114.20","type":0,"microtimestamp":"1700000000123456","buy_order_id":1443875737346049,"sell_order_id":1443875731320832},"channel":"live_trades_btcusd","event":"trade"}"#
            ]
        );
        assert_eq!(bench.push(&mut *session, "ETH/USD", "1"), [""; 0]);
        let told = collect(|out| session.on_notice(Notice::Restart, &bench.world(), out));
        assert_eq!(told, [r#"{"event":"bts:request_reconnect","channel":"","data":null}"#]);
    }

    #[test]
    fn limits() {
        let mut bench = bench();
        bench.options.subscription_limit = Some(1);
        let mut session = bench.open(Kind::Bitstamp, "/");
        assert_eq!(bench.tell(&mut *session, &subscribe("live_trades_btcusd")).len(), 1);
        let told = bench.tell(&mut *session, &subscribe("live_trades_ethusd"));
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(1000"), "{told:?}");
        let told = bench.tell(&mut *session, &subscribe(&"x".repeat(512)));
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(1009"), "{told:?}");
        let told = bench.wake(&mut *session);
        assert!(told[0].starts_with("Close(1001"), "{told:?}");
        assert_eq!(bench.now / 1_000_000_000, 1_700_000_000 + 90 * 24 * 3600);
    }
}
