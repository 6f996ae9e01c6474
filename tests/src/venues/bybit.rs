//! Bybit spot: v5 public tickers, where a request stands or falls as a whole.
//!
//! After the [connect] and [ticker] pages, with the words of real refusals.
//!
//! [connect]: https://bybit-exchange.github.io/docs/v5/ws/connect
//! [ticker]: https://bybit-exchange.github.io/docs/v5/websocket/public/ticker

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::nanos;
use crate::http::Response;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, quoted, strings};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "bybit",
    origins: &["wss://stream.bybit.com"],
    prices: PRICES,
    connects: Some((500, 300)),
    open,
    error: |_, text| format!("{{\"retCode\":10006,\"retMsg\":{text},\"result\":{{}}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTCUSDT", "67250.1"),
    ("ETHUSDT", "3512.45"),
    ("SOLUSDT", "172.54"),
    ("XRPUSDT", "0.5231"),
    ("DOGEUSDT", "0.15873"),
    ("ADAUSDT", "0.4566"),
    ("AVAXUSDT", "36.18"),
    ("ETHBTC", "0.05223"),
    ("SHIBUSDT", "0.00002467"),
    ("BTCEUR", "61873.8"),
];

const CONNECTION: &str = "d9avt8shteepr00gfc1g-4zd1x";

/// All topics of a connection may have so many characters.
const ROOM: usize = 21_000;

struct Session {
    topics: Vec<usize>,
    cross_sequence: u64,
    silence: u64,
    /// When a ping came or data went: a connection without either is closed.
    alive: u64,
}

