//! The decisions of the host, as pure state machines.
//!
//! The rule: nothing in here does I/O, reads a clock, draws a random number, waits, locks, spawns or logs. Time is
//! an [`Instant`] and randomness a number, and both are arguments; what comes out is plain data. So a day of
//! reconnects is a test of milliseconds, and a bug is a row in a table. The folder knows `observation` and std.
//!
//! A machine is told *what happened* and *what is wanted*, and answers *what to do* and *when to ask again*. Its
//! methods come in four families, told apart by their prefix:
//!
//! - A. Getters, named after what they give: `phase`, `failures`.
//! - B. `handle_*`: what happened, and when.
//! - C. `set_*` and plain verbs (`rotate`, `stop`, `poll_now`): what we want.
//! - D. `poll_action`: what to do now, asked again until it answers `None`; `poll_timeout`: when to ask next at the
//!   latest. A shell asks after everything that it told the machine.
//!
//! Calls that make no sense in a state (a frame of a connection that was given up, say) change nothing: shells race
//! with the network and need not check.
//!
//! Read `backoff` for the style, then `session`, which is where most of the host's promises are kept.

pub mod backoff;
pub mod clock;
pub mod endpoints;
pub mod rate_limit;
pub mod rotation;
pub mod schedule;
pub mod shadow;
pub mod shard;
pub mod subscriptions;
pub mod turns;

pub mod session;

pub mod builds;
pub mod faults;
pub mod handover;
pub mod probation;
pub mod reload;

use std::time::{Duration, Instant};

/// `now + by`, without the overflow that a venue or a configuration could provoke with an absurd number.
fn later(now: Instant, by: Duration) -> Instant {
    now + by.min(FOREVER)
}

/// No machine lives to see the end of it, and no clock overflows by it: a hundred years.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What the machines' tests share: a beginning of time, and chance that can be repeated.
#[cfg(test)]
mod chance {
    use std::time::Instant;

    /// Some instant. Virtual time counts from here.
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant has no other source, and no test depends on which one it is"
    )]
    pub(super) fn beginning() -> Instant {
        Instant::now()
    }

    /// A xorshift generator: the same seed tells the same story.
    pub(super) struct Chance(u64);

    impl Chance {
        pub(super) fn new(seed: u64) -> Self {
            // Spread, because neighbouring seeds would begin alike, and never 0, which xorshift cannot leave.
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        pub(super) fn bits(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// From 0 to `end - 1`.
        pub(super) fn below(&mut self, end: u64) -> u64 {
            self.bits() % end
        }

        /// From 0 up to, but not, 1.
        pub(super) fn fraction(&mut self) -> f64 {
            (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// True once in `times`.
        pub(super) fn one_in(&mut self, times: u64) -> bool {
            self.below(times) == 0
        }
    }
}
