//! Where the time of a batch goes, for the few that are timed. Only the stopwatch: `websocket` picks the batches, the
//! metrics keep the times.

use std::time::Duration;

use tokio::time::Instant;

use crate::status::metrics::StageTimes;

/// A stopwatch for one batch on the message path.
pub(super) struct Stages {
    times: StageTimes,
    /// When the stage that is under way began.
    since: Instant,
}

impl Stages {
    /// The batch was read, and `arrived`.
    pub(super) fn new(frames: usize, socket: Duration, arrived: Instant) -> Self {
        Self { times: StageTimes { frames: frames as u64, socket, ..StageTimes::default() }, since: arrived }
    }

    /// It was unpacked and recorded, and goes to the plugin.
    pub(super) fn unpacked(&mut self) {
        self.times.unpack = self.lap();
    }

    /// The plugin has answered. How long it took.
    pub(super) fn parsed(&mut self) -> Duration {
        self.times.plugin = self.lap();
        self.times.plugin
    }

    /// Its values are in the store.
    pub(super) fn stored(mut self) -> StageTimes {
        self.times.store = self.lap();
        self.times
    }

    fn lap(&mut self) -> Duration {
        let since = std::mem::replace(&mut self.since, Instant::now());
        self.since.duration_since(since)
    }
}
