//! One WebSocket slot, across reconnects.
//!
//! Nothing here touches a socket or a clock: `transport` tells a [`Session`] what happened, does what it says and
//! sleeps until it wants to be asked again.
//!
//! A session is put together from small machines. `wanted` says what is to be asked for, `attempts` when to connect
//! next, `open` what one connection needs, `silences` how often a silent id may cost a connection. What a connection
//! carries is in `subscriptions`. Which ids belong to which slot is decided by `shard`, and how often anyone may dial
//! or send by `rate_limit`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::later::later;
// Whoever drives a session reads this too.
pub use super::subscriptions::Subscription;
use super::subscriptions::{SubscriptionRules, Subscriptions};
use crate::contract::observation::Key;
pub use action::{Action, CloseReason};
use attempts::Attempts;
pub use config::{Heartbeat, HeartbeatWhen, Overrides, SessionConfig};
use open::Open;
use silences::Silences;
use wanted::Wanted;

mod action;
mod attempts;
mod config;
mod open;
mod silences;
mod wanted;

/// Between a successor that was given up and the next one.
const REPLACE_AGAIN: Duration = Duration::from_secs(5 * 60);

/// When the venue wants the connection replaced.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reconnect {
    /// At once.
    Now,
    /// Within this time. It serves until its successor delivers, or most of the time has passed.
    OverlapWithin(Duration),
    /// At once, and then not connect before this time has passed (at most [a day](super::backoff::LONGEST_WAIT)).
    After(Duration),
}

/// Where a session stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No id is to be asked for: none is wanted, or the venue refused all of them for good.
    NothingToDo,
    /// Until the next attempt.
    Waiting {
        /// When it is due.
        until: Instant,
    },
    /// [`Action::Connect`] was given.
    Connecting,
    /// The connection serves.
    Open,
    /// [`Action::Close`] was given and the end is not yet reported.
    Closing,
    /// Over for good.
    Stopped,
}

/// One WebSocket slot, across reconnects. What is wanted is kept here and outlives every connection. What a venue
/// holds for us ends with its connection.
///
/// - How long it waits before another connection depends on why the last one ended; see `attempts`.
/// - What a venue asks for (`Retry-After`, [`Reconnect::After`]) is kept by everything, rotations included.
/// - On each connection every wanted id is asked for, except those that were refused for good.
///
/// After each call that tells it something, the caller asks [`Session::poll_action`] until it answers `None`, and then
/// sleeps until [`Session::poll_timeout`]. The caller must report each end, also the one after a `Close`, and each
/// sending.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    wanted: Wanted,
    state: State,
    attempts: Attempts,
    silences: Silences,
    openings: u64,
    stopping: bool,
    /// Something was told since an action was last asked for.
    told_at: Option<Instant>,
}

#[derive(Clone, Debug)]
enum State {
    /// There is no connection.
    Down,
    Connecting {
        deadline: Instant,
        /// Not asked for yet, but the plugin may already refuse some.
        subscriptions: Subscriptions,
    },
    Open(Open),
    Closing {
        reason: CloseReason,
        /// `None`: it never opened.
        lived: Option<Duration>,
    },
    Stopped,
}

impl Session {
    /// Wants `wanted`, and connects once `start_delay` has passed: many slots of one venue begin one after another.
    pub fn new(config: SessionConfig, wanted: BTreeSet<Key>, now: Instant, start_delay: Duration) -> Self {
        Self {
            wanted: Wanted::new(wanted),
            state: State::Down,
            attempts: Attempts::new(config.backoff, later(now, start_delay)),
            silences: Silences::new(config.revive_gap),
            config,
            openings: 0,
            stopping: false,
            told_at: Some(now),
        }
    }

    /// What is to take this one's place: it wants the same, knows what was refused and keeps the same distance from
    /// the venue, and has no connection yet.
    ///
    /// `delay`: as at the start, many slots of one venue are replaced one after another.
    pub fn successor(&self, now: Instant, delay: Duration) -> Self {
        Self {
            config: self.config.clone(),
            wanted: self.wanted.clone(),
            state: State::Down,
            attempts: self.attempts.successor(self.age(now), now, delay),
            silences: self.silences.clone(),
            openings: self.openings,
            stopping: false,
            told_at: Some(now),
        }
    }

