//! Stories of connections that are replaced: because of their age, a codec, a silent id, or because the venue asks.

use std::time::Duration;

use super::story::{Then::*, check, rules, secs};
use crate::contract::observation::Key;
use crate::logic::chance::beginning;
use crate::logic::session::{Action, CloseReason, Overrides, Phase, Reconnect, SessionConfig};

/// A venue cuts each connection after a day; both seeds wait for the cut, and then reconnect.
#[test]
fn a_connection_that_is_old_enough_is_replaced_before_it_is_closed() {
    let config = SessionConfig { max_age: Some(secs(86_000)), idle_timeout: secs(1_000_000), ..rules() };
    let planned = Overrides { replace_after: Some(secs(80_000)), ..Overrides::default() };
    check(
        config,
        &[
            (0, Wait, "connect"),
            (0, Ended, ""),
            (1, Wait, "connect"),
            (1, OpenedWith(planned), "+1 2"),
            (80_001, Wait, "replace: MaxAge"),
            (80_002, Rotate, ""),
            // No successor delivered.
            (86_001, Wait, "close: MaxAge"),
            (86_002, Ended, "connect"),
            // Its life was a success.
            (86_002, Ended, ""),
            (86_003, Wait, "connect"),
        ],
    );
}

#[test]
fn a_worn_codec_is_replaced_unless_it_wore_out_in_no_time() {
    let patient = SessionConfig { idle_timeout: secs(9_999), ..rules() };
    check(
        patient,
        &[
            (0, Worn, "connect"),
            (0, Opened, "+1 2"),
            (10, Worn, ""),
            (59, Worn, ""),
            (61, Worn, "replace: Worn"),
            (62, Worn, ""),
        ],
    );
}

#[test]
fn where_a_successor_is_given_up_another_is_wanted_later() {
    let patient = SessionConfig { idle_timeout: secs(9_999), ..rules() };
    check(
        patient,
        &[
            (0, Wait, "connect"),
            (0, Opened, "+1 2"),
            (10, Rotate, "replace: Rotation"),
            (70, NotReplaced, ""),
            (369, Received, ""),
            (370, Wait, "replace: Rotation"),
            (371, Rotate, ""),
        ],
    );
}

#[test]
fn a_successor_wants_the_same_knows_the_same_and_keeps_its_distance() {
    let story = [
        (0, Wait, "connect"),
        (0, Opened, "+1 2"),
        (10, RejectedForGood(2), ""),
        (100, Rotate, "replace: Rotation"),
        (101, Received, ""),
    ];
    let patient = SessionConfig { idle_timeout: secs(9_999), ..rules() };
    let mut session = check(patient, &story);
    let now = beginning() + secs(101);
    let mut successor = session.successor(now, Duration::ZERO);
    assert_eq!(successor.poll_action(now), Some(Action::Connect));
    assert_eq!(session.phase(), Phase::Open);
    successor.handle_opened(now, Overrides::default());
    assert_eq!(successor.poll_action(now), Some(Action::Subscribe(vec![Key(1)])));
    assert!(!successor.is_settled());
    successor.handle_sent(now);
    assert!(successor.is_settled());
    assert_eq!(successor.reconnects(), 1);
    session.stop(now);
    assert_eq!(session.poll_action(now), Some(Action::Close(CloseReason::Stopped)));
    // A second one keeps its distance from the first.
    assert_eq!(successor.successor(now, Duration::ZERO).phase(), Phase::Waiting { until: now + secs(1) });
}

/// The feed that looks connected and is dead, for one id.
#[test]
fn an_id_that_stays_silent_costs_two_questions_then_a_replacement_then_less_and_less() {
    let patient = SessionConfig { idle_timeout: secs(99_999), ..rules() };
    check(
        patient,
        &[
            (0, Wait, "connect"),
            (0, Opened, "+1 2"),
            (60, Silence(&[1]), "-1, +1"),
            (120, Silence(&[1]), "-1, +1"),
            (130, Silence(&[1]), ""),
            (180, Silence(&[1]), "replace: Silence"),
            (240, Silence(&[1]), ""),
            // The successor did not come: this connection was lost.
            (241, Ended, ""),
            (242, Wait, "connect"),
            (242, Opened, "+1 2"),
            (300, Silence(&[1]), "-1, +1"),
            (400, Silence(&[1]), "-1, +1"),
            (470, Silence(&[1]), ""),
            // Five minutes after the last.
            (480, Silence(&[1]), "replace: Silence"),
            (500, Ended, ""),
            (501, Wait, "connect"),
            (501, Opened, "+1 2"),
            (600, Silence(&[1]), "-1, +1"),
            (700, Silence(&[1]), "-1, +1"),
            (1_079, Silence(&[1]), ""),
            (1_080, Silence(&[1]), "replace: Silence"),
        ],
    );
}

/// Bitstamp asks for it; Connect echoed the request and stayed.
#[test]
fn the_venue_may_ask_for_a_new_connection() {
    let patient = SessionConfig { idle_timeout: secs(9_999), ..rules() };
    check(
        patient.clone(),
        &[
            (0, Wait, "connect"),
            (0, Opened, "+1 2"),
            (100, VenueWants(Reconnect::OverlapWithin(secs(20))), "replace: Venue"),
            (101, VenueWants(Reconnect::OverlapWithin(secs(99))), ""),
            (118, Wait, "close: Venue"),
            (118, Ended, "connect"),
            (118, Opened, "+1 2"),
            (200, VenueWants(Reconnect::After(secs(30))), "close: Venue"),
            (201, Ended, ""),
            (230, Wait, "connect"),
        ],
    );
    // Again and again is a storm, whoever asks for it.
    check(
        patient,
        &[
            (0, Wait, "connect"),
            (0, Opened, "+1 2"),
            (1, VenueWants(Reconnect::Now), "close: Venue"),
            (1, Ended, ""),
            (2, Wait, "connect"),
            (2, Opened, "+1 2"),
            (3, VenueWants(Reconnect::Now), "close: Venue"),
            (3, Ended, ""),
            (5, Wait, "connect"),
        ],
    );
}
