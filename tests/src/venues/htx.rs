//! HTX' market data WebSocket: everything that it sends is packed with gzip, and it wants its pings
//! answered in the same words.
//!
//! After the [ticker] and [heartbeat] pages and a recorded session for the order of fields. What a
//! client is told whose request is no request is not documented.
//!
//! [ticker]: https://www.htx.com/en-us/opend/newApiPages/?id=7ec51cb5-7773-11ed-9966-0242ac110003
//! [heartbeat]: https://huobiapi.github.io/docs/spot/v1/en/#heartbeat-and-connection

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::nanos;
use crate::http::Response;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "htx",
    origins: &["wss://api.huobi.pro", "wss://api-aws.huobi.pro"],
    prices: PRICES,
    open: |target, _, world| open(target, world),
    error: |_, text| format!("{{\"status\":\"error\",\"err-code\":\"system-error\",\"err-msg\":{text}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("btcusdt", "67250.33"),
    ("ethusdt", "3512.46"),
    ("solusdt", "172.5431"),
    ("xrpusdt", "0.52312"),
    ("dogeusdt", "0.158731"),
    ("adausdt", "0.456614"),
    ("avaxusdt", "36.1801"),
    ("linkusdt", "17.2041"),
    ("ethbtc", "0.052231"),
    ("htxusdt", "0.00000173"),
];

/// How many pings may stay without an answer.
const MISSED: usize = 2;

struct Session {
    symbols: Vec<usize>,
    ping_every: u64,
    next_ping: u64,
    /// The pings that wait for their answer.
    unanswered: Vec<u64>,
}

fn open(target: &str, world: &World<'_>) -> Opened {
    if target != "/ws" {
        return Err(Response::html(404));
    }
    let ping_every = nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(5)));
    let next_ping = world.now + ping_every;
    Ok(Box::new(Session { symbols: Vec::new(), ping_every, next_ping, unanswered: Vec::new() }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        let request = serde_json::from_str::<Value>(text).unwrap_or_default();
        let id = request.get("id").cloned().unwrap_or_default();
        let topic = |verb: &str| request.get(verb).and_then(Value::as_str);
        if let Some(pong) = request.get("pong").and_then(Value::as_u64) {
            match self.unanswered.iter().position(|ping| *ping == pong) {
                Some(at) => drop(self.unanswered.drain(..=at)),
                None => out.push(Out::Violation(format!("a pong of {pong}, which was not asked for"))),
            }
        } else if let Some(topic) = topic("sub") {
            let Some(index) = symbol_of(topic).and_then(|symbol| world.find(symbol)) else {
                return out.push(error(&id, &format!("invalid topic {topic}"), world));
            };
            if !self.symbols.contains(&index) {
                self.symbols.push(index);
            }
            out.push(answer(&id, "subbed", topic, world));
            if !world.silent {
                out.push(ticker(index, world.quote(index), world));
            }
        } else if let Some(topic) = topic("unsub") {
            let symbol = symbol_of(topic).unwrap_or_default();
            self.symbols.retain(|index| world.listing(*index).id != symbol);
            out.push(answer(&id, "unsubbed", topic, world));
        } else {
            out.push(error(&id, "invalid command", world));
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        let news = self.symbols.iter().filter_map(|&index| Some((index, changed(changes, index)?)));
        out.extend(news.map(|(index, quote)| ticker(index, quote, world)));
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now < self.next_ping {
            return;
        }
        if self.unanswered.len() >= MISSED && world.enforced(format!("{MISSED} pings without an answer"), out) {
            return out.push(Out::Close(1003, "ping check expired"));
        }
        let ping = world.millis();
        self.unanswered.push(ping);
        self.next_ping = world.now + self.ping_every;
        out.push(Out::Gzip(format!("{{\"ping\":{ping}}}")));
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.next_ping)
    }

    fn subscribed(&self) -> Vec<usize> {
        self.symbols.clone()
    }
}

fn symbol_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("market.")?.strip_suffix(".ticker")
}

fn answer(id: &Value, verb: &str, topic: &str, world: &World<'_>) -> Out {
    Out::Gzip(json!({ "id": id, "status": "ok", verb: topic, "ts": world.millis() }).to_string())
}

