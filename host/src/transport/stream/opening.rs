//! The steps to an open socket: what a codec asks for next, a request or a dial, begun within the limits. Calls no codec;
//! what becomes of a step is `connection`'s.

use tokio::time::Instant;

use super::destination::Destination;
use super::end::End;
use super::link::Link;
use super::setup::SessionSetup;
use super::websocket::dial;
use crate::builds::tape::Recorder;
use crate::contract::codec::{Endpoint, Request, Step};
use crate::contract::description::Limited;
use crate::logic::session::{Overrides, Session};
use crate::transport::limiter::Limiter;

/// Requests that a plugin may ask for before one connection.
const MAX_FETCHES: usize = 8;

/// What a step uses and changes.
pub(super) struct Opening<'a, O> {
    pub(super) setup: &'a SessionSetup<O>,
    pub(super) session: &'a mut Session,
    pub(super) limiter: &'a mut Limiter,
    pub(super) destination: &'a mut Destination,
    pub(super) recorder: &'a mut Recorder,
}

impl<O> Opening<'_, O> {
    /// Begins a step. `fetches`: how many requests this attempt has made so far.
    pub(super) fn begin<C>(self, codec: Box<C>, step: Step, fetches: usize) -> Result<Link<C>, End> {
        match step {
            Step::Fetch(_) if fetches == MAX_FETCHES => Err(End::Fetches(MAX_FETCHES)),
            Step::Fetch(request) => self.fetch(codec, request, fetches + 1),
            Step::Dial(endpoint) => self.dial(codec, endpoint),
        }
    }

    fn fetch<C>(self, codec: Box<C>, request: Request, fetches: usize) -> Result<Link<C>, End> {
        let (client, timeout) = (self.setup.shared.client.clone(), self.setup.fetch_timeout);
        let admitted = client.admit(&request).map_err(End::Fetch)?;
        let at = self.limiter.reserve(&admitted.origin, Limited::Request, Instant::now());
        self.session.handle_delayed(at.into_std());
        self.recorder.fetching(&request.url);
        let answer = Box::pin(async move {
            tokio::time::sleep_until(at).await;
            client.send(&request, &[], timeout).await
        });
        Ok(Link::Fetching { codec, fetches, answer })
    }

    fn dial<C>(self, codec: Box<C>, endpoint: Endpoint) -> Result<Link<C>, End> {
        let SessionSetup { shared, dial: steps, socket: limits, .. } = self.setup;
        let admitted = self.destination.choose(&endpoint.url, shared).map_err(End::Fetch)?;
        let origin = admitted.origin.clone();
        let at = self.limiter.reserve(&origin, Limited::Connect, Instant::now());
        self.session.handle_delayed(at.into_std());
        let overrides = Overrides {
            heartbeat_interval: endpoint.heartbeat_interval,
            idle_timeout: endpoint.idle_timeout,
            replace_after: None,
        };
        let dialing = dial(admitted, endpoint, shared.secrets.clone(), shared.network.clone(), *steps, *limits);
        let socket = Box::pin(async move {
            tokio::time::sleep_until(at).await;
            dialing.await.map(Box::new)
        });
        Ok(Link::Dialing { codec, origin, overrides, socket })
    }
}
