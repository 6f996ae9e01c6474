//! What one connection was asked to carry, and what the venue said to it.
//!
//! This is the part of `session` that ends with the connection: when the socket closes, a venue forgets what it holds
//! for us. So a new connection begins with a new [`Subscriptions`] and asks for everything again. Whether messages may
//! be sent at all is decided in `session`.
//!
//! Each reason to send a message is a small machine with a file of its own: `asking` (no answer came), `halving`
//! (refused together with others), `refusals` (refused for now), `reviving` (accepted, and silent). This file moves
//! the keys between them and decides which message comes first.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crate::contract::observation::Key;
pub use asking::ASKS;
use asking::Asking;
use halving::Halving;
use refusals::Refusals;
pub use reviving::REVIVALS;
use reviving::Reviving;
use take::take;

mod asking;
mod halving;
mod refusals;
mod reviving;
mod take;

/// What the venue said to one id on this connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Subscription {
    /// Asked for (or about to be: its message waits to be sent), and no answer is due yet.
    Requested,
    /// The venue accepted it or, where it does not answer, the message was sent.
    Acknowledged,
    /// Asked for again because no answer came in time.
    Unconfirmed {
        /// Messages so far, from 2 to [`ASKS`]. At [`ASKS`] this connection asks no more.
        asks: u32,
    },
    /// Refused.
    Rejected {
        /// Not asked for again until the configuration changes; otherwise after a while, or on the next connection.
        permanent: bool,
    },
}

/// A message to be made and sent, whose sending is then reported by [`Subscriptions::handle_sent`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Ask for these.
    Subscribe(Vec<Key>),
    /// The venue may forget these.
    Unsubscribe(Vec<Key>),
}

/// The rules of a venue, and of the operator, for subscribing.
#[derive(Copy, Clone, Debug)]
pub struct SubscriptionRules {
    /// Most keys in one message. `None`: all in one.
    pub ids_per_message: Option<NonZeroUsize>,
    /// Whether the venue answers each subscription.
    pub acknowledges: bool,
    /// How long an answer to the first message may take; twice as long for the second.
    pub ack_timeout: Duration,
    /// The least time between two attempts to revive a silent key, of one (doubled after each) or of two.
    pub revive_gap: Duration,
}

/// The subscriptions of one connection.
///
/// Only one message is on its way at a time. So nothing piles up behind a rate limit, a heartbeat can be sent between
/// two messages, and the time for an answer counts from the sending.
///
/// Invariant: each wanted key is in exactly one of `unasked`, `asking`, `acknowledged`, `halving` and `refusals`.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    rules: SubscriptionRules,
    /// To be asked for the first time.
    unasked: BTreeSet<Key>,
    asking: Asking,
    acknowledged: BTreeSet<Key>,
    halving: Halving,
    refusals: Refusals,
    reviving: Reviving,
    /// Not wanted any more, and the venue was not told yet. Each is also in `asking` or `acknowledged`: if it is wanted
    /// again before the venue is told, nothing has happened to it.
    dropped: BTreeSet<Key>,
    /// The keys whose answers are timed from the sending of the message that is on its way, if one is.
    sending: Option<Vec<Key>>,
}

impl Subscription {
    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Acknowledged => "acknowledged",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::Rejected { permanent: true } => "rejected",
            Self::Rejected { permanent: false } => "rejected-for-now",
        }
    }
}

impl Subscriptions {
    /// Nothing asked yet; `wanted` is to be.
    pub fn new(rules: SubscriptionRules, wanted: BTreeSet<Key>) -> Self {
        Self {
            rules,
            unasked: wanted,
            asking: Asking::new(rules.ack_timeout),
            acknowledged: BTreeSet::new(),
            halving: Halving::default(),
            refusals: Refusals::default(),
            reviving: Reviving::new(rules.revive_gap),
            dropped: BTreeSet::new(),
            sending: None,
        }
    }

    /// What the venue said to a wanted key. `None` if it was not asked for yet. A rejection is reported as not
    /// permanent: whether it is one is known in `session`.
    pub fn subscription(&self, key: Key) -> Option<Subscription> {
        if self.acknowledged.contains(&key) {
            Some(Subscription::Acknowledged)
        } else if let Some(asks) = self.asking.asks(key) {
            Some(match asks {
                0 | 1 => Subscription::Requested,
                asks => Subscription::Unconfirmed { asks },
            })
        } else if self.refusals.contains(key) {
            Some(Subscription::Rejected { permanent: false })
        } else if self.halving.contains(key) {
            Some(Subscription::Requested)
        } else {
            None
        }
    }

