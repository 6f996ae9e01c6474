//! Whether a connection gave any useful data yet, and by when it has to.

use std::time::{Duration, Instant};

use crate::logic::later::later;

/// The first useful data of a connection. The time for it begins with the first subscription and is set only once.
#[derive(Copy, Clone, Debug)]
pub(in crate::logic::session) enum FirstData {
    /// Nothing was subscribed to yet.
    NotAsked,
    DueBy(Instant),
    Came,
}

impl FirstData {
    /// A subscription is on its way. `timeout`: `None` if data may take for ever.
    pub(super) fn handle_sent(&mut self, now: Instant, timeout: Option<Duration>) {
        if let (Self::NotAsked, Some(timeout)) = (*self, timeout) {
            *self = Self::DueBy(later(now, timeout));
        }
    }

    /// Useful data came.
    pub(in crate::logic::session) fn handle_data(&mut self) {
        *self = Self::Came;
    }

    /// By when it has to come.
    pub(super) fn due_by(self) -> Option<Instant> {
        match self {
            Self::DueBy(at) => Some(at),
            Self::NotAsked | Self::Came => None,
        }
    }
}
