//! Binance spot: combined and raw market streams; [`rest`] is its HTTP API.
//!
//! After the venue's [WebSocket streams] page, with what is known from practice: a well-formed
//! stream of a symbol that does not exist is acknowledged and then stays silent, and so is one in
//! upper case.
//!
//! [WebSocket streams]: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams

use std::time::Duration;

use serde_json::Value;

use crate::clock::nanos;
use crate::fault::Notice;
use crate::http::{Request, Response};
use crate::limit::Window;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World};
use crate::venues::Profile;

use request::{Command, Refusal, well_formed};

mod request;
mod rest;

pub(super) const PROFILE: Profile = Profile {
    name: "binance",
    origins: &[
        "wss://stream.binance.com:9443",
        "wss://stream.binance.com",
        "wss://data-stream.binance.vision",
        "https://api.binance.com",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
        "https://data-api.binance.vision",
    ],
    prices: PRICES,
    connects: Some((300, 300)),
    weight: rest::weight,
    budget: 6000,
    open: |target, _, world| open(target, world),
    answer: rest::answer,
    error: |status, text| {
        let code = if status == 429 { -1003 } else { -1000 };
        format!("{{\"code\":{code},\"msg\":{text}}}")
    },
};

const PRICES: &[(&str, &str)] = &[
    ("BTCUSDT", "67250.01000000"),
    ("ETHUSDT", "3512.44000000"),
    ("SOLUSDT", "172.53000000"),
    ("BNBUSDT", "594.10000000"),
    ("XRPUSDT", "0.52310000"),
    ("DOGEUSDT", "0.15872000"),
    ("ADAUSDT", "0.45660000"),
    ("AVAXUSDT", "36.18000000"),
    ("ETHBTC", "0.05223000"),
    ("SHIBUSDT", "0.00002467"),
];

struct Session {
    streams: Vec<Stream>,
    combined: bool,
    messages: Window,
    ping_every: u64,
    next_ping: u64,
    /// The payload of the last ping, and when its pong is overdue.
    unanswered: Option<(String, u64)>,
    expires: u64,
    update_id: u64,
}

struct Stream {
    name: String,
    /// `None` for what is not listed, and for streams that this simulation does not feed.
    listing: Option<usize>,
    book: bool,
}

/// `/stream`, `/ws`, `/stream?streams=a/b` and `/ws/a`.
fn open(target: &str, world: &World<'_>) -> Opened {
    let request = Request { target: target.to_owned(), ..Request::default() };
    let path = request.path().trim_end_matches('/');
    let (combined, names) = match path.strip_prefix("/ws") {
        Some("") => (false, String::new()),
        Some(names) if names.starts_with('/') => (false, names.to_owned()),
        None if path == "/stream" => (true, request.parameter("streams").unwrap_or_default()),
        _ => return Err(Response::html(404)),
    };
    let names: Vec<&str> = names.split('/').filter(|name| !name.is_empty()).collect();
    if !names.iter().all(|name| well_formed(name)) {
        return Err(Response::html(400));
    }
    let ping_every = nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(20)));
    let mut session = Session {
        streams: Vec::new(),
        combined,
        messages: Window::new(5, Duration::from_secs(1)),
        ping_every,
        next_ping: world.now + ping_every,
        unanswered: None,
        expires: world.now + nanos(world.options.max_age.unwrap_or(Duration::from_secs(24 * 3600))),
        update_id: 400_900_217,
    };
    for name in names {
        session.subscribe(name, world);
    }
    Ok(Box::new(session))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        if !self.admit(world, out) {
            return;
        }
        let (id, command) = request::parse(text);
        let result = command.and_then(|command| self.execute(command, world, out));
        out.push(Out::Text(match result {
            Ok(result) => format!("{{\"result\":{result},\"id\":{id}}}"),
            Err(refusal) => refusal.to_text(&id),
        }));
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for stream in &self.streams {
            let Some((index, quote)) = stream.listing.and_then(|index| Some((index, changed(changes, index)?))) else {
                continue;
            };
            self.update_id += world.sequence_step();
            let data = if stream.book {
                book_ticker(self.update_id, index, quote, world)
            } else {
                mini_ticker(index, quote, world)
            };
            out.push(Out::Text(match self.combined {
                true => format!("{{\"stream\":\"{}\",\"data\":{data}}}", stream.name),
                false => data,
            }));
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.expires {
            return out.push(Out::Close(1001, "24 hours are over"));
        }
        if self.unanswered.as_ref().is_some_and(|(_, overdue)| world.now >= *overdue) {
            self.unanswered = None;
            out.push(Out::Violation("a ping was not answered within a minute".into()));
            return out.push(Out::Close(1008, "Pong timeout"));
        }
        if world.now >= self.next_ping {
            self.next_ping = world.now + self.ping_every;
            let payload = world.millis().to_string();
            // A newer ping does not excuse an older one.
            let overdue = self.unanswered.take().map_or(world.now + PONG_WITHIN, |(_, overdue)| overdue);
            self.unanswered = Some((payload.clone(), overdue));
            out.push(Out::Ping(payload));
        }
    }

    fn deadline(&self) -> Option<u64> {
        let overdue = self.unanswered.as_ref().map_or(u64::MAX, |(_, overdue)| *overdue);
        Some(self.next_ping.min(overdue).min(self.expires))
    }

    fn on_ping(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        self.admit(world, out);
    }

    fn on_pong(&mut self, payload: &[u8], world: &World<'_>, out: &mut Vec<Out>) {
        self.admit(world, out);
        if self.unanswered.as_ref().is_some_and(|(sent, _)| sent.as_bytes() == payload) {
            self.unanswered = None;
        }
    }

    fn on_notice(&mut self, notice: Notice, world: &World<'_>, out: &mut Vec<Out>) {
        if notice == Notice::Restart {
            out.push(Out::Text(format!("{{\"e\":\"serverShutdown\",\"E\":{}}}", world.millis())));
        }
    }

    fn subscribed(&self) -> Vec<usize> {
        self.streams.iter().filter_map(|stream| stream.listing).collect()
    }
}

