//! The decisions of the host, as pure state machines.
//!
//! The rule: nothing in here does I/O, reads a clock, draws a random number, waits, locks, spawns or logs. The current
//! time is an `Instant` and chance is a number, and both are arguments; what comes out is plain data. So a test of a
//! day of reconnects takes milliseconds, and a bug is a row in a table. The folder uses `contract` and std only.
//!
//! A machine is told *what happened* and *what is wanted*. It answers *what to do* and *when to ask again*. Its
//! methods come in four families, and their names say which:
//!
//! - A. Getters, named after what they give: `phase`, `failures`.
//! - B. `handle_*`: what happened, and when.
//! - C. `set_*` and plain verbs (`rotate`, `stop`, `poll_now`): what we want.
//! - D. `poll_action`: what to do now, asked again until it answers `None`. `poll_timeout`: when to ask next at the
//!   latest. The caller asks both after everything that it told the machine.
//!
//! A call that makes no sense in a state (a frame of a connection that was given up, say) changes nothing. The caller
//! races with the network, and need not check.
//!
//! A large machine is a folder: its `mod.rs` puts small machines together, and each of those has a file, a state and a
//! rule of its own. A file never imports from the `mod.rs` above it. What both need is in a file beside them.
//!
//! Read `backoff` for the style, then `session`, which keeps most of the host's promises.

pub mod backoff;
pub mod clock;
pub mod endpoints;
pub mod rate_limit;
pub mod retry_after;
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

mod later;

#[cfg(test)]
mod chance;
