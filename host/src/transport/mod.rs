//! Moving bytes between venues and codecs: the only place that names reqwest and tungstenite.
//!
//! Thin shells. What to do and when is decided in `logic`, what bytes mean in a codec; here are sockets, timers and the
//! order of calls. Reading order: `session` (one WebSocket slot), `connection` with `link` and `outbox` (its parts),
//! `websocket` (its socket), `poller` (one HTTP provider), `exchange` and `validators` (its parts), `http` (one request),
//! `data_url`, `intake` (into the store), `limiter`, `places` (mirrors), `network` (the way out: TLS and proxy), `tls`,
//! `inflate`.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::contract::observation::Key;
use crate::store::SlotTable;

mod alarm;
mod api_client;
mod connection;
mod data_url;
mod exchange;
mod http;
mod inflate;
mod intake;
mod limiter;
mod link;
mod network;
mod outbox;
mod places;
mod poller;
mod session;
mod stages;
mod tls;
mod validators;
mod websocket;

pub use api_client::{ApiClient, ApiError};
pub use http::HttpClient;
pub use limiter::OriginLimits;
pub use network::Network;
pub(crate) use places::Places;
pub(crate) use poller::{Polled, PollerSetup};
pub(crate) use session::SessionSetup;
pub use websocket::SocketLimits;

/// What one session serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) table: SlotTable,
    /// A session's share of the ids.
    pub(crate) keys: BTreeSet<Key>,
}

/// Completes when the daemon or the provider is told to stop, or when whoever could tell is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which says the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Polls a provider over HTTP until stopped.
pub(crate) use poller::run as poll;
/// Keeps one WebSocket slot connected until stopped.
pub(crate) use session::run as stream;

/// Unpacks one message outside a session: for replays.
pub(crate) fn unpack(
    packed: &[u8],
    compression: crate::contract::description::Compression,
    max: usize,
) -> Result<Vec<u8>, String> {
    inflate::inflate(packed, compression, max).map_err(|error| error.to_string())
}
