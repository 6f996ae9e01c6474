//! One HTTP provider at work: drives a [`Schedule`] with one codec and a client. Every id of a poll gets an outcome. Every
//! poll passes through here; the parts of it are in the files beside this one.
//!
//! A poll sends at most `max_in_flight` of the plan's requests, in turns ([`Turns`]). Ids whose turn it is not keep
//! what is known of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::exchange::Exchange;
use super::ids::Ids;
use super::plan::Plan;
use super::tally::{Failure, Tally};
use super::validators::Validators;
use crate::builds::faults::Input;
use crate::contract::codec::{
    CodecError, HttpCodec, Missing, OpenCodec, PlannedRequest, Refusal, Response, Subscription,
};
use crate::contract::observation::Key;
use crate::logic::schedule::{Circuit, Schedule, ScheduleConfig};
use crate::logic::turns::{Turns, polls_per_cycle};
use crate::status::PollerInfo;
use crate::status::metrics::Call;
use crate::store::Note;
use crate::transport::clock::{context, now};
use crate::transport::http::{FetchError, is_busy};
use crate::transport::intake::Intake;
use crate::transport::places::trouble;
use crate::transport::shared::Shared;
use crate::transport::wanted::{Polled, stopped};

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
    let mut schedule = Schedule::new(setup.schedule.clone(), now());
    // A first value does not wait for its tick, which may be minutes away.
    schedule.poll_now();
    let mut poller = Poller::new(setup);
    poller.take_wanted(wanted.borrow_and_update().clone());
    let mut info = PollerInfo::default();
    loop {
        if schedule.poll_action(now()).is_some() {
            info.circuit = schedule.circuit();
            info.next_poll = None;
            poller.publish(&info);
            let polled = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                // Plugin calls inside are synchronous or end with the codec: being dropped here is the poller's end.
                polled = poller.poll(info.circuit) => polled,
            };
            let ended = Instant::now();
            info.polls += 1;
            info.last_poll = Some(ended);
            match polled {
                Ok(reached) => {
                    schedule.handle_done(ended.into_std());
                    // A first value waits for its turn, not for a tick as well.
                    if reached == Reached::Some {
                        schedule.poll_now();
                    }
                    info.last_error.clear();
                    poller.shared.status.metrics.poll("ok");
                }
                Err(failure) => {
                    tracing::warn!(provider = %poller.shared.status.name, error = %failure.reason, "poll failed");
                    schedule.handle_failed(ended.into_std(), failure.retry_after, rand::random());
                    if schedule.circuit() == Circuit::Open {
                        poller.ids.note_all_down(&failure.reason);
                    }
                    info.last_error = failure.reason;
                    poller.shared.status.metrics.poll(failure.cause);
                }
            }
            poller.ids.intake.flush();
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
    shared: Arc<Shared>,
    ids: Ids,
    exchange: Exchange,
    turns: Turns,
    validators: Validators,
    codec: Option<O::Codec>,
    /// How long it takes to ask for every id once, by the last plan.
    cycle: Option<Duration>,
}

/// Whether every id that is wanted has been asked for at least once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Reached {
    All,
    Some,
}

impl<O: OpenCodec> Poller<O> {
    fn new(setup: PollerSetup<O>) -> Self {
        let shared = setup.shared.clone();
        Self {
            ids: Ids::new(Intake::new(&shared), setup.least_max_age, setup.schedule.interval),
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
            cycle: None,
            shared,
            setup,
        }
    }

    fn publish(&self, info: &PollerInfo) {
        self.shared.status.metrics.poll_circuit(info.circuit);
        self.shared.status.update(|status| status.poller = Some(info.clone()));
    }

    fn take_wanted(&mut self, wanted: Polled) {
        self.ids.take_wanted(wanted);
        let keys = self.ids.keys();
        self.turns.retain(|key| keys.contains(&key));
    }

