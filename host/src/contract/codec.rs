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
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("ids refused: {}", Rejections(.0))]
    Rejected(Vec<Rejection>),
    #[error("malformed payload: {0}")]
    Malformed(String),
    #[error("venue unavailable: {0}")]
    Unavailable(String),
    #[error("rate limited by the venue: {reason}")]
    RateLimited { wait: Option<Duration>, reason: String },
}

struct Rejections<'a>(&'a [Rejection]);

impl fmt::Display for Rejections<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, rejection) in self.0.iter().enumerate() {
            write!(f, "{}key {}: {}", if n == 0 { "" } else { ", " }, rejection.key.0, rejection.reason)?;
        }
        Ok(())
    }
}

/// Why an instance is gone. Its connection or poller goes with it, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Death {
    #[error("trap: {0}")]
    Trap(String),
    #[error("spent its time budget of {} ms (knob: plugin_limits.{knob})", .budget.as_millis())]
    Deadline { budget: Duration, knob: &'static str },
    #[error("wanted more than {limit} (knob: plugin_limits.{knob})")]
    Memory { limit: String, knob: &'static str },
    #[error("call stack exhausted")]
    StackOverflow,
    #[error("result over the limit: {0} (knob: plugin_limits.max_result_kib)")]
    ResultTooLarge(String),
    #[error("broke the contract: {0}")]
    BadResult(String),
    #[error("settings refused{}: {why}", Field(.field))]
    Settings { field: String, why: String },
    #[error("could not be instantiated: {0}")]
    Instantiate(String),
}

struct Field<'a>(&'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " at `{}`", self.0) }
    }
}

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
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("plugin died: {0}")]
    Dead(#[from] Death),
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
