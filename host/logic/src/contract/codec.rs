//! What a live plugin can do, in the host's own types: requests, frames, events, errors, and the two codec traits.
//!
//! Nothing here names wasmtime, reqwest or tungstenite. `plugin/` implements the traits for real components, the tests
//! of `transport/` implement them with scripts. The meaning of each type is the contract's (`wit/`); what is said here
//! is only what the host adds.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::observation::{Key, Observation, ValueKind};

/// What a plugin may know of the world during one call.
#[derive(Copy, Clone, Default, Debug)]
pub struct Context {
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    pub nonce: u64,
}

/// One id and its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    pub key: Key,
    pub id: Arc<str>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Post,
}

/// One HTTP request, as the plugin wrote it: its URL is unchecked and its secrets are still placeholders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

/// An HTTP answer, its body within the host's cap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
}

/// A message that was received, borrowed from the socket's buffer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Incoming<'a> {
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The payload, whichever it is.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Where and how to open a WebSocket, as the plugin wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub subprotocols: Vec<String>,
    pub heartbeat_interval: Option<Duration>,
    pub idle_timeout: Option<Duration>,
}

/// The next step towards a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Fetch(Request),
    Dial(Endpoint),
}

/// An id that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    pub key: Key,
    pub reason: String,
    pub permanent: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reconnect {
    Now,
    OverlapWithin(Duration),
    After(Duration),
}

/// One thing that frames meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Observed(Observation),
    Unchanged(Key),
    Subscribed(Key),
    Rejected(Rejection),
    Reply(Frame),
    Ready,
    Alive,
    Reconnect(Reconnect),
    /// `None`: the numbers are the connection's.
    Gap {
        key: Option<Key>,
        missing: u64,
    },
    Malformed {
        index: u32,
        text: String,
    },
    /// The plugin gave an observation that cannot be stored: a literal that is no number, an absurd exponent.
    Unusable {
        key: Key,
        why: String,
    },
}

/// Why an id has no value this time.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    UnknownId,
    NoValue,
    Undecided,
    Malformed,
}

/// What an answer meant for one id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Observed(Observation),
    Unchanged(Key),
    Unresolved { key: Key, why: Missing, text: String },
}

/// One request and the ids it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedRequest {
    pub request: Request,
    pub keys: Vec<Key>,
}

/// What a plugin answered in place of a result; its instance is fine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    Rejected(Vec<Rejection>),
    Malformed(String),
    Unavailable(String),
    RateLimited { wait: Option<Duration>, reason: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejections) => {
                f.write_str("ids refused: ")?;
                for (n, rejection) in rejections.iter().enumerate() {
                    write!(f, "{}key {}: {}", if n == 0 { "" } else { ", " }, rejection.key.0, rejection.reason)?;
                }
                Ok(())
            }
            Self::Malformed(why) => write!(f, "malformed payload: {why}"),
            Self::Unavailable(why) => write!(f, "venue unavailable: {why}"),
            Self::RateLimited { reason, .. } => write!(f, "rate limited by the venue: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why an instance is gone. Its connection or poller goes with it, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Death {
    Trap(String),
    Deadline { budget: Duration, knob: &'static str },
    Memory { limit: String, knob: &'static str },
    StackOverflow,
    ResultTooLarge(String),
    BadResult(String),
    Settings { field: String, why: String },
    Instantiate(String),
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap(why) => write!(f, "trap: {why}"),
            Self::Deadline { budget, knob } => {
                write!(f, "spent its time budget of {} ms (knob: plugin_limits.{knob})", budget.as_millis())
            }
            Self::Memory { limit, knob } => write!(f, "wanted more than {limit} (knob: plugin_limits.{knob})"),
            Self::StackOverflow => f.write_str("call stack exhausted"),
            Self::ResultTooLarge(what) => {
                write!(f, "result over the limit: {what} (knob: plugin_limits.max_result_kib)")
            }
            Self::BadResult(why) => write!(f, "broke the contract: {why}"),
            Self::Settings { field, why } if field.is_empty() => write!(f, "settings refused: {why}"),
            Self::Settings { field, why } => write!(f, "settings refused at `{field}`: {why}"),
            Self::Instantiate(why) => write!(f, "could not be instantiated: {why}"),
        }
    }
}

impl std::error::Error for Death {}

impl Death {
    /// The bounded word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline { .. } => "deadline",
            Self::Memory { .. } => "memory",
            Self::StackOverflow => "stack",
            Self::ResultTooLarge(_) => "result-too-large",
            Self::BadResult(_) => "bad-result",
            Self::Settings { .. } => "settings",
            Self::Instantiate(_) => "instantiate",
        }
    }
}

/// Why a call gave no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CodecError {
    Refused(Refusal),
    Dead(Death),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Dead(death) => write!(f, "plugin died: {death}"),
        }
    }
}

impl std::error::Error for CodecError {}

impl From<Refusal> for CodecError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Death> for CodecError {
    fn from(death: Death) -> Self {
        Self::Dead(death)
    }
}

/// Makes codecs: one configured plugin.
pub trait OpenCodec: Send + Sync + 'static {
    type Codec: WebSocketCodec + HttpCodec;

    /// A fresh, configured instance and the kind of value it gives.
    fn open(&self) -> impl Future<Output = Result<(Self::Codec, ValueKind), Death>> + Send;
}

/// One live instance, used for one connection. Calls are awaited to their end: dropping one half-way leaves an
/// instance that can never be entered again.
pub trait WebSocketCodec: Send + 'static {
    fn connect(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
        previous: Option<&Response>,
    ) -> impl Future<Output = Result<Step, CodecError>> + Send;

    fn subscribe(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> impl Future<Output = Result<Vec<Frame>, CodecError>> + Send;

    fn unsubscribe(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> impl Future<Output = Result<Vec<Frame>, CodecError>> + Send;

    fn heartbeat(&mut self, context: Context) -> impl Future<Output = Result<Vec<Frame>, CodecError>> + Send;

    fn handle_messages(
        &mut self,
        context: Context,
        frames: &[Incoming<'_>],
    ) -> impl Future<Output = Result<Vec<Event>, CodecError>> + Send;

    /// Whether a fresh one should take its place before it fails.
    fn is_worn(&self) -> bool {
        false
    }
}

/// One live instance, used by one poller.
pub trait HttpCodec: Send + 'static {
    fn create_requests(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> impl Future<Output = Result<Vec<PlannedRequest>, CodecError>> + Send;

    fn parse_response(
        &mut self,
        context: Context,
        keys: &[Key],
        response: &Response,
    ) -> impl Future<Output = Result<Vec<Outcome>, CodecError>> + Send;
}