fn open(target: &str, _serial: u64, world: &World<'_>) -> Opened {
    if target != "/v5/public/spot" {
        return Err(Response::html(404));
    }
    Ok(Box::new(Session {
        topics: Vec::new(),
        cross_sequence: 112_488_546_160,
        silence: nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(600))),
        alive: world.now,
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let request = serde_json::from_str::<Value>(text).ok();
        let Some(request) = request.as_ref().and_then(Value::as_object) else {
            return out.push(Out::Text(answer("", false, "Failed to decode incoming data", None)));
        };
        let operation = request.get("op").and_then(Value::as_str).unwrap_or_default();
        let id = request.get("req_id").and_then(Value::as_str);
        let result = match operation {
            "ping" => {
                self.alive = world.now;
                Ok("pong")
            }
            "subscribe" => self.subscribe(request, world, out).map(|()| "subscribe"),
            "unsubscribe" => self.unsubscribe(request, world).map(|()| ""),
            _ => Err("error:invalid op".to_owned()),
        };
        let (success, words) = match &result {
            Ok(words) => (true, *words),
            Err(words) => (false, words.as_str()),
        };
        out.push(Out::Text(answer(operation, success, words, id)));
        if success && operation == "subscribe" && !world.silent {
            // Whoever asks again has been refused, so what was asked for is at the end.
            let asked = topics(request).map_or(0, |topics| topics.len());
            for at in self.topics.len() - asked..self.topics.len() {
                self.send(at, world.quote(self.topics[at]), world, out);
            }
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        self.cross_sequence += world.sequence_step();
        for at in 0..self.topics.len() {
            if let Some(quote) = changed(changes, self.topics[at]) {
                self.send(at, quote, world, out);
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.alive + self.silence {
            self.alive = world.now;
            out.push(Out::Violation("no ping came".into()));
            out.push(Out::Close(1006, "no ping and no data"));
        }
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.alive + self.silence)
    }

    fn subscribed(&self) -> Vec<usize> {
        self.topics.clone()
    }
}

/// The symbols that a request names; an error has the topic that is none.
fn topics(request: &Map<String, Value>) -> Result<Vec<&str>, String> {
    let topics = request.get("args").and_then(strings).unwrap_or_default();
    let unknown = |topic: &str| format!("error:handler not found,topic:{topic}");
    topics.into_iter().map(|topic| topic.strip_prefix("tickers.").ok_or_else(|| unknown(topic))).collect()
}

impl Session {
    fn subscribe(&mut self, request: &Map<String, Value>, world: &World<'_>, out: &mut Vec<Out>) -> Result<(), String> {
        let symbols = topics(request)?;
        if symbols.len() > 10 && world.enforced("more than 10 topics in a request".into(), out) {
            return Err("args size >10".into());
        }
        let mut new = Vec::new();
        for symbol in symbols {
            match world.find(symbol) {
                None => return Err(format!("Invalid symbol :[tickers.{symbol}]")),
                Some(index) if self.topics.contains(&index) || new.contains(&index) => {
                    return Err(format!("error:already subscribed,topic:tickers.{symbol}"));
                }
                Some(index) => new.push(index),
            }
        }
        let length = |index: &usize| format!("\"tickers.{}\",", world.listing(*index).id).len();
        let room = world.options.subscription_limit.unwrap_or(ROOM);
        if self.topics.iter().chain(&new).map(length).sum::<usize>() > room
            && world.enforced(format!("topics of more than {room} characters on one connection"), out)
        {
            // The real words are not documented.
            return Err("args too long".into());
        }
        self.topics.extend(new);
        Ok(())
    }

    fn unsubscribe(&mut self, request: &Map<String, Value>, world: &World<'_>) -> Result<(), String> {
        for symbol in topics(request)? {
            self.topics.retain(|index| world.listing(*index).id != symbol);
        }
        Ok(())
    }

    fn send(&mut self, at: usize, quote: &Quote, world: &World<'_>, out: &mut Vec<Out>) {
        self.alive = world.now;
        let listing = world.listing(self.topics[at]);
        let (id, day, time, cs) = (&listing.id, &listing.day, world.millis(), self.cross_sequence);
        out.push(Out::Text(format!(
            r#"{{"topic":"tickers.{id}","ts":{time},"type":"snapshot","cs":{cs},"data":{{"symbol":"{id}","lastPrice":"{}","highPrice24h":"{}","lowPrice24h":"{}","prevPrice24h":"{}","volume24h":"2953.835931","turnover24h":"191907024.69597728","price24hPcnt":"0.0015","usdIndexPrice":"{}"}}}}"#,
            quote.last, day.high, day.low, day.open, day.vwap,
        )));
    }
}

fn answer(operation: &str, success: bool, words: &str, id: Option<&str>) -> String {
    let id = id.map_or(String::new(), |id| format!("\"req_id\":{},", quoted(id)));
    let (operation, words) = (json!(operation), quoted(words));
    format!(r#"{{"success":{success},"ret_msg":{words},"conn_id":"{CONNECTION}",{id}"op":{operation}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::Bench;

    fn bench() -> Bench {
        let mut bench = Bench::new(&[("BTCUSDT", "67250.10"), ("ETHUSDT", "3512.44"), ("SOLUSDT", "172.5")]);
        bench.silent = true;
        bench
    }

    fn request(operation: &str, topics: &[&str]) -> String {
        json!({ "req_id": "7", "op": operation, "args": topics }).to_string()
    }

    #[test]
    fn requests_and_their_answers() {
        let rows = [
            (r#"{"op":"ping"}"#.to_owned(), answer("ping", true, "pong", None)),
            ("[".to_owned(), answer("", false, "Failed to decode incoming data", None)),
            ("[]".to_owned(), answer("", false, "Failed to decode incoming data", None)),
            (r#"{"op":"nope"}"#.to_owned(), answer("nope", false, "error:invalid op", None)),
            (request("subscribe", &["tickers.BTCUSDT"]), answer("subscribe", true, "subscribe", Some("7"))),
            (request("unsubscribe", &["tickers.BTCUSDT"]), answer("unsubscribe", true, "", Some("7"))),
            (
                request("subscribe", &["tickers.BTCUSDT", "tickers.NOPEUSDT"]),
                answer("subscribe", false, "Invalid symbol :[tickers.NOPEUSDT]", Some("7")),
            ),
            (
                request("subscribe", &["tickers.BTCUSDT", "ticker.ETHUSDT"]),
                answer("subscribe", false, "error:handler not found,topic:ticker.ETHUSDT", Some("7")),
            ),
            (
                request("subscribe", &["tickers.BTCUSDT", "tickers.BTCUSDT"]),
                answer("subscribe", false, "error:already subscribed,topic:tickers.BTCUSDT", Some("7")),
            ),
            (
                request("subscribe", &["tickers.btcusdt"]),
                answer("subscribe", false, "Invalid symbol :[tickers.btcusdt]", Some("7")),
            ),
        ];
        for (message, expected) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Bybit, "/v5/public/spot");
            assert_eq!(bench.tell(&mut *session, &message), [expected], "{message}");
        }
        assert_eq!(open("/v5/public/linear", 0, &bench().world()).err().map(|response| response.status), Some(404));
    }

    #[test]
    fn a_refused_request_subscribes_to_nothing_and_an_accepted_one_starts_with_snapshots() {
        let mut bench = bench();
        bench.silent = false;
        let mut session = bench.open(Kind::Bybit, "/v5/public/spot");
        bench.tell(&mut *session, &request("subscribe", &["tickers.BTCUSDT", "tickers.NOPEUSDT"]));
        assert_eq!(bench.push(&mut *session, "BTCUSDT", "1.5"), [""; 0]);
        bench.tell(&mut *session, &request("subscribe", &["tickers.SOLUSDT"]));
        let told = bench.tell(&mut *session, &request("subscribe", &["tickers.BTCUSDT", "tickers.ETHUSDT"]));
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].contains(r#""lastPrice":"1.5""#) && told[2].contains(r#""symbol":"ETHUSDT""#), "{told:?}");
        let update = bench.push(&mut *session, "BTCUSDT", "1.60").remove(0);
        assert!(update.starts_with(r#"{"topic":"tickers.BTCUSDT","ts":1700000000123,"type":"snapshot","cs":112488546162,"#));
        assert!(update.contains(r#""lastPrice":"1.60""#), "{update}");
    }

    #[test]
    fn limits() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Bybit, "/v5/public/spot");
        let told = bench.tell(&mut *session, &request("subscribe", &["tickers.BTCUSDT"; 11]));
        assert!(told[0].starts_with("Violation") && told[1].contains("args size >10"), "{told:?}");
        bench.options.subscription_limit = Some(40);
        assert_eq!(bench.tell(&mut *session, &request("subscribe", &["tickers.BTCUSDT", "tickers.ETHUSDT"])).len(), 1);
        let told = bench.tell(&mut *session, &request("subscribe", &["tickers.SOLUSDT"]));
        assert!(told[0].starts_with("Violation") && told[1].contains("args too long"), "{told:?}");
        bench.now += 599_000_000_000;
        bench.tell(&mut *session, r#"{"op":"ping"}"#);
        assert_eq!(session.deadline(), Some(bench.now + 600_000_000_000));
        let told = bench.wake(&mut *session);
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(1006"), "{told:?}");
    }
}
