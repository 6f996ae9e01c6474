//! One HTTP provider at work: drives a [`Schedule`] with one codec and a client. Every id of a poll gets an outcome.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::http::{FetchError, HttpClient};
use super::intake::{Intake, context};
use super::limiter::{Limiter, OriginLimits};
use super::{Wanted, stopped};
use crate::codec::{
    CodecError, HttpCodec, Missing, OpenCodec, Outcome, PlannedRequest, Refusal, Response, Subscription,
};
use crate::description::{Bucket, Limited};
use crate::logic::schedule::{Schedule, ScheduleConfig};
use crate::metrics::Call;
use crate::observation::{Key, PlausibleTimes};
use crate::status::{PollerInfo, ProviderStatus};
use crate::store::{Note, ProviderSlots};

/// Everything a poller needs.
pub(crate) struct PollerSetup<O> {
    pub(crate) open: O,
    pub(crate) slots: Arc<ProviderSlots>,
    pub(crate) status: Arc<ProviderStatus>,
    pub(crate) client: HttpClient,
    pub(crate) buckets: Arc<[Bucket]>,
    pub(crate) origins: Arc<OriginLimits>,
    pub(crate) plausible: PlausibleTimes,
    pub(crate) schedule: ScheduleConfig,
    pub(crate) timeout: Duration,
    pub(crate) max_in_flight: usize,
}

/// Polls until stopped.
pub(crate) async fn run<O: OpenCodec>(
    setup: PollerSetup<O>,
    mut wanted: watch::Receiver<Wanted>,
    mut stop: watch::Receiver<bool>,
) {
    let mut schedule = Schedule::new(setup.schedule.clone(), Instant::now().into_std());
    // A first value does not wait for its tick, which may be minutes away.
    schedule.poll_now();
    let mut poller = Poller {
        intake: Intake::new(setup.slots.clone(), setup.status.metrics.clone(), setup.plausible),
        limiter: Limiter::new(setup.buckets.clone(), setup.origins.clone()),
        codec: None,
        refused: BTreeSet::new(),
        setup,
    };
    poller.take_wanted(&wanted.borrow_and_update());
    let mut info = PollerInfo::default();
    loop {
        if schedule.poll_action(Instant::now().into_std()).is_some() {
            let polled = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                // Plugin calls inside are synchronous or end with the codec: being dropped here is the poller's end.
                polled = poller.poll() => polled,
            };
            let now = Instant::now();
            info.polls += 1;
            info.last_poll = Some(now);
            match polled {
                Ok(()) => {
                    schedule.handle_done(now.into_std());
                    info.last_error.clear();
                    poller.setup.status.metrics.poll("ok");
                }
                Err(failure) => {
                    tracing::warn!(provider = %poller.setup.status.name, error = %failure.reason, "poll failed");
                    schedule.handle_failed(now.into_std(), failure.retry_after, rand::random());
                    info.last_error = failure.reason;
                    poller.setup.status.metrics.poll(failure.cause);
                }
            }
            poller.intake.flush();
        }
        info.failures = schedule.failures();
        let next = schedule.poll_timeout().map(Instant::from_std);
        info.next_poll = next;
        poller.setup.status.update(|status| status.poller = Some(info.clone()));
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                poller.take_wanted(&wanted.borrow_and_update());
                // New ids need not wait for the next tick.
                schedule.poll_now();
            }
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

struct Poller<O: OpenCodec> {
    setup: PollerSetup<O>,
    intake: Intake,
    limiter: Limiter,
    codec: Option<O::Codec>,
    /// Refused for good: not asked for until the ids change.
    refused: BTreeSet<Key>,
}

/// Why a poll as a whole came to nothing.
struct Failure {
    reason: String,
    cause: &'static str,
    retry_after: Option<Duration>,
}

/// What went wrong in one poll so far.
#[derive(Default)]
struct Tally {
    answered: usize,
    failure: Option<Failure>,
    /// Whether the venue wants to be left alone: the rest of the poll is not sent.
    leave: bool,
}

impl<O: OpenCodec> Poller<O> {
    fn take_wanted(&mut self, wanted: &Wanted) {
        self.intake.set_table(wanted.table.clone());
        let keys: BTreeSet<Key> = self.intake.table.iter().map(|slot| slot.key()).collect();
        self.refused.retain(|key| keys.contains(key));
    }

