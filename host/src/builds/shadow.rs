//! Tries a candidate build beside the running one: both read the same tapes, and `logic::shadow` compares what came out.
//! No sockets: nothing is sent, and nothing gets into the store.
//!
//! A tape is read as the host would have: a fresh codec, `connect` with the recorded answers, the recorded subscriptions
//! in their places, then one frame a call, so that each frame's meaning is known by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::builds::recording::same_path;
use crate::builds::tape::{PollTape, StreamTape, Tape, TapeFrame};
use crate::contract::codec::{
    CodecError, Context, Event, Frame, HttpCodec, Incoming, OpenCodec, Outcome, PlannedRequest, Refusal, Rejection,
    Step, Subscription, WebSocketCodec,
};
use crate::contract::observation::{Key, Observation};
use crate::logic::shadow::{Death, Read, Run, Seen, TapeRun, Verdict, compare};
use crate::plugin::{Configured, PluginInstance};

/// Requests that a plugin may ask for before one connection.
const MAX_FETCHES: usize = 8;

/// Fewer timings say more of the machine than of the build: what there is is read again, for the time only.
const TIMINGS: usize = 9;

/// A build that dies so often on one tape has shown what it is.
const MAX_DEATHS: usize = 3;

/// What it does otherwise is told so often, and so many places where it asks.
const MAX_NOTES: usize = 32;
const MAX_PLACES: usize = 1_000;

/// Longest text of a plugin that is kept.
const MAX_TEXT: usize = 200;

/// What one run may cost.
#[derive(Copy, Clone, Debug)]
pub struct Bounds {
    pub time: Duration,
    /// Frames and answers.
    pub inputs: usize,
    /// Values that are kept for the comparison.
    pub values: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), inputs: 5_000, values: 200_000 }
    }
}

/// Whether `new` may take over from `old`, by what both make of the tapes. `old` is the running build with the settings
/// that it runs with, `new` the candidate with those that it would run with; the tapes are `Provider::tapes`.
///
/// Calls of plugins do not yield: for a blocking thread (`spawn_blocking` around the runtime's `Handle::block_on`). Each
/// of the two takes at most [`Bounds::time`] and one call's budget more. Dropping it drops the instances, and nothing
/// else.
pub async fn shadow(old: &Configured, new: &Configured, tapes: &[Tape]) -> Verdict {
    shadow_within(old, new, tapes, Bounds::default()).await
}

/// As [`shadow`], at another cost.
pub async fn shadow_within(old: &Configured, new: &Configured, tapes: &[Tape], bounds: Bounds) -> Verdict {
    let running = run(old, tapes, bounds).await;
    compare(&running, &run(new, tapes, bounds).await)
}

/// What a build makes of the tapes. Each tape gets an equal share of what may be spent and of what the tapes before it
/// left over; of a tape that is longer, its first and its last frames are read.
pub async fn run(open: &Configured, tapes: &[Tape], bounds: Bounds) -> Run {
    let mut run = Run::default();
    let mut left = bounds;
    for (at, tape) in tapes.iter().enumerate() {
        let tapes_left = tapes.len() - at;
        let started = Instant::now();
        let mut player = Player {
            open,
            codec: None,
            kind: &mut run.kind,
            names: BTreeMap::new(),
            until: started + left.time / u32::try_from(tapes_left).unwrap_or(u32::MAX),
            inputs: (left.inputs / tapes_left).max(1),
            values: (left.values / tapes_left).max(1),
            times: Vec::new(),
            out: TapeRun::default(),
        };
        match tape {
            Tape::Stream(tape) => player.stream(tape).await,
            Tape::Poll(tape) => player.poll(tape).await,
        }
        let granted = (left.values / tapes_left).max(1);
        left.values = left.values.saturating_sub(granted - player.values);
        // By what there was to read, not by what was read: both builds get the same.
        left.inputs = left.inputs.saturating_sub(player.inputs.min(player.out.inputs));
        left.time = left.time.saturating_sub(started.elapsed());
        run.tapes.push(player.end());
    }
    run
}

/// One build on one tape.
struct Player<'a> {
    open: &'a Configured,
    codec: Option<PluginInstance>,
    kind: &'a mut Option<crate::contract::observation::ValueKind>,
    /// The ids as they were subscribed to at this place of the tape.
    names: BTreeMap<Key, Arc<str>>,
    until: Instant,
    inputs: usize,
    values: usize,
    times: Vec<Duration>,
    out: TapeRun,
}

/// The tape is of no more use to this build.
struct Over;

