//! What each part costs by itself: a message into the store, a session's step, the store, the planning of polls, a plugin
//! from its file to its first message, a read over the API. Compare within one run; absolute times say little about a
//! busy machine, and `ratios` sets side by side what has a target.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod api;
mod loading;
mod messages;
mod planning;
#[path = "../shared/mod.rs"]
mod shared;
mod store;

fn main() {
    divan::main();
}
