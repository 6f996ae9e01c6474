//! OKX: public tickers over WebSocket v5, which closes whoever is silent.
//!
//! After the [WebSocket overview] and the [tickers channel], with the words of real refusals.
//!
//! [WebSocket overview]: https://www.okx.com/docs-v5/en/#overview-websocket
//! [tickers channel]: https://www.okx.com/docs-v5/en/#public-data-websocket-tickers-channel

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::nanos;
use crate::fault::Notice;
use crate::http::Response;
use crate::limit::Window;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "okx",
    origins: &["wss://ws.okx.com:8443", "wss://wsaws.okx.com:8443"],
    prices: PRICES,
    connects: Some((3, 1)),
    open,
    error: |status, text| format!("{{\"code\":\"{}\",\"data\":[],\"msg\":{text}}}", 50_000 + u32::from(status)),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC-USDT", "67250.1"),
    ("ETH-USDT", "3512.45"),
    ("SOL-USDT", "172.54"),
    ("XRP-USDT", "0.52312"),
    ("DOGE-USDT", "0.15873"),
    ("ADA-USDT", "0.4566"),
    ("AVAX-USDT", "36.18"),
    ("ETH-BTC", "0.05223"),
    ("SHIB-USDT", "0.00002467"),
    ("BTC-USDT-SWAP", "67248.7"),
];

const CONNECTION: &str = "a4d3ae55";

struct Session {
    instruments: Vec<usize>,
    requests: Window,
    silence: u64,
    /// When something last went out: a silent connection is closed.
    last_sent: u64,
}