    // A. Getters.

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Down => self.connect_at().map_or(Phase::NothingToDo, |until| Phase::Waiting { until }),
            State::Connecting { .. } => Phase::Connecting,
            State::Open(_) => Phase::Open,
            State::Closing { .. } => Phase::Closing,
            State::Stopped => Phase::Stopped,
        }
    }

    /// What the venue said to an id. `None` if it is not wanted, or was not asked for on this connection yet.
    pub fn subscription(&self, key: Key) -> Option<Subscription> {
        if self.wanted.is_refused(key) {
            return Some(Subscription::Rejected { permanent: true });
        }
        // The venue may still hold what is not wanted any more. Nobody needs to know.
        let subscriptions = self.subscriptions().filter(|_| self.wanted.keys().contains(&key))?;
        subscriptions.subscription(key)
    }

    /// The ids of this connection, or of the next one while there is none: what is wanted and was not refused.
    pub fn keys(&self) -> BTreeSet<Key> {
        match self.subscriptions() {
            Some(subscriptions) => subscriptions.keys().collect(),
            None => self.wanted.to_ask(),
        }
    }

    /// What is wanted, refused or not.
    pub fn wanted(&self) -> &BTreeSet<Key> {
        self.wanted.keys()
    }

    /// How many ids were asked for on this connection and have no answer. A value is as good as an answer: while this
    /// is not 0, report the ids of observations by [`Session::handle_subscribed`] too.
    pub fn unanswered(&self) -> usize {
        self.subscriptions().map_or(0, Subscriptions::unanswered)
    }

    /// Whether the connection is open and the venue has answered for every id, or is not going to.
    pub fn is_settled(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.subscriptions.is_settled())
    }

    /// How often a connection was opened after the first.
    pub fn reconnects(&self) -> u64 {
        self.openings.saturating_sub(1)
    }

    /// Connections in a row that failed or did not live long enough.
    pub fn failures(&self) -> u32 {
        self.attempts.failures()
    }

    // B. What happened.

    /// The dial has to wait for a rate limit until `until`. The venue is not slow then: the connect timeout counts from
    /// `until`.
    pub fn handle_delayed(&mut self, until: Instant) {
        if let State::Connecting { deadline, .. } = &mut self.state {
            *deadline = later(until, self.config.connect_timeout);
        }
    }

    /// The connection is open. Too late, and ignored, if it was given up.
    pub fn handle_opened(&mut self, now: Instant, overrides: Overrides) {
        self.told_at = Some(now);
        let State::Connecting { subscriptions, .. } = &mut self.state else {
            return;
        };
        let open = Open::new(&self.config, subscriptions.clone(), now, overrides);
        self.state = State::Open(open);
        self.openings += 1;
    }

    /// Any frame came, pings and pongs included.
    pub fn handle_received(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state {
            open.handle_received(now);
        }
    }

    /// The venue may be subscribed to.
    pub fn handle_ready(&mut self, now: Instant) {
        self.told_at = Some(now);
        if let State::Open(open) = &mut self.state {
            open.handle_ready();
        }
    }

    /// The last frame of the last [`Action::Subscribe`] or [`Action::Unsubscribe`] is on its way; there may have been
    /// none. The time for answers counts from now.
    pub fn handle_sent(&mut self, now: Instant) {
        self.told_at = Some(now);
        if let State::Open(open) = &mut self.state {
            open.handle_sent(now, self.config.first_data_timeout);
        }
    }

    /// Useful data came. Need be told only once for each connection.
    pub fn handle_data(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.first_data.handle_data();
        }
    }

    /// The venue accepted an id, or gave a value for it.
    pub fn handle_subscribed(&mut self, key: Key, now: Instant) {
        self.told_at = Some(now);
        let accepted = self.subscriptions_mut().is_some_and(|subscriptions| subscriptions.handle_subscribed(key));
        if accepted {
            self.wanted.handle_accepted(key);
        }
    }

    /// The venue or the plugin refused an id: for good, which holds until it is dropped and wanted again, or for now;
    /// see [`Subscriptions`].
    pub fn handle_rejected(&mut self, key: Key, permanent: bool, now: Instant) {
        self.told_at = Some(now);
        if let Some(subscriptions) = self.subscriptions_mut() {
            subscriptions.handle_rejected(key, permanent, now);
        }
        if permanent {
            self.wanted.handle_refused(key);
        }
    }

    /// The venue wants the connection replaced.
    pub fn handle_reconnect(&mut self, when: Reconnect, now: Instant) {
        self.told_at = Some(now);
        let close_at = match when {
            Reconnect::Now => now,
            // The rest of the time is for closing.
            Reconnect::OverlapWithin(time) => later(now, time / 10 * 9),
            Reconnect::After(time) => {
                self.handle_retry_after(now, time);
                now
            }
        };
        if let State::Open(open) = &mut self.state {
            open.retirement.replace_by(now, CloseReason::Venue);
            open.retirement.close_by(close_at, CloseReason::Venue);
        }
    }

    /// The successor was given up: another is wanted, but not at once.
    pub fn handle_not_replaced(&mut self, reason: CloseReason, now: Instant) {
        self.told_at = Some(now);
        if let State::Open(open) = &mut self.state {
            open.retirement.handle_not_replaced(later(now, REPLACE_AGAIN), reason);
        }
    }

    /// Nothing was heard of exactly these ids of the connection for longer than they may be silent. Each is asked for
    /// again, alone. Where that is in vain, the connection is replaced, and each further time after a longer gap.
    pub fn handle_silence(&mut self, silent: &BTreeSet<Key>, now: Instant) {
        self.told_at = Some(now);
        if let State::Open(open) = &mut self.state
            && open.subscriptions.handle_silence(silent, now)
            && self.silences.handle_in_vain(now)
        {
            open.retirement.replace_by(now, CloseReason::Silence);
        }
    }

    /// The venue does not want to see us for `time` (at most [a day](super::backoff::LONGEST_WAIT)): it answered 429 or
    /// 503 to the handshake or to a request before it. Report the end too.
    pub fn handle_retry_after(&mut self, now: Instant, time: Duration) {
        self.told_at = Some(now);
        self.attempts.handle_retry_after(now, time);
    }

    /// The socket is gone, the dial failed, the plugin's instance is dead, or a [`Action::Close`] was carried out.
    /// `random`: from 0 up to, but not, 1.
    pub fn handle_ended(&mut self, now: Instant, random: f64) {
        self.told_at = Some(now);
        let (planned, lived) = match &self.state {
            State::Down | State::Stopped => return,
            State::Connecting { .. } => (None, None),
            State::Open(open) => (None, Some(open.age(now))),
            State::Closing { reason, lived } => (Some(*reason), *lived),
        };
        self.state = if self.stopping { State::Stopped } else { State::Down };
        self.attempts.handle_ended(planned, lived, now, random);
    }

    // C. What we want.

    /// Replaces what is wanted. On an open connection only the difference is asked for and given up. If nothing is
    /// wanted, the connection is closed until something is.
    pub fn set_wanted(&mut self, wanted: &BTreeSet<Key>, now: Instant) {
        self.told_at = Some(now);
        let before = self.wanted.set(wanted);
        if let Some(subscriptions) = self.subscriptions_mut() {
            for key in before.difference(wanted) {
                subscriptions.remove(*key);
            }
            for key in wanted.difference(&before) {
                subscriptions.add(*key);
            }
        }
    }

    /// Replaces the connection, which serves until its successor delivers. Without one, cuts a backoff short.
    pub fn rotate(&mut self, now: Instant) {
        self.told_at = Some(now);
        match &mut self.state {
            State::Down => self.attempts.hurry(now),
            State::Open(open) => open.retirement.replace_by(now, CloseReason::Rotation),
            State::Connecting { .. } | State::Closing { .. } | State::Stopped => {}
        }
    }

    /// The codec will not last much longer: the connection is replaced, and the new one has a fresh codec. A young
    /// connection is not replaced: a codec that wears out at once will fail soon, and then the backoff applies.
    pub fn handle_worn(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state
            && self.attempts.is_stable(open.age(now))
        {
            self.told_at = Some(now);
            open.retirement.replace_by(now, CloseReason::Worn);
        }
    }

    /// Ends for good: closes what there is, and then does nothing any more.
    pub fn stop(&mut self, now: Instant) {
        self.told_at = Some(now);
        self.stopping = true;
        if matches!(self.state, State::Down) {
            self.state = State::Stopped;
        }
    }

    // D. What to do.

    /// What to do now. Ask until it answers `None`.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        let action = self.next_action(now);
        if action.is_none() {
            self.told_at = None;
        }
        action
    }

    /// When to ask [`Session::poll_action`] next: the past if something was told since. `None` while only a report of
    /// the shell, or a wish, can change anything: without an id to ask for, while closing, and when stopped.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = match &self.state {
            State::Down => self.connect_at(),
            State::Connecting { deadline, .. } => Some(*deadline),
            State::Open(open) => open.poll_timeout(),
            State::Closing { .. } | State::Stopped => None,
        };
        [self.told_at, next].into_iter().flatten().min()
    }

    fn next_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(reason) = self.reason_to_close(now) {
            self.state = State::Closing { reason, lived: self.age(now) };
            return Some(Action::Close(reason));
        }
        match &mut self.state {
            State::Down => {
                self.connect_at().filter(|at| *at <= now)?;
                self.attempts.handle_begun(now);
                let rules = SubscriptionRules {
                    ids_per_message: self.config.ids_per_message,
                    acknowledges: self.config.acknowledges,
                    ack_timeout: self.config.ack_timeout,
                    revive_gap: self.config.revive_gap,
                };
                self.state = State::Connecting {
                    deadline: later(now, self.config.connect_timeout),
                    subscriptions: Subscriptions::new(rules, self.keys()),
                };
                Some(Action::Connect)
            }
            State::Open(open) => open.next_action(now),
            State::Connecting { .. } | State::Closing { .. } | State::Stopped => None,
        }
    }

    /// Why to give up the connection, or the attempt at one, if there is one.
    fn reason_to_close(&self, now: Instant) -> Option<CloseReason> {
        let late = match &self.state {
            State::Down | State::Closing { .. } | State::Stopped => return None,
            State::Connecting { deadline, .. } => (*deadline <= now).then_some(CloseReason::ConnectTimeout),
            State::Open(open) => open.reason_to_close(now),
        };
        if self.stopping {
            Some(CloseReason::Stopped)
        } else if self.wanted.has_any_to_ask() {
            late
        } else {
            Some(CloseReason::NothingToDo)
        }
    }

    /// When the next attempt is due. `None` if there is no reason for one.
    fn connect_at(&self) -> Option<Instant> {
        self.wanted.has_any_to_ask().then(|| self.attempts.next_at())
    }

    /// The age of the connection, if it is open.
    fn age(&self, now: Instant) -> Option<Duration> {
        match &self.state {
            State::Open(open) => Some(open.age(now)),
            _ => None,
        }
    }

    fn subscriptions(&self) -> Option<&Subscriptions> {
        match &self.state {
            State::Connecting { subscriptions, .. } => Some(subscriptions),
            State::Open(open) => Some(&open.subscriptions),
            State::Down | State::Closing { .. } | State::Stopped => None,
        }
    }

    fn subscriptions_mut(&mut self) -> Option<&mut Subscriptions> {
        match &mut self.state {
            State::Connecting { subscriptions, .. } => Some(subscriptions),
            State::Open(open) => Some(&mut open.subscriptions),
            State::Down | State::Closing { .. } | State::Stopped => None,
        }
    }
}

// A file of their own: the stories are as long as the machine.
#[cfg(test)]
mod tests;
