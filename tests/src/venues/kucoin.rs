//! KuCoin's public WebSocket: a token over HTTP first, a welcome, and a client that pings as often
//! as the token says.
//!
//! After the [introduction], [token] and [limits] pages and a recorded session for the order of
//! fields. What they leave open is done as seen from outside: a symbol that does not exist costs its
//! whole request and is the first that the error names, and errors bear the request's number.
//!
//! [introduction]: https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
//! [token]: https://www.kucoin.com/docs-new/websocket-api/base-info/get-public-token-spot-margin
//! [limits]: https://www.kucoin.com/docs-new/rate-limit

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::nanos;
use crate::http::{Request, Response};
use crate::limit::Window;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "kucoin",
    origins: &["https://api.kucoin.com", "wss://ws-api-spot.kucoin.com"],
    prices: PRICES,
    connects: Some((30, 60)),
    weight: |_| 10,
    // 2000 in half a minute.
    budget: 4000,
    open: |target, _, world| open(target, world),
    answer: |request, _, world| answer(request, world),
    error: |status, text| format!("{{\"code\":\"{status}000\",\"msg\":{text}}}"),
};

const PRICES: &[(&str, &str)] = &[
    ("BTC-USDT", "67250.4"),
    ("ETH-USDT", "3512.48"),
    ("SOL-USDT", "172.546"),
    ("XRP-USDT", "0.52316"),
    ("DOGE-USDT", "0.15874"),
    ("ADA-USDT", "0.456617"),
    ("AVAX-USDT", "36.1806"),
    ("LINK-USDT", "17.2043"),
    ("ETH-BTC", "0.0522316"),
    ("KCS-USDT", "9.731"),
];

const SECOND: u64 = 1_000_000_000;
const PING_INTERVAL: Duration = Duration::from_secs(18);
/// In relation to the interval, where that is another one.
const TIMEOUT_SHARE: (u64, u64) = (10, 18);
const LIFE: u64 = 24 * 3600 * SECOND;
const TOPIC: &str = "/market/ticker:";
const MOST_AT_ONCE: usize = 100;

fn ping_interval(world: &World<'_>) -> u64 {
    nanos(world.options.heartbeat.unwrap_or(PING_INTERVAL))
}

fn ping_timeout(world: &World<'_>) -> u64 {
    ping_interval(world) * TIMEOUT_SHARE.0 / TIMEOUT_SHARE.1
}

