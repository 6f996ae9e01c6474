//! Which place to go to where several serve the same, and what a refusal says of our standing there.
//!
//! Shared by a provider's connections and its poller: one that finds a place failing spares the others. Nothing here asks
//! or dials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::origin::{Grants, Origin};
use crate::logic::endpoints::Endpoints;
use crate::status::Trouble;

/// One provider's places, by the origin that the plugin knows.
#[derive(Debug)]
pub(crate) struct Places {
    grants: Arc<Grants>,
    by_origin: Mutex<HashMap<Origin, Endpoints>>,
}

impl Places {
    pub(crate) fn new(grants: Arc<Grants>) -> Self {
        Self { grants, by_origin: Mutex::default() }
    }

    /// Where to go now: 0 is the origin itself.
    pub(super) fn pick(&self, origin: &Origin) -> usize {
        self.with(origin, |endpoints, now| endpoints.pick(now))
    }

    pub(super) fn worked(&self, origin: &Origin, place: usize) {
        self.with(origin, |endpoints, _| endpoints.worked(place));
    }

    /// The place rests. Answers whether there is another one that does not.
    pub(super) fn failed(&self, origin: &Origin, place: usize, asked: Option<Duration>) -> bool {
        self.with(origin, |endpoints, now| {
            endpoints.failed(place, now, asked);
            endpoints.has_rested(now)
        })
    }

    fn with<T>(&self, origin: &Origin, f: impl FnOnce(&mut Endpoints, std::time::Instant) -> T) -> T {
        let mut by_origin = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = by_origin.entry(origin.clone()).or_insert_with(|| Endpoints::new(self.grants.places(origin)));
        f(endpoints, Instant::now().into_std())
    }
}

/// What an HTTP status, of an answer or of a handshake, says of our standing with the venue.
pub(super) fn trouble(status: u16) -> Option<Trouble> {
    match status {
        401 | 403 => Some(Trouble::Forbidden),
        418 => Some(Trouble::Banned),
        429 => Some(Trouble::RateLimited),
        451 => Some(Trouble::GeoBlocked),
        503 => Some(Trouble::Maintenance),
        _ => None,
    }
}

/// How long to stay away at least, where the venue does not say: `refused` where trying again soon is what gets an
/// address banned.
pub(super) fn least_wait(trouble: Trouble, refused: Duration) -> Duration {
    match trouble {
        Trouble::Forbidden | Trouble::Banned | Trouble::GeoBlocked => refused,
        Trouble::RateLimited | Trouble::Maintenance => Duration::ZERO,
    }
}
