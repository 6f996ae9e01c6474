//! How the stories of sessions are written and checked, and what the tests share.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::contract::observation::Key;
use crate::logic::backoff::BackoffConfig;
use crate::logic::chance::beginning;
use crate::logic::session::{Action, CloseReason, Overrides, Reconnect, Session, SessionConfig};

/// What happens at a given second of a story.
pub(super) enum Then {
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
pub(super) fn rules() -> SessionConfig {
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

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn keys(keys: &[u32]) -> BTreeSet<Key> {
    keys.iter().copied().map(Key).collect()
}

pub(super) fn write(action: &Action) -> String {
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
pub(super) fn check(config: SessionConfig, story: &[(u64, Then, &str)]) -> Session {
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
