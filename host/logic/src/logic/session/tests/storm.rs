//! Many attempts: of one session with a venue that closes at once, and of many sessions that share a limit.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::story::{keys, rules, secs};
use crate::logic::chance::{Chance, beginning};
use crate::logic::rate_limit::RateLimit;
use crate::logic::session::{Action, Overrides, Phase, Session, SessionConfig};

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