impl Player<'_> {
    fn end(mut self) -> TapeRun {
        self.drop_codec();
        self.times.sort_unstable();
        self.out.median = self.times.get(self.times.len() / 2).copied().unwrap_or_default();
        self.out.slowest = self.times.last().copied().unwrap_or_default();
        self.out
    }

    fn drop_codec(&mut self) {
        let memory = self.codec.take().map_or(0, |codec| codec.memory());
        self.out.memory = self.out.memory.max(memory);
    }

    async fn open(&mut self) -> Result<(), Over> {
        match self.open.open().await {
            Ok((codec, kind)) => {
                *self.kind = Some(kind);
                self.codec = Some(codec);
                Ok(())
            }
            Err(death) => {
                self.out.deaths.push(Death { number: None, why: format!("when it is started: {death}") });
                Err(Over)
            }
        }
    }

    /// Takes note of an error of a call before anything was read, or between. The connection would be over.
    fn failed(&mut self, call: &str, number: Option<u64>, error: &CodecError) {
        let why = cut(&format!("{call}: {error}"));
        match error {
            CodecError::Dead(_) => {
                self.drop_codec();
                self.out.deaths.push(Death { number, why });
            }
            CodecError::Refused(_) => self.out.failures.push(why),
        }
    }

    fn name(&mut self, subscriptions: &[Subscription]) {
        self.names.extend(subscriptions.iter().map(|one| (one.key, one.id.clone())));
    }

    fn reject(&mut self, rejection: &Rejection) {
        if let Some(id) = self.names.get(&rejection.key) {
            self.out.rejected.insert(id.clone(), cut(&rejection.reason));
        }
    }

    fn may_go_on(&self) -> bool {
        self.values > 0 && self.out.deaths.len() < MAX_DEATHS && Instant::now() < self.until
    }

    async fn stream(&mut self, tape: &StreamTape) {
        self.out.unit = "frame";
        self.out.inputs = tape.frames.len();
        let waits = self.open.plugin().description().websocket.as_ref().is_some_and(|limits| limits.waits_for_ready);
        let mut calls = tape.calls.iter().peekable();
        // Where nobody wrote down when it was: at once, or when the plugin is ready.
        let mut subscribed = !tape.calls.is_empty();
        for frame in chosen(&tape.frames, self.inputs) {
            if !self.may_go_on() {
                return;
            }
            if self.codec.is_none() {
                calls = tape.calls.iter().peekable();
                subscribed = !tape.calls.is_empty();
                if self.connect(tape).await.is_err() {
                    return;
                }
            }
            while let Some(call) = calls.next_if(|call| call.before <= frame.number) {
                let done = if call.subscribes {
                    self.subscribe(call.context, &call.subscriptions, frame.number).await
                } else {
                    self.unsubscribe(call.context, &call.subscriptions, frame.number).await
                };
                if done.is_err() {
                    return;
                }
            }
            if !subscribed && !waits {
                subscribed = true;
                if self.subscribe(tape.context, &tape.wanted, frame.number).await.is_err() {
                    return;
                }
            }
            if self.receive(frame).await && !subscribed {
                subscribed = true;
                if self.subscribe(frame.context, &tape.wanted, frame.number).await.is_err() {
                    return;
                }
            }
        }
        for frame in chosen(&tape.frames, self.inputs).cycle() {
            let Some(codec) = self.codec.as_mut().filter(|_| self.times.len() < TIMINGS) else { return };
            let started = Instant::now();
            let read = codec.handle_messages(frame.context, &[incoming(&frame.content)]).await;
            self.times.push(started.elapsed());
            if read.is_err() || !self.may_go_on() {
                return;
            }
        }
    }

    async fn connect(&mut self, tape: &StreamTape) -> Result<(), Over> {
        self.open().await?;
        self.name(&tape.wanted);
        let mut context = tape.context;
        let mut previous = None;
        for fetches in 0..=MAX_FETCHES {
            let Some(codec) = &mut self.codec else { return Err(Over) };
            match codec.connect(context, &tape.wanted, previous).await {
                Ok(Step::Dial(endpoint)) => {
                    self.out.asks.insert(place(&endpoint.url));
                    if fetches < tape.answers.len() && !tape.calls.is_empty() {
                        self.note(format!("connects after {fetches} requests, not {}", tape.answers.len()));
                    }
                    return Ok(());
                }
                Ok(Step::Fetch(request)) => {
                    let Some(answer) = tape.answers.iter().rev().find(|answer| same_path(&answer.url, &request.url))
                    else {
                        let place = place(&request.url);
                        self.note(format!("asks {place} before it connects, and no answer was kept: not tried"));
                        return Ok(());
                    };
                    context = answer.context;
                    previous = Some(&answer.response);
                }
                Err(error) => {
                    self.failed("connect", None, &error);
                    return Err(Over);
                }
            }
        }
        self.out.failures.push(format!("connect: asks for more than {MAX_FETCHES} requests"));
        Err(Over)
    }

    fn note(&mut self, note: String) {
        if self.out.notes.len() < MAX_NOTES && !self.out.notes.contains(&note) {
            self.out.notes.push(note);
        }
    }

    /// In the portions that this build wants, without the ids that it refuses.
    async fn subscribe(&mut self, mut context: Context, wanted: &[Subscription], number: u64) -> Result<(), Over> {
        self.name(wanted);
        let limits = self.open.plugin().description().websocket.as_ref();
        let size = limits.and_then(|limits| limits.ids_per_message).map_or(usize::MAX, |count| count.get() as usize);
        for chunk in wanted.chunks(size.max(1)) {
            let mut asked = chunk.to_vec();
            while !asked.is_empty() {
                let Some(codec) = &mut self.codec else { return Ok(()) };
                let Err(error) = codec.subscribe(context, &asked).await else { break };
                context.nonce = context.nonce.wrapping_add(1);
                let before = asked.len();
                if let CodecError::Refused(Refusal::Rejected(rejections)) = &error {
                    for rejection in rejections {
                        asked.retain(|subscription| subscription.key != rejection.key);
                        self.reject(rejection);
                    }
                }
                if asked.len() == before {
                    self.failed("subscribe", Some(number), &error);
                    return Err(Over);
                }
            }
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, context: Context, gone: &[Subscription], number: u64) -> Result<(), Over> {
        let Some(codec) = &mut self.codec else { return Ok(()) };
        match codec.unsubscribe(context, gone).await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.failed("unsubscribe", Some(number), &error);
                Err(Over)
            }
        }
    }

    /// Answers whether the venue is ready.
    async fn receive(&mut self, frame: &TapeFrame) -> bool {
        let Some(codec) = &mut self.codec else { return false };
        let started = Instant::now();
        let result = codec.handle_messages(frame.context, &[incoming(&frame.content)]).await;
        self.times.push(started.elapsed());
        let mut read = Read { number: frame.number, ..Read::default() };
        let mut ready = false;
        match result {
            Ok(events) => {
                for event in events {
                    ready |= matches!(event, Event::Ready);
                    self.take_event(&mut read, event);
                }
            }
            Err(error) => self.failed("handle-messages", Some(frame.number), &error),
        }
        self.keep(read);
        ready
    }

    fn keep(&mut self, read: Read) {
        self.values = self.values.saturating_sub(read.observed.len() + read.unresolved.len());
        self.out.reads.push(read);
    }

    fn take_event(&mut self, read: &mut Read, event: Event) {
        match event {
            Event::Observed(observation) => self.observed(read, observation),
            Event::Unchanged(key) => read.unchanged.extend(self.names.get(&key).cloned()),
            Event::Rejected(rejection) => self.reject(&rejection),
            Event::Gap { missing, .. } => read.missed = read.missed.saturating_add(missing),
            Event::Malformed { text, .. } => read.malformed.add(&text),
            Event::Unusable { why, .. } => read.unusable.add(&why),
            Event::Reconnect(_) => self.note(format!("wants another connection at frame {}", read.number)),
            Event::Subscribed(_) | Event::Reply(_) | Event::Ready | Event::Alive => {}
        }
    }

    fn observed(&self, read: &mut Read, observation: Observation) {
        let Observation { key, value, observed_at, .. } = observation;
        match self.names.get(&key) {
            Some(id) => drop(read.observed.insert(id.clone(), Seen { value, observed_at })),
            None => read.unusable.add(&format!("a value of number {}, which it was not asked for", key.0)),
        }
    }

    async fn poll(&mut self, tape: &PollTape) {
        self.out.unit = "answer";
        self.out.inputs = tape.answers.len();
        let mut planned = None;
        for (at, answer) in tape.answers.iter().take(self.inputs).enumerate() {
            if !self.may_go_on() {
                return;
            }
            let number = at as u64 + 1;
            let plan = match (planned.take(), &self.codec) {
                (Some(planned), Some(_)) => planned,
                _ => match self.plan(tape).await {
                    Ok(planned) => planned,
                    Err(Over) => return,
                },
            };
            let mut read = Read { number, ..Read::default() };
            let keys = keys_of(&answer.keys, &answer.url, &plan);
            planned = Some(plan);
            if let (Some(keys), Some(codec)) = (keys, &mut self.codec) {
                let started = Instant::now();
                let parsed = codec.parse_response(answer.context, &keys, &answer.response).await;
                self.times.push(started.elapsed());
                self.take_parsed(&mut read, &keys, parsed);
            }
            self.keep(read);
        }
        let plan = planned.unwrap_or_default();
        for answer in tape.answers.iter().take(self.inputs).cycle() {
            let Some(codec) = self.codec.as_mut().filter(|_| self.times.len() < TIMINGS) else { return };
            let Some(keys) = keys_of(&answer.keys, &answer.url, &plan) else { return };
            let started = Instant::now();
            let parsed = codec.parse_response(answer.context, &keys, &answer.response).await;
            self.times.push(started.elapsed());
            if parsed.is_err() || !self.may_go_on() {
                return;
            }
        }
    }

    async fn plan(&mut self, tape: &PollTape) -> Result<Vec<PlannedRequest>, Over> {
        self.open().await?;
        self.name(&tape.wanted);
        let mut asked = tape.wanted.clone();
        let mut context = tape.context;
        let planned = loop {
            let Some(codec) = &mut self.codec else { return Err(Over) };
            if asked.is_empty() {
                break Vec::new();
            }
            let error = match codec.create_requests(context, &asked).await {
                Ok(planned) => break planned,
                Err(error) => error,
            };
            context.nonce = context.nonce.wrapping_add(1);
            let before = asked.len();
            if let CodecError::Refused(Refusal::Rejected(rejections)) = &error {
                for rejection in rejections {
                    asked.retain(|subscription| subscription.key != rejection.key);
                    self.reject(rejection);
                }
            }
            if asked.len() == before {
                self.failed("create-requests", None, &error);
                return Err(Over);
            }
        };
        self.out.asks.extend(planned.iter().take(MAX_PLACES).map(|planned| place(&planned.request.url)));
        let covered: BTreeSet<Key> = planned.iter().flat_map(|planned| &planned.keys).copied().collect();
        let unplanned = asked.iter().filter(|subscription| !covered.contains(&subscription.key));
        self.out.unplanned.extend(unplanned.map(|subscription| subscription.id.clone()));
        Ok(planned)
    }

    fn take_parsed(&mut self, read: &mut Read, keys: &[Key], parsed: Result<Vec<Outcome>, CodecError>) {
        match parsed {
            Ok(outcomes) => {
                for outcome in outcomes {
                    match outcome {
                        Outcome::Observed(observation) if keys.contains(&observation.key) => {
                            self.observed(read, observation);
                        }
                        Outcome::Observed(observation) => {
                            let number = observation.key.0;
                            read.unusable.add(&format!("a value of number {number}, which the answer is not about"));
                        }
                        Outcome::Unchanged(key) => read.unchanged.extend(self.names.get(&key).cloned()),
                        Outcome::Unresolved { key, why: crate::contract::codec::Missing::UnknownId, text } => {
                            self.reject(&Rejection { key, reason: text, permanent: true });
                        }
                        Outcome::Unresolved { key, text, .. } => {
                            let id = self.names.get(&key).cloned();
                            read.unresolved.extend(id.map(|id| (id, cut(&text))));
                        }
                    }
                }
            }
            Err(CodecError::Refused(Refusal::Malformed(text))) => read.malformed.add(&text),
            Err(CodecError::Refused(Refusal::Rejected(rejections))) => {
                rejections.iter().for_each(|rejection| self.reject(rejection));
            }
            Err(CodecError::Refused(refusal)) => {
                let words = cut(&refusal.to_string());
                let ids = keys.iter().filter_map(|key| self.names.get(key));
                read.unresolved.extend(ids.map(|id| (id.clone(), words.clone())));
            }
            Err(error @ CodecError::Dead(_)) => self.failed("parse-response", Some(read.number), &error),
        }
    }
}

