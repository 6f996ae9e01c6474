//! Stories of when a session connects, and of when it waits.

use super::story::{Then::*, check, keys, rules, secs};
use crate::contract::observation::Key;
use crate::logic::chance::beginning;
use crate::logic::session::{Action, Phase, Session, SessionConfig, Subscription};

#[test]
fn a_connection_is_opened_subscribed_and_replaced_when_it_is_lost() {
    let session = check(
        rules(),
        &[
            (0, Wait, "connect"),
            (2, Opened, "+1 2"),
            (10, Received, ""),
            (20, Ended, ""),
            (21, Wait, "connect"),
            (22, Opened, "+1 2"),
        ],
    );
    assert_eq!(session.phase(), Phase::Open);
    assert_eq!(session.reconnects(), 1);
    assert_eq!(session.subscription(Key(1)), Some(Subscription::Acknowledged));
    assert_eq!(session.subscription(Key(3)), None);
}

/// Connect waited 20 s between two connections, and before that not at all (c5b2cfc7).
#[test]
fn slots_begin_one_after_another_and_a_rotation_of_all_keeps_it_so() {
    let start = beginning();
    let mut session = Session::new(rules(), keys(&[1]), start, secs(3));
    session.rotate(start + secs(1));
    assert_eq!(session.poll_action(start + secs(2)), None);
    assert_eq!(session.phase(), Phase::Waiting { until: start + secs(3) });
    assert_eq!(session.poll_action(start + secs(3)), Some(Action::Connect));
}

/// Bothan, barter and vector count their failures from zero with each connection that opens.
#[test]
fn a_venue_that_accepts_and_closes_is_left_alone_longer_and_longer() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            (0, Opened, "+1 2"),
            (0, Ended, ""),
            (1, Wait, "connect"),
            (1, Opened, "+1 2"),
            (1, Ended, ""),
            (3, Wait, "connect"),
            (3, Opened, "+1 2"),
            (3, Ended, ""),
            (7, Wait, "connect"),
        ],
    );
}

#[test]
fn a_stable_life_makes_the_next_failure_a_first_one() {
    let lasting = SessionConfig { idle_timeout: secs(3_600), ..rules() };
    check(
        lasting,
        &[
            (0, Wait, "connect"),
            (0, Ended, ""),
            (1, Wait, "connect"),
            (1, Ended, ""),
            (3, Wait, "connect"),
            (3, Opened, "+1 2"),
            (62, Ended, ""),
            (66, Wait, "connect"),
            (66, Opened, "+1 2"),
            (126, Ended, ""),
            (127, Wait, "connect"),
        ],
    );
}

/// Bothan has no limit to a handshake: a stalled one hangs for ever.
#[test]
fn a_dial_that_hangs_is_given_up() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            (10, Wait, "close: ConnectTimeout"),
            // Too late.
            (10, Opened, ""),
            (11, Ended, ""),
            (12, Wait, "connect"),
        ],
    );
}

#[test]
fn waiting_for_a_rate_limit_is_not_the_venues_slowness() {
    check(
        rules(),
        &[(0, Wait, "connect"), (0, Delayed(300), ""), (309, Wait, ""), (310, Wait, "close: ConnectTimeout")],
    );
}

/// Neither seed reacts to 429, and who does not is banned.
#[test]
fn what_the_venue_asks_for_is_kept_even_by_a_rotation() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            (1, RetryAfter(300), ""),
            (1, Ended, ""),
            (100, Rotate, ""),
            (200, Wanted(&[]), ""),
            (201, Wanted(&[9]), ""),
            (301, Wait, "connect"),
            (302, RetryAfter(u64::MAX), ""),
            (302, Ended, ""),
            (86_702, Wait, "connect"),
        ],
    );
}

#[test]
fn a_rotation_cuts_a_backoff_short() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            (0, Ended, ""),
            (1, Wait, "connect"),
            (1, Ended, ""),
            (3, Wait, "connect"),
            (3, Ended, ""),
            // It would have been at 7.
            (5, Rotate, "connect"),
            (5, Ended, ""),
            // Not more often than the first wait allows.
            (5, Rotate, ""),
            (6, Wait, "connect"),
        ],
    );
}

#[test]
fn a_stopped_session_closes_once_and_rests() {
    let session = check(
        rules(),
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (2, Stop, "close: Stopped"),
            (2, Rotate, ""),
            (3, Ended, ""),
            (4, Stop, ""),
            (5, Wanted(&[3]), ""),
            (6, Rotate, ""),
            (9_999, Wait, ""),
        ],
    );
    assert_eq!(session.phase(), Phase::Stopped);
    check(rules(), &[(0, Stop, ""), (9_999, Wait, "")]);
    check(rules(), &[(0, Wait, "connect"), (1, Stop, "close: Stopped"), (2, Ended, ""), (9_999, Wait, "")]);
}
