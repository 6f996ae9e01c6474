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
mod tests {
    use super::super::chance::{Chance, beginning};
    use super::*;

    /// What happens at a given second of a story.
    enum Then {
        /// Nothing: time has passed.
        Wait,
        Sent,
        Subscribed(u32),
        /// For now.
        Rejected(u32),
        RejectedForGood(u32),
        /// Nothing was heard of exactly these.
        Silence(&'static [u32]),
        Add(u32),
        Remove(u32),
    }
    use Then::{Add, Rejected, RejectedForGood, Remove, Sent, Silence, Subscribed, Wait};

    const RULES: SubscriptionRules = SubscriptionRules {
        ids_per_message: None,
        acknowledges: true,
        ack_timeout: Duration::from_secs(10),
        revive_gap: Duration::from_secs(30),
    };

    fn write(message: Option<Message>) -> String {
        let (sign, keys) = match message {
            None => return String::new(),
            Some(Message::Subscribe(keys)) => ('+', keys),
            Some(Message::Unsubscribe(keys)) => ('-', keys),
        };
        let keys: Vec<String> = keys.iter().map(|key| key.0.to_string()).collect();
        format!("{sign}{}", keys.join(" "))
    }

    fn keys(keys: impl IntoIterator<Item = u32>) -> BTreeSet<Key> {
        keys.into_iter().map(Key).collect()
    }

    /// Compares the message that is due after each step, and checks that its time was announced.
    #[track_caller]
    fn check(
        rules: SubscriptionRules,
        wanted: impl IntoIterator<Item = u32>,
        story: &[(u64, Then, &str)],
    ) -> Subscriptions {
        let start = beginning();
        let mut subscriptions = Subscriptions::new(rules, keys(wanted));
        for (at, then, expected) in story {
            let now = start + Duration::from_secs(*at);
            match then {
                Wait => {}
                Sent => subscriptions.handle_sent(now),
                Subscribed(key) => {
                    subscriptions.handle_subscribed(Key(*key));
                }
                Rejected(key) => subscriptions.handle_rejected(Key(*key), false, now),
                RejectedForGood(key) => subscriptions.handle_rejected(Key(*key), true, now),
                Silence(silent) => {
                    subscriptions.handle_silence(&keys(silent.iter().copied()), now);
                }
                Add(key) => subscriptions.add(Key(*key)),
                Remove(key) => subscriptions.remove(Key(*key)),
            }
            let announced = subscriptions.poll_timeout(start).is_some_and(|due| due <= now);
            let message = subscriptions.poll_message(now);
            assert_eq!(announced, message.is_some(), "announced at {at} s");
            assert_eq!(write(message), *expected, "at {at} s");
        }
        subscriptions
    }

    #[track_caller]
    fn check_state(subscriptions: &Subscriptions, key: u32, expected: Option<Subscription>) {
        assert_eq!(subscriptions.subscription(Key(key)), expected, "key {key}");
    }

    #[test]
    fn messages_hold_as_many_ids_as_the_venue_allows_and_leave_one_by_one() {
        let rules = SubscriptionRules { ids_per_message: NonZeroUsize::new(2), ..RULES };
        let found = check(
            rules,
            1..=5,
            &[
                (0, Wait, "+1 2"),
                // The rate limit holds it back.
                (90, Wait, ""),
                (91, Sent, "+3 4"),
                (92, Sent, "+5"),
                (93, Sent, ""),
            ],
        );
        assert_eq!(found.unanswered(), 5);
        check_state(&found, 1, Some(Subscription::Requested));
    }

    #[test]
    fn a_venue_that_does_not_answer_is_believed_once_the_message_is_sent() {
        let rules = SubscriptionRules { acknowledges: false, ..RULES };
        let found = check(rules, [1], &[(0, Wait, "+1")]);
        check_state(&found, 1, Some(Subscription::Requested));
        let found = check(rules, [1], &[(0, Wait, "+1"), (5, Sent, ""), (999, Wait, "")]);
        check_state(&found, 1, Some(Subscription::Acknowledged));
    }

