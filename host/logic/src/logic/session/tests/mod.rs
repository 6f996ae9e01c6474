//! Stories of single sessions, and a walk of many through bad days. What happens within the messages of one
//! connection is told in `subscriptions`.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use super::super::chance::{Chance, beginning};
use super::super::rate_limit::RateLimit;
use super::*;
use crate::logic::backoff::BackoffConfig;

/// What happens at a given second of a story.
enum Then {
    /// Nothing: time has passed.
    Wait,
    Opened,
    OpenedWith(Overrides),
    Delayed(u64),
    Received,
    Data,
    Ready,
    Subscribed(u32),
    Rejected(u32),
    RejectedForGood(u32),
    VenueWants(Reconnect),
    RetryAfter(u64),
    Ended,
    Wanted(&'static [u32]),
    Rotate,
    Worn,
    NotReplaced,
    Silence(&'static [u32]),
    Stop,
}
use Then::*;

/// A venue that wants nothing but to be talked to: waits of exactly 1, 2, 4 … 64 s, 10 s to connect, dead after 30 s.
fn rules() -> SessionConfig {
    SessionConfig {
        backoff: BackoffConfig::default(),
        connect_timeout: secs(10),
        idle_timeout: secs(30),
        heartbeat: None,
        first_send_delay: Duration::ZERO,
        waits_for_ready: false,
        ids_per_message: None,
        acknowledges: false,
        ack_timeout: secs(5),
        revive_gap: secs(30),
        first_data_timeout: None,
        max_age: None,
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn keys(keys: &[u32]) -> BTreeSet<Key> {
    keys.iter().copied().map(Key).collect()
}

fn write(action: &Action) -> String {
    let list = |keys: &[Key]| {
        let keys: Vec<String> = keys.iter().map(|key| key.0.to_string()).collect();
        keys.join(" ")
    };
    match action {
        Action::Connect => "connect".to_owned(),
        Action::Subscribe(keys) => format!("+{}", list(keys)),
        Action::Unsubscribe(keys) => format!("-{}", list(keys)),
        Action::Heartbeat => "heartbeat".to_owned(),
        Action::Ping => "ping".to_owned(),
        Action::Replace(reason) => format!("replace: {reason:?}"),
        Action::Close(reason) => format!("close: {reason:?}"),
    }
}

/// Tells a session that wants keys 1 and 2 a story, and compares what it does at each step; between the steps it must
/// do nothing. Messages are sent as soon as they are made.
#[track_caller]
fn check(config: SessionConfig, story: &[(u64, Then, &str)]) -> Session {
    let start = beginning();
    let mut session = Session::new(config.clone(), keys(&[1, 2]), start, Duration::ZERO);
    for (at, then, expected) in story {
        let now = start + secs(*at);
        while let Some(due) = session.poll_timeout().filter(|due| *due < now) {
            let action = session.poll_action(due);
            let early = (due - start).as_secs_f64();
            assert_eq!(action, None, "before {at} s, at {early} s");
        }
        match then {
            Wait => {}
            Opened => session.handle_opened(now, Overrides::default()),
            OpenedWith(overrides) => session.handle_opened(now, *overrides),
            Delayed(until) => session.handle_delayed(start + secs(*until)),
            Received => session.handle_received(now),
            Data => session.handle_data(),
            Ready => session.handle_ready(now),
            Subscribed(key) => session.handle_subscribed(Key(*key), now),
            Rejected(key) => session.handle_rejected(Key(*key), false, now),
            RejectedForGood(key) => session.handle_rejected(Key(*key), true, now),
            VenueWants(when) => session.handle_reconnect(*when, now),
            RetryAfter(time) => session.handle_retry_after(now, secs(*time)),
            Ended => session.handle_ended(now, 1.0),
            Wanted(wanted) => session.set_wanted(&keys(wanted), now),
            Rotate => session.rotate(now),
            Worn => session.handle_worn(now),
            NotReplaced => session.handle_not_replaced(CloseReason::Rotation, now),
            Silence(silent) => session.handle_silence(&keys(silent), now),
            Stop => session.stop(now),
        }
        let mut found = Vec::new();
        while let Some(action) = session.poll_action(now) {
            if matches!(action, Action::Subscribe(_) | Action::Unsubscribe(_)) {
                session.handle_sent(now);
            }
            found.push(write(&action));
        }
        assert_eq!(found.join(", "), *expected, "at {at} s");
    }
    session
}

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

/// Bothan, barter and vector begin anew with each connection that opens.
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

/// Connect took a quiet venue for a dead one and had its timeouts raised by hand, five times for Bitstamp alone.
#[test]
fn a_quiet_venue_is_asked_and_a_dead_one_is_given_up() {
    check(
        rules(),
        &[
            (0, Wait, "connect"),
            (5, Opened, "+1 2"),
            (20, Wait, "ping"),
            // The pong.
            (21, Received, ""),
            (36, Wait, "ping"),
            (51, Wait, "close: Idle"),
            (52, Ended, ""),
        ],
    );
}

#[test]
fn a_host_that_slept_asks_before_it_gives_up() {
    let start = beginning();
    let mut session = Session::new(rules(), keys(&[1]), start, Duration::ZERO);
    assert_eq!(session.poll_action(start), Some(Action::Connect));
    session.handle_opened(start, Overrides::default());
    let awake = start + secs(9_999);
    assert_eq!(session.poll_action(awake), Some(Action::Ping));
    assert_eq!(session.poll_action(awake), Some(Action::Subscribe(vec![Key(1)])));
    session.handle_sent(awake);
    assert_eq!(session.poll_action(awake), None);
    assert_eq!(session.poll_timeout(), Some(awake + secs(15)));
}

/// Bothan lost its ping in a refactor, and OKX cuts who is silent for 30 s.
#[test]
fn a_heartbeat_is_due_each_interval_from_the_opening() {
    let config =
        SessionConfig { heartbeat: Some(Heartbeat { interval: secs(20), when: HeartbeatWhen::Always }), ..rules() };
    check(
        config,
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (15, Received, ""),
            (21, Wait, "heartbeat"),
            (22, Received, ""),
            (37, Wait, "ping"),
            (37, Received, ""),
            (41, Wait, "heartbeat"),
        ],
    );
}

#[test]
fn a_late_heartbeat_keeps_the_beat_and_a_missed_one_is_not_made_up_for() {
    let config = SessionConfig {
        heartbeat: Some(Heartbeat { interval: secs(20), when: HeartbeatWhen::Always }),
        idle_timeout: secs(9_999),
        ..rules()
    };
    let start = beginning();
    let mut session = Session::new(config, keys(&[1]), start, Duration::ZERO);
    assert_eq!(session.poll_action(start), Some(Action::Connect));
    session.handle_opened(start, Overrides::default());
    assert_eq!(session.poll_action(start), Some(Action::Subscribe(vec![Key(1)])));
    session.handle_sent(start);
    for (late, next) in [(23, 40), (99, 119)] {
        assert_eq!(session.poll_action(start + secs(late)), Some(Action::Heartbeat));
        assert_eq!(session.poll_action(start + secs(late)), None);
        assert_eq!(session.poll_timeout(), Some(start + secs(next)));
    }
}

#[test]
fn an_idle_heartbeat_is_due_when_nothing_came_for_an_interval() {
    let config =
        SessionConfig { heartbeat: Some(Heartbeat { interval: secs(10), when: HeartbeatWhen::Idle }), ..rules() };
    check(
        config,
        &[
            (0, Wait, "connect"),
            (1, Opened, "+1 2"),
            (9, Received, ""),
            (19, Wait, "heartbeat"),
            (20, Received, ""),
            (30, Wait, "heartbeat"),
            (35, Wait, "ping"),
            (40, Wait, "heartbeat"),
            (50, Wait, "close: Idle"),
        ],
    );
}

/// KuCoin says so with its token; Connect kept the interval and did not read it.
#[test]
fn a_venue_may_say_its_times_when_it_opens() {
    let config =
        SessionConfig { heartbeat: Some(Heartbeat { interval: secs(60), when: HeartbeatWhen::Always }), ..rules() };
    let overrides =
        Overrides { heartbeat_interval: Some(secs(18)), idle_timeout: Some(secs(50)), ..Overrides::default() };
    check(
        config,
        &[
            (0, Wait, "connect"),
            (0, OpenedWith(overrides), "+1 2"),
            (18, Wait, "heartbeat"),
            (25, Wait, "ping"),
            (36, Wait, "heartbeat"),
            (50, Wait, "close: Idle"),
        ],
    );
}

#[test]
fn a_heartbeat_without_an_interval_does_not_spin() {
    let config = SessionConfig {
        heartbeat: Some(Heartbeat { interval: Duration::ZERO, when: HeartbeatWhen::Always }),
        ..rules()
    };
    let start = beginning();
    let mut session = Session::new(config, keys(&[1]), start, Duration::ZERO);
    assert_eq!(session.poll_action(start), Some(Action::Connect));
    session.handle_opened(start, Overrides::default());
    let actions = std::iter::from_fn(|| session.poll_action(start + secs(9)));
    assert_eq!(actions.take(99).filter(|action| *action == Action::Heartbeat).count(), 1);
}

/// Crypto.com cuts those who subscribe at once (Connect 5d8f84b3).
#[test]
fn nothing_is_sent_before_the_first_delay() {
    let config = SessionConfig {
        first_send_delay: secs(2),
        heartbeat: Some(Heartbeat { interval: secs(1), when: HeartbeatWhen::Always }),
        ..rules()
    };
    check(config, &[(0, Wait, "connect"), (1, Opened, ""), (2, Received, ""), (3, Wait, "heartbeat, +1 2")]);
}

#[test]
fn a_venue_is_subscribed_to_when_it_is_ready_and_left_if_it_never_is() {
    let config = SessionConfig { waits_for_ready: true, ..rules() };
    check(
        config,
        &[
            (0, Wait, "connect"),
            (1, Opened, ""),
            (3, Ready, "+1 2"),
            (4, Ended, ""),
            (5, Wait, "connect"),
            (5, Opened, ""),
            (9, Received, ""),
            (10, Wait, "close: ReadyTimeout"),
        ],
    );
}

#[test]
fn a_connection_that_gives_nothing_is_left_where_the_operator_says_so() {
    let config = SessionConfig { first_data_timeout: Some(secs(8)), ..rules() };
    let start = [(0, Wait, "connect"), (1, Opened, "+1 2"), (8, Received, "")];
    let mut story = Vec::from(start);
    story.push((9, Wait, "close: FirstDataTimeout"));
    check(config.clone(), &story);
    let mut story = Vec::from([(0, Wait, "connect"), (1, Opened, "+1 2"), (8, Data, ""), (8, Received, "")]);
    story.extend([(23, Wait, "ping")]);
    check(config, &story);
}

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
            // The same wish changes nothing; dropped and wanted anew does.
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
            // Dropped and wanted anew.
            (501, Wanted(&[2]), ""),
            (502, Wanted(&[1, 2]), "connect"),
            (502, Opened, "+1"),
        ],
    );
}

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
                        // Or given up only to be asked for anew.
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

