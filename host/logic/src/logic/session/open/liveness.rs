//! Whether the venue is still there: when it is pinged, and when it counts as gone.
//!
//! The heartbeat that a venue wants from us is another matter; see `heartbeats`.

use std::time::{Duration, Instant};

use crate::logic::later::later;

/// The silence of one connection, and the ping that asks about it.
///
/// Invariant: a connection is dead only after a ping that was not answered for half of the timeout. So a venue that has
/// nothing to say is not given up, and a host that slept through the whole timeout asks first.
#[derive(Clone, Debug)]
pub(super) struct Liveness {
    timeout: Duration,
    /// When the last frame was received, or the connection was opened.
    received_at: Instant,
    /// When the ping was sent, if one was since then.
    pinged_at: Option<Instant>,
}

impl Liveness {
    pub(super) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, received_at: now, pinged_at: None }
    }

    /// Any frame came.
    pub(super) fn handle_received(&mut self, now: Instant) {
        self.received_at = now.max(self.received_at);
        self.pinged_at = None;
    }

    /// Whether to ping now. It then counts as done.
    pub(super) fn poll_ping(&mut self, now: Instant) -> bool {
        let is_due = self.ping_at().is_some_and(|at| at <= now);
        if is_due {
            self.pinged_at = Some(now);
        }
        is_due
    }

    /// When to ping: after half of the timeout without a frame. `None` while an answer to a ping is waited for.
    pub(super) fn ping_at(&self) -> Option<Instant> {
        match self.pinged_at {
            None => Some(later(self.received_at, self.timeout / 2)),
            Some(_) => None,
        }
    }

    /// When the venue counts as gone: after the other half without an answer to the ping. `None` before the ping.
    pub(super) fn dead_at(&self) -> Option<Instant> {
        self.pinged_at.map(|pinged_at| later(pinged_at, self.timeout - self.timeout / 2))
    }
}
