//! Gate's spot WebSocket, version 4: the channel `spot.tickers`, and the application's own ping.
//!
//! After the [WebSocket v4] page. What it leaves open is done as seen from outside: a pair that does
//! not exist costs its whole request and is the first that the error names. How long the venue waits
//! for a client that answers no ping is nowhere said; here it is the next ping.
//!
//! [WebSocket v4]: https://www.gate.com/docs/developers/apiv4/ws/en/

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::nanos;
use crate::fault::Notice;
use crate::http::Response;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, strings};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "gate",
    origins: &["wss://api.gateio.ws"],
    prices: PRICES,
    open: |target, _, world| open(target, world),
    error: |_, text| format!("{{\"label\":\"SERVER_ERROR\",\"message\":{text}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC_USDT", "67250.2"),
    ("ETH_USDT", "3512.49"),
    ("SOL_USDT", "172.55"),
    ("XRP_USDT", "0.52314"),
    ("DOGE_USDT", "0.158739"),
    ("ADA_USDT", "0.45663"),
    ("AVAX_USDT", "36.18"),
    ("LINK_USDT", "17.204"),
    ("ETH_BTC", "0.052232"),
    ("GT_USDT", "8.413"),
];

struct Session {
    pairs: Vec<usize>,
    ping_every: u64,
    next_ping: u64,
    /// Whether the client said anything since the last ping.
    heard: bool,
}

