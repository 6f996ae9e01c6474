//! Feeds a recording through live codecs, as the host would: a fresh codec for each recorded connection, each frame in
//! order, each recorded answer to a request that the plugin would have made. What they say comes out as lines of JSON.
//!
//! Exact: time and nonces come from the recording, so equal input gives equal output. A plugin's fixtures are
//! recordings too.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::builds::tape::{FetchAnswer, PollAnswer, PollTape, StreamTape, Tape, TapeFrame};
use crate::contract::codec::{
    CodecError, Context, Death, Event, Frame, HttpCodec, Incoming, Missing, OpenCodec, Outcome, Reconnect, Refusal,
    Rejection, Response, Step, Subscription, WebSocketCodec,
};
use crate::contract::observation::{Key, Observation, Value};
use crate::plugin::{Plugin, PluginInstance};

/// Longest line of a recording.
const MAX_LINE: u64 = 256 << 20;

/// Requests that a plugin may ask for before one connection.
const MAX_FETCHES: usize = 8;

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("line {line}: {why}")]
    Line { line: usize, why: String },
    #[error("{0}")]
    Settings(Death),
}

/// What reading took, counted where the plugin is of a metered engine.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Frames and answers that brought values; others do not count.
    pub frames: u64,
    /// What the plugin executed for them.
    pub instructions: u64,
}

impl Cost {
    fn add(&mut self, before: Option<u64>, after: Option<u64>) {
        if let (Some(before), Some(after)) = (before, after) {
            self.frames += 1;
            self.instructions += after - before;
        }
    }

    /// `None` where nothing was counted.
    pub fn per_frame(&self) -> Option<u64> {
        self.instructions.checked_div(self.frames)
    }
}

#[derive(Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
enum Record {
    Header(Header),
    Connect { conn: String, ts: serde_json::Number },
    Send {},
    Recv { conn: String, ts: serde_json::Number, data: Option<String>, b64: Option<String> },
    Http(Http),
}

/// A fixture's header says what it is for; other recordings have other things there.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Header {
    #[serde(default)]
    pub ids: Vec<String>,
    #[serde(default)]
    pub settings: Option<Json>,
}

#[derive(Clone, Deserialize)]
struct Http {
    conn: String,
    ts: serde_json::Number,
    url: String,
    status: Option<u16>,
    data: Option<String>,
    b64: Option<String>,
}

/// Reads a recording's lines, compressed with zstd or not: its first bytes tell.
pub fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(std::fs::File::open(path)?);
    if file.fill_buf()?.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)));
    }
    Ok(Box::new(file))
}

/// The header, if the recording begins with one.
pub fn header(lines: &mut dyn BufRead) -> Result<Header, ReplayError> {
    let mut line = String::new();
    lines.take(MAX_LINE).read_line(&mut line).map_err(unreadable(1))?;
    match parse(&line, 1)? {
        Record::Header(header) => Ok(header),
        _ => Ok(Header::default()),
    }
}

/// Text that is none, or a compressed recording that ends too early.
fn unreadable(line: usize) -> impl Fn(std::io::Error) -> ReplayError {
    move |error| ReplayError::Line { line, why: format!("cannot be read: {error}") }
}

fn parse(line: &str, number: usize) -> Result<Record, ReplayError> {
    serde_json::from_str(line).map_err(|e| ReplayError::Line { line: number, why: format!("not a record: {e}") })
}

/// Feeds the recording through codecs of `plugin` and hands each event to `print`. `settings` as JSON.
pub async fn replay(
    plugin: &Plugin,
    lines: &mut dyn BufRead,
    ids: &[String],
    settings: &str,
    mut print: impl FnMut(Json),
) -> Result<Cost, ReplayError> {
    let subscriptions = subscriptions(ids);
    let open = plugin.configured(Arc::from("replay"), settings.to_owned());
    if let Err(death @ Death::Settings { .. }) = open.open().await {
        return Err(ReplayError::Settings(death));
    }
    let mut replay = Replay {
        plugin,
        open,
        subscriptions,
        connections: HashMap::new(),
        poller: None,
        answers: Vec::new(),
        cost: Cost::default(),
        print: &mut print,
    };
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if lines.take(MAX_LINE).read_line(&mut line).map_err(unreadable(number))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let bad = |why: String| ReplayError::Line { line: number, why };
        match parse(&line, number)? {
            Record::Header(_) | Record::Send {} => {}
            Record::Connect { conn, ts } => replay.connect(conn, ts).await,
            Record::Recv { conn, ts, data, b64 } => {
                let binary = payload_bytes(&data, &b64).map_err(bad)?;
                let frame = match &data {
                    Some(text) => Incoming::Text(text),
                    None => Incoming::Binary(&binary),
                };
                replay.receive(&conn, &ts, frame).await;
            }
            Record::Http(http) => {
                let body = payload_bytes(&http.data, &http.b64).map_err(bad)?;
                replay.answer(http, body).await;
            }
        }
    }
    Ok(replay.cost)
}