fn error(id: &Value, words: &str, world: &World<'_>) -> Out {
    let error =
        json!({ "status": "error", "ts": world.millis(), "id": id, "err-code": "bad-request", "err-msg": words });
    Out::Gzip(error.to_string())
}

fn ticker(index: usize, quote: &Quote, world: &World<'_>) -> Out {
    let listing = world.listing(index);
    let (symbol, day) = (&listing.id, &listing.day);
    // The day's last price is another one here, so that whoever reads it is seen.
    Out::Gzip(format!(
        r#"{{"ch":"market.{symbol}.ticker","ts":{},"tick":{{"open":{},"high":{},"low":{},"close":{},"amount":13259.24137056181,"vol":6.876409874125315E8,"count":448737,"bid":{},"bidSize":0.036,"ask":{},"askSize":0.583653,"lastPrice":{},"lastSize":9.47E-4}}}}"#,
        world.millis(),
        day.open,
        day.high,
        day.low,
        day.vwap,
        quote.bid,
        quote.ask,
        quote.last,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("btcusdt", "67250.33"), ("ethusdt", "3512.46")])
    }

    #[test]
    fn requests_and_their_answers() {
        let rows: &[(&str, &[&str])] = &[
            ("nonsense", &["null error invalid command"]),
            (r#"{"sub":["market.btcusdt.ticker"],"id":"a"}"#, &[r#""a" error invalid command"#]),
            (r#"{"sub":"market.nopeusdt.ticker","id":"a"}"#, &[r#""a" error invalid topic market.nopeusdt.ticker"#]),
            (r#"{"sub":"market.BTCUSDT.ticker","id":"a"}"#, &[r#""a" error invalid topic market.BTCUSDT.ticker"#]),
            (r#"{"sub":"market.btcusdt.detail","id":3}"#, &["3 error invalid topic market.btcusdt.detail"]),
            (r#"{"sub":"market.btcusdt.ticker","id":"a"}"#, &[r#""a" ok"#, "market.btcusdt.ticker 67250.33"]),
            (r#"{"unsub":"market.btcusdt.ticker","id":"a"}"#, &[r#""a" ok"#]),
            (r#"{"pong":1}"#, &["Violation"]),
        ];
        for (message, answers) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Htx, "/ws");
            let told: Vec<_> = bench.tell(&mut *session, message).iter().map(|text| brief(text)).collect();
            assert_eq!(told, *answers, "{message}");
        }
    }

    #[test]
    fn the_day_closes_at_another_price_than_the_last() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Htx, "/ws");
        bench.tell(&mut *session, r#"{"sub":"market.ethusdt.ticker","id":"a"}"#);
        let told = bench.push(&mut *session, "ethusdt", "1.50");
        assert!(told[0].contains(r#""lastPrice":1.50,"#) && !told[0].contains(r#""close":1.50,"#), "{told:?}");
        assert!(told[0].contains(r#""ts":1700000000123,"#), "{told:?}");
        assert_eq!(bench.push(&mut *session, "btcusdt", "1.50"), [""; 0]);
    }

    #[test]
    fn a_client_that_misses_two_pings_is_closed() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Htx, "/ws");
        for _ in 0..3 {
            let ping = bench.wake(&mut *session).remove(0);
            let pong = ping.replace("ping", "pong");
            assert_eq!(collect(|out| session.on_message(&pong, &bench.world(), out)), [""; 0], "{ping}");
        }
        assert_eq!(bench.wake(&mut *session), ["{\"ping\":1700000020123}"]);
        bench.wake(&mut *session);
        let end = bench.wake(&mut *session);
        assert!(end[0].starts_with("Violation") && end[1].starts_with("Close"), "{end:?}");
    }

    /// What an answer is about, and its error or its price.
    fn brief(text: &str) -> String {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return text.split('(').next().unwrap_or_default().into();
        };
        let plain = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        match (message.get("ch"), message.get("err-msg")) {
            (Some(_), _) => format!("{} {}", plain("ch"), message["tick"]["lastPrice"]),
            (_, Some(_)) => format!("{} {} {}", message["id"], plain("status"), plain("err-msg")),
            _ => format!("{} {}", message["id"], plain("status")),
        }
    }
}