fn open(target: &str, world: &World<'_>) -> Opened {
    if target.trim_end_matches('/') != "/ws/v4" {
        return Err(Response::html(404));
    }
    let ping_every = nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(20)));
    Ok(Box::new(Session { pairs: Vec::new(), ping_every, next_ping: world.now + ping_every, heard: true }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        self.heard = true;
        let request = serde_json::from_str::<Value>(text).unwrap_or_default();
        let field = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        let (channel, event) = (field("channel"), field("event"));
        let seconds = world.now / 1_000_000_000;
        if channel == "spot.ping" {
            let pong = json!({ "time": seconds, "channel": "spot.pong", "event": "", "error": null, "result": null });
            return out.push(Out::Text(pong.to_string()));
        }
        let fault = self.execute(&request, channel, event, world, out).err();
        let mut answer = json!({
            "time": seconds, "time_ms": world.millis(), "channel": channel, "event": event, "error": null,
            "result": { "status": "success" },
        });
        if let Some(id) = request.get("id").filter(|id| id.is_u64()) {
            answer["id"] = id.clone();
        }
        if let Some((code, message)) = &fault {
            answer["error"] = json!({ "code": code, "message": message });
            answer["result"] = Value::Null;
        }
        out.push(Out::Text(answer.to_string()));
        if fault.is_none() && event == "subscribe" && !world.silent {
            let asked = strings(&request["payload"]).unwrap_or_default();
            out.extend(asked.iter().filter_map(|pair| world.find(pair)).map(|at| update(at, world.quote(at), world)));
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        let news = self.pairs.iter().filter_map(|&index| Some((index, changed(changes, index)?)));
        out.extend(news.map(|(index, quote)| update(index, quote, world)));
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now < self.next_ping {
            return;
        }
        if !self.heard && world.enforced("a ping without an answer".into(), out) {
            return out.push(Out::Close(1006, "ping timeout"));
        }
        self.heard = false;
        self.next_ping = world.now + self.ping_every;
        out.push(Out::Ping(String::new()));
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.next_ping)
    }

    fn on_ping(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {
        self.heard = true;
    }

    fn on_pong(&mut self, _payload: &[u8], _world: &World<'_>, _out: &mut Vec<Out>) {
        self.heard = true;
    }

    fn on_notice(&mut self, notice: Notice, _world: &World<'_>, out: &mut Vec<Out>) {
        if notice == Notice::Restart {
            let words = "The connection will soon be closed for a service upgrade. Please reconnect.";
            out.push(Out::Text(json!({ "type": "upgrade", "msg": words }).to_string()));
        }
    }

    fn subscribed(&self) -> Vec<usize> {
        self.pairs.clone()
    }
}

impl Session {
    /// The error has a code and a message.
    fn execute(
        &mut self,
        request: &Value,
        channel: &str,
        event: &str,
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) -> Result<(), (u8, String)> {
        let time = request.get("time").and_then(Value::as_u64).ok_or((1, "Invalid request body format".to_owned()))?;
        let invalid = |words: &str| Err((2, words.to_owned()));
        if time.abs_diff(world.now / 1_000_000_000) > 60
            && world.enforced(format!("a request of {time}, more than a minute away"), out)
        {
            return invalid("request time is more than 60 seconds away");
        }
        let Some(payload) = request.get("payload").and_then(strings).filter(|pairs| !pairs.is_empty()) else {
            return invalid("Invalid argument provided");
        };
        if channel != "spot.tickers" {
            return invalid("unknown channel");
        }
        let mut found = Vec::new();
        for pair in payload {
            match world.find(pair) {
                Some(index) => found.push(index),
                None => return Err((2, format!("unknown currency pair {pair}"))),
            }
        }
        match event {
            "subscribe" => {
                found.retain(|index| !self.pairs.contains(index));
                self.pairs.extend(found);
            }
            "unsubscribe" => self.pairs.retain(|index| !found.contains(index)),
            _ => return invalid("unknown event"),
        }
        Ok(())
    }
}

fn update(index: usize, quote: &Quote, world: &World<'_>) -> Out {
    let listing = world.listing(index);
    let (pair, day, ms) = (&listing.id, &listing.day, world.millis());
    Out::Text(format!(
        r#"{{"time":{},"time_ms":{ms},"channel":"spot.tickers","event":"update","result":{{"currency_pair":"{pair}","last":"{}","lowest_ask":"{}","highest_bid":"{}","change_percentage":"-0.8203","base_volume":"2811.3042155865","quote_volume":"53441606.52411221454674732293","high_24h":"{}","low_24h":"{}"}}}}"#,
        ms / 1_000,
        quote.last,
        quote.ask,
        quote.bid,
        day.high,
        day.low,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("BTC_USDT", "67250.2"), ("ETH_USDT", "3512.49")])
    }

    #[test]
    fn requests_and_their_answers() {
        let rows: &[(&str, &[&str])] = &[
            ("nonsense", &["1 Invalid request body format"]),
            (r#"{"channel":"spot.tickers","event":"subscribe","payload":["BTC_USDT"]}"#, &["1 Invalid request body format"]),
            (
                r#"{"time":42,"channel":"spot.tickers","event":"subscribe","payload":["BTC_USDT"]}"#,
                &["Violation", "2 request time is more than 60 seconds away"],
            ),
            (r#"{"time":1700000001,"channel":"spot.tickers","event":"subscribe"}"#, &["2 Invalid argument provided"]),
            (r#"{"time":1700000001,"channel":"spot.tickers","event":"subscribe","payload":[]}"#, &["2 Invalid argument provided"]),
            (r#"{"time":1700000001,"channel":"spot.tickers","event":"follow","payload":["BTC_USDT"]}"#, &["2 unknown event"]),
            (r#"{"time":1700000001,"channel":"spot.ticker","event":"subscribe","payload":["BTC_USDT"]}"#, &["2 unknown channel"]),
            (
                r#"{"time":1700000001,"id":4,"channel":"spot.tickers","event":"subscribe","payload":["BTC_USDT","NOPE_USDT"]}"#,
                &["id 4", "2 unknown currency pair NOPE_USDT"],
            ),
            (
                r#"{"time":1699999950,"id":5,"channel":"spot.tickers","event":"subscribe","payload":["BTC_USDT","ETH_USDT"]}"#,
                &["id 5", "success", "BTC_USDT 67250.2", "ETH_USDT 3512.49"],
            ),
            (r#"{"time":1700000001,"channel":"spot.tickers","event":"unsubscribe","payload":["BTC_USDT"]}"#, &["success"]),
            (r#"{"time":1700000001,"channel":"spot.ping"}"#, &["spot.pong"]),
        ];
        for (message, answers) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Gate, "/ws/v4/");
            let told: Vec<_> = bench.tell(&mut *session, message).iter().flat_map(|text| brief(text)).collect();
            assert_eq!(told, *answers, "{message}");
        }
    }

    #[test]
    fn a_ticker_has_its_fields_where_the_venue_has_them() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Gate, "/ws/v4");
        let subscribe = r#"{"time":1700000000,"channel":"spot.tickers","event":"subscribe","payload":["BTC_USDT"]}"#;
        bench.tell(&mut *session, subscribe);
        let update = bench.push(&mut *session, "BTC_USDT", "1.50").remove(0);
        let update: Value = serde_json::from_str(&update).expect("JSON");
        assert_eq!((&update["time"], &update["time_ms"]), (&json!(1_700_000_000), &json!(1_700_000_000_123_u64)));
        let result = &update["result"];
        assert_eq!((&result["last"], &result["highest_bid"]), (&json!("1.50"), &json!("1.49")));
        assert_eq!(bench.push(&mut *session, "ETH_USDT", "1.50"), [""; 0]);
    }

    #[test]
    fn a_client_that_answers_no_ping_is_closed() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Gate, "/ws/v4");
        assert_eq!(bench.wake(&mut *session), ["Ping(\"\")"]);
        collect(|out| session.on_pong(b"", &bench.world(), out));
        assert_eq!(bench.wake(&mut *session), ["Ping(\"\")"]);
        let end = bench.wake(&mut *session);
        assert!(end[0].starts_with("Violation") && end[1].starts_with("Close"), "{end:?}");
    }

    #[test]
    fn an_upgrade_is_announced() {
        let bench = bench();
        let mut session = bench.open(Kind::Gate, "/ws/v4");
        let told = collect(|out| session.on_notice(Notice::Restart, &bench.world(), out));
        assert!(told[0].contains(r#""type":"upgrade""#), "{told:?}");
    }

    /// An answer's id, and its error or its price.
    fn brief(text: &str) -> Vec<String> {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return vec![text.split('(').next().unwrap_or_default().into()];
        };
        let plain = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let mut words: Vec<_> = message.get("id").map(|id| format!("id {id}")).into_iter().collect();
        let (error, result) = (&message["error"], &message["result"]);
        words.push(match (message["event"].as_str(), error.is_null()) {
            (_, false) => format!("{} {}", error["code"], plain(&error["message"])),
            (Some("update"), _) => format!("{} {}", plain(&result["currency_pair"]), plain(&result["last"])),
            (Some(""), _) => plain(&message["channel"]),
            _ => plain(&result["status"]),
        });
        words
    }
}
