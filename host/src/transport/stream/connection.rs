//! One connection of a slot, across its own attempts: drives a [`Session`] over one socket at a time, with a fresh codec
//! for each attempt. Everything that happens to a connection passes through here; how each part does its work is in the
//! part's own file.
//!
//! One message: [`Connection::next`] hears it, [`Connection::handle`] and `receive` bring its batch through the codec, and
//! `Events` takes in what the codec made of it.
//!
//! Plugin calls are awaited where they stand, never as an arm of a wait. Nothing that is sent holds up what is received:
//! frames wait in an `outbox` for their limits, and in the socket's buffer for the venue. When to wait, and what for, is
//! `session`'s.

use std::sync::Arc;

use tokio::time::Instant;

use super::destination::Destination;
use super::end::End;
use super::events::{Events, has_data};
use super::frames::{Frames, unpack};
use super::link::{Happened, Link};
use super::opening::Opening;
use super::outbox::Outbox;
use super::setup::SessionSetup;
use super::stages::Stages;
use super::subscribing::{Asked, Subscribing};
use super::websocket::{Batch, Heard, Socket};
use crate::builds::faults::Input;
use crate::builds::tape::Recorder;
use crate::contract::codec::{CodecError, Frame, OpenCodec, Response, WebSocketCodec};
use crate::contract::description::Limited;
use crate::contract::observation::Key;
use crate::logic::session::{Action, CloseReason, Overrides, Session};
use crate::status::metrics::Call;
use crate::store::{Note, SlotTable};
use crate::transport::clock::{context, context_at, now};
use crate::transport::http::{is_busy, retry_after};
use crate::transport::intake::Intake;
use crate::transport::limiter::Limiter;
use crate::transport::shared::Shared;
use crate::transport::wanted::Wanted;

/// One connection at work.
pub(super) struct Connection<O: OpenCodec> {
    setup: Arc<SessionSetup<O>>,
    shared: Arc<Shared>,
    pub(super) session: Session,
    link: Link<O::Codec>,
    destination: Destination,
    pub(super) intake: Intake,
    limiter: Limiter,
    outbox: Outbox,
    recorder: Recorder,
    asked: Asked,
    /// The link ended and the session has not been told.
    ended: Option<End>,
    /// A successor is wanted.
    replace: Option<CloseReason>,
    last_end: Option<(String, Instant)>,
}

impl<O: OpenCodec> Connection<O> {
    /// Does nothing until it is asked to [`Connection::act`].
    pub(super) fn new(setup: Arc<SessionSetup<O>>, session: Session, table: SlotTable) -> Self {
        let shared = setup.shared.clone();
        let mut intake = Intake::new(&shared);
        intake.set_table(table);
        Self {
            session,
            link: Link::Down,
            destination: Destination::default(),
            limiter: shared.limiter(),
            intake,
            outbox: Outbox::default(),
            recorder: shared.tapes.recorder(),
            asked: Asked::new(),
            ended: None,
            replace: None,
            last_end: None,
            shared,
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

    /// It serves from now on; `ended`: when and why what served before does not.
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
        self.destination.url()
    }

    /// Leaves the venue because a successor serves: the socket, to say goodbye with, if there is one.
    pub(super) fn leave(mut self, cause: &'static str) -> Option<Box<Socket>> {
        let Link::Up { socket, .. } = std::mem::replace(&mut self.link, Link::Down) else { return None };
        self.shared.status.metrics.connections_open.dec();
        self.shared.status.metrics.disconnect(cause);
        Some(socket)
    }

    async fn do_action(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect().await,
            Action::Subscribe(keys) => self.subscribe(&keys).await,
            Action::Unsubscribe(keys) => self.unsubscribe(&keys).await,
            Action::Heartbeat => self.heartbeat().await,
            Action::Ping => self.queue(Frame::Ping(Vec::new())),
            Action::Replace(reason) => self.replace = Some(reason),
            Action::Close(reason) => self.close(reason).await,
        }
    }

