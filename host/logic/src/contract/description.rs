//! What a plugin says of itself: what it asks for, and what its venue's limits are. Plain data, already checked
//! (`plugin/describe.rs`); the meaning of each field is the contract's (`wit/describe.wit`).

use std::num::NonZeroU32;
use std::time::Duration;

use crate::contract::observation::ValueKind;
use crate::contract::origin::Origin;

/// What a bucket counts.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Limited {
    Connect,
    Send,
    Subscribe,
    Request,
}

impl Limited {
    /// The word used in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Subscribe => "subscribe",
            Self::Request => "request",
        }
    }
}

/// Who shares a bucket.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    Connection,
    Origin,
}

/// At most `count` of `what` in any `per`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    pub what: Limited,
    pub count: NonZeroU32,
    pub per: Duration,
    pub scope: Scope,
    pub counts_control_frames: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Compression {
    None,
    Gzip,
    Zlib,
    RawDeflate,
}

/// The venue's rules for WebSockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketLimits {
    pub ids_per_connection: Option<NonZeroU32>,
    /// At once, for one client.
    pub max_connections: Option<NonZeroU32>,
    pub ids_per_message: Option<NonZeroU32>,
    /// The interval, and whether only when idle.
    pub heartbeat: Option<(Duration, bool)>,
    pub idle_timeout: Option<Duration>,
    pub max_age: Option<Duration>,
    pub first_send_delay: Duration,
    pub waits_for_ready: bool,
    pub compression: Compression,
    pub acknowledges: bool,
}

/// The venue's rules for polling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpLimits {
    pub poll_interval: Duration,
    pub timeout: Duration,
    pub max_in_flight: NonZeroU32,
}

/// A secret that a request may name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretRequest {
    pub name: String,
    pub purpose: String,
    pub required: bool,
}

/// What an instance may use beyond the host's defaults. `None`: the default.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Resources {
    pub memory_mib: Option<NonZeroU32>,
    pub init_ms: Option<NonZeroU32>,
    pub build_ms: Option<NonZeroU32>,
    pub parse_ms: Option<NonZeroU32>,
    pub result_kib: Option<NonZeroU32>,
}

impl Resources {
    /// By the names that the configuration has for them.
    pub fn each(&self) -> [(&'static str, Option<NonZeroU32>); 5] {
        [
            ("memory_mib", self.memory_mib),
            ("init_ms", self.init_ms),
            ("build_ms", self.build_ms),
            ("parse_ms", self.parse_ms),
            ("result_kib", self.result_kib),
        ]
    }

    /// The greater of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.max(other.memory_mib),
            init_ms: self.init_ms.max(other.init_ms),
            build_ms: self.build_ms.max(other.build_ms),
            parse_ms: self.parse_ms.max(other.parse_ms),
            result_kib: self.result_kib.max(other.result_kib),
        }
    }
}

/// What a plugin is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub documentation: String,
    pub origins: Vec<Origin>,
    /// Where to go instead of an origin that fails, in this order.
    pub mirrors: Vec<(Origin, Vec<Origin>)>,
    pub values: Vec<ValueKind>,
    pub default_ids: Vec<String>,
    /// A JSON Schema, as text.
    pub settings_schema: String,
    pub secrets: Vec<SecretRequest>,
    pub resources: Resources,
    pub buckets: Vec<Bucket>,
    pub websocket: Option<WebSocketLimits>,
    pub http: Option<HttpLimits>,
}
