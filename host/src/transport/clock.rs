//! What time it is, as the machines of `logic` and as plugins are told. Nothing here waits.

use tokio::time::Instant;

use crate::contract::codec::Context;
use crate::contract::observation::UnixNanos;
use crate::store::wall_clock;

/// The clock of the machines.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// What a plugin may know of the world in one call.
pub(super) fn context() -> Context {
    context_at(wall_clock())
}

/// The same, at a time that was just read.
pub(super) fn context_at(time: UnixNanos) -> Context {
    Context { now_ms: u64::try_from(time.0 / 1_000_000).unwrap_or(0), nonce: rand::random() }
}