fn subscriptions(ids: &[String]) -> Vec<Subscription> {
    let number = |number| Key(u32::try_from(number).unwrap_or(u32::MAX));
    ids.iter().enumerate().map(|(at, id)| Subscription { key: number(at), id: id.as_str().into() }).collect()
}

/// The recording as tapes, to try another build of `plugin` on: one for each connection, and one for all answers. Frames
/// that do not unpack are left out.
pub fn tapes(plugin: &Plugin, lines: &mut dyn BufRead, ids: &[String]) -> Result<Vec<Tape>, ReplayError> {
    let wanted = subscriptions(ids);
    let mut streams: Vec<(String, StreamTape)> = Vec::new();
    let mut fetched: Vec<FetchAnswer> = Vec::new();
    let mut poll = PollTape { wanted: wanted.clone(), ..PollTape::default() };
    let mut line = String::new();
    for number in 1_u32.. {
        line.clear();
        let at = number as usize;
        if lines.take(MAX_LINE).read_line(&mut line).map_err(unreadable(at))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let bad = |why: String| ReplayError::Line { line: at, why };
        let context = |ts: &serde_json::Number| Context { now_ms: millis(ts), nonce: number.into() };
        match parse(&line, at)? {
            Record::Header(_) | Record::Send {} => {}
            Record::Connect { conn, ts } => {
                let (context, wanted, answers) = (context(&ts), wanted.clone(), fetched.clone());
                streams.push((conn, StreamTape { context, wanted, answers, ..StreamTape::default() }));
            }
            Record::Recv { conn, ts, data, b64 } => {
                let bytes = payload_bytes(&data, &b64).map_err(bad)?;
                let Some((_, tape)) = streams.iter_mut().rev().find(|(name, _)| *name == conn) else { continue };
                let content = match data {
                    Some(text) => Some(Frame::Text(text)),
                    None => match unpack(plugin, Incoming::Binary(&bytes)) {
                        None => Some(Frame::Binary(bytes)),
                        Some(unpacked) => unpacked.ok().map(|content| match String::from_utf8(content) {
                            Ok(text) => Frame::Text(text),
                            Err(error) => Frame::Binary(error.into_bytes()),
                        }),
                    },
                };
                tape.left_out += u64::from(content.is_none());
                let number = tape.frames.len() as u64 + 1;
                tape.frames.extend(content.map(|content| TapeFrame { number, context: context(&ts), content }));
            }
            Record::Http(http) => {
                let body = payload_bytes(&http.data, &http.b64).map_err(bad)?;
                let response = Response { status: http.status.unwrap_or(200), headers: Vec::new(), body };
                let (context, url) = (context(&http.ts), http.url);
                fetched.push(FetchAnswer { context, url: url.clone(), response: response.clone() });
                poll.context = context;
                poll.answers.push_back(PollAnswer { context, url, keys: Vec::new(), response });
            }
        }
    }
    let fit = plugin.fit();
    let streams = streams.into_iter().filter(|_| fit.websocket).map(|(_, tape)| Tape::Stream(tape));
    let polls = (fit.http && !poll.answers.is_empty()).then_some(Tape::Poll(poll));
    Ok(streams.chain(polls).collect())
}

/// A time before the epoch is none, and `as` saturates.
fn millis(ts: &serde_json::Number) -> u64 {
    (ts.as_f64().unwrap_or(0.0) * 1000.0).floor() as u64
}

/// What the host unpacks before the plugin sees it; `None` for what comes as it is.
fn unpack(plugin: &Plugin, frame: Incoming<'_>) -> Option<Result<Vec<u8>, String>> {
    let compression = plugin.description().websocket.as_ref()?.compression;
    match frame {
        Incoming::Binary(packed) if compression != crate::contract::description::Compression::None => {
            Some(crate::transport::unpack(packed, compression, 64 << 20))
        }
        _ => None,
    }
}

