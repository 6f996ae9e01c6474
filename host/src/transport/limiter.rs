//! The venues' limits, kept: one budget for each origin in the whole process, and one for each connection. Books and says
//! when; never waits itself.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::contract::description::{Bucket, Limited, Scope};
use crate::contract::origin::Origin;
use crate::logic::backoff::LONGEST_WAIT;
use crate::logic::rate_limit::{RateLimit, reserve_all};

/// What is known of every origin, whoever asked it. One for the process, shared by all providers and outliving each: the
/// first to name an origin's bucket makes it, and whoever uses the origin afterwards keeps to it, whatever its own
/// plugin describes. An origin that told one of them to wait is left alone by all.
///
/// Every provider's thread writes here, so the map is locked in parts: who books at one origin seldom waits for another.
#[derive(Debug, Default)]
pub struct OriginLimits {
    by_origin: DashMap<Origin, OriginLimit>,
}

#[derive(Debug, Default)]
struct OriginLimit {
    buckets: Vec<(Bucket, RateLimit)>,
    /// No request and no connection before this.
    paused_until: Option<Instant>,
}

impl OriginLimits {
    /// The origin asked to be left alone for so long. At most [`LONGEST_WAIT`]; never shortens a pause.
    pub(super) fn pause(&self, origin: &Origin, wait: Duration, now: Instant) {
        let until = now + wait.min(LONGEST_WAIT);
        let mut limit = self.by_origin.entry(origin.clone()).or_default();
        limit.paused_until = limit.paused_until.max(Some(until));
    }

    /// How long the origin wants to be left alone yet; `None` when it may be asked.
    pub(super) fn paused(&self, origin: &Origin, now: Instant) -> Option<Duration> {
        let until = self.by_origin.get(origin)?.paused_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// A window is taken for this much longer than the venue says: what leaves here evenly may arrive closer together, and
/// it is the venue's clock that counts.
const SLACK: f64 = 1.05;

fn rate_limit(bucket: &Bucket) -> RateLimit {
    RateLimit::new(bucket.count, bucket.per.mul_f64(SLACK))
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
        self.own = own.map(|bucket| (*bucket, rate_limit(bucket))).collect();
    }

    /// Books one `what` and says when it may happen.
    pub(super) fn reserve(&mut self, origin: &Origin, what: Limited, now: Instant) -> Instant {
        self.with(origin, what, false, |limits, paused_until| {
            let from = paused_until.map_or(now, |until| until.max(now));
            Instant::from_std(reserve_all(limits, from.into_std()))
        })
    }

    /// Books one `what` if it may happen now; otherwise books nothing and says when to ask again. `control`: it is a
    /// protocol ping, which only some venues count.
    pub(super) fn admit(&mut self, origin: &Origin, what: Limited, control: bool, now: Instant) -> Result<(), Instant> {
        self.with(origin, what, control, |limits, _| {
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
        self.with(origin, Limited::Send, true, |limits, _| reserve_all(limits, now.into_std()));
    }

    /// All budgets that count it, to be booked at one and the same moment: booked one after another, the earlier would
    /// be used later than booked, and its window could overfill. And until when the origin is to be left alone.
    fn with<T>(
        &mut self,
        origin: &Origin,
        what: Limited,
        control: bool,
        book: impl FnOnce(&mut [&mut RateLimit], Option<Instant>) -> T,
    ) -> T {
        let counts = |bucket: &Bucket| {
            let whole = bucket.what == what || (bucket.what == Limited::Send && what == Limited::Subscribe);
            whole && (!control || bucket.counts_control_frames)
        };
        let mut limit = self.origins.by_origin.entry(origin.clone()).or_default();
        let OriginLimit { buckets: shared, paused_until } = &mut *limit;
        for bucket in self.buckets.iter().filter(|bucket| bucket.scope == Scope::Origin) {
            if !shared.iter().any(|(known, _)| known == bucket) {
                shared.push((*bucket, rate_limit(bucket)));
            }
        }
        let all = self.own.iter_mut().chain(shared.iter_mut());
        let mut counting: Vec<&mut RateLimit> =
            all.filter(|(bucket, _)| counts(bucket)).map(|(_, limit)| limit).collect();
        book(&mut counting, *paused_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(what: Limited, scope: Scope) -> Bucket {
        let count = std::num::NonZeroU32::MIN;
        Bucket { what, count, per: Duration::from_secs(1), scope, counts_control_frames: false }
    }

    /// Each of `asked` is a limiter and what it books, all at one moment; compared are the milliseconds it must wait.
    #[track_caller]
    fn check(origins: &Arc<OriginLimits>, now: Instant, asked: &[(&Origin, Limited)], waits: &[u64]) {
        let buckets = [bucket(Limited::Request, Scope::Origin), bucket(Limited::Send, Scope::Connection)];
        let found: Vec<u64> = asked
            .iter()
            .map(|(origin, what)| Limiter::new(buckets.into(), origins.clone()).reserve(origin, *what, now))
            .map(|at| at.saturating_duration_since(now).as_millis() as u64)
            .collect();
        assert_eq!(found, waits);
    }

    #[test]
    fn an_origin_that_told_one_to_wait_is_left_alone_by_all() {
        let [a, b] = ["https://a.example", "https://b.example"].map(|text| Origin::parse(text).expect("an origin"));
        let (origins, now) = (Arc::<OriginLimits>::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(origins.paused(&a, now), None);
        origins.pause(&a, 30 * second, now);
        origins.pause(&a, 10 * second, now);
        assert_eq!(origins.paused(&a, now), Some(30 * second));
        assert_eq!(origins.paused(&a, now + 30 * second), None);
        assert_eq!(origins.paused(&b, now), None);
        // Requests share a budget, connections have none here; frames of an open connection are no new visit.
        let all = [(&a, Limited::Request), (&a, Limited::Request), (&a, Limited::Connect), (&b, Limited::Request)];
        check(&origins, now, &all, &[30_000, 31_050, 30_000, 0]);
        origins.pause(&b, Duration::MAX, now);
        assert_eq!(origins.paused(&b, now), Some(LONGEST_WAIT));
    }

    #[test]
    fn a_window_has_room_for_jitter() {
        let origin = Origin::parse("https://a.example").expect("an origin");
        let (origins, now) = (Arc::<OriginLimits>::default(), Instant::now());
        let request = (&origin, Limited::Request);
        check(&origins, now, &[request, request, request], &[0, 1_050, 2_100]);
    }
}
