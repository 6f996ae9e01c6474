//! How an attempt or a connection ended, in words for people and in bounded words for metrics. What follows from an end
//! is decided elsewhere.

use std::time::Duration;

use crate::access::secret::Secrets;
use crate::contract::codec::CodecError;
use crate::contract::origin::Forbidden;
use crate::logic::session::CloseReason;
use crate::transport::http::FetchError;

/// How an attempt or a connection came to its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum End {
    #[error("closed by us: {0}")]
    Ours(&'static str),
    #[error("{0}")]
    Codec(CodecError),
    #[error("before the connection: {0}")]
    Fetch(FetchError),
    #[error("the plugin asked for more than {0} requests before the connection")]
    Fetches(usize),
    #[error("{0}")]
    Forbidden(Forbidden),
    #[error("{0}")]
    BadEndpoint(String),
    #[error("cannot resolve {host}: {why}")]
    Resolve { host: String, why: String },
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{} (knob: websocket.{knob} = {})", .stage, .limit.as_millis())]
    TooSlow { stage: &'static str, knob: &'static str, limit: Duration },
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the venue answered the handshake with status {status}{}", Words(.body))]
    Handshake { status: u16, retry_after: Option<Duration>, body: String },
    #[error("closed by the venue{}", .0)]
    Closed(String),
    #[error("connection lost: {0}")]
    Lost(String),
    #[error("the venue broke the WebSocket protocol: {0}")]
    Protocol(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("the venue took nothing for {} ms", .0.as_millis())]
    WriteTimeout(Duration),
    #[error("the plugin wants to send more than {0} frames at once")]
    TooManyFrames(usize),
}

struct Words<'a>(&'a str);

impl std::fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl End {
    /// We gave it up.
    pub(super) fn ours(reason: CloseReason) -> Self {
        Self::Ours(match reason {
            CloseReason::Idle => "nothing was received for too long",
            CloseReason::ConnectTimeout => "it did not open in time",
            CloseReason::ReadyTimeout => "the venue was not ready in time",
            CloseReason::FirstDataTimeout => "it was subscribed to, and no data came in time",
            CloseReason::MaxAge => "it is as old as it may get",
            CloseReason::Rotation => "a rotation was asked for",
            CloseReason::Silence => "an id stayed silent, however often it was asked for",
            CloseReason::Worn => "its plugin has used up most of its memory (knob: plugin_limits.max_memory_mib)",
            CloseReason::Venue => "the venue asked for a new connection",
            CloseReason::NothingToDo => "no id is left to ask for",
            CloseReason::Stopped => "stopped",
        })
    }

    /// The same, where the venue's words are fit to be shown: they may be a page of HTML, or say our key.
    pub(super) fn shown(self, secrets: &Secrets) -> Self {
        match self {
            Self::Handshake { status, retry_after, body } => {
                let body = secrets.redact(&body).chars().take(200).collect();
                Self::Handshake { status, retry_after, body }
            }
            other => other,
        }
    }

    /// Whether it speaks against the place that was dialed. What we ended ourselves, or could not even ask for, does not.
    pub(super) fn blames_the_place(&self) -> bool {
        !matches!(self, Self::Ours(_) | Self::Codec(_) | Self::Fetch(_) | Self::Fetches(_))
    }

    /// The bounded word for metrics.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Ours(words) => match *words {
                "nothing was received for too long" => "idle",
                "it did not open in time" => "connect-timeout",
                "the venue was not ready in time" => "ready-timeout",
                "it was subscribed to, and no data came in time" => "first-data-timeout",
                "it is as old as it may get" => "max-age",
                "a rotation was asked for" => "rotation",
                "an id stayed silent, however often it was asked for" => "silence",
                "the venue asked for a new connection" => "venue",
                "no id is left to ask for" => "nothing-to-do",
                _ => "stopped",
            },
            Self::Codec(CodecError::Dead(_)) => "plugin-died",
            Self::Codec(CodecError::Refused(_)) => "plugin-refused",
            Self::Fetch(_) | Self::Fetches(_) => "fetch",
            Self::Forbidden(_) => "forbidden",
            Self::BadEndpoint(_) => "bad-endpoint",
            Self::Resolve { .. } => "resolve",
            Self::Connect(_) => "connect",
            Self::TooSlow { knob, .. } => match *knob {
                "tcp_timeout_ms" => "tcp-timeout",
                "tls_timeout_ms" => "tls-timeout",
                _ => "handshake-timeout",
            },
            Self::Tls(_) => "tls",
            Self::Handshake { .. } => "handshake",
            Self::Closed(_) => "closed",
            Self::Lost(_) => "lost",
            Self::Protocol(_) => "protocol",
            Self::TooLarge(_) => "too-large",
            Self::WriteTimeout(_) => "write-timeout",
            Self::TooManyFrames(_) => "too-many-frames",
        }
    }
}
