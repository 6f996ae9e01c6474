//! When a session may connect next.
//!
//! Three things decide: our own wait (the stagger at the start, then the backoff), what the venue asked for, and the
//! least distance between two attempts. How long one wait of the backoff is, is in `backoff`. Whether there is a reason
//! to connect at all is known to the session.

use std::time::{Duration, Instant};

use super::action::CloseReason;
use crate::logic::backoff::{Backoff, BackoffConfig, LONGEST_WAIT};
use crate::logic::later::later;

/// The attempts of one slot to connect.
///
/// Invariants: no attempt comes before the time that the venue asked for. Two attempts are at least the shortest wait
/// of the backoff apart, and where nothing failed its first wait.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    /// Our own wait: the stagger at the start, then the backoff.
    not_before: Instant,
    /// The venue's: it does not want to see us before this.
    held_until: Option<Instant>,
    last: Option<Instant>,
}

impl Attempts {
    /// No attempt yet. The first is due at `first_at`.
    pub(super) fn new(config: BackoffConfig, first_at: Instant) -> Self {
        Self { backoff: Backoff::new(config), not_before: first_at, held_until: None, last: None }
    }

    /// Those of a successor, which knows of the last attempt and of what the venue asked for. `age`: of the connection
    /// that it replaces, if that is open. `delay`: its own stagger.
    pub(super) fn successor(&self, age: Option<Duration>, now: Instant, delay: Duration) -> Self {
        let mut successor = self.clone();
        if age.is_some_and(|age| self.is_stable(age)) {
            successor.backoff.reset();
        }
        successor.not_before = later(self.soonest(now), delay);
        successor
    }

    /// When the next attempt is due.
    pub(super) fn next_at(&self) -> Instant {
        self.held_until.map_or(self.not_before, |held| held.max(self.not_before))
    }

    /// Connections in a row that failed or did not live long enough.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether a connection that lived this long counts as a success.
    pub(super) fn is_stable(&self, lived: Duration) -> bool {
        self.backoff.config().is_stable(lived)
    }

    /// An attempt begins.
    pub(super) fn handle_begun(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// The venue does not want to see us for `time` (at most [`LONGEST_WAIT`]).
    pub(super) fn handle_retry_after(&mut self, now: Instant, time: Duration) {
        let until = later(now, time.min(LONGEST_WAIT));
        self.held_until = self.held_until.max(Some(until));
    }

    /// The attempt, or its connection, is over. `planned`: why we closed it, if we did. `lived`: `None` if it never
    /// opened. `random`: from 0 up to, but not, 1.
    ///
    /// The wait is the backoff's. It grows while connections in a row fail or do not live long. Only an end that we
    /// planned needs no wait: [`CloseReason::NothingToDo`] always, [`CloseReason::MaxAge`] and [`CloseReason::Venue`]
    /// after a stable life. A venue, or a plugin, that asks for a new connection again and again must not cause a storm.
    pub(super) fn handle_ended(
        &mut self,
        planned: Option<CloseReason>,
        lived: Option<Duration>,
        now: Instant,
        random: f64,
    ) {
        let stable = lived.is_some_and(|lived| self.is_stable(lived));
        let needs_no_wait = match planned {
            Some(CloseReason::NothingToDo) => true,
            Some(CloseReason::MaxAge | CloseReason::Venue) => stable,
            _ => false,
        };
        if needs_no_wait {
            if stable {
                self.backoff.reset();
            }
            self.not_before = self.soonest(now);
        } else {
            self.not_before = later(now, self.backoff.failed(lived, random));
        }
    }

    /// Cuts a backoff short. Does nothing before the first attempt: its wait is the stagger, which a rotation of all
    /// slots must not undo.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.last.is_some() {
            self.not_before = self.not_before.min(self.soonest(now));
        }
    }

    /// The soonest that an attempt may follow the last one when nothing failed.
    fn soonest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| later(last, self.backoff.config().first()).max(now))
    }
}
