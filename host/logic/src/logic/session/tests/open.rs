//! Stories of one open connection: heartbeats, pings, silence, and the times that a venue may take.

use std::time::Duration;

use super::story::{Then::*, check, keys, rules, secs};
use crate::contract::observation::Key;
use crate::logic::chance::beginning;
use crate::logic::session::{Action, Heartbeat, HeartbeatWhen, Overrides, Session, SessionConfig};

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