    /// The keys that this connection is to carry: wanted, and not rejected.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let asked = self.asking.keys().chain(&self.acknowledged).chain(self.halving.keys());
        let kept = asked.filter(|key| !self.dropped.contains(key));
        self.unasked.iter().chain(kept).copied()
    }

    /// How many keys were asked for and have no answer.
    pub fn unanswered(&self) -> usize {
        self.asking.len() + self.halving.len()
    }

    /// Whether everything wanted was asked for and the venue has answered, or is not going to.
    pub fn is_settled(&self) -> bool {
        self.unasked.is_empty() && !self.asking.is_waiting() && self.halving.is_empty()
    }

    /// The last message is on its way: the time for its answers begins. Where the venue does not answer, its keys
    /// count as acknowledged.
    pub fn handle_sent(&mut self, now: Instant) {
        for key in self.sending.take().unwrap_or_default() {
            // It may have been answered or dropped in the meantime.
            if self.rules.acknowledges {
                self.asking.handle_sent(key, now);
            } else if self.asking.remove(key) {
                self.acknowledged.insert(key);
            }
        }
    }

    /// The venue accepted a key. Answers whether it had been asked for. If not, this is the answer to something
    /// earlier, and is ignored.
    pub fn handle_subscribed(&mut self, key: Key) -> bool {
        let asked = self.forget(key) | self.refusals.remove(key) || self.halving.remove(key);
        if asked {
            self.acknowledged.insert(key);
        }
        asked
    }

    /// The venue, or the plugin, refused a wanted key. `permanent`: for good. A key that was refused for now in one
    /// message with others is asked for in a smaller one, because the venue may have meant another key.
    pub fn handle_rejected(&mut self, key: Key, permanent: bool, now: Instant) {
        let portion = self.asking.portion(key);
        let unasked = self.unasked.remove(&key);
        if !(self.forget(key) | unasked | self.halving.remove(key)) || self.dropped.remove(&key) {
            return;
        }
        if permanent {
            self.refusals.handle_for_good(key);
        } else if portion > 1 {
            self.halving.add_refused(key, portion);
        } else {
            self.refusals.handle_for_now(key, now);
        }
    }

    /// Nothing was heard of exactly these keys for longer than they may be silent. Answers whether one of them was
    /// given up and asked for again as often as it may be, and in vain.
    pub fn handle_silence(&mut self, silent: &BTreeSet<Key>, now: Instant) -> bool {
        let Self { asking, acknowledged, dropped, .. } = self;
        let is_held = |key: Key| acknowledged.contains(&key) || asking.has_given_up(key);
        self.reviving.handle_silence(silent, now, |key| is_held(key) && !dropped.contains(&key))
    }

    /// A key is wanted.
    pub fn add(&mut self, key: Key) {
        let known = self.dropped.remove(&key) || self.subscription(key).is_some();
        if !known {
            self.unasked.insert(key);
        }
    }

    /// A key is not wanted any more.
    pub fn remove(&mut self, key: Key) {
        self.reviving.cancel(key);
        let unheld = self.unasked.remove(&key) | self.refusals.remove(key) | self.halving.remove(key);
        if !unheld && self.subscription(key).is_some() {
            self.dropped.insert(key);
        }
    }

    /// The next message, if one is due and none is on its way. In this order: what is to go, what is silent, what is
    /// new, what was refused with others, what was not answered, and what may be refused no longer.
    pub fn poll_message(&mut self, now: Instant) -> Option<Message> {
        if self.sending.is_some() {
            return None;
        }
        let most = self.rules.ids_per_message.map_or(usize::MAX, NonZeroUsize::get);
        if !self.dropped.is_empty() {
            let keys = take(&mut self.dropped, most);
            for key in &keys {
                self.forget(*key);
            }
            return Some(self.unsubscribe(keys));
        }
        while let Some(key) = self.reviving.take() {
            let confirmed = self.acknowledged.contains(&key);
            if self.forget(key) {
                self.halving.add_alone(key);
            }
            if confirmed {
                return Some(self.unsubscribe(vec![key]));
            }
        }
        if !self.unasked.is_empty() {
            let keys = take(&mut self.unasked, most);
            return Some(self.ask(keys, 1));
        }
        if let Some(keys) = self.halving.take(most) {
            return Some(self.ask(keys, 1));
        }
        if let Some((keys, asks)) = self.asking.next(now, most, self.acknowledged.len()) {
            return Some(self.ask(keys, asks));
        }
        let key = self.refusals.take(now)?;
        Some(self.ask(vec![key], 1))
    }

    /// When the next message is due: `earliest` if it could have been sent already, `None` if there is none to come
    /// or one is on its way.
    pub fn poll_timeout(&self, earliest: Instant) -> Option<Instant> {
        if self.sending.is_some() {
            return None;
        }
        let nothing_now =
            self.dropped.is_empty() && self.reviving.is_empty() && self.unasked.is_empty() && self.halving.is_empty();
        if !nothing_now {
            return Some(earliest);
        }
        let due = [self.asking.next_at(), self.refusals.next_at()].into_iter().flatten().min()?;
        Some(due.max(earliest))
    }

    fn ask(&mut self, keys: Vec<Key>, asks: u32) -> Message {
        self.asking.handle_asked(&keys, asks);
        self.sending = Some(keys.clone());
        Message::Subscribe(keys)
    }

    fn unsubscribe(&mut self, keys: Vec<Key>) -> Message {
        self.sending = Some(Vec::new());
        Message::Unsubscribe(keys)
    }

    /// Takes the key out of everything that a venue was asked for. Answers whether it was there.
    fn forget(&mut self, key: Key) -> bool {
        self.reviving.cancel(key);
        self.asking.remove(key) | self.acknowledged.remove(&key)
    }
}

#[cfg(test)]
mod tests;