    async fn poll(&mut self, circuit: Circuit) -> Result<Reached, Failure> {
        let mut wanted = self.ids.to_ask();
        let planned = self.plan(&mut wanted).await?;
        let polls = polls_per_cycle(planned.len(), self.setup.max_in_flight);
        let cycle = self.setup.schedule.interval.saturating_mul(polls);
        self.cycle = Some(cycle);
        self.ids.set_cycle(cycle);
        self.validators.retain(&planned);
        let mut plan = Plan::new(planned);
        let mut tally = Tally::default();
        for subscription in wanted.iter().filter(|subscription| !plan.names(subscription.key)) {
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
        tally.conclude(&self.shared);
        let reason = match &tally.failure {
            Some(failure) => failure.reason.clone(),
            None => "the plugin gave no outcome for this id".to_owned(),
        };
        // An id that stands in a request whose turn it was not may yet get one there.
        let waiting = plan.waiting();
        for key in tally.asked.difference(&tally.decided).filter(|key| !waiting.contains(key)) {
            self.ids.intake.unresolved(*key, Missing::Undecided, &reason);
        }
        match tally.failure {
            // One bad batch does not slow the good ones down; being told to stay away does.
            Some(failure) if tally.leave || tally.answered == 0 => {
                if tally.leave {
                    self.ids.note_all_down(&failure.reason);
                } else {
                    self.ids.intake.note(&tally.asked, Note::Down, &failure.reason);
                }
                Err(failure)
            }
            _ if wanted.iter().all(|subscription| self.turns.knows(subscription.key)) => Ok(Reached::All),
            _ => Ok(Reached::Some),
        }
    }

    /// The requests of this poll. Ids that the plugin refuses are dropped and the rest is asked for again.
    async fn plan(&mut self, asked: &mut Vec<Subscription>) -> Result<Vec<PlannedRequest>, Failure> {
        loop {
            if asked.is_empty() {
                return Ok(Vec::new());
            }
            let context = context();
            self.shared.tapes.planned(context, asked);
            let result = match self.codec().await {
                Ok(codec) => {
                    let started = Instant::now();
                    let result = codec.create_requests(context, asked).await;
                    self.shared.status.metrics.call(Call::CreateRequests, started.elapsed());
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
                    self.ids.reject(rejection);
                }
                if asked.len() < before {
                    continue;
                }
            }
            let failure = self.codec_failed(&error, "create-requests", None);
            let keys: Vec<Key> = asked.iter().map(|subscription| subscription.key).collect();
            self.ids.intake.note(&keys, Note::Down, &failure.reason);
            return Err(failure);
        }
    }

    /// Sends at most `most` of the requests, those whose ids have waited longest, all at once.
    async fn send(&mut self, plan: &mut Plan, most: usize, tally: &mut Tally) {
        let chosen = self.turns.choose(&plan.keys(), most);
        let mut sends = Vec::new();
        // A trial may have taken one of them.
        for at in chosen {
            let Some(planned) = plan.take(at) else { continue };
            tally.asked.extend(&planned.keys);
            // A 304 confirms what that answer brought, so all of it must still be what is held.
            let confirmable = planned.keys.iter().all(|key| plan.is_alone(*key) && self.ids.intake.holds_own(*key));
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
                    self.shared.tapes.answered(context(), &planned, &response);
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
        self.shared.status.metrics.request("not-modified");
        tally.answered += 1;
        tally.served = true;
        let receipt = self.ids.intake.receipt(Instant::now());
        for key in &planned.keys {
            tally.decided.insert(*key);
            if self.ids.intake.holds_own(*key) {
                self.ids.intake.unchanged(*key, receipt);
            } else {
                self.validators.forget(&planned.request);
                let text = "the venue answered 304 for a value that is no longer held; it is asked in full next time";
                self.ids.intake.unresolved(*key, Missing::Undecided, text);
            }
        }
    }

    fn take_error(&mut self, keys: &[Key], error: &FetchError, tally: &mut Tally) {
        self.shared.status.metrics.request(error.cause());
        let reason = self.ids.intake.shorten(&error.to_string());
        self.ids.leave_undecided(keys, &reason, tally);
        let retry_after = match error {
            FetchError::Paused { left, .. } => Some(*left),
            _ => None,
        };
        tally.leave |= retry_after.is_some();
        tally.failure = Some(Failure { reason, cause: error.cause(), retry_after });
    }

    /// Takes in an answer. Whether the store now holds what it says of every id.
    async fn take_response(&mut self, keys: &[Key], response: &Response, tally: &mut Tally) -> bool {
        let busy = is_busy(response.status);
        if let Some(trouble) = trouble(response.status) {
            tally.trouble = Some((trouble, response.status));
        }
        let mut held = BTreeSet::new();
        self.shared.status.metrics.request(match response.status {
            200..=299 => "ok",
            _ if busy => "told-to-wait",
            _ => "status",
        });
        let receipt = self.ids.intake.receipt(Instant::now());
        let parsed = match self.codec().await {
            Ok(codec) => {
                let started = Instant::now();
                let parsed = codec.parse_response(context(), keys, response).await;
                self.shared.status.metrics.call(Call::ParseResponse, started.elapsed());
                parsed
            }
            Err(error) => Err(error),
        };
        match parsed {
            Ok(outcomes) => {
                tally.answered += usize::from(!busy);
                tally.served |= response.status < 400;
                held = self.ids.take_outcomes(outcomes, keys, receipt, tally);
            }
            Err(CodecError::Refused(Refusal::Rejected(rejections))) => {
                tally.answered += usize::from(!busy);
                for rejection in rejections {
                    tally.decided.insert(rejection.key);
                    self.ids.reject(&rejection);
                }
            }
            Err(error) => {
                if matches!(error, CodecError::Refused(Refusal::Malformed(_))) {
                    self.ids.intake.malformed();
                }
                let failure = self.codec_failed(&error, "parse-response", Input::response(keys, response));
                tally.leave |=
                    matches!(error, CodecError::Refused(Refusal::RateLimited { .. } | Refusal::Unavailable(_)));
                self.ids.leave_undecided(keys, &failure.reason, tally);
                tally.failure = Some(failure);
            }
        }
        if busy {
            tally.told_to_wait(response);
        }
        keys.iter().all(|key| held.contains(key))
    }

    async fn codec(&mut self) -> Result<&mut O::Codec, CodecError> {
        if self.codec.is_none() {
            let started = Instant::now();
            let (codec, kind) = self.setup.open.open().await?;
            self.shared.status.metrics.call(Call::Open, started.elapsed());
            self.shared.status.update(|info| info.kind = Some(kind));
            self.ids.intake.next_epoch();
            self.codec = Some(codec);
        }
        Ok(self.codec.as_mut().expect("just put there"))
    }

    /// A dead codec is dropped; the next poll gets a fresh one.
    fn codec_failed(&mut self, error: &CodecError, call: &'static str, input: Option<Input>) -> Failure {
        let reason = self.ids.intake.shorten(&error.to_string());
        let retry_after = self.shared.codec_failed(error, call, input, &reason);
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
