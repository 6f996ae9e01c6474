//! Bitfinex public channels, version 2: everything hangs on a channel number that is good for one
//! connection.
//!
//! After the [general] and [ticker] pages, and a recorded session for the order of fields and the
//! sequence numbers.
//!
//! [general]: https://docs.bitfinex.com/docs/ws-general
//! [ticker]: https://docs.bitfinex.com/reference/ws-public-ticker

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::nanos;
use crate::fault::Notice;
use crate::http::Response;
use crate::market::{Change, Quote, Random, changed};
use crate::session::{Opened, Out, World};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "bitfinex",
    origins: &["wss://api-pub.bitfinex.com", "wss://api.bitfinex.com"],
    prices: PRICES,
    connects: Some((20, 60)),
    open,
    error: |status, text| format!("[\"error\",{status},{text}]"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("tBTCUSD", "67252"),
    ("tETHUSD", "3512.5"),
    ("tSOLUSD", "172.56"),
    ("tXRPUSD", "0.52325"),
    ("tDOGE:USD", "0.15873"),
    ("tADAUSD", "0.45661"),
    ("tAVAX:USD", "36.183"),
    ("tLINK:USD", "17.206"),
    ("tETHBTC", "0.052231"),
    ("tBTCEUR", "61875"),
];

struct Session {
    channels: Vec<Channel>,
    numbers: Random,
    flags: u64,
    sequence: u64,
    heartbeat_every: u64,
}

struct Channel {
    number: u64,
    listing: usize,
    last_sent: u64,
}

