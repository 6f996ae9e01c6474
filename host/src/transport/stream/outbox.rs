//! Frames that wait for the venue's limits. Nothing here reads, or knows what a frame says.
//!
//! What keeps a connection alive never waits behind subscriptions: their limits may be counted by the hour. Budget is
//! booked when a frame goes, so nothing is booked for a connection that ends first.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::end::End;
use super::websocket::Socket;
use crate::contract::codec::Frame;
use crate::contract::description::Limited;
use crate::contract::origin::Origin;
use crate::transport::limiter::Limiter;

/// Most frames that may wait.
const MAX_WAITING: usize = 10_000;

/// Two lanes; see the module.
#[derive(Default)]
pub(super) struct Outbox {
    first: VecDeque<Outgoing>,
    subscriptions: VecDeque<Outgoing>,
    /// When the next frame may go, if it has to wait.
    next_at: Option<Instant>,
    /// Frames of a subscription were put in, and nobody was told yet that they are gone.
    subscribing: bool,
}

struct Outgoing {
    frame: Frame,
    what: Limited,
}

impl Outbox {
    /// The error: the plugin wants to send too much.
    pub(super) fn push(&mut self, frame: Frame, what: Limited) -> Result<(), End> {
        if self.first.len() + self.subscriptions.len() >= MAX_WAITING {
            return Err(End::TooManyFrames(MAX_WAITING));
        }
        let lane = if what == Limited::Subscribe { &mut self.subscriptions } else { &mut self.first };
        lane.push_back(Outgoing { frame, what });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.subscriptions.is_empty()
    }

    /// Takes the frames of one subscription; [`Outbox::take_subscribed`] says when they are gone. Those behind one that
    /// finds no room are tried, too.
    pub(super) fn push_subscription(&mut self, frames: Vec<Frame>) -> Result<(), End> {
        self.subscribing = true;
        frames.into_iter().map(|frame| self.push(frame, Limited::Subscribe)).fold(Ok(()), Result::and)
    }

    /// Whether the frames of a subscription are gone, once.
    pub(super) fn take_subscribed(&mut self) -> bool {
        self.subscriptions.is_empty() && std::mem::take(&mut self.subscribing)
    }

    /// When the next frame may go, if it has to wait.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Hands on what may go now, and says how many frames went.
    pub(super) fn send_due(
        &mut self,
        limiter: &mut Limiter,
        origin: &Origin,
        socket: &mut Socket,
        now: Instant,
    ) -> Result<u64, End> {
        self.next_at = None;
        let mut sent = 0;
        for lane in [&mut self.first, &mut self.subscriptions] {
            while let Some(next) = lane.front() {
                let control = matches!(next.frame, Frame::Ping(_));
                if let Err(at) = limiter.admit(origin, next.what, control, now) {
                    self.next_at = Some(self.next_at.map_or(at, |other| other.min(at)));
                    break;
                }
                let Some(next) = lane.pop_front() else { break };
                socket.send(next.frame)?;
                sent += 1;
            }
        }
        Ok(sent)
    }

    /// The connection is gone, and with it everything that waited for it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
