//! One connection of a slot, across its own attempts: drives a [`Session`] over one socket at a time, with a fresh codec
//! for each attempt.
//!
//! Plugin calls are awaited where they stand, never as an arm of a wait. Nothing that is sent holds up what is received:
//! frames wait in an `outbox` for their limits, and in the socket's buffer for the venue. When to wait, and what for, is
//! `session`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::link::{Happened, Link};
use super::outbox::Outbox;
use super::setup::SessionSetup;
use super::stages::Stages;
use super::websocket::{Batch, End, Heard, Socket, dial};
use crate::builds::faults::Input;
use crate::builds::tape::Recorder;
use crate::contract::codec::{
    CodecError, Endpoint, Event, Frame, Incoming, OpenCodec, Reconnect, Refusal, Response, Step, Subscription,
    WebSocketCodec,
};
use crate::contract::description::{Compression, Limited};
use crate::contract::observation::Key;
use crate::contract::origin::Origin;
use crate::logic::session::{self as machine, Action, CloseReason, Overrides, Session};
use crate::logic::subscriptions::ASKS;
use crate::status::Trouble;
use crate::status::metrics::Call;
use crate::store::{Note, SlotTable};
use crate::transport::clock::{context, context_at, now};
use crate::transport::http::admit_filled;
use crate::transport::inflate::inflate;
use crate::transport::intake::Intake;
use crate::transport::limiter::Limiter;
use crate::transport::places::{least_wait, trouble};
use crate::transport::wanted::Wanted;

/// Requests that a plugin may ask for before one connection.
const MAX_FETCHES: usize = 8;

/// One connection at work.
pub(super) struct Connection<O: OpenCodec> {
    setup: Arc<SessionSetup<O>>,
    pub(super) session: Session,
    link: Link<O::Codec>,
    pub(super) intake: Intake,
    limiter: Limiter,
    outbox: Outbox,
    recorder: Recorder,
    /// A subscription's frames are in the outbox; the session waits to hear that they are gone.
    subscribing: bool,
    /// What the venue was asked for on this connection. The table forgets an id at once when it is no longer wanted;
    /// the venue must still be told.
    asked: BTreeMap<Key, Subscription>,
    /// The link ended and the session has not been told.
    ended: Option<End>,
    /// A successor is wanted.
    replace: Option<CloseReason>,
    url: String,
    /// Where the attempt, or the connection, leads: the origin as the plugin knows it, and which of its places.
    place: Option<(Origin, usize)>,
    /// Whether useful data came on this connection.
    useful: bool,
    last_end: Option<(String, Instant)>,
}

impl<O: OpenCodec> Connection<O> {
    /// Does nothing until it is asked to [`Connection::act`].
    pub(super) fn new(setup: Arc<SessionSetup<O>>, session: Session, table: SlotTable) -> Self {
        let mut intake = Intake::new(&setup.shared);
        intake.set_table(table);
        Self {
            session,
            link: Link::Down,
            limiter: setup.shared.limiter(),
            intake,
            outbox: Outbox::default(),
            recorder: setup.shared.tapes.recorder(),
            subscribing: false,
            asked: BTreeMap::new(),
            ended: None,
            replace: None,
            url: String::new(),
            place: None,
            useful: false,
            last_end: None,
            setup,
        }
    }

    /// What is to take this one's place: it wants the same, and keeps quiet until it does.
    pub(super) fn successor(&self) -> Self {
        let session = self.session.successor(now(), self.setup.start_delay);
        let table = self.intake.table.clone();
        let mut successor = Self::new(self.setup.clone(), session, table);
        successor.intake.set_quiet(true);
        successor.recorder = self.recorder.successor();
        successor
    }

    /// It serves from now on; `reason`: why what served before does not.
    pub(super) fn serve(&mut self, ended: Option<(String, Instant)>) {
        self.intake.set_quiet(false);
        self.last_end = ended.or(self.last_end.take());
    }

    pub(super) fn take_wanted(&mut self, wanted: &Wanted) {
        self.intake.set_table(wanted.table.clone());
        self.session.set_wanted(&wanted.keys, now());
    }

