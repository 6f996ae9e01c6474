//! One open connection: when it may send, what it sends next, and when it is to be closed.
//!
//! It ends with its socket. What outlives it is in `session`, the only user of this. What it was asked to carry is in
//! `subscriptions`. The rest is in small machines: `liveness` (is the venue still there), `heartbeats` (what the venue
//! wants to hear), `first_data` (did anything useful come), `retirement` (when it is replaced and closed).

use std::time::{Duration, Instant};

use crate::logic::later::later;
use crate::logic::session::action::{Action, CloseReason};
use crate::logic::session::config::{Overrides, SessionConfig};
use crate::logic::subscriptions::{Message, Subscriptions};
use first_data::FirstData;
use heartbeats::Heartbeats;
use liveness::Liveness;
use retirement::Retirement;

mod first_data;
mod heartbeats;
mod liveness;
mod retirement;

/// One connection, from its opening to its end.
#[derive(Clone, Debug)]
pub(super) struct Open {
    since: Instant,
    /// Nothing is sent before this.
    may_send_at: Instant,
    /// By when the venue has to be ready. `None`: it is.
    ready_by: Option<Instant>,
    liveness: Liveness,
    heartbeats: Heartbeats,
    pub(super) subscriptions: Subscriptions,
    pub(super) first_data: FirstData,
    pub(super) retirement: Retirement,
}

impl Open {
    pub(super) fn new(
        config: &SessionConfig,
        subscriptions: Subscriptions,
        now: Instant,
        overrides: Overrides,
    ) -> Self {
        let at_age = |age: Duration| later(now, age);
        Self {
            since: now,
            may_send_at: later(now, config.first_send_delay),
            ready_by: config.waits_for_ready.then(|| later(now, config.ack_timeout)),
            liveness: Liveness::new(overrides.idle_timeout.unwrap_or(config.idle_timeout), now),
            heartbeats: Heartbeats::new(config.heartbeat, overrides.heartbeat_interval, now),
            subscriptions,
            first_data: FirstData::NotAsked,
            retirement: Retirement::new(overrides.replace_after.map(at_age), config.max_age.map(at_age)),
        }
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(super) fn handle_received(&mut self, now: Instant) {
        self.liveness.handle_received(now);
        self.heartbeats.handle_received(now);
    }

    pub(super) fn handle_sent(&mut self, now: Instant, first_data_timeout: Option<Duration>) {
        self.subscriptions.handle_sent(now);
        self.first_data.handle_sent(now, first_data_timeout);
    }

    pub(super) fn handle_ready(&mut self) {
        self.ready_by = None;
    }

    pub(super) fn reason_to_close(&self, now: Instant) -> Option<CloseReason> {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(reason) = self.retirement.reason_to_close(now) {
            Some(reason)
        } else if is_over(self.ready_by) {
            Some(CloseReason::ReadyTimeout)
        } else if is_over(self.first_data.due_by()) {
            Some(CloseReason::FirstDataTimeout)
        } else if is_over(self.liveness.dead_at()) {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    pub(super) fn next_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(reason) = self.retirement.poll_replace(now) {
            return Some(Action::Replace(reason));
        }
        if now < self.may_send_at {
            return None;
        }
        if self.heartbeats.poll(now) {
            return Some(Action::Heartbeat);
        }
        if self.liveness.poll_ping(now) {
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
        let message = match self.ready_by {
            Some(_) => None,
            None => self.subscriptions.poll_timeout(self.may_send_at),
        };
        let sends = [self.heartbeats.next_at(), self.liveness.ping_at(), message];
        let others = [
            self.retirement.replace_at(),
            self.retirement.close_at(),
            self.ready_by,
            self.first_data.due_by(),
            self.liveness.dead_at(),
        ];
        let sends = sends.into_iter().flatten().map(|at| at.max(self.may_send_at));
        sends.chain(others.into_iter().flatten()).min()
    }
}
