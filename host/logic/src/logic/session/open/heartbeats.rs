//! When a heartbeat of the plugin is due.
//!
//! What it says is the plugin's. Whether the venue is still there is another matter; see `liveness`.

use std::time::{Duration, Instant};

use crate::logic::later::later;
use crate::logic::session::config::{Heartbeat, HeartbeatWhen};

/// No plugin may make us send heartbeats without a pause.
const SHORTEST: Duration = Duration::from_millis(100);

/// The heartbeats of one connection.
///
/// Invariant: at most one is due at any time. Those that were missed are not made up for.
#[derive(Clone, Debug)]
pub(super) struct Heartbeats {
    /// `None`: the venue wants none.
    heartbeat: Option<Heartbeat>,
    /// The next one is due an interval after this.
    from: Instant,
}

impl Heartbeats {
    /// `interval`: replaces that of the configuration.
    pub(super) fn new(configured: Option<Heartbeat>, interval: Option<Duration>, now: Instant) -> Self {
        let heartbeat = configured
            .map(|heartbeat| Heartbeat { interval: interval.unwrap_or(heartbeat.interval).max(SHORTEST), ..heartbeat });
        Self { heartbeat, from: now }
    }

    /// Any frame came.
    pub(super) fn handle_received(&mut self, now: Instant) {
        if self.heartbeat.is_some_and(|heartbeat| heartbeat.when == HeartbeatWhen::Idle) {
            self.from = now.max(self.from);
        }
    }

    /// Whether to send one now. It then counts as done.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let Some(heartbeat) = self.heartbeat else {
            return false;
        };
        let due = later(self.from, heartbeat.interval);
        if now < due {
            return false;
        }
        // A late one does not move those after it, unless a whole one was missed.
        let missed = later(due, heartbeat.interval) <= now;
        let keeps_beat = heartbeat.when == HeartbeatWhen::Always && !missed;
        self.from = if keeps_beat { due } else { now };
        true
    }

    /// When the next one is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heartbeat.map(|heartbeat| later(self.from, heartbeat.interval))
    }
}