fn open(target: &str, serial: u64, world: &World<'_>) -> Opened {
    if target != "/ws/2" {
        return Err(Response::html(404));
    }
    Ok(Box::new(Session {
        channels: Vec::new(),
        numbers: Random::new(world.options.seed.wrapping_mul(1_000_003).wrapping_add(serial)),
        flags: 0,
        sequence: 0,
        heartbeat_every: nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(15))),
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, out: &mut Vec<Out>) {
        let server = "083bd8d4-aca7-4690-a573-eabfc8103de8";
        let info = r#"{"event":"info","version":2,"serverId":""#;
        out.push(Out::Text(format!("{info}{server}\",\"platform\":{{\"status\":1}}}}")));
    }

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let request = serde_json::from_str::<Value>(text);
        let event = |request: &Value| request.get("event").and_then(Value::as_str).map(str::to_owned);
        match request.as_ref().ok().and_then(|request| Some((request.as_object()?, event(request)?))) {
            Some((request, event)) => self.execute(&event, request, world, out),
            None => out.push(refusal(10000, "event: invalid", Value::Null)),
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for at in 0..self.channels.len() {
            if let Some(quote) = changed(changes, self.channels[at].listing) {
                self.send_ticker(at, quote, world, out);
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        for at in 0..self.channels.len() {
            if world.now >= self.channels[at].last_sent + self.heartbeat_every {
                self.send(at, "\"hb\"", world, out);
            }
        }
    }

    fn deadline(&self) -> Option<u64> {
        let last_sent = self.channels.iter().map(|channel| channel.last_sent).min();
        last_sent.map(|last_sent| last_sent + self.heartbeat_every)
    }

    fn on_notice(&mut self, notice: Notice, _world: &World<'_>, out: &mut Vec<Out>) {
        let (code, message) = match notice {
            Notice::Restart => (20051, "Stopping. Please try to reconnect"),
            Notice::MaintenanceStart => (20060, "Entering in maintenance mode. Please pause any activity"),
            Notice::MaintenanceEnd => (20061, "Maintenance ended. You can resume normal activity"),
        };
        out.push(Out::Text(json!({ "event": "info", "code": code, "msg": message }).to_string()));
    }

    fn subscribed(&self) -> Vec<usize> {
        self.channels.iter().map(|channel| channel.listing).collect()
    }
}

impl Session {
    fn execute(&mut self, event: &str, request: &Map<String, Value>, world: &World<'_>, out: &mut Vec<Out>) {
        match event {
            "subscribe" => self.subscribe(request, world, out),
            "unsubscribe" => {
                let number = request.get("chanId").and_then(Value::as_u64);
                let at = self.channels.iter().position(|channel| Some(channel.number) == number);
                out.push(match at.map(|at| self.channels.remove(at)) {
                    Some(Channel { number, .. }) => {
                        Out::Text(format!("{{\"event\":\"unsubscribed\",\"status\":\"OK\",\"chanId\":{number}}}"))
                    }
                    None => refusal(10400, "unsubscribe: invalid", json!({ "chanId": request.get("chanId") })),
                });
            }
            "conf" => match request.get("flags").and_then(Value::as_u64) {
                Some(flags) => {
                    self.flags = flags;
                    out.push(Out::Text(format!("{{\"event\":\"conf\",\"status\":\"OK\",\"flags\":{flags}}}")));
                }
                None => out.push(refusal(10000, "flags: invalid", Value::Null)),
            },
            "ping" => {
                let cid = request.get("cid").map_or(String::new(), |cid| format!(",\"cid\":{cid}"));
                out.push(Out::Text(format!("{{\"event\":\"pong\",\"ts\":{}{cid}}}", world.millis())));
            }
            _ => out.push(refusal(10000, "event: invalid", Value::Null)),
        }
    }

    fn subscribe(&mut self, request: &Map<String, Value>, world: &World<'_>, out: &mut Vec<Out>) {
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let symbol = text("symbol").unwrap_or_default();
        // The real venue cuts the first letter off, also where there was no `t`.
        let pair = symbol.chars().skip(1).collect::<String>();
        let listing = world.find(symbol);
        let limit = world.options.subscription_limit.unwrap_or(25);
        let refused = if text("channel") != Some("ticker") {
            Some((10302, "channel: unknown"))
        } else if listing.is_none() {
            Some((10300, "symbol: invalid"))
        } else if self.channels.iter().any(|channel| Some(channel.listing) == listing) {
            Some((10301, "subscribe: dup"))
        } else if self.channels.len() >= limit
            && world.enforced(format!("more than {limit} channels on one connection"), out)
        {
            Some((10305, "subscribe: limit"))
        } else {
            None
        };
        let Some(listing) = listing.filter(|_| refused.is_none()) else {
            let (code, message) = refused.unwrap_or((10300, "symbol: invalid"));
            let asked = json!({ "channel": text("channel"), "symbol": symbol, "pair": pair });
            return out.push(refusal(code, message, asked));
        };
        let number = loop {
            let number = 1000 + self.numbers.next() % 900_000;
            if self.channels.iter().all(|channel| channel.number != number) {
                break number;
            }
        };
        out.push(Out::Text(format!(
            r#"{{"event":"subscribed","channel":"ticker","chanId":{number},"symbol":"{symbol}","pair":"{pair}"}}"#
        )));
        self.channels.push(Channel { number, listing, last_sent: world.now });
        if !world.silent {
            self.send_ticker(self.channels.len() - 1, world.quote(listing), world, out);
        }
    }

    /// `[BID, BID_SIZE, ASK, ASK_SIZE, DAILY_CHANGE, DAILY_CHANGE_RELATIVE, LAST_PRICE, VOLUME,
    /// HIGH, LOW]`.
    fn send_ticker(&mut self, at: usize, quote: &Quote, world: &World<'_>, out: &mut Vec<Out>) {
        let day = &world.listing(self.channels[at].listing).day;
        let Quote { last, bid, ask, .. } = quote;
        let row = format!(
            "[{bid},31.67801523,{ask},22.08341175,-66.5,-0.0189,{last},1284.52018317,{},{}]",
            day.high, day.low
        );
        self.send(at, &row, world, out);
    }

    fn send(&mut self, at: usize, payload: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let channel = &mut self.channels[at];
        channel.last_sent = world.now;
        let mut text = format!("[{},{payload}", channel.number);
        if self.flags & SEQUENCE != 0 {
            self.sequence += world.sequence_step();
            text += &format!(",{}", self.sequence);
        }
        if self.flags & TIMESTAMP != 0 {
            text += &format!(",{}", world.millis());
        }
        out.push(Out::Text(text + "]"));
    }
}

/// An error that repeats what was asked.
fn refusal(code: u32, message: &str, asked: Value) -> Out {
    let mut error = asked.as_object().cloned().unwrap_or_default();
    error.extend([("event".into(), "error".into()), ("msg".into(), message.into()), ("code".into(), code.into())]);
    Out::Text(Value::Object(error).to_string())
}

const TIMESTAMP: u64 = 32768;
const SEQUENCE: u64 = 65536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("tBTCUSD", "67252"), ("tETHUSD", "3512.5"), ("tSOLUSD", "172.5")])
    }

    #[test]
    fn requests_and_their_answers() {
        let subscribed = r#"{"event":"subscribed","channel":"ticker","chanId":N,"symbol":"tBTCUSD","pair":"BTCUSD"}"#;
        let row = "[67251,31.67801523,67253,22.08341175,-66.5,-0.0189,67252,1284.52018317,135176,32953]";
        let subscribe = r#"{"event":"subscribe","channel":"ticker","symbol":"tBTCUSD"}"#;
        let rows: &[(&str, &[&str])] = &[
            ("[]", &[r#"{"code":10000,"event":"error","msg":"event: invalid"}"#]),
            (r#"{"event":"dance"}"#, &[r#"{"code":10000,"event":"error","msg":"event: invalid"}"#]),
            (subscribe, &[subscribed, &format!("[N,{row}]")]),
            (
                subscribe,
                &[
                    r#"{"channel":"ticker","code":10301,"event":"error","msg":"subscribe: dup","pair":"BTCUSD","symbol":"tBTCUSD"}"#,
                ],
            ),
            (
                r#"{"event":"subscribe","channel":"ticker","symbol":"BTCUSD"}"#,
                &[
                    r#"{"channel":"ticker","code":10300,"event":"error","msg":"symbol: invalid","pair":"TCUSD","symbol":"BTCUSD"}"#,
                ],
            ),
            (
                r#"{"event":"subscribe","channel":"tick","symbol":"tETHUSD"}"#,
                &[
                    r#"{"channel":"tick","code":10302,"event":"error","msg":"channel: unknown","pair":"ETHUSD","symbol":"tETHUSD"}"#,
                ],
            ),
            (r#"{"event":"conf","flags":98304}"#, &[r#"{"event":"conf","status":"OK","flags":98304}"#]),
            (
                r#"{"event":"unsubscribe","chanId":1}"#,
                &[r#"{"chanId":1,"code":10400,"event":"error","msg":"unsubscribe: invalid"}"#],
            ),
            (r#"{"event":"ping","cid":5}"#, &[r#"{"event":"pong","ts":1700000000123,"cid":5}"#]),
        ];
        let mut bench = bench();
        let mut session = bench.open(Kind::Bitfinex, "/ws/2");
        let mut number = "N".to_owned();
        for (message, answers) in rows {
            let told = bench.tell(&mut *session, message);
            if told[0].contains("\"subscribed\"") {
                number = serde_json::from_str::<Value>(&told[0]).expect("JSON")["chanId"].to_string();
            }
            let answers: Vec<_> = answers.iter().map(|answer| answer.replace('N', &number)).collect();
            let values = |texts: &[String]| -> Vec<Value> {
                texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
            };
            assert_eq!(values(&told), values(&answers), "{message}");
        }
        // Both flags were set above: a sequence number and a time follow.
        let update = bench.push(&mut *session, "tBTCUSD", "1.0").remove(0);
        assert!(update.starts_with(&format!("[{number},[0.9,")) && update.ends_with("],1,1700000000123]"), "{update}");
        assert_eq!(bench.wake(&mut *session), [format!("[{number},\"hb\",2,1700000015123]")]);
        bench.gaps = true;
        assert!(bench.push(&mut *session, "tBTCUSD", "1.0")[0].ends_with(",4,1700000015123]"));
        let unsubscribe = format!("{{\"event\":\"unsubscribe\",\"chanId\":{number}}}");
        assert!(bench.tell(&mut *session, &unsubscribe)[0].contains("unsubscribed"));
        assert_eq!(session.deadline(), None);
    }

    #[test]
    fn channels_have_a_limit_and_other_numbers_on_each_connection() {
        let mut bench = bench();
        bench.options.subscription_limit = Some(2);
        let subscribe = |symbol| format!(r#"{{"event":"subscribe","channel":"ticker","symbol":"{symbol}"}}"#);
        let mut session = bench.open(Kind::Bitfinex, "/ws/2");
        let first = bench.tell(&mut *session, &subscribe("tBTCUSD"));
        bench.tell(&mut *session, &subscribe("tETHUSD"));
        let third = bench.tell(&mut *session, &subscribe("tSOLUSD"));
        assert!(third[0].starts_with("Violation") && third[1].contains("10305"), "{third:?}");
        let Ok(mut other) = Kind::Bitfinex.open("/ws/2", 4, &bench.world()) else { panic!("refused") };
        assert_ne!(bench.tell(&mut *other, &subscribe("tBTCUSD")), first);
    }

    #[test]
    fn notices_have_codes() {
        let bench = bench();
        let mut session = bench.open(Kind::Bitfinex, "/ws/2");
        let rows = [(Notice::Restart, "20051"), (Notice::MaintenanceStart, "20060"), (Notice::MaintenanceEnd, "20061")];
        for (notice, code) in rows {
            let told = collect(|out| session.on_notice(notice, &bench.world(), out));
            assert!(told[0].contains(code), "{told:?}");
        }
    }
}
