//! What one connection was asked to carry, and what the venue said to it.
//!
//! The part of `session` that dies with the connection: what a venue holds for us it forgets when the socket closes,
//! so a new connection begins with a new [`Subscriptions`] and asks for everything again. When messages may be sent at
//! all is `session`'s to say.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::later;
use crate::observation::Key;

/// How often one connection asks for a key that the venue does not acknowledge.
pub const ASKS: u32 = 3;

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
        /// Not asked for again until the configuration changes; otherwise the next connection asks.
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
}

/// The subscriptions of one connection.
///
/// One message is on its way at a time, so nothing piles up behind a rate limit, a heartbeat finds its gap, and the
/// time for an answer counts from the sending. A key without an answer is asked for again after the time for the
/// answer, and once more after twice that time, in smaller and smaller messages: first as many as the square root of
/// what one may hold, then alone. A venue that drops a whole message for one bad id thus loses that id and no other,
/// for about two square roots of messages.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    rules: SubscriptionRules,
    /// To be asked for the first time. Each wanted key is in exactly one of this and the four after it.
    unasked: BTreeSet<Key>,
    /// No answer yet, and one may come.
    pending: BTreeMap<Key, Pending>,
    /// No answer to the last message that we were willing to send.
    given_up: BTreeSet<Key>,
    acknowledged: BTreeSet<Key>,
    /// Refused on this connection.
    rejected: BTreeSet<Key>,
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
            rejected: BTreeSet::new(),
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
        } else if self.rejected.contains(&key) {
            Some(Subscription::Rejected { permanent: false })
        } else {
            None
        }
    }

    /// The keys that this connection is to carry: wanted, and not rejected.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let asked = self.pending.keys().chain(&self.given_up).chain(&self.acknowledged);
        let kept = asked.filter(|key| !self.dropped.contains(key));
        self.unasked.iter().chain(kept).copied()
    }

    /// How many keys were asked for and have no answer.
    pub fn unanswered(&self) -> usize {
        self.pending.len() + self.given_up.len()
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
        let asked = self.forget(key) || self.rejected.remove(&key);
        if asked {
            self.acknowledged.insert(key);
        }
        asked
    }

    /// The venue, or the plugin, refused a wanted key.
    pub fn handle_rejected(&mut self, key: Key) {
        let unasked = self.unasked.remove(&key);
        if (self.forget(key) | unasked) && !self.dropped.remove(&key) {
            self.rejected.insert(key);
        }
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
        let asked = !self.unasked.remove(&key) && !self.rejected.remove(&key);
        if asked && self.subscription(key).is_some() {
            self.dropped.insert(key);
        }
    }

    /// The next message, if one is due and none is on its way. First what is to go, then what is new, then what was
    /// not answered.
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
            self.sending = Some(Vec::new());
            return Some(Message::Unsubscribe(keys));
        }
        if !self.unasked.is_empty() {
            let keys = take(&mut self.unasked, most);
            return Some(self.ask(keys, 1));
        }
        let is_due = |pending: &Pending| pending.due.is_some_and(|due| due <= now);
        let asks = self.pending.values().filter(|pending| is_due(pending)).map(|p| p.asks).min()?;
        let most =
            if asks + 1 < ASKS { ceiling_of_root(most.min(self.pending.len() + self.acknowledged.len())) } else { 1 };
        let due = self.pending.iter().filter(|(_, pending)| pending.asks == asks && is_due(pending));
        let keys = due.map(|(key, _)| *key).take(most).collect();
        Some(self.ask(keys, asks + 1))
    }

    /// When the next message is due: `earliest` if it could have been sent already, `None` if there is none to come
    /// or one is on its way.
    pub fn poll_timeout(&self, earliest: Instant) -> Option<Instant> {
        if self.sending.is_some() {
            return None;
        }
        if !self.dropped.is_empty() || !self.unasked.is_empty() {
            return Some(earliest);
        }
        let due = self.pending.values().filter_map(|pending| pending.due).min()?;
        Some(due.max(earliest))
    }

    fn ask(&mut self, keys: Vec<Key>, asks: u32) -> Message {
        for key in &keys {
            self.pending.insert(*key, Pending { asks, due: None });
        }
        self.sending = Some(keys.clone());
        Message::Subscribe(keys)
    }

    /// Whether the venue had been asked for the key.
    fn forget(&mut self, key: Key) -> bool {
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
        Rejected(u32),
        Add(u32),
        Remove(u32),
    }
    use Then::{Add, Rejected, Remove, Sent, Subscribed, Wait};

    const RULES: SubscriptionRules =
        SubscriptionRules { ids_per_message: None, acknowledges: true, ack_timeout: Duration::from_secs(10) };

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
                Rejected(key) => subscriptions.handle_rejected(Key(*key)),
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
    fn a_rejected_key_is_not_asked_for_again_on_this_connection() {
        let found = check(
            RULES,
            [1, 2],
            &[
                (0, Wait, "+1 2"),
                (0, Sent, ""),
                (1, Rejected(1), ""),
                (1, Subscribed(2), ""),
                (999, Wait, ""),
                // A symbol may be taken from the market while it is subscribed to.
                (1_000, Rejected(2), ""),
                (2_000, Add(1), ""),
            ],
        );
        check_state(&found, 1, Some(Subscription::Rejected { permanent: false }));
        check_state(&found, 2, Some(Subscription::Rejected { permanent: false }));
        assert_eq!(found.keys().count(), 0);
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
                        subscriptions.handle_rejected(key);
                        told.remove(&key);
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
                            assert!(!wanted.contains(&key), "seed {seed}: {key:?} is wanted");
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
