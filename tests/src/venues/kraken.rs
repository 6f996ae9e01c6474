//! Kraken spot: WebSocket v2 tickers with prices as JSON numbers; [`rest`] is its HTTP API.
//!
//! After the [ticker channel] and [heartbeat] pages.
//!
//! [ticker channel]: https://docs.kraken.com/api/docs/websocket-v2/ticker
//! [heartbeat]: https://docs.kraken.com/api/docs/websocket-v2/heartbeat

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::nanos;
use crate::fault::Notice;
use crate::http::Response;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, quoted, strings};
use crate::venues::Profile;

mod rest;

pub(super) const PROFILE: Profile = Profile {
    name: "kraken",
    origins: &["wss://ws.kraken.com", "https://api.kraken.com"],
    prices: PRICES,
    // Often quoted and nowhere documented.
    connects: Some((150, 600)),
    open,
    answer: |request, _, world| rest::answer(request, world),
    error: |status, _| match status {
        429 => "{\"error\":[\"EGeneral:Too many requests\"]}".into(),
        _ => "{\"error\":[\"EService:Unavailable\"]}".into(),
    },
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC/USD", "67249.9"),
    ("ETH/USD", "3512.47"),
    ("SOL/USD", "172.54"),
    ("XRP/USD", "0.52318"),
    ("DOGE/USD", "0.1587341"),
    ("ADA/USD", "0.456612"),
    ("AVAX/USD", "36.18"),
    ("LINK/USD", "17.20381"),
    ("ETH/BTC", "0.05223"),
    ("BTC/EUR", "61873.8"),
];

struct Session {
    symbols: Vec<usize>,
    connection: u64,
    heartbeat_every: u64,
    /// When the last message went out: heartbeats fill silence only.
    last_sent: u64,
}