    async fn poll(&mut self) -> Result<(), Failure> {
        let mut asked: Vec<Subscription> = self.intake.table.iter().map(|slot| slot.subscription().clone()).collect();
        asked.retain(|subscription| !self.refused.contains(&subscription.key));
        let planned = self.plan(&mut asked).await?;
        let mut open: BTreeSet<Key> = asked.iter().map(|subscription| subscription.key).collect();
        let tally = self.send_all(planned, &mut open).await;
        let reason = match &tally.failure {
            Some(failure) => failure.reason.clone(),
            None => "the plugin gave no outcome for this id".to_owned(),
        };
        for key in open {
            self.intake.unresolved(key, Missing::Undecided, &reason);
        }
        match tally.failure {
            // One bad batch does not slow the good ones down; being told to stay away does.
            Some(failure) if tally.leave || tally.answered == 0 => {
                let keys: Vec<Key> = asked.iter().map(|subscription| subscription.key).collect();
                self.intake.note(&keys, Note::Down, &failure.reason);
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    /// The requests of this poll. Ids that the plugin refuses are dropped and the rest is asked for again.
    async fn plan(&mut self, asked: &mut Vec<Subscription>) -> Result<Vec<PlannedRequest>, Failure> {
        loop {
            if asked.is_empty() {
                return Ok(Vec::new());
            }
            let result = match self.codec().await {
                Ok(codec) => {
                    let started = Instant::now();
                    let result = codec.create_requests(context(), asked).await;
                    self.setup.status.metrics.call(Call::CreateRequests, started.elapsed());
                    result
                }
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(planned) => return Ok(planned),
                Err(error) => error,
            };
            if let CodecError::Refused(Refusal::Rejected(rejections)) = &error {
                let before = asked.len();
                for rejection in rejections {
                    asked.retain(|subscription| subscription.key != rejection.key);
                    self.reject(rejection.key, &rejection.reason, rejection.permanent);
                }
                if asked.len() < before {
                    continue;
                }
            }
            let failure = self.codec_failed(&error, "create-requests");
            let keys: Vec<Key> = asked.iter().map(|subscription| subscription.key).collect();
            self.intake.note(&keys, Note::Down, &failure.reason);
            return Err(failure);
        }
    }

    async fn send_all(&mut self, planned: Vec<PlannedRequest>, open: &mut BTreeSet<Key>) -> Tally {
        let mut tally = Tally::default();
        let now = Instant::now();
        let mut sends = Vec::new();
        for PlannedRequest { request, keys } in planned {
            // A request that may not go out costs its own ids only.
            let admitted = self.setup.client.admit(&request);
            let at = match &admitted {
                Ok(admitted) => self.limiter.reserve(&admitted.origin, Limited::Request, now),
                Err(_) => now,
            };
            let (client, timeout) = (self.setup.client.clone(), self.setup.timeout);
            sends.push(async move {
                tokio::time::sleep_until(at).await;
                (keys, client.send(&request, timeout).await)
            });
        }
        let mut answers = futures_util::stream::iter(sends).buffer_unordered(self.setup.max_in_flight);
        while let Some((keys, answer)) = answers.next().await {
            match answer {
                Ok(response) => self.take_response(&keys, &response, open, &mut tally).await,
                Err(error) => self.take_error(&keys, &error, open, &mut tally),
            }
            if tally.leave {
                break;
            }
        }
        tally
    }

    fn take_error(&mut self, keys: &[Key], error: &FetchError, open: &mut BTreeSet<Key>, tally: &mut Tally) {
        self.setup.status.metrics.request(error.cause());
        let reason = error.to_string();
        for key in keys {
            if open.remove(key) {
                self.intake.unresolved(*key, Missing::Undecided, &reason);
            }
        }
        tally.failure = Some(Failure { reason, cause: error.cause(), retry_after: None });
    }

    async fn take_response(&mut self, keys: &[Key], response: &Response, open: &mut BTreeSet<Key>, tally: &mut Tally) {
        let busy = matches!(response.status, 418 | 429 | 503);
        self.setup.status.metrics.request(match response.status {
            200..=299 => "ok",
            _ if busy => "told-to-wait",
            _ => "status",
        });
        let receipt = self.intake.receipt();
        let parsed = match self.codec().await {
            Ok(codec) => {
                let started = Instant::now();
                let parsed = codec.parse_response(context(), keys, response).await;
                self.setup.status.metrics.call(Call::ParseResponse, started.elapsed());
                parsed
            }
            Err(error) => Err(error),
        };
        match parsed {
            Ok(outcomes) => {
                tally.answered += usize::from(!busy);
                for outcome in outcomes {
                    let key = match &outcome {
                        Outcome::Observed(observation) => observation.key,
                        Outcome::Unchanged(key) | Outcome::Unresolved { key, .. } => *key,
                    };
                    // Also what this request was not about is a fault, not a value.
                    if !keys.contains(&key) {
                        self.intake.unresolved(Key(u32::MAX), Missing::NoValue, "");
                        continue;
                    }
                    open.remove(&key);
                    match outcome {
                        Outcome::Observed(observation) => self.intake.observed(observation, receipt),
                        Outcome::Unchanged(key) => self.intake.unchanged(key, receipt),
                        Outcome::Unresolved { key, why: Missing::UnknownId, text } => {
                            let text = if text.is_empty() { "the venue does not know this id" } else { &text };
                            self.reject(key, text, true);
                        }
                        Outcome::Unresolved { key, why, text } => self.intake.unresolved(key, why, &text),
                    }
                }
            }
            Err(CodecError::Refused(Refusal::Rejected(rejections))) => {
                tally.answered += usize::from(!busy);
                for rejection in rejections {
                    open.remove(&rejection.key);
                    self.reject(rejection.key, &rejection.reason, rejection.permanent);
                }
            }
            Err(error) => {
                if matches!(error, CodecError::Refused(Refusal::Malformed(_))) {
                    self.intake.malformed();
                }
                let failure = self.codec_failed(&error, "parse-response");
                tally.leave |=
                    matches!(error, CodecError::Refused(Refusal::RateLimited { .. } | Refusal::Unavailable(_)));
                for key in keys {
                    if open.remove(key) {
                        self.intake.unresolved(*key, Missing::Undecided, &failure.reason);
                    }
                }
                tally.failure = Some(failure);
            }
        }
        if busy {
            tally.leave = true;
            // The plugin may have found the time in the body.
            let told = retry_after(&response.headers).max(tally.failure.take().and_then(|failure| failure.retry_after));
            let reason = match told {
                Some(wait) => format!("the venue answered {} and asks to wait {} s", response.status, wait.as_secs()),
                None => format!("the venue answered {}", response.status),
            };
            tally.failure = Some(Failure { reason, cause: "told-to-wait", retry_after: told });
        }
    }

    fn reject(&mut self, key: Key, reason: &str, permanent: bool) {
        if permanent {
            self.refused.insert(key);
        }
        self.intake.rejected(key, reason);
    }

    async fn codec(&mut self) -> Result<&mut O::Codec, CodecError> {
        if self.codec.is_none() {
            let started = Instant::now();
            let (codec, kind) = self.setup.open.open().await?;
            self.setup.status.metrics.call(Call::Open, started.elapsed());
            self.setup.status.update(|info| info.kind = Some(kind));
            self.intake.next_epoch();
            self.codec = Some(codec);
        }
        Ok(self.codec.as_mut().expect("just put there"))
    }

    /// A dead codec is dropped; the next poll gets a fresh one.
    fn codec_failed(&mut self, error: &CodecError, call: &str) -> Failure {
        let (cause, retry_after) = match error {
            CodecError::Dead(death) => {
                self.setup.status.metrics.death(death.kind());
                self.codec = None;
                ("plugin-died", None)
            }
            CodecError::Refused(Refusal::RateLimited { wait, .. }) => ("told-to-wait", *wait),
            CodecError::Refused(Refusal::Unavailable(_)) => ("unavailable", None),
            CodecError::Refused(Refusal::Malformed(_)) => ("malformed", None),
            CodecError::Refused(Refusal::Rejected(_)) => ("rejected", None),
        };
        Failure { reason: format!("{call}: {error}"), cause, retry_after }
    }
}

/// `Retry-After` in both of its forms: seconds, or a date.
pub(super) fn retry_after(headers: &[(String, String)]) -> Option<Duration> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_in_two_forms() {
        let of = |value: &str| retry_after(&[("Retry-After".to_owned(), value.to_owned())]);
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("soon"), None);
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
        assert!(of(&later).is_some_and(|wait| wait > Duration::from_secs(90) && wait <= Duration::from_secs(100)));
    }
}
