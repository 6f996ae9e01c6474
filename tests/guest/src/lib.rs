//! A plugin that misbehaves as its settings say, in the call they name: what a test would otherwise have to write in
//! WebAssembly by hand. Its venue sends `KEY VALUE` as text frames or as lines of a body.

use feedgate_sdk::http::{Missing, Outcome, PlannedRequest, get};
use feedgate_sdk::websocket::{Endpoint, Reconnect, Step};
use feedgate_sdk::{
    Action, Bucket, Compression, Context, Decimal, Description, Error, Events, Frame, Header, Heartbeat, HeartbeatWhen,
    Http, HttpLimits, Incoming, Level, Malformed, Observation, Plugin, Rejection, Response, Scope, Secret,
    SettingsError, Subscription, Timestamp, Value, ValueKind, WebSocket, WebsocketLimits, log, settings,
};
use serde::Deserialize;

feedgate_sdk::provider!(Guest);

/// Settings that count before the operator's, as JSON and then blanks. A test makes another build of this plugin by
/// writing over the blanks of the compiled file.
static BUILD: [u8; 160] = *b"{\"on\":\"\",\"how\":\"\",\"after\":0}                                                                                                                                    ";

/// What this build is to do, whatever the settings say. Read where nobody can know it beforehand.
fn built_in() -> Option<Settings> {
    let text = std::hint::black_box(&BUILD);
    let settings: Settings = settings::parse(std::str::from_utf8(text).ok()?.trim_end()).ok()?;
    (!settings.on.is_empty() || !settings.how.is_empty()).then_some(settings)
}

/// One connection or poller.
struct Guest {
    settings: Settings,
    calls: u32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The call that misbehaves: `configure`, `connect`, `subscribe`, `heartbeat`, `handle`, `create`, `parse`.
    on: String,
    /// How; see [`misbehave`].
    how: String,
    /// From which call of that kind on, counted from 0.
    after: u32,
    /// Where to, in place of the described origins.
    url: Option<String>,
    /// A header to send with every request.
    header: Option<(String, String)>,
    /// What it logs with every connection and every poll.
    say: Option<String>,
    /// Whether it logs all that its venue says.
    tell: bool,
    /// So many ids in one request, with their keys in its query (`?keys=0,1`). 0: all in one, and no query.
    batch: usize,
    /// How long `spin` takes, in turns.
    spins: u64,
}

impl Guest {
    fn call(&mut self, name: &str) {
        if self.settings.on == name {
            let due = self.calls >= self.settings.after;
            self.calls += 1;
            if due {
                misbehave(&self.settings.how, self.settings.spins);
            }
        }
    }

    fn say(&self) {
        self.settings.say.iter().for_each(|text| log(Level::Info, text));
    }

    fn tell(&self, text: &str) {
        if self.settings.tell {
            log(Level::Warn, text);
        }
    }

    fn headers(&self) -> Vec<Header> {
        let header = |(name, value): &(String, String)| Header { name: name.clone(), value: value.clone() };
        self.settings.header.iter().map(header).collect()
    }

    fn url(&self, described: &str) -> String {
        self.settings.url.clone().unwrap_or_else(|| described.to_owned())
    }
}

/// Does what no plugin should.
fn misbehave(how: &str, spins: u64) {
    match how {
        "loop" => loop {
            std::hint::black_box(());
        },
        "trap" => panic!("told to"),
        "recurse" => drop(std::hint::black_box(recurse(1))),
        "allocate" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        "hoard" => std::mem::forget(std::hint::black_box(vec![1_u8; 40 << 20])),
        "leak" => std::mem::forget(std::hint::black_box(vec![1_u8; 4 << 20])),
        "seep" => std::mem::forget(std::hint::black_box(vec![1_u8; 64 << 10])),
        "spin" => (0..spins).for_each(|n| _ = std::hint::black_box(n)),
        "slow" => (0..100_000_000).for_each(|n| _ = std::hint::black_box(n)),
        "log" => (0..100_000).for_each(|n| log(Level::Info, &format!("line {n}"))),
        _ => {}
    }
}

/// Deeper than any stack; nothing of it lies in linear memory.
fn recurse(depth: u64) -> u64 {
    if depth == 0 { 0 } else { recurse(depth.wrapping_add(1)).wrapping_mul(depth) ^ depth }
}

impl Plugin for Guest {
    fn describe() -> Description {
        Description {
            name: "guest".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Misbehaves as it is told".to_owned(),
            documentation: "https://example.com".to_owned(),
            origins: [
                "wss://guest.example.com",
                "https://guest.example.com",
                "wss://localhost:1",
                "https://localhost:1",
            ]
            .map(str::to_owned)
            .to_vec(),
            mirrors: Vec::new(),
            values: vec![ValueKind::Other],
            default_ids: vec!["a".to_owned(), "b".to_owned()],
            settings_schema: "{}".to_owned(),
            secrets: vec![Secret { name: "key".to_owned(), purpose: "for tests".to_owned(), required: false }],
            resources: None,
            buckets: vec![Bucket {
                what: Action::Send,
                count: 50,
                per_ms: 1_000,
                scope: Scope::Connection,
                counts_control_frames: false,
            }],
            websocket: Some(WebsocketLimits {
                ids_per_connection: Some(100),
                heartbeat: Some(Heartbeat { interval_ms: 200, when: HeartbeatWhen::Always }),
                compression: Compression::Gzip,
                ..WebsocketLimits::default()
            }),
            http: Some(HttpLimits { poll_interval_ms: 100, timeout_ms: 5_000, max_in_flight: 2 }),
        }
    }