    /// Does all that is to be done now.
    pub(super) async fn act(&mut self) {
        loop {
            while self.ended.is_none()
                && let Some(action) = self.session.poll_action(now())
            {
                self.do_action(action).await;
            }
            self.send_due();
            if self.ended.is_none() {
                return;
            }
            self.report_end();
        }
    }

    /// Waits for the next thing that happens. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Happened {
        self.link.next().await
    }

    /// Why a successor is wanted, once.
    pub(super) fn take_replace(&mut self) -> Option<CloseReason> {
        self.replace.take()
    }

    pub(super) fn last_end(&self) -> Option<(String, Instant)> {
        self.last_end.clone()
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Leaves the venue because a successor serves: the socket, to say goodbye with, if there is one.
    pub(super) fn leave(mut self, cause: &'static str) -> Option<Box<Socket>> {
        let Link::Up { socket, .. } = std::mem::replace(&mut self.link, Link::Down) else { return None };
        self.setup.shared.status.metrics.connections_open.dec();
        self.setup.shared.status.metrics.disconnect(cause);
        Some(socket)
    }

    /// Which ids have been silent for too long: each is asked for anew, or costs the connection.
    pub(super) fn check_silence(&mut self) {
        let clock = self.intake.receipt(Instant::now()).monotonic;
        let mut silent = BTreeSet::new();
        for key in self.session.keys() {
            match self.session.subscription(key) {
                Some(machine::Subscription::Acknowledged) if self.intake.is_silent(key, clock) => {
                    silent.insert(key);
                }
                Some(machine::Subscription::Unconfirmed { asks: ASKS }) => {
                    self.intake.unconfirmed(key, ASKS);
                    if self.intake.is_silent(key, clock) {
                        silent.insert(key);
                    }
                }
                _ => {}
            }
        }
        self.session.handle_silence(&silent, now());
    }

    async fn do_action(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect().await,
            Action::Subscribe(keys) => self.subscribe(&keys).await,
            Action::Unsubscribe(keys) => self.unsubscribe(&keys).await,
            Action::Heartbeat => self.heartbeat().await,
            Action::Ping => {
                self.queue(Frame::Ping(Vec::new()), Limited::Send);
            }
            Action::Replace(reason) => self.replace = Some(reason),
            Action::Close(reason) => self.close(reason).await,
        }
    }

    /// Opens a codec and takes the first step.
    async fn connect(&mut self) {
        self.limiter.reset();
        self.intake.next_epoch();
        self.place = None;
        self.useful = false;
        let started = Instant::now();
        match self.setup.open.open().await {
            Ok((codec, kind)) => {
                self.setup.shared.status.metrics.call(Call::Open, started.elapsed());
                self.setup.shared.status.update(|info| info.kind = Some(kind));
                self.step(Box::new(codec), 0, None).await;
            }
            Err(death) => self.codec_failed(CodecError::Dead(death), "configure", None),
        }
    }

    /// Asks the codec what is next and starts it.
    async fn step(&mut self, mut codec: Box<O::Codec>, fetches: usize, previous: Option<Response>) {
        let keys = self.session.keys();
        let subscriptions = self.intake.table.subscriptions(&keys);
        let context = context();
        match &previous {
            None => self.recorder.begin(context, &subscriptions),
            Some(response) => self.recorder.fetched(context, response),
        }
        let started = Instant::now();
        let step = codec.connect(context, &subscriptions, previous.as_ref()).await;
        self.setup.shared.status.metrics.call(Call::Connect, started.elapsed());
        match step {
            Ok(Step::Fetch(_)) if fetches == MAX_FETCHES => self.ended = Some(End::Fetches(MAX_FETCHES)),
            Ok(Step::Fetch(request)) => {
                let admitted = match self.setup.shared.client.admit(&request) {
                    Ok(admitted) => admitted,
                    Err(error) => return self.ended = Some(End::Fetch(error)),
                };
                let at = self.limiter.reserve(&admitted.origin, Limited::Request, Instant::now());
                self.session.handle_delayed(at.into_std());
                self.recorder.fetching(&request.url);
                let (client, timeout) = (self.setup.shared.client.clone(), self.setup.fetch_timeout);
                let answer = Box::pin(async move {
                    tokio::time::sleep_until(at).await;
                    client.send(&request, &[], timeout).await
                });
                self.link = Link::Fetching { codec, fetches: fetches + 1, answer };
            }
            Ok(Step::Dial(endpoint)) => self.dial(codec, endpoint),
            Err(error) => self.codec_failed(error, "connect", None),
        }
    }

    fn dial(&mut self, codec: Box<O::Codec>, endpoint: Endpoint) {
        let url = endpoint.url.split(['?', '#']).next().unwrap_or_default();
        // The plugin may have it from the venue.
        self.url = self.setup.shared.secrets.redact(url).chars().take(200).collect();
        let place = match self.setup.shared.grants.admit(&endpoint.url) {
            Ok(admitted) => self.setup.shared.places.pick(&admitted.origin),
            // Said again, and better, below.
            Err(_) => 0,
        };
        let admitted = match admit_filled(&self.setup.shared.grants, &self.setup.shared.secrets, &endpoint.url, place) {
            Ok(admitted) => admitted,
            Err(error) => return self.ended = Some(End::Fetch(error)),
        };
        let origin = admitted.origin.clone();
        self.place = Some((origin.clone(), place));
        // A mirror, or where the operator sends the origin to.
        let host = admitted.url.host_str().unwrap_or_default();
        let port = admitted.url.port_or_known_default().unwrap_or_default();
        if place > 0 || (host, port) != (origin.host(), origin.port()) {
            self.url = format!("{} (at {host}:{port})", self.url);
        }
        let at = self.limiter.reserve(&origin, Limited::Connect, Instant::now());
        self.session.handle_delayed(at.into_std());
        let overrides = Overrides {
            heartbeat_interval: endpoint.heartbeat_interval,
            idle_timeout: endpoint.idle_timeout,
            replace_after: None,
        };
        let (setup, shared) = (&self.setup, &self.setup.shared);
        let dialing =
            dial(admitted, endpoint, shared.secrets.clone(), shared.network.clone(), setup.dial, setup.socket);
        let socket = Box::pin(async move {
            tokio::time::sleep_until(at).await;
            dialing.await.map(Box::new)
        });
        self.link = Link::Dialing { codec, origin, overrides, socket };
    }

    /// Takes in what happened.
    pub(super) async fn handle(&mut self, happened: Happened) {
        match (happened, std::mem::replace(&mut self.link, Link::Down)) {
            (Happened::Fetched(Ok(response)), Link::Fetching { codec, fetches, .. }) => {
                self.setup.shared.status.metrics.request(if response.status < 300 { "ok" } else { "status" });
                if let (418 | 429 | 503, Some(wait)) =
                    (response.status, crate::transport::http::retry_after(&response.headers))
                {
                    self.session.handle_retry_after(now(), wait);
                }
                self.step(codec, fetches, Some(response)).await;
            }
            (Happened::Fetched(Err(error)), _) => {
                self.setup.shared.status.metrics.request(error.cause());
                self.ended = Some(End::Fetch(error));
            }
            (Happened::Dialed(Ok(socket)), Link::Dialing { codec, origin, overrides, .. }) => {
                self.setup.shared.status.metrics.connects.inc();
                self.setup.shared.status.metrics.connections_open.inc();
                tracing::info!(provider = %self.setup.shared.status.name, connection = self.setup.number, url = %self.url, "connected");
                self.link = Link::Up { codec, origin, socket };
                let replace_after = self.setup.replace_after();
                self.session.handle_opened(now(), Overrides { replace_after, ..overrides });
            }
            (Happened::Dialed(Err(end)), link) => {
                if let (End::Handshake { retry_after: Some(wait), .. }, Link::Dialing { origin, .. }) = (&end, &link) {
                    self.setup.shared.origins.pause(origin, *wait, Instant::now());
                }
                self.ended = Some(end);
            }
            (Happened::Heard(heard), link) => {
                self.link = link;
                match heard {
                    Heard::Messages(batch) => self.receive(batch).await,
                    Heard::Ended(end) => self.ended = Some(end),
                }
            }
            // `next` answers for the link as it stands.
            (Happened::Fetched(_) | Happened::Dialed(_), _) => {}
        }
    }

    /// The message path: what arrived, through the codec, into the store.
    async fn receive(&mut self, Batch { messages, reading }: Batch) {
        let arrived = Instant::now();
        let receipt = self.intake.receipt(arrived);
        self.session.handle_received(arrived.into_std());
        let Link::Up { codec, origin, .. } = &mut self.link else { return };
        let metrics = &self.setup.shared.status.metrics;
        let mut unpacked = Vec::new();
        if self.setup.compression != Compression::None {
            for message in &messages {
                if let Message::Binary(packed) = message {
                    match inflate(packed, self.setup.compression, self.setup.socket.max_message) {
                        Ok(content) => unpacked.push(content),
                        Err(error) => {
                            tracing::debug!(provider = %self.setup.shared.status.name, %error, "a message stays packed");
                            self.intake.malformed();
                            unpacked.push(Vec::new());
                        }
                    }
                }
            }
        }
        let mut unpacked = unpacked.iter();
        let mut frames = Vec::with_capacity(messages.len());
        let mut bytes = 0;
        for message in &messages {
            bytes += message.len();
            match message {
                Message::Text(text) => frames.push(Incoming::Text(text)),
                Message::Binary(binary) if self.setup.compression == Compression::None => {
                    frames.push(Incoming::Binary(binary));
                }
                Message::Binary(_) => match unpacked.next() {
                    Some(content) if !content.is_empty() => {
                        frames.push(match std::str::from_utf8(content) {
                            Ok(text) => Incoming::Text(text),
                            Err(_) => Incoming::Binary(content),
                        });
                    }
                    _ => {}
                },
                // The answer was sent by the socket; here it is only counted.
                Message::Ping(_) => {
                    self.limiter.count_pong(origin, Instant::now());
                }
                Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        metrics.frames_received.inc_by(frames.len() as u64);
        metrics.bytes_received.inc_by(bytes as u64);
        if frames.is_empty() {
            return;
        }
        let mut stages = reading.map(|socket| Stages::new(frames.len(), socket, arrived));
        let context = context_at(receipt.at);
        self.recorder.frames(context, &frames);
        if let Some(stages) = &mut stages {
            stages.unpacked();
        }
        let result = codec.handle_messages(context, &frames).await;
        if let Some(stages) = &mut stages {
            metrics.call(Call::HandleMessages, stages.parsed());
        }
        let worn = stages.is_some() && codec.is_worn();
        match result {
            Ok(events) => {
                let unanswered = self.session.unanswered() > 0;
                let unread = unread(&events).map(|text| format!("a message could not be read: {text}"));
                let useful = |event: &Event| matches!(event, Event::Observed(_) | Event::Unchanged(_));
                if !self.useful && events.iter().any(useful) {
                    self.first_data();
                }
                for event in events {
                    self.take_event(event, receipt, unanswered);
                }
                if let Some(reason) = unread {
                    self.intake.note(&self.session.keys(), Note::Unresolved, &reason);
                }
                self.intake.flush();
                if let Some(stages) = stages {
                    self.setup.shared.status.metrics.stages(&stages.stored());
                }
                if worn {
                    self.session.handle_worn(arrived.into_std());
                }
            }
            Err(error) => {
                let input = Input::frames(&frames);
                self.codec_failed(error, "handle-messages", input);
            }
        }
    }

    fn first_data(&mut self) {
        self.useful = true;
        self.session.handle_data();
        self.setup.shared.status.clear_trouble();
        if let Some((origin, place)) = &self.place {
            self.setup.shared.places.worked(origin, *place);
        }
    }

    fn take_event(&mut self, event: Event, receipt: crate::contract::observation::Receipt, unanswered: bool) {
        match event {
            Event::Observed(observation) => {
                // A value is as good as an acknowledgement.
                if unanswered {
                    self.session.handle_subscribed(observation.key, now());
                }
                self.intake.observed(observation, receipt);
            }
            Event::Unchanged(key) => self.intake.unchanged(key, receipt),
            Event::Subscribed(key) => {
                self.session.handle_subscribed(key, now());
                self.intake.subscribed(key);
            }
            Event::Rejected(rejection) => {
                self.session.handle_rejected(rejection.key, rejection.permanent, now());
                self.intake.rejected(rejection.key, &rejection.reason);
            }
            Event::Reply(frame) => self.queue(frame, Limited::Send),
            Event::Ready => self.session.handle_ready(now()),
            Event::Alive => {}
            Event::Reconnect(when) => {
                let when = match when {
                    Reconnect::Now => machine::Reconnect::Now,
                    Reconnect::OverlapWithin(time) => machine::Reconnect::OverlapWithin(time),
                    Reconnect::After(time) => {
                        let words = format!("the venue asks to stay away for {} s", time.as_secs());
                        self.setup.shared.status.set_trouble(Trouble::Maintenance, &words);
                        machine::Reconnect::After(time)
                    }
                };
                self.session.handle_reconnect(when, now());
            }
            Event::Gap { key, missing } => self.intake.gap(key, missing),
            Event::Malformed { text, .. } => {
                let error = self.intake.shorten(&text);
                tracing::debug!(provider = %self.setup.shared.status.name, error, "a frame could not be read");
                self.intake.malformed();
            }
            Event::Unusable { key, why } => self.intake.unusable(key, &why),
        }
    }

    async fn subscribe(&mut self, keys: &[Key]) {
        let mut asked = self.intake.table.subscriptions(keys);
        let Link::Up { codec, .. } = &mut self.link else { return };
        let mut call = context();
        self.recorder.subscribing(call, &asked);
        // The plugin may refuse some; the rest is asked for again, at most once for each.
        loop {
            if asked.is_empty() {
                self.session.handle_sent(now());
                return;
            }
            let started = Instant::now();
            let result = codec.subscribe(std::mem::replace(&mut call, context()), &asked).await;
            self.setup.shared.status.metrics.call(Call::Subscribe, started.elapsed());
            let rejections = match result {
                Ok(frames) => {
                    let clock = self.intake.receipt(Instant::now()).monotonic;
                    for subscription in &asked {
                        let again = self.asked.contains_key(&subscription.key);
                        self.intake.asked(subscription.key, again, clock);
                    }
                    self.asked.extend(asked.into_iter().map(|subscription| (subscription.key, subscription)));
                    return self.queue_subscription(frames);
                }
                Err(CodecError::Refused(Refusal::Rejected(rejections))) => rejections,
                Err(error) => return self.codec_failed(error, "subscribe", None),
            };
            let before = asked.len();
            for rejection in rejections {
                asked.retain(|subscription| subscription.key != rejection.key);
                self.session.handle_rejected(rejection.key, rejection.permanent, now());
                self.intake.rejected(rejection.key, &rejection.reason);
            }
            if asked.len() == before {
                let text = "subscribe refused ids that it was not asked for".to_owned();
                return self.codec_failed(CodecError::Refused(Refusal::Malformed(text)), "subscribe", None);
            }
        }
    }

    async fn unsubscribe(&mut self, keys: &[Key]) {
        let asked: Vec<Subscription> = keys.iter().filter_map(|key| self.asked.remove(key)).collect();
        let Link::Up { codec, .. } = &mut self.link else { return };
        if asked.is_empty() {
            self.session.handle_sent(now());
            return;
        }
        let context = context();
        self.recorder.unsubscribing(context, &asked);
        match codec.unsubscribe(context, &asked).await {
            Ok(frames) => self.queue_subscription(frames),
            Err(error) => self.codec_failed(error, "unsubscribe", None),
        }
    }

    fn queue_subscription(&mut self, frames: Vec<Frame>) {
        self.subscribing = true;
        for frame in frames {
            self.queue(frame, Limited::Subscribe);
        }
        self.check_sent();
    }

    async fn heartbeat(&mut self) {
        let Link::Up { codec, .. } = &mut self.link else { return };
        let started = Instant::now();
        let result = codec.heartbeat(context()).await;
        self.setup.shared.status.metrics.call(Call::Heartbeat, started.elapsed());
        match result {
            Ok(frames) => frames.into_iter().for_each(|frame| self.queue(frame, Limited::Send)),
            Err(error) => self.codec_failed(error, "heartbeat", None),
        }
    }

    fn queue(&mut self, frame: Frame, what: Limited) {
        if let Err(end) = self.outbox.push(frame, what) {
            self.ended = Some(end);
        }
    }

    fn send_due(&mut self) {
        let Link::Up { origin, socket, .. } = &mut self.link else { return };
        // On the message path there is nothing to send.
        if self.outbox.is_empty() && socket.write_deadline().is_none() {
            return;
        }
        let now = Instant::now();
        match self.outbox.send_due(&mut self.limiter, origin, socket, now).and_then(|sent| {
            self.setup.shared.status.metrics.frames_sent.inc_by(sent);
            socket.check_write(now)
        }) {
            Ok(()) => self.check_sent(),
            Err(end) => self.ended = Some(end),
        }
    }

    fn check_sent(&mut self) {
        if self.subscribing && !self.outbox.has_subscriptions() {
            self.subscribing = false;
            self.session.handle_sent(now());
        }
    }

    async fn close(&mut self, reason: CloseReason) {
        if let Link::Up { socket, .. } = std::mem::replace(&mut self.link, Link::Down) {
            self.setup.shared.status.metrics.connections_open.dec();
            socket.close(self.setup.goodbye()).await;
        }
        self.ended = Some(End::ours(reason));
        self.report_end();
    }

    fn codec_failed(&mut self, error: CodecError, call: &'static str, input: Option<Input>) {
        let reason = self.intake.shorten(&error.to_string());
        if let Some(wait) = self.setup.shared.codec_failed(&error, call, input, &reason) {
            self.session.handle_retry_after(now(), wait);
        }
        self.ended = Some(End::Codec(error));
    }

    /// What an end says of the place and of the venue: a place that fails rests, and a venue that refuses us is left
    /// alone, unless there is another place to go to.
    fn draw_conclusions(&mut self, end: &End) {
        let (trouble, told) = match end {
            End::Handshake { status, retry_after, .. } => (trouble(*status), *retry_after),
            _ => (None, None),
        };
        if let Some(trouble) = trouble {
            self.setup.shared.status.set_trouble(trouble, &self.intake.shorten(&end.to_string()));
        }
        let wait = told
            .unwrap_or_default()
            .max(trouble.map_or(Duration::ZERO, |t| least_wait(t, self.setup.shared.refused_wait)));
        // A connection that gave data and is then lost says nothing against its place.
        let failed = !self.useful && !matches!(end, End::Ours(_) | End::Codec(_) | End::Fetch(_) | End::Fetches(_));
        let elsewhere = match &self.place {
            Some((origin, place)) if failed => self.setup.shared.places.failed(origin, *place, Some(wait)),
            _ => false,
        };
        // Mirrors count against the same limits: who was too quick at one is too quick at all.
        let too_quick = matches!(trouble, Some(Trouble::RateLimited | Trouble::Banned));
        if !wait.is_zero() && (too_quick || !elsewhere) {
            self.session.handle_retry_after(now(), wait);
        }
    }

    /// Tells everyone that the link is gone, once.
    fn report_end(&mut self) {
        let Some(end) = self.ended.take() else { return };
        if let Link::Up { .. } = std::mem::replace(&mut self.link, Link::Down) {
            self.setup.shared.status.metrics.connections_open.dec();
        }
        self.outbox.clear();
        self.asked.clear();
        self.subscribing = false;
        self.draw_conclusions(&end);
        let keys = self.session.keys();
        self.session.handle_ended(now(), rand::random());
        let planned = matches!(end, End::Ours(_));
        self.setup.shared.status.metrics.disconnect(end.cause());
        let text = self.intake.shorten(&end.to_string());
        let (provider, connection) = (&*self.setup.shared.status.name, self.setup.number);
        if planned {
            tracing::info!(provider, connection, reason = %text, "connection ended");
        } else {
            tracing::warn!(provider, connection, reason = %text, failures = self.session.failures(), "connection ended");
        }
        self.intake.note(&keys, Note::Down, &text);
        self.intake.flush();
        self.last_end = Some((text, Instant::now()));
    }

    /// When to [`Connection::act`] at the latest.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let session = self.session.poll_timeout().map(Instant::from_std);
        let write = match &self.link {
            Link::Up { socket, .. } => socket.write_deadline(),
            _ => None,
        };
        [session, self.outbox.next_at(), write].into_iter().flatten().min()
    }
}

/// What was wrong with a batch, where nothing in it could be read.
fn unread(events: &[Event]) -> Option<&str> {
    let malformed = events.iter().map(|event| match event {
        Event::Malformed { text, .. } => Some(text.as_str()),
        _ => None,
    });
    malformed.collect::<Option<Vec<_>>>()?.first().copied()
}
