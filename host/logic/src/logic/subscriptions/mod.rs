//! What one connection was asked to carry, and what the venue said to it.
//!
//! The part of `session` that dies with the connection: what a venue holds for us it forgets when the socket closes,
//! so a new connection begins with a new [`Subscriptions`] and asks for everything again. When messages may be sent at
//! all is `session`'s to say.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::later::later;
use crate::contract::observation::Key;

/// How often one connection asks for a key that the venue does not acknowledge.
pub const ASKS: u32 = 3;

/// How often one connection gives a key up and asks for it anew because nothing came for it.
pub const REVIVALS: u32 = 2;

/// How long a refusal that may pass is left alone: doubled each time, up to [`LONGEST_REFUSAL`].
const FIRST_REFUSAL: Duration = Duration::from_secs(60);
const LONGEST_REFUSAL: Duration = Duration::from_secs(60 * 60);

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
/// One message is on its way at a time, so nothing piles up behind a rate limit, a heartbeat finds its gap, and the
/// time for an answer counts from the sending. A key without an answer is asked for again after the time for the
/// answer, and once more after twice that time, in smaller and smaller messages: first as many as the square root of
/// what one may hold, then alone. A venue that drops a whole message for one bad id thus loses that id and no other,
/// for about two square roots of messages.
///
/// A venue that refuses a whole message in words is asked in halves until the bad id stands alone. A refusal that may
/// pass is tried again after a minute, then two, up to an hour. A key that was accepted and of which nothing is heard
/// is given up and asked for anew, alone, at most [`REVIVALS`] times.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    rules: SubscriptionRules,
    /// To be asked for the first time. Each wanted key is in exactly one of this and the five after it.
    unasked: BTreeSet<Key>,
    /// No answer yet, and one may come.
    pending: BTreeMap<Key, Pending>,
    /// No answer to the last message that we were willing to send.
    given_up: BTreeSet<Key>,
    acknowledged: BTreeSet<Key>,
    /// Refused together with others: to be asked for in messages of at most so many.
    halves: BTreeMap<usize, BTreeSet<Key>>,
    /// Refused on this connection.
    rejected: BTreeMap<Key, Refused>,
    /// Of each key that was refused for now: how often in a row.
    refusals: BTreeMap<Key, u32>,
    /// Accepted and silent, and to be given up first. Each is also in `acknowledged` or `given_up`.
    silent: BTreeSet<Key>,
    revivals: BTreeMap<Key, Revivals>,
    /// No key is given up before this: hundreds of quiet markets must not eat up what the venue allows to be asked.
    revive_again_at: Option<Instant>,
    /// Not wanted any more, and the venue does not know yet. Each is also in `pending`, `given_up` or
    /// `acknowledged`: should it be wanted again before the venue is told, it is as it was.
    dropped: BTreeSet<Key>,
    /// The keys to be timed from the sending of the message that is on its way, if one is.
    sending: Option<Vec<Key>>,
}

#[derive(Copy, Clone, Debug)]
struct Pending {
    /// Messages so far.
    asks: u32,
    /// When to ask again. `None` while the message is on its way.
    due: Option<Instant>,
    /// Of how many keys the message was.
    portion: usize,
}

#[derive(Copy, Clone, Debug)]
struct Refused {
    /// When to ask again. `None`: not on this connection.
    until: Option<Instant>,
}

