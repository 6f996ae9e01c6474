//! Crypto.com Exchange: tickers, a heartbeat that must be answered, and a first second of silence.
//!
//! After the venue's [page], with what a live session showed: the first data of a ticker are the
//! answer to its subscription, and a refusal names its channel.
//!
//! [page]: https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::nanos;
use crate::http::Response;
use crate::limit::Window;
use crate::market::{Change, Quote, changed};
use crate::session::{Opened, Out, World, strings};
use crate::venues::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "crypto-com",
    origins: &["wss://stream.crypto.com"],
    prices: PRICES,
    open,
    error: |status, text| format!("{{\"code\":{status}01,\"message\":{text}}}"),
    ..Profile::PLAIN
};

const PRICES: &[(&str, &str)] = &[
    ("BTC_USD", "67250.12"),
    ("ETH_USD", "3512.45"),
    ("SOL_USD", "172.542"),
    ("XRP_USD", "0.52312"),
    ("DOGE_USD", "0.158731"),
    ("ADA_USD", "0.45661"),
    ("CRO_USD", "0.09218"),
    ("ETH_BTC", "0.05223"),
    ("SHIB_USD", "0.00002467"),
    ("BTCUSD-PERP", "67248.7"),
];

struct Session {
    instruments: Vec<usize>,
    opened: u64,
    requests: Window,
    heartbeat_every: u64,
    next_heartbeat: u64,
    /// The number of the last heartbeat, and when its answer is overdue.
    unanswered: Option<(u64, u64)>,
}

/// An answer to a heartbeat must come within this time.
const ANSWER_WITHIN: u64 = 5_000_000_000;

/// Clients are to say nothing before.
const FIRST_SECOND: u64 = 1_000_000_000;

fn open(target: &str, _serial: u64, world: &World<'_>) -> Opened {
    if target != "/exchange/v1/market" {
        return Err(Response::html(404));
    }
    let heartbeat_every = nanos(world.options.heartbeat.unwrap_or(Duration::from_secs(30)));
    Ok(Box::new(Session {
        instruments: Vec::new(),
        opened: world.now,
        requests: Window::new(100, Duration::from_secs(1)),
        heartbeat_every,
        next_heartbeat: world.now + heartbeat_every,
        unanswered: None,
    }))
}

impl crate::session::Session for Session {
    fn on_open(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}

    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>) {
        // What is no JSON gets no answer.
        let request = serde_json::from_str::<Value>(text).ok();
        let Some(request) = request.as_ref().and_then(Value::as_object) else { return };
        let id = request.get("id").and_then(Value::as_i64).unwrap_or(-1);
        let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
        if method == "public/respond-heartbeat" {
            if self.unanswered.is_some_and(|(asked, _)| i64::try_from(asked) == Ok(id)) {
                self.unanswered = None;
            } else {
                out.push(Out::Violation("an answer to no heartbeat".into()));
            }
            return;
        }
        let early = world.now < self.opened + FIRST_SECOND;
        let often = !self.requests.admit(world.now);
        let breach = match (early, often) {
            (true, _) => Some("a request in the first second"),
            (_, true) => Some("more than 100 requests in a second"),
            _ => None,
        };
        if breach.is_some_and(|breach| world.enforced(breach.into(), out)) {
            return out.push(refusal(id, method, 42901, "TOO_MANY_REQUESTS", None));
        }
        match method {
            "subscribe" | "unsubscribe" => self.channels(id, method, request, world, out),
            _ => out.push(refusal(id, method, 40003, "No such method", None)),
        }
    }

    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>) {
        for &index in &self.instruments {
            if let Some(quote) = changed(changes, index) {
                out.push(ticker(-1, index, quote, world));
            }
        }
    }

    fn on_timer(&mut self, world: &World<'_>, out: &mut Vec<Out>) {
        if self.unanswered.is_some_and(|(_, overdue)| world.now >= overdue) {
            self.unanswered = None;
            out.push(Out::Violation("a heartbeat was not answered within 5 seconds".into()));
            return out.push(Out::Close(1000, ""));
        }
        if world.now >= self.next_heartbeat {
            self.next_heartbeat = world.now + self.heartbeat_every;
            let id = world.millis();
            // A newer heartbeat does not excuse an older one.
            let overdue = self.unanswered.map_or(world.now + ANSWER_WITHIN, |(_, overdue)| overdue);
            self.unanswered = Some((id, overdue));
            out.push(Out::Text(format!("{{\"id\":{id},\"method\":\"public/heartbeat\",\"code\":0}}")));
        }
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.next_heartbeat.min(self.unanswered.map_or(u64::MAX, |(_, overdue)| overdue)))
    }

    fn subscribed(&self) -> Vec<usize> {
        self.instruments.clone()
    }
}

