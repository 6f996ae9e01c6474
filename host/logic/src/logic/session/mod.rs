//! One WebSocket slot, across reconnects.
//!
//! Nothing here touches a socket or a clock: `transport` tells a [`Session`] what happened, does what it says and
//! sleeps until it wants to be asked again. How one connection is kept alive is in `open`, what it carries in
//! `subscriptions`, the length of a wait in `backoff`. Which ids belong to which slot is decided by `shard`, and how
//! often anyone may dial or send by `rate_limit`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::backoff::{Backoff, BackoffConfig, LONGEST_WAIT};
use super::later::later;
// Whoever drives a session reads this too.
pub use super::subscriptions::Subscription;
use super::subscriptions::{SubscriptionRules, Subscriptions};
use crate::contract::observation::Key;
use open::Open;

mod open;

/// Between a successor that was given up and the next.
const REPLACE_AGAIN: Duration = Duration::from_secs(5 * 60);

/// The least time between two replacements because of a silent id, in gaps between two revivals; doubled after each.
const FIRST_SILENCE_GAP: u32 = 10;
const LONGEST_SILENCE_GAP: u32 = 240;

/// The rules of a venue, tightened by the operator.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The wait before another attempt.
    pub backoff: BackoffConfig,
    /// From [`Action::Connect`] to [`Session::handle_opened`], whatever is fetched in between.
    pub connect_timeout: Duration,
    /// A connection on which nothing at all was received for this long is dead. Counts from the opening. After half
    /// of it comes a ping, so that a venue with nothing to say is not taken for a dead one.
    pub idle_timeout: Duration,
    /// `None`: the venue wants none.
    pub heartbeat: Option<Heartbeat>,
    /// From the opening to the first frame of ours, of whatever kind.
    pub first_send_delay: Duration,
    /// Whether to subscribe only after [`Session::handle_ready`], which must come within `ack_timeout` of the
    /// opening.
    pub waits_for_ready: bool,
    /// Most ids in one [`Action::Subscribe`] or [`Action::Unsubscribe`]. `None`: all in one.
    pub ids_per_message: Option<NonZeroUsize>,
    /// Whether the venue answers each subscription. If not, an id counts as acknowledged when it was sent.
    pub acknowledges: bool,
    /// How long such an answer may take, and how long the venue may take to be ready.
    pub ack_timeout: Duration,
    /// The least time between two attempts to revive silent ids, and a tenth of the least time between two
    /// replacements of the connection because of one.
    pub revive_gap: Duration,
    /// How long, from the first subscription on, the connection may give no useful data at all. `None`: a market may
    /// be quiet for ever.
    pub first_data_timeout: Option<Duration>,
    /// The venue cuts connections of this age, so it is closed then at the latest; see [`Overrides::replace_after`].
    /// `None`: never.
    pub max_age: Option<Duration>,
}

/// An application-level heartbeat of ours.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Less than 100 ms counts as 100 ms.
    pub interval: Duration,
    /// When it is due.
    pub when: HeartbeatWhen,
}

/// When a heartbeat is due.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HeartbeatWhen {
    /// Every interval from the opening.
    Always,
    /// When nothing was received for an interval, and each further interval.
    Idle,
}

/// What one connection has otherwise than the configuration says: some venues say so when they give out a token.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Overrides {
    /// Replaces [`Heartbeat::interval`]. Means nothing where the configuration has no heartbeat.
    pub heartbeat_interval: Option<Duration>,
    /// Replaces [`SessionConfig::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// The age at which a successor is to be opened, which takes over before [`SessionConfig::max_age`].
    pub replace_after: Option<Duration>,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Dial, and answer with [`Session::handle_opened`] or [`Session::handle_ended`].
    Connect,
    /// Ask for these, and answer with [`Session::handle_sent`] once the last frame is on its way. Until then there is
    /// no other such message.
    Subscribe(Vec<Key>),
    /// Tell the venue that these are no longer wanted. Answered like [`Action::Subscribe`].
    Unsubscribe(Vec<Key>),
    /// Send the heartbeat of the plugin.
    Heartbeat,
    /// Send a ping of the protocol: has the venue gone, or has it nothing to say?
    Ping,
    /// Open a [`Session::successor`], and [`Session::stop`] this one when that delivers. Said once for a connection,
    /// which serves on until then, unless [`Session::handle_not_replaced`] is told.
    Replace(CloseReason),
    /// Give the socket, or the dial under way, up, and answer with [`Session::handle_ended`].
    Close(CloseReason),
}