/// What the floor and the doubling promise together, at any luck.
#[test]
fn an_hour_of_accepting_and_closing_is_some_hundred_attempts() {
    for seed in 0..50 {
        let mut chance = Chance::new(seed);
        let start = beginning();
        let mut session = Session::new(rules(), keys(&[1]), start, Duration::ZERO);
        let mut attempts = 0;
        let mut now = start;
        while now < start + secs(3_600) {
            while let Some(action) = session.poll_action(now) {
                match action {
                    Action::Connect => {
                        attempts += 1;
                        session.handle_opened(now, Overrides::default());
                    }
                    _ => session.handle_ended(now, chance.fraction()),
                }
            }
            now = now.max(session.poll_timeout().unwrap());
        }
        assert!(attempts < 200, "seed {seed}: {attempts} attempts");
    }
}

/// Two hundred sessions of one origin share its budget: ten connections a second. The venue is there, goes for ten
/// minutes, cuts everybody now and then, for a virtual day. No window ever holds more than the limit, and minutes
/// after the venue is back everybody is.
#[test]
fn a_storm_of_sessions_keeps_the_limit_and_everybody_comes_back() {
    const SESSIONS: usize = 200;
    const ALLOWED: usize = 10;
    for seed in 0..2 {
        let mut chance = Chance::new(seed);
        let start = beginning();
        let mut limit = RateLimit::new(NonZeroU32::new(ALLOWED as u32).unwrap(), secs(1));
        let patient = SessionConfig { idle_timeout: secs(999_999), ..rules() };
        let mut sessions: Vec<Session> = (0..SESSIONS)
            .map(|number| Session::new(patient.clone(), keys(&[number as u32]), start, Duration::ZERO))
            .collect();
        // When the dial of each was booked for, while it waits.
        let mut dialling: Vec<Option<Instant>> = vec![None; SESSIONS];
        let mut dials = Vec::new();
        let mut now = start;
        let (mut gone_until, mut back_since) = (start, start);
        while now < start + secs(86_400) {
            if chance.one_in(20) {
                gone_until = now + secs(chance.below(600));
            }
            let cut = now < gone_until || chance.one_in(10);
            if cut {
                back_since = gone_until.max(now);
            }
            let until = now + secs(1 + chance.below(1_800));
            for (session, dialling) in sessions.iter_mut().zip(&mut dialling) {
                if cut && session.phase() == Phase::Open {
                    session.handle_ended(now, chance.fraction());
                    *dialling = None;
                }
            }
            // Everybody, event by event, until the next thing happens to the venue.
            while now < until {
                for (session, dialling) in sessions.iter_mut().zip(&mut dialling) {
                    while let Some(action) = session.poll_action(now) {
                        match action {
                            Action::Connect => {
                                let at = limit.reserve(now);
                                session.handle_delayed(at);
                                *dialling = Some(at);
                                dials.push(at);
                            }
                            Action::Subscribe(_) | Action::Unsubscribe(_) => session.handle_sent(now),
                            Action::Close(_) => session.handle_ended(now, chance.fraction()),
                            Action::Heartbeat | Action::Ping => session.handle_received(now),
                            Action::Replace(_) => {}
                        }
                    }
                    if dialling.is_some_and(|at| at <= now) {
                        *dialling = None;
                        if now < gone_until {
                            session.handle_ended(now, chance.fraction());
                        } else {
                            session.handle_opened(now, Overrides::default());
                        }
                    }
                }
                if now >= back_since + secs(64 + 60) {
                    let open = sessions.iter().filter(|session| session.phase() == Phase::Open).count();
                    assert_eq!(open, SESSIONS, "seed {seed}: {:?} after the venue is back", now - back_since);
                    break;
                }
                let timeouts = sessions.iter().filter_map(Session::poll_timeout);
                let next = timeouts.chain(dialling.iter().flatten().copied()).min().unwrap_or(until);
                now = next.min(until).max(now + Duration::from_millis(100));
            }
            now = now.max(until);
        }
        for few in dials.windows(ALLOWED + 1) {
            assert!(few[ALLOWED] - few[0] >= secs(1), "seed {seed}: more than {ALLOWED} within a second");
        }
        assert!(dials.len() > 10 * SESSIONS, "seed {seed}: only {} dials", dials.len());
    }
}