fn open(target: &str, _serial: u64, world: &World<'_>) -> Opened {
    if target != "/ws/v5/public" {
        return Err(Response::html(404));
    }
    Ok(Box::new(Session {
        instruments: Vec::new(),
        requests: Window::new(480, Duration::from_secs(3600)),
        silence: nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(30))),
        last_sent: world.now,
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        if text == "ping" {
            return self.send("pong".into(), world, out);
        }
        let request = serde_json::from_str::<Value>(text).ok();
        let request = request.as_ref().and_then(Value::as_object);
        let refused = match request.and_then(|request| Some((request, id(request)?))) {
            Some((request, id)) => self.execute(request, id, text.len(), world, out).err().map(|refusal| (id, refusal)),
            None => Some((None, ("60012", format!("Invalid request: {text}")))),
        };
        if let Some((id, (code, words))) = refused {
            self.send(error(id, code, &words), world, out);
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for at in 0..self.instruments.len() {
            let index = self.instruments[at];
            if let Some(quote) = changed(changes, index) {
                self.send(ticker(index, quote, world), world, out);
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.last_sent + self.silence {
            self.last_sent = world.now;
            out.push(Out::Violation("nothing was said and no ping came".into()));
            out.push(Out::Close(4004, "No data received in 30s"));
        }
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.last_sent + self.silence)
    }

    fn on_notice(&mut self, notice: Notice, world: &World<'_>, out: &mut Vec<Out>) {
        if notice == Notice::Restart {
            let words = "The connection will soon be closed for a service upgrade. Please reconnect.";
            let text = json!({ "event": "notice", "code": "64008", "msg": words, "connId": CONNECTION });
            self.send(text.to_string(), world, out);
        }
    }

    fn subscribed(&self) -> Vec<usize> {
        self.instruments.clone()
    }
}

/// The request's number, where it has one; `None` where that is not allowed.
fn id(request: &Map<String, Value>) -> Option<Option<&str>> {
    let Some(id) = request.get("id") else { return Some(None) };
    let id = id.as_str()?;
    let allowed = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    allowed.then_some(Some(id))
}

impl Session {
    fn execute(
        &mut self,
        request: &Map<String, Value>,
        id: Option<&str>,
        size: usize,
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) -> Result<(), (&'static str, String)> {
        let operation = request.get("op").and_then(Value::as_str).unwrap_or_default();
        if !matches!(operation, "subscribe" | "unsubscribe") {
            return Err(("60019", format!("Invalid op: {operation}")));
        }
        if !self.requests.admit(world.now) && world.enforced("more than 480 requests in an hour".into(), out) {
            return Err(("60014", "Requests too frequent".into()));
        }
        if size > 65_536 && world.enforced("a request of more than 64 KB".into(), out) {
            out.push(Out::Close(1009, "Request message exceeds the maximum frame length"));
            return Ok(());
        }
        let args = request.get("args").and_then(Value::as_array).filter(|args| !args.is_empty());
        let args = args.ok_or(("60013", "Invalid args".to_owned()))?;
        for arg in args {
            self.one(operation, arg, id, world, out);
        }
        Ok(())
    }

    /// Each argument has an answer of its own.
    fn one(&mut self, operation: &str, arg: &Value, id: Option<&str>, world: &World<'_>, out: &mut Vec<Out>) {
        let text = |name: &str| arg.get(name).and_then(Value::as_str).unwrap_or_default();
        let (channel, instrument) = (text("channel"), text("instId"));
        let Some(index) = world.find(instrument).filter(|_| channel == "tickers") else {
            let words = format!(
                "Wrong URL or channel:{channel},instId:{instrument} doesn't exist. Please use the correct URL, channel and \
                 parameters referring to API document."
            );
            return self.send(error(id, "60018", &words), world, out);
        };
        let mut answer = json!({ "event": operation, "arg": arg, "connId": CONNECTION });
        if let Some(id) = id {
            answer["id"] = id.into();
        }
        self.send(answer.to_string(), world, out);
        self.instruments.retain(|live| *live != index);
        if operation == "subscribe" {
            self.instruments.push(index);
            if !world.silent {
                self.send(ticker(index, world.quote(index), world), world, out);
            }
        }
    }

    fn send(&mut self, text: String, world: &World<'_>, out: &mut Vec<Out>) {
        self.last_sent = world.now;
        out.push(Out::Text(text));
    }
}

fn error(id: Option<&str>, code: &str, words: &str) -> String {
    let mut error = json!({ "event": "error", "code": code, "msg": words, "connId": CONNECTION });
    if let Some(id) = id {
        error["id"] = id.into();
    }
    error.to_string()
}

fn ticker(index: usize, quote: &Quote, world: &World<'_>) -> String {
    let listing = world.listing(index);
    let (id, day, time) = (&listing.id, &listing.day, world.millis());
    let Quote { last, bid, ask, .. } = quote;
    let (open, high, low) = (&day.open, &day.high, &day.low);
    format!(
        r#"{{"arg":{{"channel":"tickers","instId":"{id}"}},"data":[{{"instType":"SPOT","instId":"{id}","last":"{last}","lastSz":"0.00067643","askPx":"{ask}","askSz":"0.40137","bidPx":"{bid}","bidSz":"0.91","open24h":"{open}","high24h":"{high}","low24h":"{low}","sodUtc0":"{open}","sodUtc8":"{open}","volCcy24h":"276812401.1","vol24h":"4083.6","ts":"{time}"}}]}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("BTC-USDT", "67250.10"), ("ETH-USDT", "3512.44")])
    }

    #[test]
    fn requests_and_their_answers() {
        let unknown = |channel: &str, instrument: &str| {
            format!(
                "Wrong URL or channel:{channel},instId:{instrument} doesn't exist. Please use the correct URL, channel and \
                 parameters referring to API document."
            )
        };
        let ack = |operation: &str, instrument: &str| {
            let arg = format!(r#"{{"channel":"tickers","instId":"{instrument}"}}"#);
            format!(r#"{{"event":"{operation}","arg":{arg},"connId":"a4d3ae55","id":"1"}}"#)
        };
        let subscribe = |args: &str| format!(r#"{{"id":"1","op":"subscribe","args":[{args}]}}"#);
        let btc = r#"{"channel":"tickers","instId":"BTC-USDT"}"#;
        let nope = r#"{"channel":"tickers","instId":"NOPE-USDT"}"#;
        let rows = [
            ("ping".to_owned(), vec!["pong".to_owned()]),
            ("{".to_owned(), vec![error(None, "60012", "Invalid request: {")]),
            ("[]".to_owned(), vec![error(None, "60012", "Invalid request: []")]),
            (r#"{"id":7,"op":"x"}"#.to_owned(), vec![error(None, "60012", r#"Invalid request: {"id":7,"op":"x"}"#)]),
            (r#"{"id":"1","op":"login"}"#.to_owned(), vec![error(Some("1"), "60019", "Invalid op: login")]),
            (subscribe(""), vec![error(Some("1"), "60013", "Invalid args")]),
            (r#"{"op":"subscribe"}"#.to_owned(), vec![error(None, "60013", "Invalid args")]),
            (subscribe(&btc.replace("tickers", "ticker")), vec![error(Some("1"), "60018", &unknown("ticker", "BTC-USDT"))]),
            (subscribe("7"), vec![error(Some("1"), "60018", &unknown("", ""))]),
            // One that is unknown costs nobody else.
            (
                subscribe(&format!("{nope},{btc}")),
                vec![error(Some("1"), "60018", &unknown("tickers", "NOPE-USDT")), ack("subscribe", "BTC-USDT")],
            ),
            (format!(r#"{{"id":"1","op":"unsubscribe","args":[{btc}]}}"#), vec![ack("unsubscribe", "BTC-USDT")]),
        ];
        for (message, answers) in rows {
            let mut bench = bench();
            bench.silent = true;
            let mut session = bench.open(Kind::Okx, "/ws/v5/public");
            assert_eq!(bench.tell(&mut *session, &message), answers, "{message}");
        }
        assert_eq!(open("/ws/v5/private", 0, &bench().world()).err().map(|response| response.status), Some(404));
    }

    #[test]
    fn a_snapshot_comes_at_once_and_prices_while_subscribed() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Okx, "/ws/v5/public");
        let request = |operation: &str| {
            format!(r#"{{"op":"{operation}","args":[{{"channel":"tickers","instId":"BTC-USDT"}}]}}"#)
        };
        let told = bench.tell(&mut *session, &request("subscribe"));
        assert!(told[1].contains(r#""last":"67250.10","#) && told[1].contains(r#""ts":"1700000000123""#), "{told:?}");
        assert!(bench.push(&mut *session, "BTC-USDT", "1.50")[0].contains(r#""last":"1.50","#));
        assert_eq!(bench.push(&mut *session, "ETH-USDT", "1.50"), [""; 0]);
        bench.tell(&mut *session, &request("unsubscribe"));
        assert_eq!(bench.push(&mut *session, "BTC-USDT", "1.60"), [""; 0]);
        let told = collect(|out| session.on_notice(Notice::Restart, &bench.world(), out));
        assert!(told[0].contains("64008"), "{told:?}");
    }

    #[test]
    fn whoever_is_silent_is_closed_and_a_ping_is_enough() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Okx, "/ws/v5/public");
        bench.now += 29_000_000_000;
        assert_eq!(bench.tell(&mut *session, "ping"), ["pong"]);
        assert_eq!(session.deadline(), Some(bench.now + 30_000_000_000));
        let told = bench.wake(&mut *session);
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(4004"), "{told:?}");
    }

    #[test]
    fn requests_have_a_size_and_an_hourly_number() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Okx, "/ws/v5/public");
        let long = format!(r#"{{"op":"subscribe","args":["{}"]}}"#, "x".repeat(65_536));
        let told = bench.tell(&mut *session, &long);
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(1009"), "{told:?}");
        let request = r#"{"op":"unsubscribe","args":[{"channel":"tickers","instId":"BTC-USDT"}]}"#;
        for _ in 0..479 {
            assert_eq!(bench.tell(&mut *session, request).len(), 1);
        }
        let told = bench.tell(&mut *session, request);
        assert!(told[0].starts_with("Violation") && told[1].contains("60014"), "{told:?}");
        bench.now += 3_600_000_000_000;
        assert_eq!(bench.tell(&mut *session, request).len(), 1);
    }
}
