//! One WebSocket slot: the connection that serves, and the one that is to take its place.
//!
//! The loop: do what is to be done, wait for one thing, take it in. A connection is replaced without a gap: a successor
//! connects, subscribes and delivers while the old one serves on; it takes over id by id, and only then does the old one
//! close. What a connection does is in `connection`, when it is replaced in `logic::session`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::connection::Connection;
use super::end::End;
use super::link::Happened;
use super::setup::SessionSetup;
use super::silence::SilenceCheck;
use crate::contract::codec::OpenCodec;
use crate::logic::session::{CloseReason, Phase, Session};
use crate::status::ConnectionInfo;
use crate::store::Carrier;
use crate::transport::clock::now;
use crate::transport::wanted::{Wanted, stopped};

/// How long a successor that is subscribed may still lack ids that nobody hears of: markets that do not trade.
const SETTLE: Duration = Duration::from_secs(5);

/// How long a successor that is subscribed may lack an id that the old connection delivers before it is given up. One
/// that cannot even connect is not: its own backoff says when it tries.
const OVERLAP_PATIENCE: Duration = Duration::from_secs(60);

/// Keeps the slot connected until stopped, then closes politely.
pub(crate) async fn run<O: OpenCodec>(
    setup: SessionSetup<O>,
    mut wanted: watch::Receiver<Wanted>,
    mut rotate: watch::Receiver<u64>,
    mut stop: watch::Receiver<bool>,
) {
    let first = wanted.borrow_and_update().clone();
    let session = Session::new(setup.session.clone(), first.keys, now(), setup.start_delay);
    let setup = Arc::new(setup);
    let mut slot = Slot {
        serving: Connection::new(setup.clone(), session, first.table),
        setup,
        successor: None,
        alarm: Alarm::new(),
        goodbyes: JoinSet::new(),
        silence: SilenceCheck::new(),
        phase: ("waiting", Instant::now()),
        published: None,
    };
    let mut stopping = false;
    // Beginning to wait for an order costs as much as a small parse, so one wait lasts over many messages.
    while let Some(order) = slot.run(stopping, order(&mut stop, &mut wanted, &mut rotate, stopping)).await {
        match order {
            Order::Stop => {
                stopping = true;
                slot.stop();
            }
            Order::Wanted => slot.take_wanted(&wanted.borrow_and_update()),
            Order::Rotate => slot.serving.session.rotate(now()),
        }
    }
    while slot.goodbyes.join_next().await.is_some() {}
}

/// What a slot is told from outside.
enum Order {
    Stop,
    Wanted,
    Rotate,
}

/// Waits for the next order. May be dropped and called again.
async fn order(
    stop: &mut watch::Receiver<bool>,
    wanted: &mut watch::Receiver<Wanted>,
    rotate: &mut watch::Receiver<u64>,
    stopping: bool,
) -> Order {
    if stopping {
        return std::future::pending().await;
    }
    tokio::select! {
        biased;
        () = stopped(stop) => Order::Stop,
        changed = wanted.changed() => if changed.is_ok() { Order::Wanted } else { Order::Stop },
        Ok(()) = rotate.changed() => Order::Rotate,
    }
}

async fn next_of<O: OpenCodec>(successor: &mut Option<Overlap<O>>) -> Happened {
    match successor {
        Some(overlap) => overlap.connection.next().await,
        None => std::future::pending().await,
    }
}

struct Slot<O: OpenCodec> {
    setup: Arc<SessionSetup<O>>,
    serving: Connection<O>,
    successor: Option<Overlap<O>>,
    alarm: Alarm,
    /// Connections that were replaced and say goodbye, each within [`SessionSetup::goodbye`].
    goodbyes: JoinSet<()>,
    silence: SilenceCheck,
    phase: (&'static str, Instant),
    /// How many ids were unconfirmed, and the successor's phase, when the status was last brought up to date.
    published: Option<(usize, Option<Phase>)>,
}

/// A successor on its way.
struct Overlap<O: OpenCodec> {
    connection: Connection<O>,
    reason: CloseReason,
    /// Since when it is subscribed to everything, also on the store's clock.
    settled: Option<(Instant, u64)>,
}

impl<O: OpenCodec> Slot<O> {
    /// Serves until it is given an order; `None`: until it has stopped.
    async fn run(&mut self, stopping: bool, order: impl Future<Output = Order>) -> Option<Order> {
        let mut order = std::pin::pin!(order);
        loop {
            self.settle(stopping).await;
            self.publish();
            if self.serving.session.phase() == Phase::Stopped {
                return None;
            }
            self.alarm.set(self.wake_at());
            tokio::select! {
                biased;
                order = &mut order => return Some(order),
                happened = next_of(&mut self.successor) => {
                    if let Some(overlap) = &mut self.successor {
                        overlap.connection.handle(happened).await;
                    }
                }
                happened = self.serving.next() => self.serving.handle(happened).await,
                () = self.alarm.rings() => {}
            }
        }
    }

    fn take_wanted(&mut self, wanted: &Wanted) {
        self.serving.take_wanted(wanted);
        if let Some(overlap) = &mut self.successor {
            overlap.connection.take_wanted(wanted);
        }
        self.published = None;
    }

    fn stop(&mut self) {
        self.serving.session.stop(now());
        if let Some(overlap) = self.successor.take() {
            self.say_goodbye(overlap.connection, "stopped");
        }
    }

