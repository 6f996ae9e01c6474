//! MEXC' spot market streams: requests and answers are JSON, what is pushed is protobuf.
//!
//! After the [streams] and [mini ticker] pages and the venue's message definitions. What they leave
//! open is done as seen from outside: a request that is refused in part is refused as a whole, with
//! the code 0, and the answer lists all of it. Here the mini ticker comes when a price changes, and
//! not every three seconds.
//!
//! [streams]: https://www.mexc.com/api-docs/spot-v3/websocket-market-streams
//! [mini ticker]: https://www.mexc.com/api-docs/spot-v3/websocket-market-streams/miniticker

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::nanos;
use crate::http::Response;
use crate::limit::Window;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, strings};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "mexc",
    origins: &["wss://wbs-api.mexc.com"],
    prices: PRICES,
    open: |target, _, world| open(target, world),
    error: |status, text| format!("{{\"code\":{status},\"msg\":{text}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTCUSDT", "67250.35"),
    ("ETHUSDT", "3512.47"),
    ("SOLUSDT", "172.54"),
    ("XRPUSDT", "0.52317"),
    ("DOGEUSDT", "0.15873"),
    ("ADAUSDT", "0.45665"),
    ("AVAXUSDT", "36.182"),
    ("LINKUSDT", "17.207"),
    ("ETHBTC", "0.052233"),
    ("MXUSDT", "2.5174"),
];

const SECOND: u64 = 1_000_000_000;
const SUBSCRIBE_WITHIN: u64 = 30 * SECOND;
const IDLE: u64 = 60 * SECOND;

#[derive(Clone, Copy, PartialEq)]
enum Body {
    Ticker,
    Deals,
}

struct Channel {
    name: String,
    body: Body,
    listing: usize,
}

struct Session {
    channels: Vec<Channel>,
    messages: Window,
    /// Without a subscription by then, or without data or a ping, the connection is closed.
    idle_until: u64,
    expires: u64,
}

