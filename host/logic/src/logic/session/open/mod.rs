//! One open connection: when it may speak, how it is kept alive, when it is dead, when it is to be replaced.
//!
//! It dies with its socket; what outlives it is in `session`, which is also the only one to use this. What it was asked
//! to carry is in `subscriptions`.

use std::time::{Duration, Instant};

use super::super::later::later;
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
    /// By when useful data has to come, once something was subscribed to.
    first_data: FirstData,
    /// When to open a successor, and why. `None`: never, or it was said.
    replace: Option<(Instant, CloseReason)>,
    /// A successor was asked for.
    replaced: bool,
    /// When to close, successor or not, and why.
    retire: Option<(Instant, CloseReason)>,
}

/// The first useful data of a connection.
#[derive(Copy, Clone, Debug)]
enum FirstData {
    NotAsked,
    DueBy(Instant),
    Came,
}

impl FirstData {
    fn due_by(self) -> Option<Instant> {
        match self {
            Self::DueBy(at) => Some(at),
            Self::NotAsked | Self::Came => None,
        }
    }
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
            first_data: FirstData::NotAsked,
            replace: overrides.replace_after.map(|age| (later(now, age), CloseReason::MaxAge)),
            replaced: false,
            retire: config.max_age.map(|age| (later(now, age), CloseReason::MaxAge)),
        }
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
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

    pub(super) fn handle_sent(&mut self, now: Instant, first_data_timeout: Option<Duration>) {
        self.subscriptions.handle_sent(now);
        if let (FirstData::NotAsked, Some(time)) = (self.first_data, first_data_timeout) {
            self.first_data = FirstData::DueBy(later(now, time));
        }
    }

    pub(super) fn handle_data(&mut self) {
        self.first_data = FirstData::Came;
    }

    pub(super) fn handle_ready(&mut self) {
        self.ready_by = None;
    }

    /// Ask for a successor at `at`, unless that is planned for sooner or was done.
    pub(super) fn replace_by(&mut self, at: Instant, reason: CloseReason) {
        if !self.replaced && self.replace.is_none_or(|(planned, _)| at < planned) {
            self.replace = Some((at, reason));
        }
    }

    /// The successor was given up: ask for another at `at`.
    pub(super) fn handle_not_replaced(&mut self, at: Instant, reason: CloseReason) {
        self.replaced = false;
        self.replace_by(at, reason);
    }

    /// Close the connection at `at`, unless that is planned for sooner.
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
        if self.first_data.due_by().is_some_and(|at| at <= now) {
            return Some(CloseReason::FirstDataTimeout);
        }
        (self.pinged_at.is_some() && self.idle_at() <= now).then_some(CloseReason::Idle)
    }

    pub(super) fn next_action(&mut self, now: Instant) -> Option<Action> {
        if let Some((at, reason)) = self.replace
            && at <= now
        {
            self.replace = None;
            self.replaced = true;
            return Some(Action::Replace(reason));
        }
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
        let closes = [
            self.replace.map(|(at, _)| at),
            self.retire.map(|(at, _)| at),
            self.ready_by,
            self.first_data.due_by(),
            self.pinged_at.is_some().then(|| self.idle_at()),
        ];
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
