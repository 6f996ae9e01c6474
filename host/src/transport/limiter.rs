//! The venues' limits, kept: one budget for each origin in the whole process, and one for each connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::description::{Bucket, Limited, Scope};
use crate::logic::rate_limit::{RateLimit, reserve_all};
use crate::origin::Origin;

/// Every origin's budgets. One for the process, shared by all providers: the first to name an origin's bucket makes
/// it, and whoever uses the origin afterwards keeps to it, whatever its own plugin describes.
#[derive(Debug, Default)]
pub struct OriginLimits {
    origins: Mutex<HashMap<Origin, Vec<(Bucket, RateLimit)>>>,
}

/// One connection's or one poller's view of the limits.
#[derive(Debug)]
pub(super) struct Limiter {
    buckets: Arc<[Bucket]>,
    origins: Arc<OriginLimits>,
    own: Vec<(Bucket, RateLimit)>,
}

impl Limiter {
    pub(super) fn new(buckets: Arc<[Bucket]>, origins: Arc<OriginLimits>) -> Self {
        let mut limiter = Self { buckets, origins, own: Vec::new() };
        limiter.reset();
        limiter
    }

    /// A new connection: its own budgets are full again.
    pub(super) fn reset(&mut self) {
        let own = self.buckets.iter().filter(|bucket| bucket.scope == Scope::Connection);
        self.own = own.map(|bucket| (*bucket, RateLimit::new(bucket.count, bucket.per))).collect();
    }

    /// Books one `what` and says when it may happen.
    pub(super) fn reserve(&mut self, origin: &Origin, what: Limited, now: Instant) -> Instant {
        self.with(origin, what, false, |limits| Instant::from_std(reserve_all(limits, now.into_std())))
    }

    /// Books one `what` if it may happen now; otherwise books nothing and says when to ask again. `control`: it is a
    /// protocol ping, which only some venues count.
    pub(super) fn admit(&mut self, origin: &Origin, what: Limited, control: bool, now: Instant) -> Result<(), Instant> {
        self.with(origin, what, control, |limits| {
            let free = limits.iter().map(|limit| limit.peek(now.into_std())).max().map(Instant::from_std);
            match free {
                Some(at) if at > now => Err(at),
                _ => {
                    reserve_all(limits, now.into_std());
                    Ok(())
                }
            }
        })
    }

    /// Counts a protocol pong, which nothing holds up, where the venue counts them.
    pub(super) fn count_pong(&mut self, origin: &Origin, now: Instant) {
        self.with(origin, Limited::Send, true, |limits| reserve_all(limits, now.into_std()));
    }

    /// All budgets that count it, to be booked at one and the same moment: booked one after another, the earlier would
    /// be used later than booked, and its window could overfill.
    fn with<T>(
        &mut self,
        origin: &Origin,
        what: Limited,
        control: bool,
        book: impl FnOnce(&mut [&mut RateLimit]) -> T,
    ) -> T {
        let counts = |bucket: &Bucket| {
            let whole = bucket.what == what || (bucket.what == Limited::Send && what == Limited::Subscribe);
            whole && (!control || bucket.counts_control_frames)
        };
        let mut origins = self.origins.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = origins.entry(origin.clone()).or_default();
        for bucket in self.buckets.iter().filter(|bucket| bucket.scope == Scope::Origin) {
            if !shared.iter().any(|(known, _)| known == bucket) {
                shared.push((*bucket, RateLimit::new(bucket.count, bucket.per)));
            }
        }
        let all = self.own.iter_mut().chain(shared.iter_mut());
        let mut counting: Vec<&mut RateLimit> =
            all.filter(|(bucket, _)| counts(bucket)).map(|(_, limit)| limit).collect();
        book(&mut counting)
    }
}
