//! One open connection: when it may speak, how it is kept alive, when it is dead, when it is too old.
//!
//! It dies with its socket; what outlives it is in `session`, which is also the only one to use this. What it was asked
//! to carry is in `subscriptions`.

use std::time::{Duration, Instant};

use super::super::later;
use super::super::subscriptions::{Message, Subscriptions};
use super::{Action, CloseReason, Heartbeat, HeartbeatWhen, Overrides, SessionConfig};

/// One connection, from its opening to its end.
#[derive(Clone, Debug)]
pub(super) struct Open {
    since: Instant,
    subscriptions: Subscriptions,
    /// Nothing is sent before this.
    may_send_at: Instant,
    /// By when the venue has to be ready. `None`: it is.
    ready_by: Option<Instant>,
    idle_timeout: Duration,
    /// Of the last frame, or of the opening.
    received_at: Instant,
    /// Of the ping that was sent since then.
    pinged_at: Option<Instant>,
    heartbeat: Option<Heartbeat>,
    /// The next heartbeat is due an interval after this.
    heartbeat_from: Instant,
    /// When to replace the connection, and why.
    retire: Option<(Instant, CloseReason)>,
}

impl Open {
    pub(super) fn new(
        config: &SessionConfig,
        subscriptions: Subscriptions,
        now: Instant,
        overrides: Overrides,
    ) -> Self {
        let heartbeat = config.heartbeat.map(|heartbeat| Heartbeat {
            interval: overrides.heartbeat_interval.unwrap_or(heartbeat.interval).max(SHORTEST_HEARTBEAT),
            ..heartbeat
        });
        Self {
            since: now,
            subscriptions,
            may_send_at: later(now, config.first_send_delay),
            ready_by: config.waits_for_ready.then(|| later(now, config.ack_timeout)),
            idle_timeout: overrides.idle_timeout.unwrap_or(config.idle_timeout),
            received_at: now,
            pinged_at: None,
            heartbeat,
            heartbeat_from: now,
            retire: config.max_age.map(|age| (later(now, age), CloseReason::MaxAge)),
        }
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(super) fn retires_at(&self) -> Option<Instant> {
        self.retire.map(|(at, _)| at)
    }

    pub(super) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    pub(super) fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        &mut self.subscriptions
    }

    pub(super) fn handle_received(&mut self, now: Instant) {
        self.received_at = now.max(self.received_at);
        self.pinged_at = None;
        if self.heartbeat.is_some_and(|heartbeat| heartbeat.when == HeartbeatWhen::Idle) {
            self.heartbeat_from = now.max(self.heartbeat_from);
        }
    }

    pub(super) fn handle_ready(&mut self) {
        self.ready_by = None;
    }

    /// Replace the connection at `at`, unless that is planned for sooner.
    pub(super) fn retire_by(&mut self, at: Instant, reason: CloseReason) {
        if self.retire.is_none_or(|(planned, _)| at < planned) {
            self.retire = Some((at, reason));
        }
    }

    pub(super) fn reason_to_close(&self, now: Instant) -> Option<CloseReason> {
        if let Some((at, reason)) = self.retire
            && at <= now
        {
            return Some(reason);
        }
        if self.ready_by.is_some_and(|at| at <= now) {
            return Some(CloseReason::ReadyTimeout);
        }
        (self.pinged_at.is_some() && self.idle_at() <= now).then_some(CloseReason::Idle)
    }

    pub(super) fn next_action(&mut self, now: Instant) -> Option<Action> {
        if now < self.may_send_at {
            return None;
        }
        if let Some(heartbeat) = self.heartbeat
            && let due = later(self.heartbeat_from, heartbeat.interval)
            && due <= now
        {
            // On its beat, unless one was missed: those are not made up for.
            let missed = later(due, heartbeat.interval) <= now;
            let keeps_beat = heartbeat.when == HeartbeatWhen::Always && !missed;
            self.heartbeat_from = if keeps_beat { due } else { now };
            return Some(Action::Heartbeat);
        }
        if self.pinged_at.is_none() && self.idle_at() <= now {
            self.pinged_at = Some(now);
            return Some(Action::Ping);
        }
        if self.ready_by.is_some() {
            return None;
        }
        Some(match self.subscriptions.poll_message(now)? {
            Message::Subscribe(keys) => Action::Subscribe(keys),
            Message::Unsubscribe(keys) => Action::Unsubscribe(keys),
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let sends = [
            self.heartbeat.map(|heartbeat| later(self.heartbeat_from, heartbeat.interval)),
            self.pinged_at.is_none().then(|| self.idle_at()),
            match self.ready_by {
                Some(_) => None,
                None => self.subscriptions.poll_timeout(self.may_send_at),
            },
        ];
        let closes = [self.retire.map(|(at, _)| at), self.ready_by, self.pinged_at.is_some().then(|| self.idle_at())];
        let sends = sends.into_iter().flatten().map(|at| at.max(self.may_send_at));
        sends.chain(closes.into_iter().flatten()).min()
    }

    /// When the silence has lasted half of what it may: at first until a ping, and then until the end. Counted from
    /// the ping, so that a host that slept through both asks before it gives up.
    fn idle_at(&self) -> Instant {
        let half = self.idle_timeout / 2;
        match self.pinged_at {
            None => later(self.received_at, half),
            Some(pinged_at) => later(pinged_at, self.idle_timeout - half),
        }
    }
}

/// No plugin may make us send heartbeats without a pause.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);
