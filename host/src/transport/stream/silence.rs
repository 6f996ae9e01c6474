//! Looks now and then for ids that have been silent for too long. What follows from it is decided by the session machine.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::logic::session::{Session, Subscription};
use crate::logic::subscriptions::ASKS;
use crate::transport::clock::now;
use crate::transport::intake::Intake;

/// Bounds of the time between two looks.
const PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(15);

/// When to look again.
pub(super) struct SilenceCheck {
    at: Instant,
}

impl SilenceCheck {
    /// The first look is due at once.
    pub(super) fn new() -> Self {
        Self { at: Instant::now() }
    }

    /// When the next look is due.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Looks: each silent id is asked for anew, or costs the connection.
    pub(super) fn look(&mut self, session: &mut Session, intake: &mut Intake) {
        let clock = intake.receipt(Instant::now()).monotonic;
        let mut silent = BTreeSet::new();
        for key in session.keys() {
            match session.subscription(key) {
                Some(Subscription::Acknowledged) if intake.is_silent(key, clock) => {
                    silent.insert(key);
                }
                Some(Subscription::Unconfirmed { asks: ASKS }) => {
                    intake.unconfirmed(key, ASKS);
                    if intake.is_silent(key, clock) {
                        silent.insert(key);
                    }
                }
                _ => {}
            }
        }
        session.handle_silence(&silent, now());
        let slots = session.wanted().iter().filter_map(|key| intake.table.get(*key));
        let ages = slots.map(|slot| slot.max_age() / 4).min();
        self.at = Instant::now() + ages.unwrap_or_default().clamp(*PAUSE.start(), *PAUSE.end());
    }
}