fn open(target: &str, world: &World<'_>) -> Opened {
    if target != "/ws" {
        return Err(Response::html(404));
    }
    Ok(Box::new(Session {
        channels: Vec::new(),
        messages: Window::new(100, Duration::from_secs(1)),
        idle_until: world.now + SUBSCRIBE_WITHIN,
        expires: world.now + nanos(world.options.max_age.unwrap_or(Duration::from_secs(24 * 3600))),
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        if !self.messages.admit(world.now) && world.enforced("more than 100 messages in a second".into(), out) {
            return out.push(Out::Close(1008, "too many requests"));
        }
        let request = serde_json::from_str::<Value>(text).unwrap_or_default();
        let id = request.get("id").and_then(Value::as_u64).unwrap_or_default();
        let answer = |words: &str| Out::Text(json!({ "id": id, "code": 0, "msg": words }).to_string());
        let names = request.get("params").and_then(strings).unwrap_or_default();
        match request.get("method").and_then(Value::as_str) {
            Some("PING") => {
                self.stay(world);
                out.push(answer("PONG"));
            }
            Some("SUBSCRIPTION") if !names.is_empty() => match self.subscribe(&names, world, out) {
                Ok(news) => {
                    out.push(answer(&names.join(",")));
                    let tickers = news.iter().filter(|channel| channel.body == Body::Ticker && !world.silent);
                    out.extend(tickers.map(|channel| push(channel, world.quote(channel.listing), world)));
                    self.channels.extend(news);
                    self.stay(world);
                }
                Err(why) => {
                    let list = names.join(",");
                    out.push(answer(&format!("Not Subscribed successfully! [{list}].  Reason： {why} ")));
                }
            },
            Some("UNSUBSCRIPTION") if !names.is_empty() => {
                self.channels.retain(|channel| !names.contains(&channel.name.as_str()));
                out.push(answer(&names.join(",")));
            }
            _ => out.push(answer("msg format invalid")),
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        let before = out.len();
        let news = self.channels.iter().filter_map(|channel| Some((channel, changed(changes, channel.listing)?)));
        out.extend(news.map(|(channel, quote)| push(channel, quote, world)));
        if out.len() > before {
            self.stay(world);
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.expires {
            self.expires = u64::MAX;
            out.push(Out::Close(1000, ""));
        } else if world.now >= self.idle_until {
            self.idle_until = u64::MAX;
            let why = if self.channels.is_empty() { "no subscription" } else { "neither data nor a ping" };
            if world.enforced(format!("{why} in time"), out) {
                out.push(Out::Close(1005, ""));
            }
        }
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.idle_until.min(self.expires)).filter(|deadline| *deadline != u64::MAX)
    }

    fn subscribed(&self) -> Vec<usize> {
        self.channels.iter().map(|channel| channel.listing).collect()
    }
}

impl Session {
    /// Pings do not keep a connection without subscriptions.
    fn stay(&mut self, world: &World<'_>) {
        if !self.channels.is_empty() {
            self.idle_until = world.now + IDLE;
        }
    }

    fn subscribe(
        &self,
        names: &[&str],
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) -> Result<Vec<Channel>, &'static str> {
        let wanted: Option<Vec<_>> = names.iter().map(|name| channel(name, world)).collect();
        let mut wanted = wanted.ok_or("Blocked!")?;
        wanted.retain(|channel| self.channels.iter().all(|there| there.name != channel.name));
        let limit = world.options.subscription_limit.unwrap_or(30);
        if self.channels.len() + wanted.len() > limit
            && world.enforced(format!("more than {limit} subscriptions on one connection"), out)
        {
            return Err("Too many subscriptions!");
        }
        Ok(wanted)
    }
}

fn channel(name: &str, world: &World<'_>) -> Option<Channel> {
    let (body, symbol) = match name.split('@').collect::<Vec<_>>()[..] {
        ["spot", "public.miniTicker.v3.api.pb", symbol, zone] if zone == "24H" || zone.starts_with("UTC") => {
            (Body::Ticker, symbol)
        }
        ["spot", "public.aggre.deals.v3.api.pb", "100ms" | "10ms", symbol] => (Body::Deals, symbol),
        _ => return None,
    };
    Some(Channel { name: name.to_owned(), body, listing: world.find(symbol)? })
}

/// A `PushDataV3ApiWrapper`.
fn push(channel: &Channel, quote: &Quote, world: &World<'_>) -> Out {
    let listing = world.listing(channel.listing);
    let (symbol, day) = (listing.id.as_str(), &listing.day);
    let (number, body) = match channel.body {
        Body::Ticker => {
            let fields = [
                (1, symbol),
                (2, &quote.last),
                (3, "0.0766"),
                (4, "0.0766"),
                (5, &day.high),
                (6, &day.low),
                (7, "11336518.0264"),
                (8, "4638390.17"),
                (9, "0.0767"),
                (10, "0.0767"),
                (11, &day.high),
                (12, &day.low),
            ];
            (309, fields.iter().fold(Message::default(), |message, (number, value)| message.text(*number, value)))
        }
        Body::Deals => {
            // An older deal first, at another price.
            let deal = |price: &str, ago: u64| {
                Message::default().text(1, price).text(2, "0.04438243").varint(3, 2).varint(4, world.millis() - ago)
            };
            let deals = Message::default().message(1, &deal(&day.open, 7)).message(1, &deal(&quote.last, 0));
            (314, deals.text(2, "spot@public.aggre.deals.v3.api.pb@100ms"))
        }
    };
    let wrapper = Message::default().text(1, &channel.name).text(3, symbol).varint(6, world.millis());
    Out::Binary(wrapper.message(number, &body).0)
}

/// Protocol Buffers, as much as writing takes.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(self, number: u64, text: &str) -> Self {
        self.bytes(number, text.as_bytes())
    }

    fn message(self, number: u64, message: &Self) -> Self {
        self.bytes(number, &message.0)
    }

    fn bytes(mut self, number: u64, bytes: &[u8]) -> Self {
        self.raw(number << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(mut self, number: u64, value: u64) -> Self {
        self.raw(number << 3);
        self.raw(value);
        self
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::Bench;

    const TICKER: &str = "spot@public.miniTicker.v3.api.pb@BTCUSDT@UTC+0";

    fn bench() -> Bench {
        Bench::new(&[("BTCUSDT", "67250.35"), ("ETHUSDT", "3512.47")])
    }

    fn request(method: &str, params: &[&str]) -> String {
        json!({ "id": 7, "method": method, "params": params }).to_string()
    }

    #[test]
    fn requests_and_their_answers() {
        let blocked = |list: &str| format!("Not Subscribed successfully! [{list}].  Reason： Blocked! ");
        let deals = "spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT";
        let rows: &[(String, String)] = &[
            ("nonsense".into(), "msg format invalid".into()),
            (request("SUBSCRIPTION", &[]), "msg format invalid".into()),
            (request("subscribe", &[deals]), "msg format invalid".into()),
            (request("PING", &[]), "PONG".into()),
            (request("SUBSCRIPTION", &[deals]), deals.into()),
            (request("UNSUBSCRIPTION", &[deals]), deals.into()),
            (request("SUBSCRIPTION", &[&deals.replace(".pb", "")]), blocked(&deals.replace(".pb", ""))),
            (request("SUBSCRIPTION", &[&deals.to_lowercase()]), blocked(&deals.to_lowercase())),
            (request("SUBSCRIPTION", &[&deals.replace("100", "50")]), blocked(&deals.replace("100", "50"))),
            (request("SUBSCRIPTION", &[deals, "spot@x"]), blocked(&format!("{deals},spot@x"))),
        ];
        for (message, words) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Mexc, "/ws");
            let told = bench.tell(&mut *session, message);
            let id = if message == "nonsense" { 0 } else { 7 };
            let answer: Value = serde_json::from_str(&told[0]).expect("JSON");
            assert_eq!(answer, json!({ "id": id, "code": 0, "msg": words }), "{message}");
            assert_eq!(told.len(), 1);
        }
    }

    /// The bytes, counted by hand.
    #[test]
    fn deals_are_protobuf() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Mexc, "/ws");
        let name = "spot@public.aggre.deals.v3.api.pb@10ms@BTCUSDT";
        bench.tell(&mut *session, &request("SUBSCRIPTION", &[name]));
        let expected = [
            b"\x0a\x2espot@public.aggre.deals.v3.api.pb@10ms@BTCUSDT\x1a\x07BTCUSDT",
            &b"\x30\xfb\xd0\x95\xff\xbc\x31\xd2\x13\x67"[..],
            b"\x0a\x1f\x0a\x0863887.83\x12\x0a0.04438243\x18\x02\x20\xf4\xd0\x95\xff\xbc\x31",
            b"\x0a\x1b\x0a\x041.50\x12\x0a0.04438243\x18\x02\x20\xfb\xd0\x95\xff\xbc\x31",
            b"\x12\x27spot@public.aggre.deals.v3.api.pb@100ms",
        ];
        let pushed = bench.push(&mut *session, "BTCUSDT", "1.50");
        assert_eq!(pushed, [format!("{:?}", Out::Binary(expected.concat()))]);
        assert_eq!(bench.push(&mut *session, "ETHUSDT", "1.50"), [""; 0]);
    }

    #[test]
    fn a_ticker_comes_with_its_answer() {
        let bench = bench();
        let mut session = bench.open(Kind::Mexc, "/ws");
        let mut out = Vec::new();
        session.on_message(&request("SUBSCRIPTION", &[TICKER]), &bench.world(), &mut out);
        let Some(Out::Binary(bytes)) = out.get(1) else { panic!("{out:?}") };
        assert!(bytes.starts_with(&[&b"\x0a\x2e"[..], TICKER.as_bytes(), b"\x1a\x07BTCUSDT\x30"].concat()));
        let body = b"\x0a\x07BTCUSDT\x12\x0867250.35\x1a\x060.0766";
        assert!(bytes.windows(body.len()).any(|window| window == body), "{bytes:?}");
    }

    #[test]
    fn subscriptions_and_messages_have_limits() {
        let mut bench = bench();
        bench.options.subscription_limit = Some(1);
        let mut session = bench.open(Kind::Mexc, "/ws");
        bench.tell(&mut *session, &request("SUBSCRIPTION", &[TICKER]));
        let second = bench.tell(&mut *session, &request("SUBSCRIPTION", &[&TICKER.replace("BTC", "ETH")]));
        assert!(second[0].starts_with("Violation") && second[1].contains("Too many subscriptions!"), "{second:?}");
        for _ in 2..100 {
            bench.tell(&mut *session, r#"{"method":"PING"}"#);
        }
        let end = bench.tell(&mut *session, r#"{"method":"PING"}"#);
        assert!(end[0].starts_with("Violation") && end[1].starts_with("Close"), "{end:?}");
    }

    #[test]
    fn a_connection_without_subscriptions_or_data_is_closed() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Mexc, "/ws");
        bench.tell(&mut *session, r#"{"method":"PING"}"#);
        assert_eq!(session.deadline(), Some(bench.now + 30 * SECOND));
        bench.tell(&mut *session, &request("SUBSCRIPTION", &[TICKER]));
        assert_eq!(session.deadline(), Some(bench.now + 60 * SECOND));
        bench.now += 50 * SECOND;
        bench.tell(&mut *session, r#"{"method":"PING"}"#);
        assert_eq!(session.deadline(), Some(bench.now + 60 * SECOND));
        let end = bench.wake(&mut *session);
        assert!(end[0].starts_with("Violation") && end[1].starts_with("Close"), "{end:?}");
        let mut other = bench.open(Kind::Mexc, "/ws");
        assert_eq!(bench.wake(&mut *other).len(), 2);
    }
}