impl Session {
    fn channels(
        &mut self,
        id: i64,
        method: &str,
        request: &Map<String, Value>,
        world: &World<'_>,
        out: &mut Vec<Out>,
    ) {
        let params = request.get("params").and_then(|params| params.get("channels"));
        let Some(channels) = params.and_then(strings).filter(|channels| !channels.is_empty()) else {
            return out.push(refusal(id, method, 40004, "Required argument is blank or missing", None));
        };
        if method == "unsubscribe" {
            let left = |index: &usize| channels.contains(&format!("ticker.{}", world.listing(*index).id).as_str());
            self.instruments.retain(|index| !left(index));
            return out.push(Out::Text(json!({ "id": id, "method": method, "code": 0 }).to_string()));
        }
        let limit = world.options.subscription_limit.unwrap_or(400);
        for channel in channels {
            let Some(instrument) = channel.strip_prefix("ticker.") else {
                out.push(refusal(id, method, 40003, "Unrecognized channel", Some(channel)));
                continue;
            };
            let Some(index) = world.find(instrument) else {
                out.push(refusal(id, method, 40003, "Unknown symbol", Some(channel)));
                continue;
            };
            let new = !self.instruments.contains(&index);
            if new
                && self.instruments.len() >= limit
                && world.enforced(format!("more than {limit} channels on one connection"), out)
            {
                out.push(refusal(id, method, 40107, "Maximum subscriptions exceeded", None));
                continue;
            }
            if new {
                self.instruments.push(index);
            }
            if world.silent {
                // Acknowledged, and no price.
                let answer = json!({ "id": id, "method": method, "code": 0, "channel": channel });
                out.push(Out::Text(answer.to_string()));
            } else {
                out.push(ticker(id, index, world.quote(index), world));
            }
        }
    }
}

fn refusal(id: i64, method: &str, code: u32, words: &str, channel: Option<&str>) -> Out {
    let mut refusal = json!({ "id": id, "method": method, "code": code });
    if let Some(channel) = channel {
        refusal["channel"] = channel.into();
    }
    refusal["message"] = words.into();
    Out::Text(refusal.to_string())
}