/// The frames that are read of a tape of which so many may be.
fn chosen(frames: &[TapeFrame], most: usize) -> impl Iterator<Item = &TapeFrame> + Clone {
    let last = most.saturating_sub(OPENING).min(frames.len());
    let first = (most - last).min(frames.len() - last);
    let (opening, rest) = frames.split_at(first);
    opening.iter().chain(&rest[rest.len() - last..])
}

/// How much of a tape's share its opening gets.
const OPENING: usize = 32;

/// What an answer is about. Where nobody wrote it down, what this build would have asked there.
fn keys_of(recorded: &[Key], url: &str, planned: &[PlannedRequest]) -> Option<Vec<Key>> {
    if !recorded.is_empty() {
        return Some(recorded.to_vec());
    }
    let exact = planned.iter().find(|planned| planned.request.url == url);
    let alike = || planned.iter().find(|planned| same_path(&planned.request.url, url));
    exact.or_else(alike).map(|planned| planned.keys.clone())
}

fn incoming(content: &Frame) -> Incoming<'_> {
    match content {
        Frame::Text(text) => Incoming::Text(text),
        Frame::Binary(bytes) | Frame::Ping(bytes) => Incoming::Binary(bytes),
    }
}

/// Without the query, which may hold ids and times.
fn place(url: &str) -> String {
    cut(url.split(['?', '#']).next().unwrap_or_default())
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