    /// Opens a codec and takes the first step.
    async fn connect(&mut self) {
        self.limiter.reset();
        self.intake.next_epoch();
        self.destination.reset();
        let started = Instant::now();
        match self.setup.open.open().await {
            Ok((codec, kind)) => {
                self.shared.status.metrics.call(Call::Open, started.elapsed());
                self.shared.status.update(|info| info.kind = Some(kind));
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
        self.shared.status.metrics.call(Call::Connect, started.elapsed());
        let step = match step {
            Ok(step) => step,
            Err(error) => return self.codec_failed(error, "connect", None),
        };
        let (session, limiter, recorder) = (&mut self.session, &mut self.limiter, &mut self.recorder);
        let opening = Opening { setup: &*self.setup, session, limiter, destination: &mut self.destination, recorder };
        match opening.begin(codec, step, fetches) {
            Ok(link) => self.link = link,
            Err(end) => self.ended = Some(end),
        }
    }

    /// Takes in what happened.
    pub(super) async fn handle(&mut self, happened: Happened) {
        match (happened, std::mem::replace(&mut self.link, Link::Down)) {
            (Happened::Fetched(Ok(response)), Link::Fetching { codec, fetches, .. }) => {
                self.shared.status.metrics.request(if response.status < 300 { "ok" } else { "status" });
                if is_busy(response.status)
                    && let Some(wait) = retry_after(&response.headers)
                {
                    self.session.handle_retry_after(now(), wait);
                }
                self.step(codec, fetches, Some(response)).await;
            }
            (Happened::Fetched(Err(error)), _) => {
                self.shared.status.metrics.request(error.cause());
                self.ended = Some(End::Fetch(error));
            }
            (Happened::Dialed(Ok(socket)), Link::Dialing { codec, origin, overrides, .. }) => {
                self.shared.status.metrics.connects.inc();
                self.shared.status.metrics.connections_open.inc();
                tracing::info!(provider = %self.shared.status.name, connection = self.setup.number, url = %self.url(), "connected");
                self.link = Link::Up { codec, origin, socket };
                let replace_after = self.setup.replace_after();
                self.session.handle_opened(now(), Overrides { replace_after, ..overrides });
            }
            (Happened::Dialed(Err(end)), link) => {
                if let (End::Handshake { retry_after: Some(wait), .. }, Link::Dialing { origin, .. }) = (&end, &link) {
                    self.shared.origins.pause(origin, *wait, Instant::now());
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
        let (status, metrics) = (&self.shared.status, &self.shared.status.metrics);
        let unpacked = unpack(&messages, self.setup.compression, self.setup.socket.max_message, |error| {
            tracing::debug!(provider = %status.name, %error, "a message stays packed");
            self.intake.malformed();
        });
        let Frames { frames, bytes, pings } = Frames::new(&messages, &unpacked, self.setup.compression);
        // The answers were sent by the socket; here they are only counted.
        for _ in 0..pings {
            self.limiter.count_pong(origin, Instant::now());
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
                if !self.destination.is_useful() && has_data(&events) {
                    self.first_data();
                }
                let (session, intake, outbox) = (&mut self.session, &mut self.intake, &mut self.outbox);
                let taken = Events { session, intake, outbox, status: &self.shared.status }.take(events, receipt);
                self.end_unless(taken);
                if let Some(stages) = stages {
                    self.shared.status.metrics.stages(&stages.stored());
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
        self.destination.proved_useful(&self.shared);
        self.session.handle_data();
        self.shared.status.clear_trouble();
    }

    async fn subscribe(&mut self, keys: &[Key]) {
        let (asked, session, intake) = (&mut self.asked, &mut self.session, &mut self.intake);
        let (recorder, metrics) = (&mut self.recorder, &self.shared.status.metrics);
        let Link::Up { codec, .. } = &mut self.link else { return };
        match (Subscribing { asked, session, intake, recorder, metrics }).subscribe(&mut **codec, keys).await {
            Ok(frames) => self.queue_subscription(frames),
            Err(error) => self.codec_failed(error, "subscribe", None),
        }
    }

    async fn unsubscribe(&mut self, keys: &[Key]) {
        let (asked, session, intake) = (&mut self.asked, &mut self.session, &mut self.intake);
        let (recorder, metrics) = (&mut self.recorder, &self.shared.status.metrics);
        let Link::Up { codec, .. } = &mut self.link else { return };
        match (Subscribing { asked, session, intake, recorder, metrics }).unsubscribe(&mut **codec, keys).await {
            Ok(frames) => self.queue_subscription(frames),
            Err(error) => self.codec_failed(error, "unsubscribe", None),
        }
    }

    /// The session hears once they are gone; at once, if there are none.
    fn queue_subscription(&mut self, frames: Vec<Frame>) {
        let queued = self.outbox.push_subscription(frames);
        self.end_unless(queued);
        self.check_sent();
    }

    async fn heartbeat(&mut self) {
        let Link::Up { codec, .. } = &mut self.link else { return };
        let started = Instant::now();
        let result = codec.heartbeat(context()).await;
        self.shared.status.metrics.call(Call::Heartbeat, started.elapsed());
        match result {
            Ok(frames) => frames.into_iter().for_each(|frame| self.queue(frame)),
            Err(error) => self.codec_failed(error, "heartbeat", None),
        }
    }

    fn queue(&mut self, frame: Frame) {
        let queued = self.outbox.push(frame, Limited::Send);
        self.end_unless(queued);
    }

    fn end_unless(&mut self, fine: Result<(), End>) {
        if let Err(end) = fine {
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
            self.shared.status.metrics.frames_sent.inc_by(sent);
            socket.check_write(now)
        }) {
            Ok(()) => self.check_sent(),
            Err(end) => self.ended = Some(end),
        }
    }

    fn check_sent(&mut self) {
        if self.outbox.take_subscribed() {
            self.session.handle_sent(now());
        }
    }

    async fn close(&mut self, reason: CloseReason) {
        if let Link::Up { socket, .. } = std::mem::replace(&mut self.link, Link::Down) {
            self.shared.status.metrics.connections_open.dec();
            socket.close(self.setup.goodbye()).await;
        }
        self.ended = Some(End::ours(reason));
        self.report_end();
    }

    fn codec_failed(&mut self, error: CodecError, call: &'static str, input: Option<Input>) {
        let reason = self.intake.shorten(&error.to_string());
        if let Some(wait) = self.shared.codec_failed(&error, call, input, &reason) {
            self.session.handle_retry_after(now(), wait);
        }
        self.ended = Some(End::Codec(error));
    }

    /// Tells everyone that the link is gone, once.
    fn report_end(&mut self) {
        let Some(end) = self.ended.take() else { return };
        if let Link::Up { .. } = std::mem::replace(&mut self.link, Link::Down) {
            self.shared.status.metrics.connections_open.dec();
        }
        self.outbox.clear();
        self.asked.clear();
        let text = self.intake.shorten(&end.to_string());
        if let Some(wait) = self.destination.ended(&end, &text, &self.shared) {
            self.session.handle_retry_after(now(), wait);
        }
        let keys = self.session.keys();
        self.session.handle_ended(now(), rand::random());
        let planned = matches!(end, End::Ours(_));
        self.shared.status.metrics.disconnect(end.cause());
        let (provider, connection) = (&*self.shared.status.name, self.setup.number);
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