fn open(target: &str, serial: u64, world: &World<'_>) -> Opened {
    if target != "/v2" {
        return Err(Response::html(404));
    }
    Ok(Box::new(Session {
        symbols: Vec::new(),
        // Above 2^53, as the real ones are.
        connection: 12_393_906_104_898_154_338 + serial,
        heartbeat_every: nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(1))),
        last_sent: world.now,
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        self.send_status("online", world, out);
    }

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let request = serde_json::from_str::<Value>(text).ok();
        let request = request.as_ref().and_then(Value::as_object);
        let id = request.and_then(|request| request.get("req_id"));
        let time = world.rfc3339();
        let tail = format!("\"time_in\":\"{time}\",\"time_out\":\"{time}\"}}");
        let id = id.map_or(String::new(), |id| format!("\"req_id\":{id},"));
        if request.and_then(|request| self.execute(request, &id, &tail, world, out)).is_none() {
            let method = r#""error":"Malformed request","method":"error""#;
            self.send(format!("{{{method},{id}\"success\":false,{tail}"), world, out);
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for at in 0..self.symbols.len() {
            let index = self.symbols[at];
            if let Some(quote) = changed(changes, index) {
                self.send(ticker("update", index, quote, world), world, out);
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.last_sent + self.heartbeat_every {
            self.send(r#"{"channel":"heartbeat"}"#.into(), world, out);
        }
    }

    /// Heartbeats begin with the first subscription.
    fn deadline(&self) -> Option<u64> {
        (!self.symbols.is_empty()).then_some(self.last_sent + self.heartbeat_every)
    }

    fn on_notice(&mut self, notice: Notice, world: &World<'_>, out: &mut Vec<Out>) {
        let system = if notice == Notice::MaintenanceEnd { "online" } else { "maintenance" };
        self.send_status(system, world, out);
    }

    fn subscribed(&self) -> Vec<usize> {
        self.symbols.clone()
    }
}

impl Session {
    /// `None` is a request that Kraken cannot read.
    fn execute(
        &mut self,
        request: &Map<String, Value>,
        id: &str,
        tail: &str,
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) -> Option<()> {
        if request.get("req_id").is_some_and(|id| !id.is_u64()) {
            return None;
        }
        let method = request.get("method")?.as_str()?;
        if method == "ping" {
            self.send(format!("{{\"method\":\"pong\",{id}{tail}"), world, out);
            return Some(());
        }
        if !matches!(method, "subscribe" | "unsubscribe") {
            return None;
        }
        let params = request.get("params")?.as_object()?;
        let flag = |name| params.get(name).map_or(Some(true), Value::as_bool);
        let (channel, snapshot) = (params.get("channel")?.as_str()?, flag("snapshot")?);
        if channel != "ticker" {
            let why = quoted(&format!("Subscription name invalid {channel}"));
            self.send(format!("{{\"error\":{why},\"method\":\"{method}\",{id}\"success\":false,{tail}"), world, out);
            return Some(());
        }
        let trigger = params.get("event_trigger").map_or(Some("trades"), Value::as_str)?;
        let symbols = strings(params.get("symbol")?).filter(|symbols| !symbols.is_empty())?;
        if !matches!(trigger, "trades" | "bbo") {
            return None;
        }
        for symbol in symbols {
            let at = world.find(symbol);
            let live = at.is_some_and(|index| self.symbols.contains(&index));
            let (index, why) = match (method, at) {
                (_, None) => (0, format!("Currency pair not supported {symbol}")),
                ("subscribe", Some(_)) if live => (0, "Already subscribed".into()),
                ("unsubscribe", Some(_)) if !live => (0, "Subscription Not Found".into()),
                (_, Some(index)) => (index, String::new()),
            };
            let symbol = quoted(symbol);
            if !why.is_empty() {
                let why = quoted(&why);
                let refusal = format!(
                    "{{\"error\":{why},\"method\":\"{method}\",{id}\"success\":false,\"symbol\":{symbol},{tail}"
                );
                self.send(refusal, world, out);
                continue;
            }
            let ack = format!(
                "{{\"method\":\"{method}\",{id}\"result\":{{\"channel\":\"ticker\",\"event_trigger\":\"{trigger}\",\
                 \"snapshot\":{snapshot},\"symbol\":{symbol}}},\"success\":true,{tail}"
            );
            self.send(ack, world, out);
            if method == "unsubscribe" {
                self.symbols.retain(|live| *live != index);
                continue;
            }
            self.symbols.push(index);
            if snapshot && !world.silent {
                self.send(ticker("snapshot", index, world.quote(index), world), world, out);
            }
        }
        Some(())
    }

    fn send_status(&mut self, system: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let connection = self.connection;
        let data =
            format!(r#"[{{"version":"2.0.10","system":"{system}","api_version":"v2","connection_id":{connection}}}]"#);
        self.send(format!(r#"{{"channel":"status","type":"update","data":{data}}}"#), world, out);
    }

    fn send(&mut self, text: String, world: &World<'_>, out: &mut Vec<Out>) {
        self.last_sent = world.now;
        out.push(Out::Text(text));
    }
}

fn ticker(kind: &str, index: usize, quote: &Quote, world: &World<'_>) -> String {
    let listing = world.listing(index);
    let (symbol, day, time) = (&listing.id, &listing.day, world.rfc3339());
    format!(
        r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}","bid":{},"bid_qty":0.50245128,"ask":{},"ask_qty":31.14063412,"last":{},"volume":4083.67001100,"vwap":{},"low":{},"high":{},"change":-11.9,"change_pct":-0.02,"timestamp":"{time}"}}]}}"#,
        quote.bid, quote.ask, quote.last, day.vwap, day.low, day.high,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    const TIMES: &str = r#""time_in":"2023-11-14T22:13:20.123456789Z","time_out":"2023-11-14T22:13:20.123456789Z"}"#;

    fn bench() -> Bench {
        Bench::new(&[("BTC/USD", "67249.90"), ("SOL/USD", "172.54"), ("ETH/BTC", "0.05")])
    }

    #[test]
    fn requests_and_their_answers() {
        let malformed = r#"{"error":"Malformed request","method":"error","success":false,"#;
        let ack = |symbol: &str, id: &str| {
            format!(
                r#"{{"method":"subscribe",{id}"result":{{"channel":"ticker","event_trigger":"trades","snapshot":false,"symbol":"{symbol}"}},"success":true,"#
            )
        };
        let rows: &[(&str, &[&str])] = &[
            ("{", &[malformed]),
            ("[]", &[malformed]),
            (r#"{"event":"subscribe","pair":["XBT/USD"],"subscription":{"name":"ticker"}}"#, &[malformed]),
            (r#"{"method":"subscribe","params":{"channel":"ticker","symbol":"BTC/USD"}}"#, &[malformed]),
            (r#"{"method":"subscribe","params":{"channel":"ticker","symbol":[]}}"#, &[malformed]),
            (
                r#"{"method":"subscribe","params":{"channel":"tick","symbol":["BTC/USD"]}}"#,
                &[r#"{"error":"Subscription name invalid tick","method":"subscribe","success":false,"#],
            ),
            (
                r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","XBT/USD","SOL/USD"],"snapshot":false},"req_id":7}"#,
                &[
                    &ack("BTC/USD", r#""req_id":7,"#),
                    r#"{"error":"Currency pair not supported XBT/USD","method":"subscribe","req_id":7,"success":false,"symbol":"XBT/USD","#,
                    &ack("SOL/USD", r#""req_id":7,"#),
                ],
            ),
            (
                r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","BTC/USD"],"snapshot":false}}"#,
                &[
                    &ack("BTC/USD", ""),
                    r#"{"error":"Already subscribed","method":"subscribe","success":false,"symbol":"BTC/USD","#,
                ],
            ),
            (
                r#"{"method":"unsubscribe","params":{"channel":"ticker","symbol":["BTC/USD"]}}"#,
                &[r#"{"error":"Subscription Not Found","method":"unsubscribe","success":false,"symbol":"BTC/USD","#],
            ),
            (r#"{"method":"ping","req_id":1}"#, &[r#"{"method":"pong","req_id":1,"#]),
        ];
        for (message, answers) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Kraken, "/v2");
            let answers: Vec<_> = answers.iter().map(|answer| format!("{answer}{TIMES}")).collect();
            assert_eq!(bench.tell(&mut *session, message), answers, "{message}");
        }
    }

    #[test]
    fn a_connection_starts_with_the_status_and_is_told_of_maintenance() {
        let bench = bench();
        let mut session = bench.open(Kind::Kraken, "/v2");
        let opened = collect(|out| session.on_open(&bench.world(), out));
        let told = collect(|out| session.on_notice(Notice::MaintenanceStart, &bench.world(), out));
        assert_eq!(
            [opened[0].as_str(), &told[0].replace("maintenance", "online")],
            [r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":12393906104898154341}]}"#;
                2]
        );
    }

    #[test]
    fn prices_are_bare_numbers_and_heartbeats_fill_silence() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Kraken, "/v2");
        assert_eq!(session.deadline(), None);
        let subscribe = r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"]}}"#;
        let snapshot = bench.tell(&mut *session, subscribe).remove(1);
        assert!(snapshot.contains(r#""type":"snapshot""#) && snapshot.contains(r#""last":67249.90,"#));
        bench.now += 999_999_999;
        let update = bench.push(&mut *session, "BTC/USD", "1e-7").remove(0);
        assert!(update.contains(r#""type":"update""#) && update.contains(r#""last":1e-7,"#), "{update}");
        assert_eq!(session.deadline(), Some(bench.now + 1_000_000_000));
        assert_eq!(bench.wake(&mut *session), [r#"{"channel":"heartbeat"}"#]);
        assert_eq!(bench.push(&mut *session, "SOL/USD", "1"), [""; 0]);
    }
}