/// A token carries the time until which it is good: the venue has nothing to remember.
fn answer(request: &Request, world: &World<'_>) -> Response {
    match (&*request.method, request.path()) {
        // Servers want a length with what has a body.
        ("POST", "/api/v1/bullet-public") if request.header("content-length").is_some() => {
            let (interval, timeout) = (ping_interval(world) / 1_000_000, ping_timeout(world) / 1_000_000);
            let server = json!({
                "endpoint": "wss://ws-api-spot.kucoin.com/", "encrypt": true, "protocol": "websocket",
                "pingInterval": interval, "pingTimeout": timeout,
            });
            let token = format!("2neAiuYvAU61ZDXANAGAsiL4=={}", world.now + LIFE);
            let data = json!({ "token": token, "instanceServers": [server] });
            Response::json(200, json!({ "code": "200000", "data": data }).to_string())
        }
        ("POST", "/api/v1/bullet-public") => Response::new(411, "text/plain", "Length Required"),
        (_, "/api/v1/bullet-public") => Response::json(405, r#"{"code":"405000","msg":"Method Not Allowed"}"#),
        _ => Response::json(404, r#"{"code":"404000","msg":"Not Found"}"#),
    }
}

struct Session {
    connection: String,
    token_holds: bool,
    symbols: Vec<usize>,
    messages: Window,
    sequence: u64,
    /// Without a word of the client by then, the connection is closed.
    silent_until: u64,
    expires: u64,
}

fn open(target: &str, world: &World<'_>) -> Opened {
    let request = Request { target: target.to_owned(), ..Request::default() };
    if request.path() != "/" {
        return Err(Response::html(404));
    }
    let token = request.parameter("token").unwrap_or_default();
    let until = token.strip_prefix("2neAiuYvAU61ZDXANAGAsiL4==").and_then(|until| until.parse::<u64>().ok());
    Ok(Box::new(Session {
        connection: request.parameter("connectId").unwrap_or_else(|| "hQvf8jkno".to_owned()),
        token_holds: until.is_some_and(|until| world.now < until),
        symbols: Vec::new(),
        messages: Window::new(100, Duration::from_secs(10)),
        sequence: 1_545_896_668_986,
        silent_until: world.now + ping_interval(world) + ping_timeout(world),
        expires: world.now + world.options.max_age.map_or(LIFE, nanos),
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, out: &mut Vec<Out>) {
        if self.token_holds {
            return out.push(Out::Text(json!({ "id": self.connection, "type": "welcome" }).to_string()));
        }
        out.push(Out::Violation("a token that is not good".into()));
        out.push(error(&self.connection, 401, "token is invalid"));
        out.push(Out::Close(1000, ""));
    }

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        self.silent_until = world.now + ping_interval(world) + ping_timeout(world);
        let request = serde_json::from_str::<Value>(text).unwrap_or_default();
        let field = |name: &str| request.get(name).and_then(Value::as_str);
        let id = match request.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => self.connection.clone(),
        };
        if !self.messages.admit(world.now) && world.enforced("more than 100 messages in 10 seconds".into(), out) {
            return out.push(error(&id, 509, "exceed max permits per 10 seconds"));
        }
        let executed = match field("type") {
            Some("ping") => return out.push(Out::Text(json!({ "id": id, "type": "pong" }).to_string())),
            Some("subscribe") => self.subscribe(field("topic"), world, out),
            Some("unsubscribe") => {
                let symbols = field("topic").and_then(|topic| topic.strip_prefix(TOPIC)).unwrap_or_default();
                self.symbols.retain(|index| symbols.split(',').all(|symbol| world.listing(*index).id != symbol));
                Ok(())
            }
            _ => Err((415, "type is not supported".to_owned())),
        };
        match executed {
            Ok(()) if request["response"] == true => {
                out.push(Out::Text(json!({ "id": id, "type": "ack" }).to_string()));
            }
            Ok(()) => {}
            Err((code, words)) => out.push(error(&id, code, &words)),
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for &index in &self.symbols {
            if let Some(quote) = changed(changes, index) {
                self.sequence += world.sequence_step();
                out.push(ticker(index, quote, self.sequence, world));
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if world.now >= self.expires {
            self.expires = u64::MAX;
            out.push(Out::Close(1000, ""));
        } else if world.now >= self.silent_until {
            self.silent_until = u64::MAX;
            if world.enforced("no ping in time".into(), out) {
                out.push(Out::Close(1000, ""));
            }
        }
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.silent_until.min(self.expires)).filter(|deadline| *deadline != u64::MAX)
    }

    fn subscribed(&self) -> Vec<usize> {
        self.symbols.clone()
    }
}

impl Session {
    fn subscribe(
        &mut self,
        topic: Option<&str>,
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) -> Result<(), (u16, String)> {
        let topic = topic.filter(|topic| !topic.is_empty()).ok_or((406, "topic is required".to_owned()))?;
        let symbols = topic.strip_prefix(TOPIC).ok_or_else(|| (404, format!("topic {topic} is not found")))?;
        let symbols: Vec<&str> = symbols.split(',').collect();
        if symbols.len() > MOST_AT_ONCE && world.enforced(format!("{} symbols in one request", symbols.len()), out) {
            return Err((509, format!("exceed max subscription count limitation of {MOST_AT_ONCE} per time")));
        }
        let mut found = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            let index = world.find(symbol).ok_or_else(|| (404, format!("topic {TOPIC}{symbol} is not found")))?;
            if !self.symbols.contains(&index) && !found.contains(&index) {
                found.push(index);
            }
        }
        let limit = world.options.subscription_limit.unwrap_or(400);
        if self.symbols.len() + found.len() > limit
            && world.enforced(format!("more than {limit} symbols on one connection"), out)
        {
            return Err((509, format!("exceed max subscription count limitation of {limit} per session")));
        }
        self.symbols.extend(found);
        Ok(())
    }
}

fn error(id: &str, code: u16, words: &str) -> Out {
    Out::Text(json!({ "id": id, "type": "error", "code": code, "data": words }).to_string())
}

fn ticker(index: usize, quote: &Quote, sequence: u64, world: &World<'_>) -> Out {
    let (symbol, time) = (&world.listing(index).id, world.millis());
    Out::Text(format!(
        r#"{{"topic":"{TOPIC}{symbol}","type":"message","subject":"trade.ticker","data":{{"bestAsk":"{}","bestAskSize":"14.04274325","bestBid":"{}","bestBidSize":"3.70422021","price":"{}","sequence":"{sequence}","size":"0.01745248","time":{time}}}}}"#,
        quote.ask, quote.bid, quote.last,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::{Bench, collect};

    fn bench() -> Bench {
        Bench::new(&[("BTC-USDT", "67250.4"), ("ETH-USDT", "3512.48")])
    }

    fn post(target: &str) -> Request {
        let headers = vec![("content-length".to_owned(), "0".to_owned())];
        Request { method: "POST".into(), target: target.into(), headers, body: Vec::new() }
    }

    /// Opens a connection as the token says.
    fn opened(bench: &Bench) -> Box<dyn crate::session::Session> {
        let response = answer(&post("/api/v1/bullet-public"), &bench.world());
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!((response.status, &answer["code"]), (200, &json!("200000")));
        let server = &answer["data"]["instanceServers"][0];
        assert_eq!((&server["pingInterval"], &server["pingTimeout"]), (&json!(18_000), &json!(10_000)));
        let token = answer["data"]["token"].as_str().expect("text").replace('=', "%3D");
        let mut session = bench.open(Kind::Kucoin, &format!("/?token={token}&connectId=me"));
        let greeting = collect(|out| session.on_open(&bench.world(), out));
        assert_eq!(greeting, [r#"{"id":"me","type":"welcome"}"#]);
        session
    }

    #[test]
    fn only_a_good_token_is_welcome() {
        let mut bench = bench();
        let until = bench.now + 1;
        for token in ["", "x", "2neAiuYvAU61ZDXANAGAsiL4==7", &format!("2neAiuYvAU61ZDXANAGAsiL4=={until}")] {
            bench.now = until;
            let mut session = bench.open(Kind::Kucoin, &format!("/?token={token}"));
            let told = collect(|out| session.on_open(&bench.world(), out));
            assert!(told[1].contains(r#""code":401"#) && told[2].starts_with("Close"), "{token}: {told:?}");
        }
    }

    #[test]
    fn tokens_are_posted_for() {
        let bench = bench();
        let get = Request { method: "GET".into(), ..post("/api/v1/bullet-public") };
        let bare = Request { headers: Vec::new(), ..post("/api/v1/bullet-public") };
        for (request, status) in [(get, 405), (bare, 411), (post("/api/v1/bullet"), 404)] {
            assert_eq!(answer(&request, &bench.world()).status, status, "{request:?}");
        }
    }

    #[test]
    fn requests_and_their_answers() {
        let many = |count: usize| vec!["BTC-USDT"; count].join(",");
        let subscribe = |topic: &str| format!(r#"{{"id":1,"type":"subscribe","topic":"{topic}","response":true}}"#);
        let refused = |code: u16, words: &str| {
            json!({ "id": "1", "type": "error", "code": code, "data": words }).to_string()
        };
        let ack = r#"{"id":"1","type":"ack"}"#.to_owned();
        let rows = [
            ("nonsense".to_owned(), vec![refused(415, "type is not supported").replace("\"1\"", "\"me\"")]),
            (r#"{"id":"1","type":"dance"}"#.to_owned(), vec![refused(415, "type is not supported")]),
            (r#"{"id":"1","type":"ping"}"#.to_owned(), vec![r#"{"id":"1","type":"pong"}"#.to_owned()]),
            (r#"{"id":"1","type":"subscribe"}"#.to_owned(), vec![refused(406, "topic is required")]),
            (subscribe("/market/tick:BTC-USDT"), vec![refused(404, "topic /market/tick:BTC-USDT is not found")]),
            (
                subscribe("/market/ticker:BTC-USDT,NOPE-USDT"),
                vec![refused(404, "topic /market/ticker:NOPE-USDT is not found")],
            ),
            (subscribe("/market/ticker:BTC-USDT,ETH-USDT"), vec![ack.clone()]),
            (subscribe(&format!("/market/ticker:{}", many(100))), vec![ack.clone()]),
            (
                subscribe(&format!("/market/ticker:{}", many(101))),
                vec![
                    r#"Violation("101 symbols in one request")"#.to_owned(),
                    refused(509, "exceed max subscription count limitation of 100 per time"),
                ],
            ),
            (r#"{"id":"1","type":"subscribe","topic":"/market/ticker:BTC-USDT"}"#.to_owned(), vec![]),
            (subscribe("/market/ticker:BTC-USDT").replace("subscribe", "unsubscribe"), vec![ack]),
        ];
        for (message, answers) in rows {
            let bench = bench();
            assert_eq!(bench.tell(&mut *opened(&bench), &message), answers, "{message}");
        }
    }

    #[test]
    fn a_ticker_has_a_sequence_that_grows() {
        let mut bench = bench();
        let mut session = opened(&bench);
        bench.tell(&mut *session, r#"{"id":"1","type":"subscribe","topic":"/market/ticker:ETH-USDT"}"#);
        for sequence in [1_545_896_668_987_u64, 1_545_896_668_988] {
            let update = bench.push(&mut *session, "ETH-USDT", "1.50").remove(0);
            let data = serde_json::from_str::<Value>(&update).expect("JSON")["data"].take();
            let found = (&data["price"], &data["sequence"], &data["time"]);
            assert_eq!(found, (&json!("1.50"), &json!(sequence.to_string()), &json!(1_700_000_000_123_u64)));
        }
        bench.gaps = true;
        assert!(bench.push(&mut *session, "ETH-USDT", "1")[0].contains(r#""sequence":"1545896668990""#));
        assert_eq!(bench.push(&mut *session, "BTC-USDT", "1.50"), [""; 0]);
    }

    #[test]
    fn symbols_and_messages_have_limits() {
        let mut bench = bench();
        bench.options.subscription_limit = Some(1);
        let mut session = opened(&bench);
        bench.tell(&mut *session, r#"{"id":"1","type":"subscribe","topic":"/market/ticker:BTC-USDT"}"#);
        let second = bench.tell(&mut *session, r#"{"id":"1","type":"subscribe","topic":"/market/ticker:ETH-USDT"}"#);
        assert!(second[0].starts_with("Violation") && second[1].contains("of 1 per session"), "{second:?}");
        for _ in 2..100 {
            bench.tell(&mut *session, r#"{"id":"1","type":"ping"}"#);
        }
        let told = bench.tell(&mut *session, r#"{"id":"1","type":"ping"}"#);
        assert!(told[0].starts_with("Violation") && told[1].contains("exceed max permits"), "{told:?}");
    }

    #[test]
    fn a_client_that_does_not_ping_is_closed() {
        let mut bench = bench();
        let mut session = opened(&bench);
        assert_eq!(session.deadline(), Some(bench.now + 28 * SECOND));
        bench.now += 18 * SECOND;
        bench.tell(&mut *session, r#"{"id":"1","type":"ping"}"#);
        assert_eq!(session.deadline(), Some(bench.now + 28 * SECOND));
        let end = bench.wake(&mut *session);
        assert!(end[0].starts_with("Violation") && end[1].starts_with("Close"), "{end:?}");
    }
}