    #[test]
    fn a_key_without_an_answer_is_asked_for_three_times_with_growing_gaps() {
        let found = check(
            RULES,
            [1],
            &[
                (0, Wait, "+1"),
                // The time for the answer counts from here.
                (100, Sent, ""),
                (109, Wait, ""),
                (110, Wait, "+1"),
                (110, Sent, ""),
                (129, Wait, ""),
                (130, Wait, "+1"),
                (130, Sent, ""),
                (9_999, Wait, ""),
            ],
        );
        check_state(&found, 1, Some(Subscription::Unconfirmed { asks: 3 }));
        assert_eq!(found.unanswered(), 1);
    }

    #[test]
    fn a_late_answer_counts_at_any_time() {
        for answered_after in [0, 10, 30, 5_000] {
            let mut story = vec![(0, Wait, "+1"), (0, Sent, "")];
            for (at, ask) in [(10, "+1"), (30, "+1")] {
                if at < answered_after {
                    story.extend([(at, Wait, ask), (at, Sent, "")]);
                }
            }
            story.extend([(answered_after, Subscribed(1), ""), (9_999, Wait, "")]);
            let found = check(RULES, [1], &story);
            check_state(&found, 1, Some(Subscription::Acknowledged));
            assert_eq!(found.unanswered(), 0);
        }
    }

    /// One bad symbol in a batch cost Connect every market of a provider (29104c31); one symbol a message then broke
    /// another venue's rate limit (3b12c3d7).
    #[test]
    fn a_bad_id_is_cut_out_of_its_message_in_two_square_roots_of_messages() {
        const BAD: Key = Key(37);
        let start = beginning();
        let mut now = start;
        let mut subscriptions = Subscriptions::new(RULES, keys(0..100));
        let mut messages = 0;
        while let Some(due) = subscriptions.poll_timeout(start) {
            now = now.max(due);
            let Some(Message::Subscribe(keys)) = subscriptions.poll_message(now) else {
                panic!("nothing is to be unsubscribed");
            };
            messages += 1;
            subscriptions.handle_sent(now);
            // The venue drops a message with a bad id, all of it.
            if !keys.contains(&BAD) {
                for key in keys {
                    subscriptions.handle_subscribed(key);
                }
            }
        }
        for key in (0..100).map(Key) {
            let expected = match key {
                BAD => Subscription::Unconfirmed { asks: ASKS },
                _ => Subscription::Acknowledged,
            };
            assert_eq!(subscriptions.subscription(key), Some(expected));
        }
        assert_eq!(messages, 1 + 10 + 10);
    }

    /// Connect resent permanent errors at once and for ever.
    #[test]
    fn what_is_refused_for_good_is_not_asked_for_again_on_this_connection() {
        let found = check(
            RULES,
            [1, 2],
            &[
                (0, Wait, "+1 2"),
                (0, Sent, ""),
                (1, RejectedForGood(1), ""),
                (1, Subscribed(2), ""),
                (999, Wait, ""),
                // A symbol may be taken from the market while it is subscribed to.
                (1_000, RejectedForGood(2), ""),
                (2_000, Add(1), ""),
                (99_999, Wait, ""),
            ],
        );
        check_state(&found, 1, Some(Subscription::Rejected { permanent: false }));
        check_state(&found, 2, Some(Subscription::Rejected { permanent: false }));
        assert_eq!(found.keys().count(), 0);
    }

    #[test]
    fn what_is_refused_for_now_is_tried_again_less_and_less_often() {
        let found = check(
            RULES,
            [1],
            &[
                (0, Wait, "+1"),
                (0, Sent, ""),
                (1, Rejected(1), ""),
                (60, Wait, ""),
                (61, Wait, "+1"),
                (61, Sent, ""),
                (62, Rejected(1), ""),
                (181, Wait, ""),
                (182, Wait, "+1"),
                (182, Sent, ""),
                (183, Subscribed(1), ""),
                // A new story.
                (200, Rejected(1), ""),
                (260, Wait, "+1"),
            ],
        );
        check_state(&found, 1, Some(Subscription::Requested));
    }