impl Session {
    /// Pings and pongs count against the limit as messages do.
    fn admit(&mut self, world: &World<'_>, out: &mut Vec<Out>) -> bool {
        if self.messages.admit(world.now) {
            return true;
        }
        let enforced = world.enforced("more than 5 messages in a second on one connection".into(), out);
        if enforced {
            out.push(Out::Close(1008, "Too many requests"));
        }
        !enforced
    }

    fn subscribe(&mut self, name: &str, world: &World<'_>) {
        if self.streams.iter().any(|stream| stream.name == name) {
            return;
        }
        let (symbol, channel) = name.split_once('@').unwrap_or_default();
        let fed =
            matches!(channel, "miniTicker" | "bookTicker") && !symbol.bytes().any(|byte| byte.is_ascii_uppercase());
        let listing = world.find(&symbol.to_ascii_uppercase()).filter(|_| fed);
        self.streams.push(Stream { name: name.to_owned(), listing, book: channel == "bookTicker" });
    }

    fn execute(&mut self, command: Command, world: &World<'_>, out: &mut Vec<Out>) -> Result<Value, Refusal> {
        match command {
            Command::Subscribe(_) | Command::Unsubscribe(_) if world.reject_all => {
                return Err(Refusal::invalid("invalid stream"));
            }
            Command::Subscribe(names) => {
                let limit = world.options.subscription_limit.unwrap_or(1024);
                let known = |name: &str| self.streams.iter().any(|stream| stream.name == name);
                let new = names.iter().filter(|name| !known(name)).count();
                if self.streams.len() + new > limit
                    && world.enforced(format!("more than {limit} streams on one connection"), out)
                {
                    // The real text is not documented.
                    return Err(Refusal::invalid("too many streams"));
                }
                for name in names {
                    self.subscribe(&name, world);
                }
            }
            Command::Unsubscribe(names) => {
                self.streams.retain(|stream| !names.contains(&stream.name));
            }
            Command::List => {
                return Ok(self.streams.iter().map(|stream| stream.name.as_str()).collect());
            }
            Command::IsCombined => return Ok(self.combined.into()),
            Command::SetCombined(combined) => self.combined = combined,
        }
        Ok(Value::Null)
    }
}

