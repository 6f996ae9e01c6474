//! One HTTP provider at work: drives a [`Schedule`] with one codec and a client. Every id of a poll gets an outcome.
//!
//! A poll sends at most `max_in_flight` of the plan's requests, in turns ([`Turns`]). Ids whose turn it is not keep
//! what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::exchange::Exchange;
use super::validators::Validators;
use crate::builds::faults::Input;
use crate::contract::codec::{
    CodecError, HttpCodec, Missing, OpenCodec, Outcome, PlannedRequest, Refusal, Response, Subscription,
};
use crate::contract::observation::Key;
use crate::logic::schedule::{Circuit, Schedule, ScheduleConfig};
use crate::logic::turns::{Turns, polls_per_cycle};
use crate::status::metrics::Call;
use crate::status::{PollerInfo, Trouble};
use crate::store::Note;
use crate::transport::clock::context;
use crate::transport::http::{FetchError, is_busy, retry_after};
use crate::transport::intake::Intake;
use crate::transport::places::{least_wait, trouble};
use crate::transport::shared::Shared;
use crate::transport::wanted::{Polled, stopped};

/// How many times an id may be asked for in vain before its value is old, where the operator does not say.
const POLLS_A_VALUE_LASTS: u32 = 3;

/// Everything a poller needs.
pub(crate) struct PollerSetup<O> {
    pub(crate) open: O,
    pub(crate) shared: Arc<Shared>,
    pub(crate) schedule: ScheduleConfig,
    pub(crate) timeout: Duration,
    pub(crate) max_in_flight: usize,
    /// When a GET that has no answer yet is sent once more.
    pub(crate) hedge_after: Option<Duration>,
    /// For the ids of [`Polled::aged_by_cycle`].
    pub(crate) least_max_age: Duration,
}

/// Polls until stopped.
pub(crate) async fn run<O: OpenCodec>(
    setup: PollerSetup<O>,
    mut wanted: watch::Receiver<Polled>,
    mut stop: watch::Receiver<bool>,
) {
    let mut schedule = Schedule::new(setup.schedule.clone(), Instant::now().into_std());
    // A first value does not wait for its tick, which may be minutes away.
    schedule.poll_now();
    let mut poller = Poller::new(setup);
    poller.take_wanted(wanted.borrow_and_update().clone());
    let mut info = PollerInfo::default();
    loop {
        if schedule.poll_action(Instant::now().into_std()).is_some() {
            info.circuit = schedule.circuit();
            info.next_poll = None;
            poller.publish(&info);
            let polled = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                // Plugin calls inside are synchronous or end with the codec: being dropped here is the poller's end.
                polled = poller.poll(info.circuit) => polled,
            };
            let now = Instant::now();
            info.polls += 1;
            info.last_poll = Some(now);
            match polled {
                Ok(reached) => {
                    schedule.handle_done(now.into_std());
                    // A first value waits for its turn, not for a tick as well.
                    if reached == Reached::Some {
                        schedule.poll_now();
                    }
                    info.last_error.clear();
                    poller.setup.shared.status.metrics.poll("ok");
                }
                Err(failure) => {
                    tracing::warn!(provider = %poller.setup.shared.status.name, error = %failure.reason, "poll failed");
                    schedule.handle_failed(now.into_std(), failure.retry_after, rand::random());
                    if schedule.circuit() == Circuit::Open {
                        poller.note_all_down(&failure.reason);
                    }
                    info.last_error = failure.reason;
                    poller.setup.shared.status.metrics.poll(failure.cause);
                }
            }
            poller.intake.flush();
        }
        info.failures = schedule.failures();
        let next = schedule.poll_timeout().map(Instant::from_std);
        info.next_poll = next;
        info.circuit = schedule.circuit();
        info.cycle = poller.cycle;
        poller.publish(&info);
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                poller.take_wanted(wanted.borrow_and_update().clone());
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
    exchange: Exchange,
    turns: Turns,
    validators: Validators,
    codec: Option<O::Codec>,
    /// Refused for good: not asked for until the ids change.
    refused: BTreeSet<Key>,
    aged_by_cycle: BTreeSet<Key>,
    /// How long it takes to ask for every id once, by the last plan.
    cycle: Option<Duration>,
}

/// Whether every id that is wanted has been asked for at least once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Reached {
    All,
    Some,
}

/// Why a poll as a whole came to nothing.
struct Failure {
    reason: String,
    cause: &'static str,
    retry_after: Option<Duration>,
}

