//! What one WebSocket slot is given when it starts. Plain data; only the provider fills it in.

use std::sync::Arc;
use std::time::Duration;

use super::websocket::SocketLimits;
use crate::contract::description::Compression;
use crate::contract::limits::DialLimits;
use crate::logic::rotation::{Window, replace_after};
use crate::logic::session::SessionConfig;
use crate::store::wall_clock;
use crate::transport::shared::Shared;

/// How long a polite goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Everything a slot needs.
pub(crate) struct SessionSetup<O> {
    /// Its number within the provider.
    pub(crate) number: usize,
    /// Opens a codec for each attempt.
    pub(crate) open: O,
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: SessionConfig,
    /// When in the day connections are to be replaced.
    pub(crate) rotation: Option<Window>,
    pub(crate) start_delay: Duration,
    pub(crate) dial: DialLimits,
    pub(crate) socket: SocketLimits,
    pub(crate) compression: Compression,
    /// For a request before the connection.
    pub(crate) fetch_timeout: Duration,
}

impl<O> SessionSetup<O> {
    /// How long a goodbye to the venue may take.
    pub(super) fn goodbye(&self) -> Duration {
        GOODBYE.min(self.socket.write_timeout)
    }

    /// The age at which a connection that opens now is to be replaced.
    pub(super) fn replace_after(&self) -> Option<Duration> {
        let time_of_day = Duration::from_nanos(u64::try_from(wall_clock().0).unwrap_or(0));
        let max_age = self.session.max_age?;
        Some(replace_after(max_age, self.rotation, time_of_day, rand::random()))
    }
}
