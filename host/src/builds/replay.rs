//! Feeds a recording through live codecs, as the host would: a fresh codec for each recorded connection, each frame in
//! order, each recorded answer to a request that the plugin would have made. What they say comes out as lines of JSON.
//!
//! Exact: time and nonces come from the recording, so equal input gives equal output. A plugin's fixtures are
//! recordings too.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

use crate::builds::recording::{Http, Record, RecordingError, Records, millis, same_path, subscriptions, unpack};
use crate::contract::codec::{
    CodecError, Context, Death, Event, Frame, HttpCodec, Incoming, Missing, OpenCodec, Outcome, Reconnect, Refusal,
    Rejection, Response, Step, Subscription, WebSocketCodec,
};
use crate::contract::observation::{Key, Observation, Value};
use crate::plugin::{Plugin, PluginInstance};

/// Requests that a plugin may ask for before one connection.
const MAX_FETCHES: usize = 8;

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

/// Feeds the recording through codecs of `plugin` and hands each event to `print`. `settings` as JSON.
pub async fn replay(
    plugin: &Plugin,
    lines: &mut dyn BufRead,
    ids: &[String],
    settings: &str,
    mut print: impl FnMut(Json),
) -> Result<Cost, RecordingError> {
    let subscriptions = subscriptions(ids);
    let open = plugin.configured(Arc::from("replay"), settings.to_owned());
    if let Err(death @ Death::Settings { .. }) = open.open().await {
        return Err(RecordingError::Settings(death));
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
    let mut records = Records::of(lines);
    while let Some(record) = records.next()? {
        match record {
            Record::Header(_) | Record::Send {} => {}
            Record::Connect { conn, ts } => replay.connect(conn, ts).await,
            Record::Recv(received) => {
                let binary = received.bytes().map_err(|why| records.bad(why))?;
                let frame = match received.text() {
                    Some(text) => Incoming::Text(text),
                    None => Incoming::Binary(&binary),
                };
                replay.receive(&received.conn, &received.ts, frame).await;
            }
            Record::Http(http) => {
                let body = http.body().map_err(|why| records.bad(why))?;
                replay.answer(http, body).await;
            }
        }
    }
    Ok(replay.cost)
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