/// Why a connection is given up by us.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Nothing was received for too long, not even an answer to a ping.
    Idle,
    /// It did not open in time.
    ConnectTimeout,
    /// The venue was not ready in time.
    ReadyTimeout,
    /// No useful data came in time.
    FirstDataTimeout,
    /// It is as old as it may get.
    MaxAge,
    /// [`Session::rotate`].
    Rotation,
    /// An id stays silent, however often it is asked for.
    Silence,
    /// Its codec is used up: [`Session::handle_worn`].
    Worn,
    /// The venue asked for it: [`Session::handle_reconnect`].
    Venue,
    /// No id is left to ask for.
    NothingToDo,
    /// [`Session::stop`].
    Stopped,
}

/// When the venue wants the connection replaced.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reconnect {
    /// At once.
    Now,
    /// Within this time. It serves until its successor delivers, or most of the time has passed.
    OverlapWithin(Duration),
    /// At once, and then not connect before this time has passed (at most [`LONGEST_WAIT`]).
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

/// One WebSocket slot, across reconnects: what is wanted lives here and outlives every connection; what a venue holds
/// for us dies with its connection.
///
/// - The wait after an end is the backoff's, and the longer the more connections in a row failed or did not live.
///   Only an end that we planned needs none: [`CloseReason::NothingToDo`] always, [`CloseReason::MaxAge`] and
///   [`CloseReason::Venue`] after a stable life (a venue, or a plugin, that asks for a new connection again and again is
///   no reason for a storm). Two attempts are then still the backoff's first wait apart.
/// - What a venue asks for (`Retry-After`, [`Reconnect::After`]) is kept by everything, rotations included.
/// - On each connection every wanted id is asked for, except those that were refused for good.
///
/// Whoever drives it asks [`Session::poll_action`] until it answers `None` after each call that tells it something,
/// and then sleeps until [`Session::poll_timeout`]. It must report each end, also the one after a `Close`, and each
/// sending.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    wanted: BTreeSet<Key>,
    /// Wanted, and refused for good.
    refused: BTreeSet<Key>,
    state: State,
    backoff: Backoff,
    /// Our own wait before the next attempt: the stagger at the start, then the backoff.
    not_before: Instant,
    /// The venue's: until then it does not want to see us.
    held_until: Option<Instant>,
    last_connect: Option<Instant>,
    openings: u64,
    stopping: bool,
    /// How often a connection was replaced because an id stayed silent, and when that may happen again. Outlives
    /// connections: a market that nobody trades must not cost one each few minutes.
    silences: u32,
    silence_again_at: Option<Instant>,
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
            backoff: Backoff::new(config.backoff),
            config,
            wanted,
            refused: BTreeSet::new(),
            state: State::Down,
            not_before: later(now, start_delay),
            held_until: None,
            last_connect: None,
            openings: 0,
            stopping: false,
            silences: 0,
            silence_again_at: None,
            told_at: Some(now),
        }
    }

    /// What is to take this one's place: it wants the same, knows what was refused and keeps the same distance from
    /// the venue, and has no connection yet.
    ///
    /// `delay`: as at the start, many slots of one venue are replaced one after another.
    pub fn successor(&self, now: Instant, delay: Duration) -> Self {
        let mut backoff = self.backoff.clone();
        if let State::Open(open) = &self.state
            && self.config.backoff.is_stable(open.age(now))
        {
            backoff.reset();
        }
        Self {
            backoff,
            state: State::Down,
            not_before: later(self.soonest(now), delay),
            stopping: false,
            told_at: Some(now),
            ..self.clone()
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
        if self.refused.contains(&key) {
            return Some(Subscription::Rejected { permanent: true });
        }
        // What the venue still holds although it is not wanted any more is nobody's business.
        let subscriptions = self.subscriptions().filter(|_| self.wanted.contains(&key))?;
        subscriptions.subscription(key)
    }

    /// The ids of this connection, or of the next one while there is none: what is wanted and was not refused.
    pub fn keys(&self) -> BTreeSet<Key> {
        match self.subscriptions() {
            Some(subscriptions) => subscriptions.keys().collect(),
            None => self.wanted.difference(&self.refused).copied().collect(),
        }
    }

    /// What is wanted, refused or not.
    pub fn wanted(&self) -> &BTreeSet<Key> {
        &self.wanted
    }

    /// How many ids were asked for on this connection and have no answer. A value is as good as an answer: while this
    /// is not 0, report the ids of observations by [`Session::handle_subscribed`] too.
    pub fn unanswered(&self) -> usize {
        self.subscriptions().map_or(0, Subscriptions::unanswered)
    }

    /// Whether the connection is open and the venue has answered for every id, or is not going to.
    pub fn is_settled(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.subscriptions().is_settled())
    }

    /// How often a connection was opened after the first.
    pub fn reconnects(&self) -> u64 {
        self.openings.saturating_sub(1)
    }

    /// Connections in a row that failed or did not live long enough.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    // B. What happened.

    /// The dial has to wait for a rate limit until `until`. That is no slowness of the venue: the connect timeout
    /// counts from then.
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
            open.handle_data();
        }
    }

    /// The venue accepted an id, or gave a value for it.
    pub fn handle_subscribed(&mut self, key: Key, now: Instant) {
        self.told_at = Some(now);
        let accepted = self.subscriptions_mut().is_some_and(|subscriptions| subscriptions.handle_subscribed(key));
        if accepted {
            self.refused.remove(&key);
        }
    }

    /// The venue or the plugin refused an id: for good, which holds until it is dropped and wanted again, or for now;
    /// see [`Subscriptions`].
    pub fn handle_rejected(&mut self, key: Key, permanent: bool, now: Instant) {
        self.told_at = Some(now);
        if let Some(subscriptions) = self.subscriptions_mut() {
            subscriptions.handle_rejected(key, permanent, now);
        }
        if permanent && self.wanted.contains(&key) {
            self.refused.insert(key);
        }
    }

    /// The venue wants the connection replaced.
    pub fn handle_reconnect(&mut self, when: Reconnect, now: Instant) {
        self.told_at = Some(now);
        let retire_at = match when {
            Reconnect::Now => now,
            // What is left is for the goodbye.
            Reconnect::OverlapWithin(time) => later(now, time / 10 * 9),
            Reconnect::After(time) => {
                self.handle_retry_after(now, time);
                now
            }
        };
        if let State::Open(open) = &mut self.state {
            open.replace_by(now, CloseReason::Venue);
            open.retire_by(retire_at, CloseReason::Venue);
        }
    }

    /// The successor was given up: another is wanted, but not at once.
    pub fn handle_not_replaced(&mut self, reason: CloseReason, now: Instant) {
        self.told_at = Some(now);
        if let State::Open(open) = &mut self.state {
            open.handle_not_replaced(later(now, REPLACE_AGAIN), reason);
        }
    }

    /// Nothing was heard of exactly these ids of the connection for longer than they may be silent. Each is asked for
    /// anew, alone; where that is in vain, the connection is replaced, and the next time not so soon.
    pub fn handle_silence(&mut self, silent: &BTreeSet<Key>, now: Instant) {
        self.told_at = Some(now);
        let State::Open(open) = &mut self.state else { return };
        let in_vain = open.subscriptions_mut().handle_silence(silent, now);
        if !in_vain || self.silence_again_at.is_some_and(|at| now < at) {
            return;
        }
        let longest = self.config.revive_gap.saturating_mul(LONGEST_SILENCE_GAP);
        // After a long good time it is a new story.
        if self.silence_again_at.is_some_and(|at| now >= later(at, longest)) {
            self.silences = 0;
        }
        let gap = self.config.revive_gap.saturating_mul(FIRST_SILENCE_GAP << self.silences.min(16)).min(longest);
        self.silences += 1;
        self.silence_again_at = Some(later(now, gap));
        open.replace_by(now, CloseReason::Silence);
    }

    /// The venue does not want to see us for `time` (at most [`LONGEST_WAIT`]): a 429 or 503 to the handshake or to a
    /// request before it. Report the end too.
    pub fn handle_retry_after(&mut self, now: Instant, time: Duration) {
        self.told_at = Some(now);
        let until = later(now, time.min(LONGEST_WAIT));
        self.held_until = self.held_until.max(Some(until));
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
        let stable = lived.is_some_and(|lived| self.config.backoff.is_stable(lived));
        let needs_no_wait = match planned {
            Some(CloseReason::NothingToDo) => true,
            Some(CloseReason::MaxAge | CloseReason::Venue) => stable,
            _ => false,
        };
        if needs_no_wait {
            if stable {
                self.backoff.reset();
            }
            self.not_before = self.soonest(now);
        } else {
            self.not_before = later(now, self.backoff.failed(lived, random));
        }
    }

    // C. What we want.

    /// Replaces what is wanted. On an open connection the difference is asked for and given up; the rest does not
    /// notice. Nothing wanted closes the connection until something is.
    pub fn set_wanted(&mut self, wanted: &BTreeSet<Key>, now: Instant) {
        self.told_at = Some(now);
        let before = std::mem::replace(&mut self.wanted, wanted.clone());
        self.refused.retain(|key| wanted.contains(key));
        if let Some(subscriptions) = self.subscriptions_mut() {
            for key in before.difference(wanted) {
                subscriptions.remove(*key);
            }
            for key in wanted.difference(&before) {
                subscriptions.add(*key);
            }
        }
    }

    /// Replaces the connection, which serves until its successor delivers, or cuts a backoff short.
    pub fn rotate(&mut self, now: Instant) {
        self.told_at = Some(now);
        match &mut self.state {
            // Before the first attempt the wait is the stagger, which a rotation of all slots must not undo.
            State::Down if self.last_connect.is_some() => {
                self.not_before = self.not_before.min(self.soonest(now));
            }
            State::Open(open) => open.replace_by(now, CloseReason::Rotation),
            State::Down | State::Connecting { .. } | State::Closing { .. } | State::Stopped => {}
        }
    }

    /// The codec will not last much longer: the connection is replaced, with a fresh one. Not a young one: what wears out
    /// in no time fails in no time, and that is what the backoff is for.
    pub fn handle_worn(&mut self, now: Instant) {
        if let State::Open(open) = &mut self.state
            && self.config.backoff.is_stable(open.age(now))
        {
            self.told_at = Some(now);
            open.replace_by(now, CloseReason::Worn);
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
            let lived = match &self.state {
                State::Open(open) => Some(open.age(now)),
                _ => None,
            };
            self.state = State::Closing { reason, lived };
            return Some(Action::Close(reason));
        }
        match &mut self.state {
            State::Down => {
                self.connect_at().filter(|at| *at <= now)?;
                self.last_connect = Some(now);
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
        } else if self.nothing_to_do() {
            Some(CloseReason::NothingToDo)
        } else {
            late
        }
    }

    fn nothing_to_do(&self) -> bool {
        self.wanted.len() == self.refused.len()
    }

    /// When the next attempt is due. `None` if there is no reason for one.
    fn connect_at(&self) -> Option<Instant> {
        let at = self.held_until.map_or(self.not_before, |held| held.max(self.not_before));
        (!self.nothing_to_do()).then_some(at)
    }

    /// The soonest that an attempt may follow the last one when nothing failed.
    fn soonest(&self, now: Instant) -> Instant {
        self.last_connect.map_or(now, |last| later(last, self.config.backoff.first()).max(now))
    }

    fn subscriptions(&self) -> Option<&Subscriptions> {
        match &self.state {
            State::Connecting { subscriptions, .. } => Some(subscriptions),
            State::Open(open) => Some(open.subscriptions()),
            State::Down | State::Closing { .. } | State::Stopped => None,
        }
    }

    fn subscriptions_mut(&mut self) -> Option<&mut Subscriptions> {
        match &mut self.state {
            State::Connecting { subscriptions, .. } => Some(subscriptions),
            State::Open(open) => Some(open.subscriptions_mut()),
            State::Down | State::Closing { .. } | State::Stopped => None,
        }
    }
}

// A file of their own: the stories are as long as the machine.
#[cfg(test)]
mod tests;
