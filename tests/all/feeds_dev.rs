//! Temporary.
#![expect(clippy::disallowed_methods, reason = "tests may ask the clock for a deadline")]
mod support;
mod feeds;