    /// Okx, Bybit and others refuse all of a message for one id, and do not say which.
    #[test]
    fn a_refused_message_is_halved_until_the_bad_id_stands_alone() {
        let refused = |story: &mut Vec<(u64, Then, &'static str)>, keys: &[u32], next: &'static str| {
            let (last, before) = keys.split_last().unwrap();
            story.extend(before.iter().map(|key| (1, Rejected(*key), "")));
            story.push((1, Rejected(*last), ""));
            story.push((1, Sent, next));
        };
        let accepted = |story: &mut Vec<(u64, Then, &'static str)>, keys: &[u32], next: &'static str| {
            story.extend(keys.iter().map(|key| (1, Subscribed(*key), "")));
            story.push((1, Sent, next));
        };
        let mut story = vec![(0, Wait, "+1 2 3 4 5")];
        refused(&mut story, &[1, 2, 3, 4, 5], "+1 2 3");
        accepted(&mut story, &[1, 2, 3], "+4 5");
        refused(&mut story, &[4, 5], "+4");
        refused(&mut story, &[4], "+5");
        accepted(&mut story, &[5], "");
        let found = check(RULES, 1..=5, &story);
        check_state(&found, 4, Some(Subscription::Rejected { permanent: false }));
        for key in [1, 2, 3, 5] {
            check_state(&found, key, Some(Subscription::Acknowledged));
        }
    }

    /// What operators suffer most: a subscription that the venue has forgotten.
    #[test]
    fn a_silent_id_is_given_up_and_asked_for_alone_twice_and_then_no_more() {
        let found = check(
            RULES,
            [1, 2],
            &[
                (0, Wait, "+1 2"),
                (0, Sent, ""),
                (1, Subscribed(1), ""),
                (1, Subscribed(2), ""),
                (100, Silence(&[1]), "-1"),
                (100, Sent, "+1"),
                (100, Sent, ""),
                (101, Subscribed(1), ""),
                (129, Silence(&[1]), ""),
                (130, Silence(&[1]), "-1"),
                (130, Sent, "+1"),
                (130, Sent, ""),
                (131, Subscribed(1), ""),
                (9_999, Silence(&[1]), ""),
                // It came back to life in between.
                (9_999, Silence(&[]), ""),
                (10_000, Silence(&[1]), "-1"),
                // Not wanted any more: nothing is left to say.
                (10_001, Remove(1), ""),
                (10_002, Sent, ""),
            ],
        );
        check_state(&found, 1, None);
        let mut found = check(RULES, [1], &[(0, Wait, "+1"), (0, Sent, ""), (1, Subscribed(1), "")]);
        let start = beginning();
        let in_vain: Vec<bool> = [100, 110, 200, 400]
            .map(|at| {
                let now = start + Duration::from_secs(at);
                let found_in_vain = found.handle_silence(&keys([1]), now);
                while found.poll_message(now).is_some() {
                    found.handle_sent(now);
                }
                found.handle_subscribed(Key(1));
                found_in_vain
            })
            .to_vec();
        assert_eq!(in_vain, [false, false, false, true]);
    }

    #[test]
    fn a_key_that_gives_values_after_all_is_not_rejected() {
        let story = [(0, Wait, "+1"), (0, Sent, ""), (1, Rejected(1), ""), (2, Subscribed(1), "")];
        check_state(&check(RULES, [1], &story), 1, Some(Subscription::Acknowledged));
    }

    #[test]
    fn only_the_difference_is_sent() {
        let found = check(
            RULES,
            [1, 2],
            &[
                (0, Wait, "+1 2"),
                (0, Sent, ""),
                (1, Subscribed(1), ""),
                (1, Subscribed(2), ""),
                (2, Add(3), "+3"),
                (3, Remove(1), ""),
                (4, Sent, "-1"),
                (4, Sent, ""),
                (5, Subscribed(3), ""),
            ],
        );
        check_state(&found, 1, None);
        assert_eq!(found.keys().collect::<Vec<_>>(), [Key(2), Key(3)]);
    }

    #[test]
    fn a_change_of_mind_before_the_message_costs_none() {
        let story = [
            (0, Wait, "+1"),
            (1, Remove(1), ""),
            (2, Add(1), ""),
            (3, Add(2), ""),
            (4, Remove(2), ""),
            (5, Sent, ""),
            (6, Subscribed(1), ""),
        ];
        check_state(&check(RULES, [1], &story), 1, Some(Subscription::Acknowledged));
    }

    #[test]
    fn the_answer_to_an_earlier_question_is_not_taken_for_the_new_one() {
        let found = check(
            RULES,
            [1],
            &[
                (0, Wait, "+1"),
                (0, Sent, ""),
                (1, Remove(1), "-1"),
                (2, Add(1), ""),
                // To the first message. It must not keep the second one from being sent.
                (3, Subscribed(1), ""),
                (4, Sent, "+1"),
            ],
        );
        check_state(&found, 1, Some(Subscription::Requested));
    }

    /// A venue of moods and an operator of moods. What the venue was told last must be what is wanted, and it is
    /// never told twice what it was told before, unless it owes an answer.
    #[test]
    fn the_venue_always_ends_up_with_what_is_wanted() {
        for seed in 0..150 {
            let mut chance = Chance::new(seed);
            let rules = SubscriptionRules {
                ids_per_message: NonZeroUsize::new(chance.below(5) as usize),
                acknowledges: !chance.one_in(3),
                ..RULES
            };
            let start = beginning();
            let mut now = start;
            let mut wanted = keys(0..8);
            let mut subscriptions = Subscriptions::new(rules, wanted.clone());
            // What the venue was asked for: how often since it was last told to forget, and whether it answered.
            let mut told: BTreeMap<Key, (u32, bool)> = BTreeMap::new();
            for step in 0..300 {
                now += Duration::from_millis(chance.below(8_000));
                let key = Key(chance.below(8) as u32);
                match chance.below(6) {
                    _ if step > 200 => {}
                    0 if wanted.remove(&key) => subscriptions.remove(key),
                    1 if wanted.insert(key) => subscriptions.add(key),
                    2 if subscriptions.handle_subscribed(key) => {
                        told.insert(key, (1, true));
                    }
                    3 if chance.one_in(4) => {
                        subscriptions.handle_rejected(key, chance.one_in(2), now);
                        told.remove(&key);
                    }
                    4 if chance.one_in(8) => {
                        if subscriptions.subscription(key) == Some(Subscription::Unconfirmed { asks: ASKS }) {
                            told.insert(key, (0, false));
                        }
                        subscriptions.handle_silence(&keys([key.0]), now);
                    }
                    _ => {}
                }
                let sent = step > 200 || chance.one_in(2);
                if sent {
                    subscriptions.handle_sent(now);
                }
                let message = subscriptions.poll_message(now);
                let most = rules.ids_per_message.map_or(usize::MAX, NonZeroUsize::get);
                match message {
                    Some(Message::Subscribe(keys)) => {
                        assert!(!keys.is_empty() && keys.len() <= most, "seed {seed}");
                        for key in keys {
                            let (asks, answered) = told.entry(key).or_default();
                            *asks += 1;
                            let again = rules.acknowledges && !*answered && *asks <= ASKS;
                            assert!(*asks == 1 || again, "seed {seed}: {key:?} told twice");
                            assert!(wanted.contains(&key), "seed {seed}: {key:?} is not wanted");
                        }
                    }
                    Some(Message::Unsubscribe(keys)) => {
                        assert!(!keys.is_empty() && keys.len() <= most, "seed {seed}");
                        for key in keys {
                            assert!(told.remove(&key).is_some(), "seed {seed}: {key:?} was not asked");
                            // Or given up only to be asked for anew.
                            let anew = subscriptions.keys().any(|kept| kept == key);
                            assert_eq!(wanted.contains(&key), anew, "seed {seed}: {key:?} is wanted");
                        }
                    }
                    None => {}
                }
            }
            for key in (0..8).map(Key) {
                let state = subscriptions.subscription(key);
                let rejected = matches!(state, Some(Subscription::Rejected { .. }));
                assert_eq!(wanted.contains(&key), state.is_some(), "seed {seed}: {key:?} {state:?}");
                let carried = told.contains_key(&key);
                assert!(rejected || carried == wanted.contains(&key), "seed {seed}: {key:?}");
            }
        }
    }
}