fn mini_ticker(index: usize, quote: &Quote, world: &World<'_>) -> String {
    let listing = world.listing(index);
    format!(
        "{{\"e\":\"24hrMiniTicker\",\"E\":{},\"s\":\"{}\",\"c\":\"{}\",\"o\":\"{}\",\"h\":\"{}\",\"l\":\"{}\",\
         \"v\":\"18316.27340000\",\"q\":\"1231790842.10000000\"}}",
        world.millis(),
        listing.id,
        quote.last,
        listing.day.open,
        listing.day.high,
        listing.day.low,
    )
}

/// The only stream without a time.
fn book_ticker(update_id: u64, index: usize, quote: &Quote, world: &World<'_>) -> String {
    format!(
        "{{\"u\":{update_id},\"s\":\"{}\",\"b\":\"{}\",\"B\":\"31.21000000\",\"a\":\"{}\",\"A\":\"40.66000000\"}}",
        world.listing(index).id,
        quote.bid,
        quote.ask,
    )
}

/// A pong must come within a minute.
const PONG_WITHIN: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("BTCUSDT", "67250.01000000"), ("ETHUSDT", "3512.44")])
    }

    #[test]
    fn requests_and_their_answers() {
        let invalid =
            |what: &str, id: &str| format!(r#"{{"error":{{"code":2,"msg":"Invalid request: {what}"}},"id":{id}}}"#);
        let rows = [
            (r#"{"method":"SUBSCRIBE","params":["btcusdt@miniTicker"],"id":1}"#, r#"{"result":null,"id":1}"#.to_owned()),
            (r#"{"method":"SUBSCRIBE","params":["nopeusdt@miniTicker"],"id":"a1"}"#, r#"{"result":null,"id":"a1"}"#.into()),
            (r#"{"method":"UNSUBSCRIBE","params":["btcusdt@miniTicker"],"id":null}"#, r#"{"result":null,"id":null}"#.into()),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":-3}"#, r#"{"result":["ethusdt@bookTicker"],"id":-3}"#.into()),
            (r#"{"method":"GET_PROPERTY","params":["combined"],"id":2}"#, r#"{"result":true,"id":2}"#.into()),
            (r#"{"method":"SET_PROPERTY","params":["combined",1],"id":2}"#, r#"{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":2}"#.into()),
            (r#"{"method":"GET_PROPERTY","params":["x"],"id":2}"#, r#"{"error":{"code":0,"msg":"Unknown property"},"id":2}"#.into()),
            (r#"{"method":"GET_PROPERTY","id":2}"#, invalid("property name must be a string", "2")),
            (r#"{"method":"SUBSCRIBE","params":["btcusdt"],"id":1}"#, invalid("invalid stream", "1")),
            (r#"{"method":"SUBSCRIBE","params":[],"id":1}"#, invalid("invalid stream", "1")),
            (r#"{"method":"SUBSCRIBE","params":[7],"id":1}"#, invalid("invalid stream", "1")),
            (r#"{"method":"SUBSCRIBE","params":["a@b"]}"#, invalid("request ID must be an unsigned integer", "null")),
            (r#"{"method":"SUBSCRIBE","params":["a@b"],"id":1.5}"#, invalid("request ID must be an unsigned integer", "1.5")),
            (r#"{"method":"SUBSCRIBE","params":["a@b"],"id":1,"x":2}"#, invalid("too many parameters", "1")),
            (r#"{"params":["a@b"],"id":1}"#, invalid("missing field `method` at line 1 column 73", "1")),
            (r#"{"op":"subscribe""#, r#"{"error":{"code":3,"msg":"Invalid JSON: EOF while parsing an object at line 1 column 17"},"id":null}"#.into()),
        ];
        for (message, answer) in rows {
            let bench = bench();
            let mut session = bench.open(Kind::Binance, "/stream?streams=ethusdt@bookTicker");
            assert_eq!(bench.tell(&mut *session, message), [answer], "{message}");
        }
    }

    #[test]
    fn streams_in_the_url_and_what_is_sent_on_them() {
        let mini = r#"{"e":"24hrMiniTicker","E":1700000000123,"s":"BTCUSDT","c":"1.50","o":"63887.50950000","h":"135172.52010000","l":"32952.50490000","v":"18316.27340000","q":"1231790842.10000000"}"#;
        let book = r#"{"u":400900218,"s":"BTCUSDT","b":"1.49","B":"31.21000000","a":"1.51","A":"40.66000000"}"#;
        let combined = |stream: &str, data: &str| format!(r#"{{"stream":"{stream}","data":{data}}}"#);
        let rows = [
            ("/ws/btcusdt@miniTicker", vec![mini.to_owned()]),
            ("/stream?streams=btcusdt@miniTicker/nope@ticker", vec![combined("btcusdt@miniTicker", mini)]),
            ("/stream?streams=btcusdt%40bookTicker", vec![combined("btcusdt@bookTicker", book)]),
            ("/stream", vec![]),
            ("/ws", vec![]),
            // Acknowledged, and silent for ever.
            ("/ws/BTCUSDT@miniTicker", vec![]),
            ("/ws/ethusdt@miniTicker", vec![]),
        ];
        for (target, expected) in rows {
            let mut bench = bench();
            let mut session = bench.open(Kind::Binance, target);
            assert_eq!(bench.push(&mut *session, "BTCUSDT", "1.50"), expected, "{target}");
        }
        for (target, status) in [("/", 404), ("/wss", 404), ("/ws/btcusdt", 400), ("/stream?streams=a", 400)] {
            let refused = open(target, &bench().world()).err().map(|response| response.status);
            assert_eq!(refused, Some(status), "{target}");
        }
    }

    #[test]
    fn the_sixth_message_of_a_second_ends_the_connection_and_pongs_count() {
        let mut bench = bench();
        let mut session = bench.open(Kind::Binance, "/ws");
        for _ in 0..3 {
            bench.tell(&mut *session, r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#);
        }
        assert_eq!(collect(|out| session.on_ping(&bench.world(), out)), [""; 0]);
        assert_eq!(collect(|out| session.on_pong(b"", &bench.world(), out)), [""; 0]);
        let told = bench.tell(&mut *session, "{}");
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(1008"), "{told:?}");
        bench.options.enforce_limits = false;
        assert_eq!(bench.tell(&mut *session, r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).len(), 2);
        bench.now += 1_000_000_000;
        assert_eq!(bench.tell(&mut *session, r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).len(), 1);
    }

    #[test]
    fn pings_come_every_20_seconds_and_must_be_answered_within_a_minute() {
        let mut bench = bench();
        let start = bench.now;
        let mut session = bench.open(Kind::Binance, "/ws");
        let story: Vec<_> = (0..5)
            .map(|_| (bench.wake(&mut *session), (bench.now - start) / 1_000_000_000))
            .map(|(out, second)| format!("{second} {}", out.join(" ").split('(').next().unwrap_or_default()))
            .collect();
        assert_eq!(story, ["20 Ping", "40 Ping", "60 Ping", "80 Violation", "80 Ping"]);
        let mut session = bench.open(Kind::Binance, "/ws");
        for _ in 0..10 {
            let ping = bench.wake(&mut *session).remove(0);
            let payload = ping.trim_matches(|letter: char| !letter.is_ascii_digit()).to_owned();
            collect(|out| session.on_pong(payload.as_bytes(), &bench.world(), out));
            assert!(ping.starts_with("Ping"));
        }
    }

    #[test]
    fn a_connection_ends_after_a_day_and_has_1024_streams_at_most() {
        let mut bench = bench();
        bench.options.heartbeat = Some(Duration::from_secs(48 * 3600));
        let opened = bench.now;
        let mut session = bench.open(Kind::Binance, "/ws");
        let names: Vec<_> = (0..1024).map(|number| format!("\"x{number}@miniTicker\"")).collect();
        let subscribe = |names: &str| format!(r#"{{"method":"SUBSCRIBE","params":[{names}],"id":1}}"#);
        assert_eq!(bench.tell(&mut *session, &subscribe(&names.join(","))), [r#"{"result":null,"id":1}"#]);
        assert!(bench.tell(&mut *session, &subscribe("\"one@more\""))[0].starts_with("Violation"));
        assert!(bench.wake(&mut *session)[0].starts_with("Close"));
        assert_eq!(bench.now - opened, 24 * 3600 * 1_000_000_000);
    }
}
