//! Black-box tests of feedgate, through the library's public face, the command and real sockets on loopback. One binary,
//! because linking wasmtime takes longer than running them.
//!
//! `support` starts daemons and waits for what they say. Nothing sleeps: a test waits for a state, with a deadline.

#![expect(clippy::disallowed_methods, reason = "tests may ask the clock for a deadline")]
#![expect(unreachable_pub, reason = "everything here is reached from this crate only, and says so by being a test")]

mod command;
mod support;

mod api;
#[cfg(unix)]
mod bench;
mod cli;
mod compile;
mod config;
mod cost;
mod faults;
mod feeds;
mod fuzz;
mod grants;
mod hostile;
mod killed;
mod misfits;
mod plugins;
mod provenance;
mod reload;
mod replace;
mod rooms;
mod secrets;
mod shadow;
mod soak;
mod tidy;