fn ticker(id: i64, index: usize, quote: &Quote, world: &World<'_>) -> Out {
    let listing = world.listing(index);
    let (instrument, day, time) = (&listing.id, &listing.day, world.millis());
    let Quote { last, bid, ask, .. } = quote;
    Out::Text(format!(
        r#"{{"id":{id},"method":"subscribe","code":0,"result":{{"instrument_name":"{instrument}","subscription":"ticker.{instrument}","channel":"ticker","data":[{{"h":"{}","l":"{}","a":"{last}","i":"{instrument}","v":"4083.6","vv":"276812401.1","oi":"0","c":"-0.0189","b":"{bid}","k":"{ask}","t":{time}}}]}}}}"#,
        day.high, day.low,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::session::testing::Bench;

    fn bench() -> Bench {
        let mut bench = Bench::new(&[("BTC_USD", "67250.10"), ("ETH_USD", "3512.44")]);
        bench.silent = true;
        bench
    }

    /// A session whose first second is over.
    fn session(bench: &mut Bench) -> Box<dyn crate::session::Session> {
        let session = bench.open(Kind::CryptoCom, "/exchange/v1/market");
        bench.now += FIRST_SECOND;
        session
    }

    fn subscribe(channels: &str) -> String {
        format!(r#"{{"id":7,"method":"subscribe","params":{{"channels":{channels}}}}}"#)
    }

    #[test]
    fn requests_and_their_answers() {
        let refused = |code: u32, rest: &str| format!(r#"{{"id":7,"method":"subscribe","code":{code},{rest}}}"#);
        let missing = refused(40004, r#""message":"Required argument is blank or missing""#);
        let rows = [
            ("{".to_owned(), vec![]),
            ("[]".to_owned(), vec![]),
            (
                r#"{"method":"nope"}"#.to_owned(),
                vec![r#"{"id":-1,"method":"nope","code":40003,"message":"No such method"}"#.to_owned()],
            ),
            (subscribe("[]"), vec![missing.clone()]),
            (subscribe("[7]"), vec![missing.clone()]),
            (r#"{"id":7,"method":"subscribe"}"#.to_owned(), vec![missing]),
            (
                subscribe(r#"["ticker.NOPE_USD","ticker.BTC_USD","nope.BTC_USD"]"#),
                vec![
                    refused(40003, r#""channel":"ticker.NOPE_USD","message":"Unknown symbol""#),
                    refused(0, r#""channel":"ticker.BTC_USD""#),
                    refused(40003, r#""channel":"nope.BTC_USD","message":"Unrecognized channel""#),
                ],
            ),
            (
                r#"{"id":8,"method":"unsubscribe","params":{"channels":["ticker.BTC_USD"]}}"#.to_owned(),
                vec![r#"{"id":8,"method":"unsubscribe","code":0}"#.to_owned()],
            ),
        ];
        for (message, answers) in rows {
            let mut bench = bench();
            let mut session = session(&mut bench);
            assert_eq!(bench.tell(&mut *session, &message), answers, "{message}");
        }
        assert_eq!(open("/v2/market", 0, &bench().world()).err().map(|response| response.status), Some(404));
    }

    #[test]
    fn the_first_data_are_the_answer() {
        let mut bench = bench();
        bench.silent = false;
        let mut session = session(&mut bench);
        let told = bench.tell(&mut *session, &subscribe(r#"["ticker.BTC_USD"]"#));
        assert!(told[0].starts_with(r#"{"id":7,"#) && told[0].contains(r#""a":"67250.10""#), "{told:?}");
        let update = bench.push(&mut *session, "BTC_USD", "1.50").remove(0);
        assert!(update.starts_with(r#"{"id":-1,"#) && update.contains(r#""a":"1.50""#), "{update}");
        assert!(update.contains(r#""t":1700000001123"#), "{update}");
        assert_eq!(bench.push(&mut *session, "ETH_USD", "1.50"), [""; 0]);
        // Twice is once.
        bench.tell(&mut *session, &subscribe(r#"["ticker.BTC_USD"]"#));
        assert_eq!(bench.push(&mut *session, "BTC_USD", "1.60").len(), 1);
    }

    #[test]
    fn heartbeats_want_an_answer_with_their_number() {
        let mut bench = bench();
        let mut session = session(&mut bench);
        assert_eq!(bench.wake(&mut *session), [r#"{"id":1700000030123,"method":"public/heartbeat","code":0}"#]);
        let answer = |id: u64| format!("{{\"id\":{id},\"method\":\"public/respond-heartbeat\"}}");
        let told = bench.tell(&mut *session, &answer(1));
        assert!(told[0].starts_with("Violation"), "{told:?}");
        assert_eq!(bench.tell(&mut *session, &answer(1_700_000_030_123)), [""; 0]);
        assert_eq!(bench.wake(&mut *session), [r#"{"id":1700000060123,"method":"public/heartbeat","code":0}"#]);
        let told = bench.wake(&mut *session);
        assert_eq!(bench.now / 1_000_000, 1_700_000_065_123);
        assert!(told[0].starts_with("Violation") && told[1].starts_with("Close(1000"), "{told:?}");
    }

    #[test]
    fn limits() {
        let mut bench = bench();
        bench.options.subscription_limit = Some(1);
        let mut session = bench.open(Kind::CryptoCom, "/exchange/v1/market");
        let told = bench.tell(&mut *session, &subscribe(r#"["ticker.BTC_USD"]"#));
        assert!(told[0].starts_with("Violation") && told[1].contains("42901"), "{told:?}");
        bench.now += FIRST_SECOND;
        let told = bench.tell(&mut *session, &subscribe(r#"["ticker.BTC_USD","ticker.ETH_USD"]"#));
        assert!(told[1].starts_with("Violation") && told[2].contains("40107"), "{told:?}");
        for _ in 0..99 {
            assert_eq!(bench.tell(&mut *session, &subscribe(r#"["ticker.BTC_USD"]"#)).len(), 1);
        }
        let told = bench.tell(&mut *session, &subscribe(r#"["ticker.BTC_USD"]"#));
        assert!(told[0].starts_with("Violation") && told[1].contains("42901"), "{told:?}");
    }
}