/// The requests of one poll. Those that are sent are taken out.
struct Plan {
    requests: Vec<Option<PlannedRequest>>,
    keys: Vec<Vec<Key>>,
    /// In how many of them each id stands.
    named: BTreeMap<Key, usize>,
}

impl Plan {
    fn new(planned: Vec<PlannedRequest>) -> Self {
        let keys: Vec<Vec<Key>> = planned.iter().map(|planned| planned.keys.clone()).collect();
        let mut named = BTreeMap::new();
        for key in keys.iter().flatten() {
            *named.entry(*key).or_default() += 1;
        }
        Self { requests: planned.into_iter().map(Some).collect(), keys, named }
    }

    /// Whether only one request is about the id.
    fn is_alone(&self, key: Key) -> bool {
        self.named.get(&key) == Some(&1)
    }
}

/// What became of one poll so far.
#[derive(Default)]
struct Tally {
    answered: usize,
    /// The ids that were asked for, and those of them that have an outcome.
    asked: BTreeSet<Key>,
    decided: BTreeSet<Key>,
    failure: Option<Failure>,
    /// Whether the venue wants to be left alone: the rest of the poll is not sent.
    leave: bool,
    /// What the venue has against us, by the last status that said so, and whether it served us at all.
    trouble: Option<(Trouble, u16)>,
    served: bool,
}

impl<O: OpenCodec> Poller<O> {
    fn new(setup: PollerSetup<O>) -> Self {
        let shared = &setup.shared;
        Self {
            intake: Intake::new(shared),
            exchange: Exchange {
                client: shared.client.clone(),
                limiter: Arc::new(Mutex::new(shared.limiter())),
                metrics: shared.status.metrics.clone(),
                timeout: setup.timeout,
                hedge_after: setup.hedge_after,
            },
            turns: Turns::default(),
            validators: Validators::default(),
            codec: None,
            refused: BTreeSet::new(),
            aged_by_cycle: BTreeSet::new(),
            cycle: None,
            setup,
        }
    }

    fn publish(&self, info: &PollerInfo) {
        self.setup.shared.status.metrics.poll_circuit(info.circuit);
        self.setup.shared.status.update(|status| status.poller = Some(info.clone()));
    }

    fn take_wanted(&mut self, wanted: Polled) {
        self.intake.set_table(wanted.table);
        self.aged_by_cycle = wanted.aged_by_cycle;
        let keys: BTreeSet<Key> = self.intake.table.iter().map(|slot| slot.key()).collect();
        self.refused.retain(|key| keys.contains(key));
        self.turns.retain(|key| keys.contains(&key));
        self.set_max_ages();
    }

    fn set_max_ages(&self) {
        let cycle = self.cycle.unwrap_or(self.setup.schedule.interval);
        let max_age = self.setup.least_max_age.max(cycle.saturating_mul(POLLS_A_VALUE_LASTS));
        for slot in self.aged_by_cycle.iter().filter_map(|key| self.intake.table.get(*key)) {
            slot.set_max_age(max_age);
        }
    }

    fn note_all_down(&mut self, reason: &str) {
        let keys: Vec<Key> = self.intake.table.iter().map(|slot| slot.key()).collect();
        self.intake.note(&keys, Note::Down, reason);
    }

    async fn poll(&mut self, circuit: Circuit) -> Result<Reached, Failure> {
        let mut wanted: Vec<Subscription> = self.intake.table.iter().map(|slot| slot.subscription().clone()).collect();
        wanted.retain(|subscription| !self.refused.contains(&subscription.key));
        let planned = self.plan(&mut wanted).await?;
        let polls = polls_per_cycle(planned.len(), self.setup.max_in_flight);
        let cycle = Some(self.setup.schedule.interval.saturating_mul(polls));
        if self.cycle != cycle {
            self.cycle = cycle;
            self.set_max_ages();
        }
        self.validators.retain(&planned);
        let mut plan = Plan::new(planned);
        let mut tally = Tally::default();
        for subscription in wanted.iter().filter(|subscription| !plan.named.contains_key(&subscription.key)) {
            self.turns.skip(subscription.key);
            tally.asked.insert(subscription.key);
        }
        let mut most = self.setup.max_in_flight;
        if circuit == Circuit::HalfOpen {
            self.send(&mut plan, 1, &mut tally).await;
            most -= 1;
        }
        if tally.failure.is_none() {
            self.send(&mut plan, most, &mut tally).await;
        }
        self.draw_conclusions(&mut tally);
        let reason = match &tally.failure {
            Some(failure) => failure.reason.clone(),
            None => "the plugin gave no outcome for this id".to_owned(),
        };
        // An id that stands in a request whose turn it was not may yet get one there.
        let waiting: BTreeSet<Key> =
            plan.requests.iter().flatten().flat_map(|planned| &planned.keys).copied().collect();
        for key in tally.asked.difference(&tally.decided).filter(|key| !waiting.contains(key)) {
            self.intake.unresolved(*key, Missing::Undecided, &reason);
        }
        match tally.failure {
            // One bad batch does not slow the good ones down; being told to stay away does.
            Some(failure) if tally.leave || tally.answered == 0 => {
                if tally.leave {
                    self.note_all_down(&failure.reason);
                } else {
                    self.intake.note(&tally.asked, Note::Down, &failure.reason);
                }
                Err(failure)
            }
            _ if wanted.iter().all(|subscription| self.turns.knows(subscription.key)) => Ok(Reached::All),
            _ => Ok(Reached::Some),
        }
    }