    /// Does all that is to be done now.
    async fn settle(&mut self, stopping: bool) {
        loop {
            self.serving.act().await;
            if let Some(overlap) = &mut self.successor {
                overlap.connection.act().await;
            }
            if let Some(reason) = self.serving.take_replace()
                && !stopping
                && self.successor.is_none()
            {
                let connection = self.serving.successor();
                self.successor = Some(Overlap { connection, reason, settled: None });
                continue;
            }
            if self.successor.is_some() && self.hand_over() {
                continue;
            }
            if self.serving.session.phase() == Phase::Open && Instant::now() >= self.silence.at() {
                self.silence.look(&mut self.serving.session, &mut self.serving.intake);
                continue;
            }
            return;
        }
    }

    /// Brings the overlap forward. Answers whether the successor took over.
    fn hand_over(&mut self) -> bool {
        let Some(overlap) = &mut self.successor else { return false };
        let new = &overlap.connection;
        // Whatever the old one died of, its successor is further.
        if matches!(self.serving.session.phase(), Phase::Waiting { .. } | Phase::NothingToDo) {
            return self.take_over("lost");
        }
        let keys = self.serving.session.keys();
        let heard = |key: &&_| new.intake.heard_after(**key, 0);
        for key in keys.iter().filter(heard) {
            self.serving.intake.mute(*key);
        }
        if !new.session.is_settled() {
            overlap.settled = None;
        } else if overlap.settled.is_none() {
            overlap.settled = Some((Instant::now(), new.intake.receipt(Instant::now()).monotonic));
        }
        // Should it be lost now, nobody misses it.
        self.serving.intake.set_quiet(overlap.settled.is_some());
        let mut unheard = keys.iter().filter(|key| !heard(key)).peekable();
        if let Some((since, clock)) = overlap.settled {
            let settled = since.elapsed() >= SETTLE;
            let all = unheard.peek().is_none();
            if all || (settled && !unheard.any(|key| self.serving.intake.heard_after(*key, clock))) {
                return self.take_over("replaced");
            }
        }
        if overlap.settled.is_some_and(|(since, _)| since.elapsed() >= OVERLAP_PATIENCE)
            && let Some(overlap) = self.successor.take()
        {
            let (provider, connection) = (&*self.setup.shared.status.name, self.setup.number);
            tracing::warn!(provider, connection, "the new connection does not deliver what the old one does: given up");
            self.serving.intake.set_quiet(false);
            self.serving.session.handle_not_replaced(overlap.reason, now());
            self.say_goodbye(overlap.connection, "superfluous");
        }
        false
    }

    fn take_over(&mut self, cause: &'static str) -> bool {
        let Some(overlap) = self.successor.take() else { return false };
        let words = End::ours(overlap.reason).to_string();
        let (provider, connection) = (&*self.setup.shared.status.name, self.setup.number);
        tracing::info!(provider, connection, reason = %words, how = cause, "connection replaced");
        let old = std::mem::replace(&mut self.serving, overlap.connection);
        let ended = old.last_end().filter(|_| cause == "lost").unwrap_or((words, Instant::now()));
        self.serving.serve(Some(ended));
        self.say_goodbye(old, "replaced");
        self.published = None;
        true
    }

    fn say_goodbye(&mut self, connection: Connection<O>, cause: &'static str) {
        let patience = self.setup.goodbye();
        if let Some(socket) = connection.leave(cause) {
            self.goodbyes.spawn(async move { socket.close(patience).await });
        }
        while self.goodbyes.try_join_next().is_some() {}
    }

    fn wake_at(&self) -> Option<Instant> {
        let overlap = self.successor.as_ref().and_then(|overlap| {
            let settled = overlap.settled.map(|(since, _)| [since + SETTLE, since + OVERLAP_PATIENCE]);
            let settled = settled.into_iter().flatten().find(|at| *at > Instant::now());
            [overlap.connection.wake_at(), settled].into_iter().flatten().min()
        });
        let check = (self.serving.session.phase() == Phase::Open).then_some(self.silence.at());
        [self.serving.wake_at(), overlap, check].into_iter().flatten().min()
    }

    /// Brings the status up to date when the phase has changed or something is under way.
    fn publish(&mut self) {
        let session = &self.serving.session;
        let phase = word(session.phase());
        let unconfirmed = session.unanswered();
        let successor = self.successor.as_ref().map(|overlap| overlap.connection.session.phase());
        let changed = phase != self.phase.0;
        if changed {
            self.phase = (phase, Instant::now());
        }
        // On the message path of a settled connection there is nothing to say.
        let published = Some((unconfirmed, successor));
        if !changed && phase == "open" && self.published == published {
            return;
        }
        self.published = published;
        let next_attempt = match session.phase() {
            Phase::Waiting { until } => Some(Instant::from_std(until)),
            _ => None,
        };
        for key in session.wanted() {
            let subscription = session.subscription(*key);
            self.serving.intake.carry(*key, Carrier { connection: self.setup.number, subscription });
        }
        let info = ConnectionInfo {
            phase,
            since: self.phase.1,
            url: self.serving.url().to_owned(),
            ids: session.keys().len(),
            unconfirmed,
            reconnects: session.reconnects(),
            failures: session.failures(),
            last_end: self.serving.last_end(),
            next_attempt,
            successor: successor.map(word),
        };
        let number = self.setup.number;
        self.setup.shared.status.update(|status| drop(status.connections.insert(number, info)));
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::NothingToDo => "idle",
        Phase::Waiting { .. } => "waiting",
        Phase::Connecting => "connecting",
        Phase::Open => "open",
        Phase::Closing => "closing",
        Phase::Stopped => "stopped",
    }
}
