//! Stories of what is wanted, what is refused, and what is asked for.

use super::story::{Then::*, check, keys, rules, secs};
use crate::contract::observation::Key;
use crate::logic::session::{Phase, SessionConfig, Subscription};

/// Both seeds drop every connection when one id changes; a bothan worker keeps the ids that it was born with.
#[test]
fn a_changed_wish_is_one_message_and_no_reconnect() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            // While it connects it costs nothing at all.
            (1, Wanted(&[2, 3]), ""),
            (2, Opened, "+2 3"),
            (3, Wanted(&[3, 4]), "-2, +4"),
            (4, Wanted(&[3, 4]), ""),
            (5, Ended, ""),
            (5, Wanted(&[5]), ""),
            (6, Wait, "connect"),
            (6, Opened, "+5"),
        ],
    );
}

#[test]
fn without_a_wish_there_is_no_connection() {
    let session = check(
        rules(),
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (2, Wanted(&[]), "close: NothingToDo"),
            (3, Ended, ""),
            (9_000, Wait, ""),
        ],
    );
    assert_eq!(session.phase(), Phase::NothingToDo);
    assert_eq!(session.poll_timeout(), None);
    check(
        rules(),
        &[
            (0, Wanted(&[]), ""),
            (9_000, Wanted(&[7]), "connect"),
            (9_001, Wanted(&[]), "close: NothingToDo"),
            (9_001, Wanted(&[7]), ""),
            (9_002, Ended, "connect"),
            (9_002, Opened, "+7"),
        ],
    );
}

#[test]
fn unanswered_keys_are_asked_for_again_and_everything_on_the_next_connection() {
    let config = SessionConfig { acknowledges: true, idle_timeout: secs(3_600), ..rules() };
    let session = check(
        config,
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (2, Subscribed(1), ""),
            (6, Wait, "+2"),
            (16, Wait, "+2"),
            (999, Ended, ""),
            (1_000, Wait, "connect"),
            (1_000, Opened, "+1 2"),
            (1_005, Wait, "+1 2"),
        ],
    );
    assert_eq!(session.unanswered(), 2);
    assert_eq!(session.subscription(Key(2)), Some(Subscription::Unconfirmed { asks: 2 }));
}

/// Connect resent what was refused for good at the speed of the network.
#[test]
fn a_refusal_holds_for_the_connection_or_for_good() {
    let session = check(
        SessionConfig { acknowledges: true, ..rules() },
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (2, RejectedForGood(2), ""),
            // Perhaps it was the other one that the venue did not like.
            (2, Rejected(1), "+1"),
            (3, Rejected(1), ""),
            (9, Ended, ""),
            (10, Wait, "connect"),
            (10, Opened, "+1"),
            (11, Subscribed(1), ""),
            // To want the same changes nothing. A key that is dropped and wanted again is asked for again.
            (12, Wanted(&[1, 2]), ""),
            (13, Wanted(&[1]), ""),
            (14, Wanted(&[1, 2]), "+2"),
            (15, RejectedForGood(2), ""),
        ],
    );
    assert_eq!(session.subscription(Key(2)), Some(Subscription::Rejected { permanent: true }));
    assert_eq!(session.keys(), keys(&[1]));
}

#[test]
fn a_key_that_gives_values_after_all_is_asked_for_again() {
    let session = check(
        rules(),
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (2, RejectedForGood(1), ""),
            (3, Subscribed(1), ""),
            (4, Ended, ""),
            (5, Wait, "connect"),
            (5, Opened, "+1 2"),
        ],
    );
    assert_eq!(session.keys(), keys(&[1, 2]));
}

#[test]
fn where_all_is_refused_for_good_nothing_is_dialled_until_the_wish_changes() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            (1, RejectedForGood(1), ""),
            (1, RejectedForGood(2), "close: NothingToDo"),
            (1, Ended, ""),
            (500, Rotate, ""),
            // Dropped and wanted again.
            (501, Wanted(&[2]), ""),
            (502, Wanted(&[1, 2]), "connect"),
            (502, Opened, "+1"),
        ],
    );
}