    /// What the statuses of a poll say of our standing with the venue. One that refuses every request is left alone.
    fn draw_conclusions(&self, tally: &mut Tally) {
        if tally.served {
            return self.setup.shared.status.clear_trouble();
        }
        let Some((trouble, status)) = tally.trouble else { return };
        let failed = tally.failure.take();
        let reason = match &failed {
            Some(failure) => failure.reason.clone(),
            None => format!("the venue answered with status {status}"),
        };
        self.setup.shared.status.set_trouble(trouble, &reason);
        let told = failed.as_ref().and_then(|failure| failure.retry_after);
        let wait = least_wait(trouble, self.setup.shared.refused_wait);
        tally.failure = if wait.is_zero() {
            failed
        } else {
            tally.leave = true;
            Some(Failure { reason, cause: "refused", retry_after: Some(wait.max(told.unwrap_or_default())) })
        };
    }

    /// The requests of this poll. Ids that the plugin refuses are dropped and the rest is asked for again.
    async fn plan(&mut self, asked: &mut Vec<Subscription>) -> Result<Vec<PlannedRequest>, Failure> {
        loop {
            if asked.is_empty() {
                return Ok(Vec::new());
            }
            let context = context();
            self.setup.shared.tapes.planned(context, asked);
            let result = match self.codec().await {
                Ok(codec) => {
                    let started = Instant::now();
                    let result = codec.create_requests(context, asked).await;
                    self.setup.shared.status.metrics.call(Call::CreateRequests, started.elapsed());
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
            let failure = self.codec_failed(&error, "create-requests", None);
            let keys: Vec<Key> = asked.iter().map(|subscription| subscription.key).collect();
            self.intake.note(&keys, Note::Down, &failure.reason);
            return Err(failure);
        }
    }

    /// Sends at most `most` of the requests, those whose ids have waited longest, all at once.
    async fn send(&mut self, plan: &mut Plan, most: usize, tally: &mut Tally) {
        let chosen = self.turns.choose(&plan.keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), most);
        let mut sends = Vec::new();
        // A trial may have taken one of them.
        for at in chosen {
            let Some(planned) = plan.requests.get_mut(at).and_then(Option::take) else { continue };
            tally.asked.extend(&planned.keys);
            // A 304 confirms what that answer brought, so all of it must still be what is held.
            let confirmable = planned.keys.iter().all(|key| plan.is_alone(*key) && self.intake.holds_own(*key));
            let conditions = if confirmable { self.validators.conditions(&planned.request) } else { Vec::new() };
            let exchange = self.exchange.clone();
            sends.push(async move {
                let answer = exchange.ask(&planned.request, &conditions).await;
                (planned, conditions.is_empty(), answer)
            });
        }
        let width = sends.len().max(1);
        let mut answers = futures_util::stream::iter(sends).buffer_unordered(width);
        while let Some((planned, in_full, answer)) = answers.next().await {
            match answer {
                Ok(response) if response.status == 304 && !in_full => self.take_confirmation(&planned, tally),
                Ok(response) => {
                    self.setup.shared.tapes.answered(context(), &planned, &response);
                    let held = self.take_response(&planned.keys, &response, tally).await;
                    if held && planned.keys.iter().all(|key| plan.is_alone(*key)) {
                        self.validators.keep(&planned.request, &response);
                    } else {
                        self.validators.forget(&planned.request);
                    }
                }
                Err(error) => self.take_error(&planned.keys, &error, tally),
            }
            if tally.leave {
                break;
            }
        }
    }

    /// The venue says that nothing has changed since the answer that the store holds.
    fn take_confirmation(&mut self, planned: &PlannedRequest, tally: &mut Tally) {
        self.setup.shared.status.metrics.request("not-modified");
        tally.answered += 1;
        tally.served = true;
        let receipt = self.intake.receipt(Instant::now());
        for key in &planned.keys {
            tally.decided.insert(*key);
            if self.intake.holds_own(*key) {
                self.intake.unchanged(*key, receipt);
            } else {
                self.validators.forget(&planned.request);
                let text = "the venue answered 304 for a value that is no longer held; it is asked in full next time";
                self.intake.unresolved(*key, Missing::Undecided, text);
            }
        }
    }

    fn take_error(&mut self, keys: &[Key], error: &FetchError, tally: &mut Tally) {
        self.setup.shared.status.metrics.request(error.cause());
        let reason = self.intake.shorten(&error.to_string());
        for key in keys {
            if tally.decided.insert(*key) {
                self.intake.unresolved(*key, Missing::Undecided, &reason);
            }
        }
        let retry_after = match error {
            FetchError::Paused { left, .. } => Some(*left),
            _ => None,
        };
        tally.leave |= retry_after.is_some();
        tally.failure = Some(Failure { reason, cause: error.cause(), retry_after });
    }

    /// Whether the store now holds what the answer says of every id.
    async fn take_response(&mut self, keys: &[Key], response: &Response, tally: &mut Tally) -> bool {
        let busy = is_busy(response.status);
        if let Some(trouble) = trouble(response.status) {
            tally.trouble = Some((trouble, response.status));
        }
        let mut held = BTreeSet::new();
        self.setup.shared.status.metrics.request(match response.status {
            200..=299 => "ok",
            _ if busy => "told-to-wait",
            _ => "status",
        });
        let receipt = self.intake.receipt(Instant::now());
        let parsed = match self.codec().await {
            Ok(codec) => {
                let started = Instant::now();
                let parsed = codec.parse_response(context(), keys, response).await;
                self.setup.shared.status.metrics.call(Call::ParseResponse, started.elapsed());
                parsed
            }
            Err(error) => Err(error),
        };
        match parsed {
            Ok(outcomes) => {
                tally.answered += usize::from(!busy);
                tally.served |= response.status < 400;
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
                    tally.decided.insert(key);
                    match outcome {
                        Outcome::Observed(observation) => {
                            if self.intake.observed(observation, receipt) {
                                held.insert(key);
                            }
                        }
                        Outcome::Unchanged(key) => {
                            self.intake.unchanged(key, receipt);
                            if self.intake.holds_own(key) {
                                held.insert(key);
                            }
                        }
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
                    tally.decided.insert(rejection.key);
                    self.reject(rejection.key, &rejection.reason, rejection.permanent);
                }
            }
            Err(error) => {
                if matches!(error, CodecError::Refused(Refusal::Malformed(_))) {
                    self.intake.malformed();
                }
                let failure = self.codec_failed(&error, "parse-response", Input::response(keys, response));
                tally.leave |=
                    matches!(error, CodecError::Refused(Refusal::RateLimited { .. } | Refusal::Unavailable(_)));
                for key in keys {
                    if tally.decided.insert(*key) {
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
        keys.iter().all(|key| held.contains(key))
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
            self.setup.shared.status.metrics.call(Call::Open, started.elapsed());
            self.setup.shared.status.update(|info| info.kind = Some(kind));
            self.intake.next_epoch();
            self.codec = Some(codec);
        }
        Ok(self.codec.as_mut().expect("just put there"))
    }

    /// A dead codec is dropped; the next poll gets a fresh one.
    fn codec_failed(&mut self, error: &CodecError, call: &'static str, input: Option<Input>) -> Failure {
        let reason = self.intake.shorten(&error.to_string());
        let retry_after = self.setup.shared.codec_failed(error, call, input, &reason);
        let cause = match error {
            CodecError::Dead(_) => {
                self.codec = None;
                "plugin-died"
            }
            CodecError::Refused(Refusal::RateLimited { .. }) => "told-to-wait",
            CodecError::Refused(Refusal::Unavailable(_)) => "unavailable",
            CodecError::Refused(Refusal::Malformed(_)) => "malformed",
            CodecError::Refused(Refusal::Rejected(_)) => "rejected",
        };
        Failure { reason: format!("{call}: {reason}"), cause, retry_after }
    }
}