#[derive(Copy, Clone, Default, Debug)]
struct Revivals {
    times: u32,
    not_before: Option<Instant>,
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
            pending: BTreeMap::new(),
            given_up: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            halves: BTreeMap::new(),
            rejected: BTreeMap::new(),
            refusals: BTreeMap::new(),
            silent: BTreeSet::new(),
            revivals: BTreeMap::new(),
            revive_again_at: None,
            dropped: BTreeSet::new(),
            sending: None,
        }
    }

    /// What the venue said to a wanted key; `None` if it was not asked yet. A rejection is reported as not permanent:
    /// that is `session`'s to know.
    pub fn subscription(&self, key: Key) -> Option<Subscription> {
        if self.acknowledged.contains(&key) {
            Some(Subscription::Acknowledged)
        } else if let Some(pending) = self.pending.get(&key) {
            Some(match pending.asks {
                0 | 1 => Subscription::Requested,
                asks => Subscription::Unconfirmed { asks },
            })
        } else if self.given_up.contains(&key) {
            Some(Subscription::Unconfirmed { asks: ASKS })
        } else if self.rejected.contains_key(&key) {
            Some(Subscription::Rejected { permanent: false })
        } else if self.halves.values().any(|keys| keys.contains(&key)) {
            Some(Subscription::Requested)
        } else {
            None
        }
    }

    /// The keys that this connection is to carry: wanted, and not rejected.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let halves = self.halves.values().flatten();
        let asked = self.pending.keys().chain(&self.given_up).chain(&self.acknowledged).chain(halves);
        let kept = asked.filter(|key| !self.dropped.contains(key));
        self.unasked.iter().chain(kept).copied()
    }

    /// How many keys were asked for and have no answer.
    pub fn unanswered(&self) -> usize {
        let halves: usize = self.halves.values().map(BTreeSet::len).sum();
        self.pending.len() + self.given_up.len() + halves
    }

    /// Whether everything wanted was asked for and the venue has answered, or is not going to.
    pub fn is_settled(&self) -> bool {
        self.unasked.is_empty() && self.pending.is_empty() && self.halves.is_empty()
    }

    /// The last message is on its way: the time for its answers begins. Where the venue does not answer, its keys
    /// count as acknowledged.
    pub fn handle_sent(&mut self, now: Instant) {
        for key in self.sending.take().unwrap_or_default() {
            // Gone if it was answered or dropped in the meantime.
            let Some(pending) = self.pending.get_mut(&key) else {
                continue;
            };
            if !self.rules.acknowledges {
                self.pending.remove(&key);
                self.acknowledged.insert(key);
            } else if pending.asks >= ASKS {
                self.pending.remove(&key);
                self.given_up.insert(key);
            } else {
                let wait = self.rules.ack_timeout.saturating_mul(1 << (pending.asks - 1));
                pending.due = Some(later(now, wait));
            }
        }
    }

    /// The venue accepted a key. Ignored if it was not asked for: it would be the answer to something earlier.
    /// Answers whether it was.
    pub fn handle_subscribed(&mut self, key: Key) -> bool {
        let asked = self.forget(key) || self.rejected.remove(&key).is_some() || self.leave_halves(key);
        if asked {
            self.refusals.remove(&key);
            self.acknowledged.insert(key);
        }
        asked
    }

    /// The venue, or the plugin, refused a wanted key. `permanent`: for good. Refused for now in one message with
    /// others it is asked for in a smaller one, for it may be another that the venue did not like.
    pub fn handle_rejected(&mut self, key: Key, permanent: bool, now: Instant) {
        let portion = self.pending.get(&key).map_or(1, |pending| pending.portion);
        let unasked = self.unasked.remove(&key);
        if !(self.forget(key) | unasked | self.leave_halves(key)) || self.dropped.remove(&key) {
            return;
        }
        if permanent {
            self.rejected.insert(key, Refused { until: None });
        } else if portion > 1 {
            self.halves.entry(portion.div_ceil(2)).or_default().insert(key);
        } else {
            let times = self.refusals.entry(key).or_default();
            let wait = FIRST_REFUSAL.saturating_mul(1 << (*times).min(16)).min(LONGEST_REFUSAL);
            *times += 1;
            self.rejected.insert(key, Refused { until: Some(later(now, wait)) });
        }
    }

    /// Nothing was heard of exactly these keys for longer than they may be silent. Answers whether one of them was
    /// asked for anew as often as it may be, and in vain.
    pub fn handle_silence(&mut self, silent: &BTreeSet<Key>, now: Instant) -> bool {
        self.revivals.retain(|key, _| silent.contains(key));
        let mut in_vain = false;
        for key in silent {
            let held = self.acknowledged.contains(key) || self.given_up.contains(key);
            if !held || self.dropped.contains(key) {
                continue;
            }
            let revivals = self.revivals.entry(*key).or_default();
            if revivals.not_before.is_some_and(|at| now < at) {
                continue;
            }
            if revivals.times >= REVIVALS {
                in_vain = true;
                continue;
            }
            if self.revive_again_at.is_some_and(|at| now < at) {
                continue;
            }
            self.revive_again_at = Some(later(now, self.rules.revive_gap));
            revivals.not_before = Some(later(now, self.rules.revive_gap.saturating_mul(1 << revivals.times)));
            revivals.times += 1;
            self.silent.insert(*key);
        }
        in_vain
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
        self.silent.remove(&key);
        self.refusals.remove(&key);
        let never = self.unasked.remove(&key) | self.rejected.remove(&key).is_some() | self.leave_halves(key);
        if !never && self.subscription(key).is_some() {
            self.dropped.insert(key);
        }
    }

    /// The next message, if one is due and none is on its way. First what is to go, then what is new, then what was
    /// refused with others, what was not answered, and what may have ceased to be refused.
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
        while let Some(key) = self.silent.pop_first() {
            let confirmed = self.acknowledged.contains(&key);
            if self.forget(key) {
                self.halves.entry(1).or_default().insert(key);
            }
            if confirmed {
                return Some(self.unsubscribe(vec![key]));
            }
        }
        if !self.unasked.is_empty() {
            let keys = take(&mut self.unasked, most);
            return Some(self.ask(keys, 1));
        }
        if let Some(mut half) = self.halves.last_entry() {
            let portion = *half.key();
            let keys = take(half.get_mut(), most.min(portion));
            if half.get().is_empty() {
                half.remove();
            }
            return Some(self.ask(keys, 1));
        }
        let is_due = |pending: &Pending| pending.due.is_some_and(|due| due <= now);
        if let Some(asks) = self.pending.values().filter(|pending| is_due(pending)).map(|p| p.asks).min() {
            let carried = self.pending.len() + self.acknowledged.len();
            let most = if asks + 1 < ASKS { ceiling_of_root(most.min(carried)) } else { 1 };
            let due = self.pending.iter().filter(|(_, pending)| pending.asks == asks && is_due(pending));
            let keys = due.map(|(key, _)| *key).take(most).collect();
            return Some(self.ask(keys, asks + 1));
        }
        let over = |refused: &Refused| refused.until.is_some_and(|until| until <= now);
        let key = self.rejected.iter().find(|(_, refused)| over(refused)).map(|(key, _)| *key)?;
        self.rejected.remove(&key);
        Some(self.ask(vec![key], 1))
    }

    /// When the next message is due: `earliest` if it could have been sent already, `None` if there is none to come
    /// or one is on its way.
    pub fn poll_timeout(&self, earliest: Instant) -> Option<Instant> {
        if self.sending.is_some() {
            return None;
        }
        let at_once = [&self.dropped, &self.silent, &self.unasked].iter().any(|keys| !keys.is_empty());
        if at_once || !self.halves.is_empty() {
            return Some(earliest);
        }
        let asks = self.pending.values().filter_map(|pending| pending.due);
        let due = asks.chain(self.rejected.values().filter_map(|refused| refused.until)).min()?;
        Some(due.max(earliest))
    }

    fn ask(&mut self, keys: Vec<Key>, asks: u32) -> Message {
        for key in &keys {
            self.pending.insert(*key, Pending { asks, due: None, portion: keys.len() });
        }
        self.sending = Some(keys.clone());
        Message::Subscribe(keys)
    }

    fn unsubscribe(&mut self, keys: Vec<Key>) -> Message {
        self.sending = Some(Vec::new());
        Message::Unsubscribe(keys)
    }

    /// Whether the key was to be asked for in a smaller message.
    fn leave_halves(&mut self, key: Key) -> bool {
        let found = self.halves.values_mut().any(|keys| keys.remove(&key));
        self.halves.retain(|_, keys| !keys.is_empty());
        found
    }

    /// Whether the venue had been asked for the key.
    fn forget(&mut self, key: Key) -> bool {
        self.silent.remove(&key);
        self.pending.remove(&key).is_some() | self.given_up.remove(&key) | self.acknowledged.remove(&key)
    }
}

fn take(keys: &mut BTreeSet<Key>, most: usize) -> Vec<Key> {
    let taken: Vec<Key> = keys.iter().take(most).copied().collect();
    for key in &taken {
        keys.remove(key);
    }
    taken
}

fn ceiling_of_root(number: usize) -> usize {
    let root = number.isqrt();
    if root * root < number { root + 1 } else { root.max(1) }
}

#[cfg(test)]
mod tests;