fn payload_bytes(data: &Option<String>, b64: &Option<String>) -> Result<Vec<u8>, String> {
    match (data, b64) {
        (Some(data), None) => Ok(data.clone().into_bytes()),
        (None, Some(b64)) => BASE64.decode(b64).map_err(|e| format!("b64: {e}")),
        _ => Err("wants either data or b64".to_owned()),
    }
}

/// One recorded connection or poller and its codec; `None` once it died.
struct Live {
    codec: Option<PluginInstance>,
    calls: u64,
    ready: bool,
}

impl Live {
    fn context(&mut self, ts: &serde_json::Number) -> Context {
        let nonce = self.calls;
        self.calls += 1;
        Context { now_ms: millis(ts), nonce }
    }
}

struct Replay<'a> {
    plugin: &'a Plugin,
    open: crate::plugin::Configured,
    subscriptions: Vec<Subscription>,
    connections: HashMap<String, Live>,
    poller: Option<Live>,
    /// Recorded answers so far, for plugins that ask before they connect.
    answers: Vec<(String, Response)>,
    cost: Cost,
    print: &'a mut dyn FnMut(Json),
}

/// Where an event belongs.
struct At<'a> {
    conn: &'a str,
    ts: &'a serde_json::Number,
}

impl Replay<'_> {
    fn event(&mut self, at: &At<'_>, event: &str, fields: Json) {
        let mut object = Map::new();
        object.insert("conn".to_owned(), at.conn.into());
        object.insert("ts".to_owned(), at.ts.clone().into());
        object.insert("event".to_owned(), event.into());
        if let Json::Object(fields) = fields {
            object.extend(fields);
        }
        (self.print)(Json::Object(object));
    }

    fn id(&self, key: Key) -> Json {
        match self.subscriptions.get(key.index()) {
            Some(subscription) => Json::from(&*subscription.id),
            None => format!("unknown key {}", key.0).into(),
        }
    }

    async fn open_codec(&mut self, at: &At<'_>) -> Option<PluginInstance> {
        match self.open.open().await {
            Ok((codec, _)) => Some(codec),
            Err(death) => {
                self.failed(at, "open", &CodecError::Dead(death));
                None
            }
        }
    }

    /// Prints the error. True if the codec is gone.
    fn failed(&mut self, at: &At<'_>, call: &str, error: &CodecError) -> bool {
        let (event, kind) = match error {
            CodecError::Dead(_) => ("trap", None),
            CodecError::Refused(refusal) => (
                "error",
                Some(match refusal {
                    Refusal::Rejected(_) => "rejected",
                    Refusal::Malformed(_) => "malformed",
                    Refusal::Unavailable(_) => "unavailable",
                    Refusal::RateLimited { .. } => "rate-limited",
                }),
            ),
        };
        let text = match error {
            CodecError::Refused(Refusal::Malformed(text) | Refusal::Unavailable(text)) => text.clone(),
            CodecError::Refused(Refusal::RateLimited { reason, .. }) => reason.clone(),
            other => other.to_string(),
        };
        let mut fields = json!({ "call": call, "text": text });
        if let (Some(kind), Json::Object(fields)) = (kind, &mut fields) {
            fields.insert("error".to_owned(), kind.into());
        }
        self.event(at, event, fields);
        kind.is_none()
    }

    async fn connect(&mut self, conn: String, ts: serde_json::Number) {
        if !self.plugin.fit().websocket {
            return;
        }
        let at = At { conn: &conn, ts: &ts };
        let Some(mut codec) = self.open_codec(&at).await else { return };
        let mut live = Live { codec: None, calls: 0, ready: false };
        let mut previous = None;
        for _ in 0..=MAX_FETCHES {
            let step = codec.connect(live.context(&ts), &self.subscriptions, previous.as_ref()).await;
            match step {
                Ok(Step::Dial(endpoint)) => {
                    self.event(&at, "dial", json!({ "url": endpoint.url }));
                    live.codec = Some(codec);
                    let waits =
                        self.plugin.description().websocket.as_ref().is_some_and(|limits| limits.waits_for_ready);
                    if !waits {
                        self.subscribe(&mut live, &at).await;
                    }
                    break;
                }
                Ok(Step::Fetch(request)) => {
                    let recorded = self.answers.iter().rev().find(|(url, _)| same_path(url, &request.url));
                    let Some((_, response)) = recorded else {
                        let text = format!("no recorded answer for {}", request.url);
                        self.event(&at, "error", json!({ "call": "connect", "error": "unavailable", "text": text }));
                        return;
                    };
                    previous = Some(response.clone());
                }
                Err(error) => {
                    self.failed(&at, "connect", &error);
                    return;
                }
            }
        }
        self.connections.insert(conn, live);
    }

    async fn subscribe(&mut self, live: &mut Live, at: &At<'_>) {
        live.ready = true;
        let limits = self.plugin.description().websocket.as_ref();
        let size = limits.and_then(|limits| limits.ids_per_message).map_or(usize::MAX, |count| count.get() as usize);
        let all = self.subscriptions.clone();
        for chunk in all.chunks(size.min(all.len()).max(1)) {
            let mut asked = chunk.to_vec();
            while !asked.is_empty() {
                let context = live.context(at.ts);
                let Some(codec) = &mut live.codec else { return };
                match codec.subscribe(context, &asked).await {
                    Ok(frames) => {
                        for frame in frames {
                            self.event(at, "send", frame_json(&frame));
                        }
                        break;
                    }
                    Err(CodecError::Refused(Refusal::Rejected(rejections))) => {
                        let before = asked.len();
                        for rejection in rejections {
                            asked.retain(|subscription| subscription.key != rejection.key);
                            self.rejected(at, &rejection);
                        }
                        if asked.len() == before {
                            break;
                        }
                    }
                    Err(error) => {
                        if self.failed(at, "subscribe", &error) {
                            live.codec = None;
                        }
                        return;
                    }
                }
            }
        }
    }

    async fn receive(&mut self, conn: &str, ts: &serde_json::Number, frame: Incoming<'_>) {
        let at = At { conn, ts };
        let Some(mut live) = self.connections.remove(conn) else { return };
        let context = live.context(ts);
        if let Some(codec) = &mut live.codec {
            let before = codec.spent();
            let unpacked = unpack(self.plugin, frame);
            let result = match &unpacked {
                Some(Ok(content)) => {
                    let frame = match std::str::from_utf8(content) {
                        Ok(text) => Incoming::Text(text),
                        Err(_) => Incoming::Binary(content),
                    };
                    codec.handle_messages(context, &[frame]).await
                }
                Some(Err(text)) => Ok(vec![Event::Malformed { index: 0, text: text.clone() }]),
                None => codec.handle_messages(context, &[frame]).await,
            };
            match result {
                Ok(events) => {
                    if events.iter().any(|event| matches!(event, Event::Observed(_))) {
                        self.cost.add(before, codec.spent());
                    }
                    for event in events {
                        let ready = matches!(event, Event::Ready);
                        self.print_event(&at, event);
                        if ready && !live.ready {
                            self.subscribe(&mut live, &at).await;
                        }
                    }
                }
                Err(error) => {
                    self.failed(&at, "handle-messages", &error);
                    live.codec = None;
                }
            }
        }
        self.connections.insert(conn.to_owned(), live);
    }

    fn print_event(&mut self, at: &At<'_>, event: Event) {
        match event {
            Event::Observed(observation) => self.observed(at, &observation),
            Event::Unchanged(key) => self.event(at, "unchanged", json!({ "id": self.id(key) })),
            Event::Subscribed(key) => self.event(at, "subscribed", json!({ "id": self.id(key) })),
            Event::Rejected(rejection) => self.rejected(at, &rejection),
            Event::Reply(frame) => self.event(at, "reply", frame_json(&frame)),
            Event::Ready => self.event(at, "ready", Json::Null),
            Event::Alive => self.event(at, "alive", Json::Null),
            Event::Reconnect(when) => {
                let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let fields = match when {
                    Reconnect::Now => json!({ "when": "now" }),
                    Reconnect::OverlapWithin(time) => json!({ "when": "overlap-within", "ms": ms(time) }),
                    Reconnect::After(time) => json!({ "when": "after", "ms": ms(time) }),
                };
                self.event(at, "reconnect", fields);
            }
            Event::Gap { key, missing } => {
                self.event(at, "gap", json!({ "id": key.map(|key| self.id(key)), "missing": missing }));
            }
            Event::Malformed { text, .. } => self.event(at, "malformed", json!({ "text": text })),
            Event::Unusable { key, why } => self.event(at, "malformed", json!({ "id": self.id(key), "text": why })),
        }
    }

    fn rejected(&mut self, at: &At<'_>, rejection: &Rejection) {
        let fields = json!({
            "id": self.id(rejection.key), "reason": rejection.reason, "permanent": rejection.permanent,
        });
        self.event(at, "rejected", fields);
    }

    fn observed(&mut self, at: &At<'_>, observation: &Observation) {
        let value = match &observation.value {
            Value::Decimal(decimal) => decimal.to_string().into(),
            Value::Text(text) => text.as_str().into(),
            Value::Flag(flag) => (*flag).into(),
            Value::Bytes(bytes) => json!({ "b64": BASE64.encode(bytes) }),
        };
        let mut fields = Map::new();
        fields.insert("id".to_owned(), self.id(observation.key));
        fields.insert("value".to_owned(), value);
        if let Some(time) = observation.observed_at {
            fields.insert("observed_at".to_owned(), time.to_rfc3339().into());
        }
        if let Some(sequence) = observation.sequence {
            fields.insert("sequence".to_owned(), sequence.into());
        }
        self.event(at, "observed", Json::Object(fields));
    }

    async fn answer(&mut self, http: Http, body: Vec<u8>) {
        let response = Response { status: http.status.unwrap_or(200), headers: Vec::new(), body };
        self.answers.push((http.url.clone(), response.clone()));
        if !self.plugin.fit().http {
            return;
        }
        let at = At { conn: &http.conn, ts: &http.ts };
        let mut live = match self.poller.take() {
            Some(live) if live.codec.is_some() => live,
            _ => Live { codec: self.open_codec(&at).await, calls: 0, ready: true },
        };
        let mut dead = false;
        let (planning, parsing) = (live.context(&http.ts), live.context(&http.ts));
        if let Some(codec) = &mut live.codec {
            match codec.create_requests(planning, &self.subscriptions).await {
                Ok(planned) => {
                    let exact = planned.iter().find(|planned| planned.request.url == http.url);
                    let alike = || planned.iter().find(|planned| same_path(&planned.request.url, &http.url));
                    match exact.or_else(alike) {
                        None => self.event(&at, "skipped", json!({ "url": http.url })),
                        Some(planned) => {
                            let before = codec.spent();
                            match codec.parse_response(parsing, &planned.keys, &response).await {
                                Ok(outcomes) => {
                                    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Observed(_))) {
                                        self.cost.add(before, codec.spent());
                                    }
                                    self.print_outcomes(&at, &planned.keys, outcomes);
                                }
                                Err(error) => {
                                    dead = self.failed(&at, "parse-response", &error);
                                    for key in &planned.keys {
                                        self.unresolved(&at, *key, "error", "");
                                    }
                                }
                            }
                        }
                    }
                }
                Err(error) => dead = self.failed(&at, "create-requests", &error),
            }
        }
        if dead {
            live.codec = None;
        }
        self.poller = Some(live);
    }

    fn print_outcomes(&mut self, at: &At<'_>, keys: &[Key], outcomes: Vec<Outcome>) {
        let mut open = keys.to_vec();
        for outcome in outcomes {
            let key = match &outcome {
                Outcome::Observed(observation) => observation.key,
                Outcome::Unchanged(key) | Outcome::Unresolved { key, .. } => *key,
            };
            open.retain(|waiting| *waiting != key);
            match outcome {
                Outcome::Observed(observation) => self.observed(at, &observation),
                Outcome::Unchanged(key) => self.event(at, "unchanged", json!({ "id": self.id(key) })),
                Outcome::Unresolved { key, why, text } => {
                    let why = match why {
                        Missing::UnknownId => "unknown-id",
                        Missing::NoValue => "no-value",
                        Missing::Undecided => "undecided",
                        Missing::Malformed => "malformed",
                    };
                    self.unresolved(at, key, why, &text);
                }
            }
        }
        for key in open {
            self.unresolved(at, key, "left-out", "");
        }
    }

    fn unresolved(&mut self, at: &At<'_>, key: Key, why: &str, text: &str) {
        self.event(at, "unresolved", json!({ "id": self.id(key), "why": why, "text": text }));
    }
}

fn frame_json(frame: &Frame) -> Json {
    match frame {
        Frame::Text(text) => json!({ "text": text }),
        Frame::Binary(bytes) => json!({ "b64": BASE64.encode(bytes) }),
        Frame::Ping(bytes) => json!({ "ping": BASE64.encode(bytes) }),
    }
}

/// Same scheme, host and path, whatever the query.
pub(crate) fn same_path(a: &str, b: &str) -> bool {
    let path = |url: &str| url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').to_owned();
    path(a) == path(b)
}
