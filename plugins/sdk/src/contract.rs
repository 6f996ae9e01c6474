//! What every plugin is, and ways to write the contract's records with few words. Nothing here knows a transport or a format.

use crate::bindings::feedgate::provider::{
    polling::{Missing, Outcome, Unresolved},
    streaming::{Endpoint, Step},
};
use crate::{
    Action, Bucket, Compression, Description, Error, Frame, HttpLimits, Key, Malformed, Mirror, Observation, Rejection,
    Resources, Scope, SettingsError, Timestamp, Value, ValueKind, Wait, WebsocketLimits,
};

/// A plugin. Its value is the state of one live instance: one connection or one poller, never both, never shared.
pub trait Plugin: Sized {
    /// What the plugin is and asks for. Must be the same at each call.
    fn describe() -> Description;

    /// Makes an instance from the operator's settings, a JSON object, and says what kind of value it will give.
    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError>;
}

impl Observation {
    /// A value without a time and without a sequence number.
    pub fn new(key: Key, value: Value) -> Self {
        Self { key, value, observed_at: None, sequence: None }
    }

    /// The same, with the venue's time where it gave one.
    #[must_use]
    pub fn at(self, observed_at: impl Into<Option<Timestamp>>) -> Self {
        Self { observed_at: observed_at.into(), ..self }
    }

    /// The same, with the venue's sequence number where it gave one.
    #[must_use]
    pub fn sequence(self, sequence: impl Into<Option<u64>>) -> Self {
        Self { sequence: sequence.into(), ..self }
    }
}

impl Value {
    /// Whether it is the number zero. Venues write a zero where there is no price at all.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Decimal(decimal) => decimal.coefficient == 0,
            // What did not fit 64 bits is not zero.
            Self::Literal(_) | Self::Text(_) | Self::Flag(_) | Self::Bytes(_) => false,
        }
    }
}

impl Rejection {
    /// A refusal that lasts until the configuration changes.
    pub fn permanent(key: Key, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into(), permanent: true }
    }

    /// A refusal that may pass, or of which it is not sure whom it means. Ids refused so together are asked for again in
    /// halves, at once; one that stood alone after a minute, then two, up to an hour, and on the next connection. While
    /// polling, in the next poll.
    pub fn for_now(key: Key, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into(), permanent: false }
    }
}

impl Frame {
    /// A message as JSON text.
    pub fn json(message: &serde_json::Value) -> Self {
        Self::Text(message.to_string())
    }
}

impl Step {
    /// Opens a connection to this URL, with nothing special about it.
    pub fn dial(url: impl Into<String>) -> Self {
        Self::Dial(Endpoint { url: url.into(), ..Endpoint::default() })
    }
}

impl Outcome {
    /// What an answer says of a key that it names: a value, none at all, or one that cannot be read. `none` says why there is
    /// none, such as "never traded".
    pub fn read(key: Key, read: Result<Option<Observation>, Malformed>, none: &str) -> Self {
        match read {
            Ok(Some(observation)) => Self::Observed(observation),
            Ok(None) => Self::missing(key, Missing::NoValue, none),
            Err(malformed) => Self::missing(key, Missing::Malformed, malformed.0),
        }
    }

    /// No value, and why.
    pub fn missing(key: Key, why: Missing, text: impl Into<String>) -> Self {
        Self::Unresolved(Unresolved { key, why, text: text.into() })
    }
}

impl Error {
    /// The venue says too often: how long it wants to be left alone, where it says so, and its words.
    pub fn rate_limited(ms: Option<u32>, reason: impl Into<String>) -> Self {
        Self::RateLimited(Wait { ms, reason: reason.into() })
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0.into_owned())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Bucket {
    /// So many of these in any span of so many milliseconds, without the pings and pongs of the protocol.
    pub fn new(what: Action, count: u32, per_ms: u32, scope: Scope) -> Self {
        Self { what, count, per_ms, scope, counts_control_frames: false }
    }
}

impl Mirror {
    /// Origins that serve the same as `origin`, in the order in which they are tried.
    pub fn new(origin: &str, instead: &[&str]) -> Self {
        Self { origin: origin.to_owned(), instead: instead.iter().map(|&origin| origin.to_owned()).collect() }
    }
}

/// Nothing known and nothing asked for: write the fields that matter and take the rest from here.
impl Default for Description {
    fn default() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            summary: String::new(),
            documentation: String::new(),
            origins: Vec::new(),
            mirrors: Vec::new(),
            values: Vec::new(),
            default_ids: Vec::new(),
            settings_schema: "{}".to_owned(),
            secrets: Vec::new(),
            resources: None,
            buckets: Vec::new(),
            websocket: None,
            http: None,
        }
    }
}

/// Nothing special but the URL, which must be written.
impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: String::new(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            heartbeat_interval_ms: None,
            idle_timeout_ms: None,
        }
    }
}

/// A venue without known rules that does not acknowledge subscriptions.
impl Default for WebsocketLimits {
    fn default() -> Self {
        Self {
            ids_per_connection: None,
            max_connections: None,
            ids_per_message: None,
            heartbeat: None,
            idle_timeout_ms: None,
            max_age_ms: None,
            first_send_delay_ms: 0,
            waits_for_ready: false,
            compression: Compression::None,
            acknowledges: false,
        }
    }
}

/// The host's defaults.
impl Default for Resources {
    fn default() -> Self {
        Self { memory_mib: None, init_ms: None, build_ms: None, parse_ms: None, result_kib: None }
    }
}

/// One request at a time, a poll each ten seconds.
impl Default for HttpLimits {
    fn default() -> Self {
        Self { poll_interval_ms: 10_000, timeout_ms: 5_000, max_in_flight: 1 }
    }
}
