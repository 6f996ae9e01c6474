//! Stories of one connection's subscriptions, and a random walk through many.

use std::collections::BTreeMap;

use super::*;
use crate::logic::chance::{Chance, beginning};

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
                        // Or given up only to be asked for again.
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
