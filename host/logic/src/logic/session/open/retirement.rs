//! When a connection that works is to be replaced, and when it is to be closed.
//!
//! Opening the successor, and closing this connection once the successor delivers, is the caller's.

use std::time::Instant;

use crate::logic::session::action::CloseReason;

/// The planned end of one connection.
///
/// Invariants: of two plans the sooner one holds. A successor is asked for once, and again only when it was given up.
#[derive(Clone, Debug)]
pub(in crate::logic::session) struct Retirement {
    /// When to open a successor, and why. `None`: never, or it was asked for.
    replace: Option<Planned>,
    /// A successor was asked for.
    replaced: bool,
    /// When to close, with or without a successor, and why.
    close: Option<Planned>,
}

#[derive(Copy, Clone, Debug)]
struct Planned {
    at: Instant,
    reason: CloseReason,
}

impl Retirement {
    /// What the age of the connection means for it.
    pub(super) fn new(replace_at: Option<Instant>, close_at: Option<Instant>) -> Self {
        let for_age = |at| Planned { at, reason: CloseReason::MaxAge };
        Self { replace: replace_at.map(for_age), replaced: false, close: close_at.map(for_age) }
    }

    /// Ask for a successor at `at`, unless that is planned for sooner or was done.
    pub(in crate::logic::session) fn replace_by(&mut self, at: Instant, reason: CloseReason) {
        if !self.replaced && self.replace.is_none_or(|planned| at < planned.at) {
            self.replace = Some(Planned { at, reason });
        }
    }

    /// The successor was given up: ask for another at `at`.
    pub(in crate::logic::session) fn handle_not_replaced(&mut self, at: Instant, reason: CloseReason) {
        self.replaced = false;
        self.replace_by(at, reason);
    }

    /// Close the connection at `at`, unless that is planned for sooner.
    pub(in crate::logic::session) fn close_by(&mut self, at: Instant, reason: CloseReason) {
        if self.close.is_none_or(|planned| at < planned.at) {
            self.close = Some(Planned { at, reason });
        }
    }

    /// Why to ask for a successor now. It then counts as done.
    pub(super) fn poll_replace(&mut self, now: Instant) -> Option<CloseReason> {
        let planned = self.replace.take_if(|planned| planned.at <= now)?;
        self.replaced = true;
        Some(planned.reason)
    }

    /// Why to close now.
    pub(super) fn reason_to_close(&self, now: Instant) -> Option<CloseReason> {
        self.close.filter(|planned| planned.at <= now).map(|planned| planned.reason)
    }

    /// When a successor is to be asked for.
    pub(super) fn replace_at(&self) -> Option<Instant> {
        self.replace.map(|planned| planned.at)
    }

    /// When to close.
    pub(super) fn close_at(&self) -> Option<Instant> {
        self.close.map(|planned| planned.at)
    }
}
