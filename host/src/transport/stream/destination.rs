//! Where an attempt or a connection leads: the URL, which of the places that serve it, and what its end says of that place
//! and of our standing with the venue. Dials nothing.

use std::time::Duration;

use super::end::End;
use crate::contract::origin::{Admitted, Origin};
use crate::status::Trouble;
use crate::transport::http::{FetchError, admit_filled};
use crate::transport::places::{least_wait, trouble};
use crate::transport::shared::Shared;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Destination {
    /// As it may be shown. That of the last attempt, until this one has its own.
    url: String,
    /// The origin as the plugin knows it, and which of its places.
    place: Option<(Origin, usize)>,
    /// Whether useful data came from there.
    useful: bool,
}

impl Destination {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn is_useful(&self) -> bool {
        self.useful
    }

    /// A new attempt begins.
    pub(super) fn reset(&mut self) {
        self.place = None;
        self.useful = false;
    }

    /// Decides where to go for the URL that the plugin gave, and whether we may.
    pub(super) fn choose(&mut self, url: &str, shared: &Shared) -> Result<Admitted, FetchError> {
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        // The plugin may have it from the venue.
        self.url = shared.secrets.redact(shown).chars().take(200).collect();
        let place = match shared.grants.admit(url) {
            Ok(admitted) => shared.places.pick(&admitted.origin),
            // Said again, and better, below.
            Err(_) => 0,
        };
        let admitted = admit_filled(&shared.grants, &shared.secrets, url, place)?;
        let origin = &admitted.origin;
        // A mirror, or where the operator sends the origin to.
        let host = admitted.url.host_str().unwrap_or_default();
        let port = admitted.url.port_or_known_default().unwrap_or_default();
        if place > 0 || (host, port) != (origin.host(), origin.port()) {
            self.url = format!("{} (at {host}:{port})", self.url);
        }
        self.place = Some((origin.clone(), place));
        Ok(admitted)
    }

    /// The first useful data came.
    pub(super) fn proved_useful(&mut self, shared: &Shared) {
        self.useful = true;
        if let Some((origin, place)) = &self.place {
            shared.places.worked(origin, *place);
        }
    }

    /// Draws conclusions from an end: a place that fails rests, and a venue that refuses us is left alone, unless there is
    /// another place to go to. Answers how long to stay away. `words`: the end, as it may be shown.
    pub(super) fn ended(&self, end: &End, words: &str, shared: &Shared) -> Option<Duration> {
        let (trouble, told) = match end {
            End::Handshake { status, retry_after, .. } => (trouble(*status), *retry_after),
            _ => (None, None),
        };
        if let Some(trouble) = trouble {
            shared.status.set_trouble(trouble, words);
        }
        let wait = told.unwrap_or_default().max(trouble.map_or(Duration::ZERO, |t| least_wait(t, shared.refused_wait)));
        // A connection that gave data and is then lost says nothing against its place.
        let elsewhere = match &self.place {
            Some((origin, place)) if !self.useful && end.blames_the_place() => {
                shared.places.failed(origin, *place, Some(wait))
            }
            _ => false,
        };
        // Mirrors count against the same limits: who was too quick at one is too quick at all.
        let too_quick = matches!(trouble, Some(Trouble::RateLimited | Trouble::Banned));
        (!wait.is_zero() && (too_quick || !elsewhere)).then_some(wait)
    }
}
