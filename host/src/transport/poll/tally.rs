//! What became of one poll: its outcomes counted, and what they say of our standing with the venue. Nothing
//! is stored or sent here.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::contract::codec::Response;
use crate::contract::observation::Key;
use crate::status::Trouble;
use crate::transport::http::retry_after;
use crate::transport::places::least_wait;
use crate::transport::shared::Shared;

/// Why a poll as a whole came to nothing.
pub(super) struct Failure {
    pub(super) reason: String,
    /// The bounded word for metrics.
    pub(super) cause: &'static str,
    pub(super) retry_after: Option<Duration>,
}

/// What became of one poll so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) answered: usize,
    /// The ids that were asked for, and those of them that have an outcome.
    pub(super) asked: BTreeSet<Key>,
    pub(super) decided: BTreeSet<Key>,
    pub(super) failure: Option<Failure>,
    /// Whether the venue wants to be left alone: the rest of the poll is not sent.
    pub(super) leave: bool,
    /// What the venue has against us, by the last status that said so, and whether it served us at all.
    pub(super) trouble: Option<(Trouble, u16)>,
    pub(super) served: bool,
}

impl Tally {
    /// The venue answered "not now".
    pub(super) fn told_to_wait(&mut self, response: &Response) {
        self.leave = true;
        // The plugin may have found the time in the body.
        let told = retry_after(&response.headers).max(self.failure.take().and_then(|failure| failure.retry_after));
        let reason = match told {
            Some(wait) => format!("the venue answered {} and asks to wait {} s", response.status, wait.as_secs()),
            None => format!("the venue answered {}", response.status),
        };
        self.failure = Some(Failure { reason, cause: "told-to-wait", retry_after: told });
    }

    /// Draws conclusions from the statuses of a whole poll. A venue that refused every request is left alone.
    pub(super) fn conclude(&mut self, shared: &Shared) {
        if self.served {
            return shared.status.clear_trouble();
        }
        let Some((trouble, status)) = self.trouble else { return };
        let failed = self.failure.take();
        let reason = match &failed {
            Some(failure) => failure.reason.clone(),
            None => format!("the venue answered with status {status}"),
        };
        shared.status.set_trouble(trouble, &reason);
        let told = failed.as_ref().and_then(|failure| failure.retry_after);
        let wait = least_wait(trouble, shared.refused_wait);
        self.failure = if wait.is_zero() {
            failed
        } else {
            self.leave = true;
            Some(Failure { reason, cause: "refused", retry_after: Some(wait.max(told.unwrap_or_default())) })
        };
    }
}