    fn configure(text: &str) -> Result<(Self, ValueKind), SettingsError> {
        let settings: Settings = settings::parse(text)?;
        let mut guest = Self { settings: built_in().unwrap_or(settings), calls: 0 };
        if guest.settings.how == "refuse" {
            return Err(SettingsError { field: "how".to_owned(), why: "refused as it was told".to_owned() });
        }
        guest.call("configure");
        Ok((guest, ValueKind::Other))
    }
}

impl WebSocket for Guest {
    fn connect(&mut self, _: &Context, _: &[Subscription], _: Option<Response>) -> Result<Step, Error> {
        self.call("connect");
        self.say();
        let url = self.url("wss://guest.example.com/");
        if self.settings.on == "connect" && self.settings.how == "fetch" {
            return Ok(Step::Fetch(get("https://guest.example.com/token")));
        }
        Ok(Step::Dial(Endpoint { url, headers: self.headers(), ..Endpoint::default() }))
    }

    fn subscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        self.call("subscribe");
        if self.settings.how == "refuse-a" {
            let refused: Vec<_> = subscriptions
                .iter()
                .filter(|s| s.id == "a")
                .map(|s| Rejection::permanent(s.key, "no a here"))
                .collect();
            if !refused.is_empty() {
                return Err(Error::Rejected(refused));
            }
        }
        Ok(subscriptions.iter().map(|s| Frame::Text(format!("subscribe {} {}", s.key, s.id))).collect())
    }

    fn unsubscribe(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error> {
        Ok(subscriptions.iter().map(|s| Frame::Text(format!("unsubscribe {} {}", s.key, s.id))).collect())
    }

    fn heartbeat(&mut self, _: &Context) -> Vec<Frame> {
        self.call("heartbeat");
        vec![Frame::Text("heartbeat".to_owned())]
    }

    fn handle(&mut self, context: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed> {
        self.call("handle");
        let text = match frame {
            Incoming::Text(text) => text,
            Incoming::Binary(_) => return Err(Malformed::new("not text")),
        };
        self.tell(text);
        match text {
            "reconnect" => events.reconnect(Reconnect::Now),
            "echo" => events.reply(Frame::Text("echo".to_owned())),
            _ if text.starts_with("gap ") => {
                let (key, missing) = read(&text["gap ".len()..])?;
                events.gap(Some(key), missing.parse().map_err(|_| Malformed::new("no number"))?);
            }
            _ => {
                let (key, value) = read(text)?;
                if self.settings.how == "garble-b" && key == 1 {
                    return Err(Malformed::new("garbled as it was told"));
                }
                observe(&self.settings.how, key, value, context, |observation| events.observed(observation));
            }
        }
        Ok(())
    }
}

impl Http for Guest {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        self.call("create");
        self.say();
        let batch = if self.settings.batch == 0 { subscriptions.len().max(1) } else { self.settings.batch };
        let planned = subscriptions.chunks(batch).map(|ids| {
            let keys: Vec<u32> = ids.iter().map(|subscription| subscription.key).collect();
            let mut url = self.url("https://guest.example.com/prices");
            if self.settings.batch > 0 {
                let listed: Vec<_> = keys.iter().map(u32::to_string).collect();
                url += &format!("?keys={}", listed.join(","));
            }
            let mut request = get(url);
            request.headers = self.headers();
            PlannedRequest { request, keys }
        });
        Ok(planned.collect())
    }

    fn parse_response(&mut self, context: &Context, keys: &[u32], response: &Response) -> Result<Vec<Outcome>, Error> {
        self.call("parse");
        let body = std::str::from_utf8(&response.body).map_err(|e| Error::Malformed(e.to_string()))?;
        self.tell(body);
        let mut outcomes = Vec::new();
        for line in body.lines() {
            match read(line) {
                Ok((key, value)) => observe(&self.settings.how, key, value, context, |observation| {
                    outcomes.push(Outcome::Observed(observation));
                }),
                Err(_) => outcomes.push(Outcome::missing(keys[0], Missing::Malformed, line)),
            }
        }
        Ok(outcomes)
    }
}

fn read(text: &str) -> Result<(u32, &str), Malformed> {
    let (key, value) = text.split_once(' ').ok_or_else(|| Malformed::new(format!("no space in {text}")))?;
    Ok((key.parse().map_err(|_| Malformed::new("no key"))?, value))
}

/// One value, or what the settings make of it.
fn observe(how: &str, key: u32, value: &str, context: &Context, mut give: impl FnMut(Observation)) {
    let now = i64::try_from(context.now_ms).unwrap_or(i64::MAX);
    let observation = Observation::new(key, Value::Literal(value.to_owned()));
    match how {
        "many" => (0..100_000).for_each(|_| give(observation.clone())),
        "million" => (0..1_000_000).for_each(|_| give(observation.clone())),
        "key" => give(Observation::new(key + 1_000, Value::Literal(value.to_owned()))),
        "seconds" => give(observation.at(Some(Timestamp::Seconds(now)))),
        "millis-as-nanos" => give(observation.at(Some(Timestamp::Nanos(now)))),
        "future" => give(observation.at(Some(Timestamp::Millis(now + 3_600_000)))),
        "exponent" => give(Observation::new(key, Value::Decimal(Decimal { coefficient: 1, exponent: 5_000 }))),
        "forget-b" if key == 1 => {}
        "times-ten" => {
            give(Observation::new(key, Value::Literal(format!("{value}e1"))).at(Some(Timestamp::Millis(now))))
        }
        "later" => give(observation.at(Some(Timestamp::Millis(now + 1_000)))),
        "text" => give(Observation::new(key, Value::Text(value.to_owned()))),
        "flag" => give(Observation::new(key, Value::Flag(value == "true"))),
        "bytes" => give(Observation::new(key, Value::Bytes(value.as_bytes().to_vec()))),
        _ => give(observation.at(Some(Timestamp::Millis(now)))),
    }
}
