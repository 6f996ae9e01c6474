//! A random walk of sessions through bad days.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::story::{keys, secs};
use crate::contract::observation::Key;
use crate::logic::backoff::BackoffConfig;
use crate::logic::chance::{Chance, beginning};
use crate::logic::session::{
    Action, Heartbeat, HeartbeatWhen, Overrides, Phase, Reconnect, Session, SessionConfig, Subscription,
};

/// A shell and a venue, simulated. The shell does what the machine says; the venue, the operator and the network do
/// what chance says.
struct Walk {
    seed: u64,
    chance: Chance,
    now: Instant,
    session: Session,
    config: SessionConfig,
    wanted: BTreeSet<Key>,
    refused: BTreeSet<Key>,
    socket: Socket,
    /// When the message that was made last will be on its way.
    sent_at: Option<Instant>,
    /// Of this connection: how often each key was asked for since it was last given up.
    asked: BTreeMap<Key, u32>,
    held_until: Instant,
    connected_at: Option<Instant>,
    connects: u64,
    opened: u64,
    /// Whether the open connection was said to be ready.
    ready: bool,
}

#[derive(Copy, Clone, PartialEq, Debug)]
enum Socket {
    None,
    Dialling,
    Open { since: Instant },
    Closing,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut millis = |from: u64, to: u64| Duration::from_millis(from + chance.below(to - from));
        let (first, max) = (millis(200, 2_000), millis(2_000, 64_000));
        let config = SessionConfig {
            backoff: BackoffConfig::new(first, max, millis(5_000, 60_000)).unwrap(),
            connect_timeout: millis(1_000, 20_000),
            idle_timeout: millis(1_000, 60_000),
            heartbeat: None,
            first_send_delay: millis(0, 3_000),
            waits_for_ready: false,
            ids_per_message: None,
            acknowledges: false,
            ack_timeout: millis(1_000, 10_000),
            revive_gap: millis(1_000, 30_000),
            first_data_timeout: None,
            max_age: None,
        };
        let config = SessionConfig {
            heartbeat: chance.one_in(2).then(|| Heartbeat {
                interval: Duration::from_millis(100 + chance.below(30_000)),
                when: if chance.one_in(2) { HeartbeatWhen::Idle } else { HeartbeatWhen::Always },
            }),
            waits_for_ready: chance.one_in(2),
            ids_per_message: NonZeroUsize::new(chance.below(4) as usize),
            acknowledges: chance.one_in(2),
            max_age: chance.one_in(2).then(|| secs(1 + chance.below(600))),
            first_data_timeout: chance.one_in(4).then(|| secs(1 + chance.below(100))),
            ..config
        };
        let now = beginning();
        let wanted = keys(&[0, 1, 2]);
        let delay = Duration::from_millis(chance.below(5_000));
        Self {
            seed,
            chance,
            now,
            session: Session::new(config.clone(), wanted.clone(), now, delay),
            config,
            wanted,
            refused: BTreeSet::new(),
            socket: Socket::None,
            sent_at: None,
            asked: BTreeMap::new(),
            held_until: now,
            connected_at: None,
            connects: 0,
            opened: 0,
            ready: false,
        }
    }

    /// One thing happens, and then time passes.
    fn step(&mut self) {
        let key = Key(self.chance.below(6) as u32);
        match self.chance.below(40) {
            0 => {
                if !self.wanted.remove(&key) {
                    self.wanted.insert(key);
                }
                self.refused.remove(&key);
                self.session.set_wanted(&self.wanted, self.now);
            }
            1 if self.chance.one_in(4) => self.session.rotate(self.now),
            38 => {
                if self.session.subscription(key) == Some(Subscription::Unconfirmed { asks: 3 }) {
                    self.asked.insert(key, 0);
                }
                self.session.handle_silence(&keys(&[key.0]), self.now);
            }
            2..6 if self.has_socket() => self.end(),
            6 if self.has_socket() && self.chance.one_in(3) => {
                let time = self.chance_secs(30);
                self.hold(time);
                self.session.handle_retry_after(self.now, time);
            }
            7 if self.socket == Socket::Dialling => {
                let until = self.now + self.chance_secs(60);
                self.session.handle_delayed(until);
            }
            8..20 if self.socket == Socket::Dialling => {
                self.socket = Socket::Open { since: self.now };
                self.opened += 1;
                let overrides = Overrides {
                    idle_timeout: self.chance.one_in(3).then(|| secs(20)),
                    heartbeat_interval: self.chance.one_in(3).then(|| secs(0)),
                    replace_after: self.chance.one_in(3).then(|| secs(100)),
                };
                self.session.handle_opened(self.now, overrides);
            }
            // Frames that come too late, and those of a live connection.
            20..30 => self.session.handle_received(self.now),
            30..33 => {
                self.ready |= matches!(self.socket, Socket::Open { .. });
                self.session.handle_ready(self.now);
            }
            33..36 => {
                self.session.handle_subscribed(key, self.now);
                // Refused first and accepted then: the venue has it after all.
                if self.session.subscription(key) == Some(Subscription::Acknowledged) {
                    self.asked.entry(key).or_insert(1);
                }
            }
            36 if self.has_socket() => {
                let permanent = self.chance.one_in(3);
                if permanent && self.wanted.contains(&key) {
                    self.refused.insert(key);
                }
                self.session.handle_rejected(key, permanent, self.now);
                // The venue does not hold what it refuses.
                self.asked.remove(&key);
            }
            37 if self.chance.one_in(3) => {
                let time = self.chance_secs(20);
                let when = match self.chance.below(3) {
                    0 => Reconnect::Now,
                    1 => Reconnect::OverlapWithin(time),
                    _ => {
                        self.hold(time);
                        Reconnect::After(time)
                    }
                };
                self.session.handle_reconnect(when, self.now);
            }
            _ => {}
        }
        // What was refused for good and then accepted is no longer refused.
        self.refused.retain(|key| self.session.subscription(*key) == Some(Subscription::Rejected { permanent: true }));
        if self.sent_at.is_some_and(|at| at <= self.now) {
            self.sent_at = None;
            self.session.handle_sent(self.now);
        }
        self.act();
        self.check_nothing_forgotten();
        self.pass_time();
    }

    /// Does what the machine says until it says nothing.
    fn act(&mut self) {
        let seed = self.seed;
        for turn in 0.. {
            assert!(turn < 100, "seed {seed}: does not come to an end");
            let Some(action) = self.session.poll_action(self.now) else {
                break;
            };
            let open = matches!(self.socket, Socket::Open { .. });
            match action {
                Action::Connect => self.connect(),
                Action::Close(_) => {
                    assert!(self.has_socket(), "seed {seed}: closes nothing");
                    assert_ne!(self.socket, Socket::Closing, "seed {seed}: closes twice");
                    if self.chance.one_in(2) {
                        self.end();
                    } else {
                        self.socket = Socket::Closing;
                    }
                }
                Action::Replace(_) => assert!(open, "seed {seed}: replaces nothing"),
                Action::Heartbeat | Action::Ping => {
                    assert!(open, "seed {seed}: talks to nobody");
                    self.check_first_send();
                }
                Action::Subscribe(keys) => {
                    assert!(open, "seed {seed}: subscribes with nobody");
                    self.check_first_send();
                    self.send(&keys);
                    for key in keys {
                        assert!(self.wanted.contains(&key), "seed {seed}: not wanted");
                        assert!(!self.refused.contains(&key), "seed {seed}: asks once more");
                        let asks = self.asked.entry(key).or_default();
                        *asks += 1;
                        let most = if self.config.acknowledges { 3 } else { 1 };
                        assert!(*asks <= most, "seed {seed}: {key:?} was asked for {asks} times");
                    }
                }
                Action::Unsubscribe(keys) => {
                    assert!(open, "seed {seed}: unsubscribes with nobody");
                    self.send(&keys);
                    for key in keys {
                        assert!(self.asked.remove(&key).is_some(), "seed {seed}: never asked");
                        // Or given up only to be asked for again.
                        let anew = self.session.keys().contains(&key);
                        assert_eq!(self.wanted.contains(&key), anew, "seed {seed}: still wanted");
                    }
                }
            }
        }
    }

    fn connect(&mut self) {
        let seed = self.seed;
        assert_eq!(self.socket, Socket::None, "seed {seed}: two sockets");
        assert!(self.now >= self.held_until, "seed {seed}: the venue said later");
        if let Some(connected_at) = self.connected_at {
            let shortest = self.config.backoff.first() / 2;
            assert!(self.now - connected_at >= shortest, "seed {seed}: a storm");
        }
        self.connected_at = Some(self.now);
        self.connects += 1;
        self.socket = Socket::Dialling;
        self.asked.clear();
        self.sent_at = None;
        self.ready = false;
    }

    fn end(&mut self) {
        self.socket = Socket::None;
        self.sent_at = None;
        self.session.handle_ended(self.now, self.chance.fraction());
    }

    /// Once messages may be sent and none is on its way, everything wanted has been asked for.
    fn check_nothing_forgotten(&self) {
        let Socket::Open { since } = self.socket else {
            return;
        };
        let delayed = self.now < since + self.config.first_send_delay;
        let unready = self.config.waits_for_ready && !self.ready;
        if delayed || unready || self.sent_at.is_some() {
            return;
        }
        for key in self.wanted.difference(&self.refused) {
            let state = self.session.subscription(*key);
            let rejected = matches!(state, Some(Subscription::Rejected { .. }));
            let asked = rejected || self.asked.contains_key(key);
            assert!(asked, "seed {}: {key:?} was forgotten", self.seed);
        }
    }

    fn send(&mut self, keys: &[Key]) {
        let seed = self.seed;
        assert_eq!(self.sent_at, None, "seed {seed}: two messages at once");
        let most = self.config.ids_per_message.map_or(usize::MAX, NonZeroUsize::get);
        assert!(!keys.is_empty() && keys.len() <= most, "seed {seed}: {} ids", keys.len());
        let wait = if self.chance.one_in(3) { self.chance.below(5_000) } else { 0 };
        self.sent_at = Some(self.now + Duration::from_millis(wait));
    }

    fn check_first_send(&self) {
        let Socket::Open { since } = self.socket else {
            return;
        };
        let earliest = since + self.config.first_send_delay;
        assert!(self.now >= earliest, "seed {}: speaks too early", self.seed);
    }

    /// To the next wake-up or to the next thing that chance wants to happen.
    fn pass_time(&mut self) {
        let seed = self.seed;
        let timeout = self.session.poll_timeout();
        let useful = self.wanted.len() > self.refused.len();
        match timeout {
            Some(due) => {
                assert!(due > self.now, "seed {seed}: spins in {:?}", self.session.phase());
                // The longest wait of any kind in this walk.
                let longest = self.held_until.max(self.now) + secs(64 + 60 + 20);
                assert!(due <= longest, "seed {seed}: sleeps in {:?}", self.session.phase());
            }
            None => {
                let reports = self.socket == Socket::Closing;
                assert!(reports || !useful, "seed {seed}: asleep in {:?}", self.session.phase());
            }
        }
        assert_eq!(self.session.reconnects(), self.opened.saturating_sub(1), "seed {seed}");
        let nap = Duration::from_millis(self.chance.below(4_000));
        let mut next = self.now + nap;
        for due in [timeout, self.sent_at].into_iter().flatten() {
            // Now and then the host is late.
            if due < next && !self.chance.one_in(20) {
                next = due;
            }
        }
        // Nothing more happens for a while: straight to the wake-up.
        if let Some(due) = timeout
            && self.socket == Socket::None
        {
            next = next.max(due.min(self.now + secs(60)));
        }
        self.now = next.max(self.now);
    }

    fn has_socket(&self) -> bool {
        self.socket != Socket::None
    }

    fn hold(&mut self, time: Duration) {
        self.held_until = self.held_until.max(self.now + time);
    }

    fn chance_secs(&mut self, below: u64) -> Duration {
        secs(self.chance.below(below))
    }
}

#[test]
fn a_session_keeps_its_promises_through_bad_days() {
    let (mut connects, mut opened) = (0, 0);
    for seed in 0..120 {
        let mut walk = Walk::new(seed);
        for _ in 0..1_500 {
            walk.step();
        }
        walk.session.stop(walk.now);
        walk.act();
        if walk.has_socket() {
            walk.end();
        }
        assert_eq!(walk.session.phase(), Phase::Stopped, "seed {seed}");
        assert_eq!(walk.session.poll_action(walk.now + secs(9_999)), None, "seed {seed}");
        connects += walk.connects;
        opened += walk.opened;
    }
    // That the walk went anywhere.
    assert!(connects > 5_000 && opened > 2_000, "{connects} connects, {opened} opened");
}
