//! The sockets of every venue, written once: accept, answer, upgrade, and move frames between a
//! client and its [`Session`]. Everything that a fault does to bytes is here; what a venue says is
//! in `venues`.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use crate::fault::Fault;
use crate::http::{self, End, Reply, Request, Response, Wire};
use crate::limit::Minute;
use crate::market::Market;
use crate::session::{Out, Session, World};
use crate::shared::{Event, Shared};

/// Accepts until `closing`, with each connection in a task of its own, and ends them all before it
/// returns.
pub(crate) async fn listen<F>(
    listener: TcpListener,
    mut closing: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, u64) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut serial = 0;
    loop {
        tokio::select! {
            () = closed(&mut closing) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Small frames should not wait for each other; it is no loss if it cannot be
                    // set.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream, serial));
                    serial += 1;
                }
                // Out of descriptors: others must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(ended) = connections.join_next() => rethrow(ended),
        }
    }
    connections.abort_all();
    join(&mut connections).await;
}

/// Returns once the owner wants an end, or is gone.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Waits for every task and passes a panic on, so that a failed assertion in a script is not lost.
pub(crate) async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        rethrow(ended);
    }
}

fn rethrow(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// One accepted connection of a venue, until it ends or is cut.
pub(crate) async fn connection(shared: Arc<Shared>, mut stream: TcpStream, serial: u64) {
    let mut cut = shared.cut.subscribe();
    let mut fault = shared.fault.subscribe();
    let refused = *fault.borrow_and_update() == Fault::Refuse;
    shared.count(|stats| stats.accepts += 1);
    let end = if refused {
        End::Reset
    } else {
        // A writer that waits for a client who does not read can still be cut.
        tokio::select! {
            _ = cut.changed() => End::Reset,
            () = reset_wanted(&mut fault) => End::Reset,
            // Whatever the client did to the socket, the connection is over.
            end = serve(&shared, &mut stream, serial) => end.unwrap_or(End::Close),
        }
    };
    if end == End::Reset {
        let _ = stream.set_zero_linger();
    }
}

async fn reset_wanted(fault: &mut watch::Receiver<Fault>) {
    while fault.changed().await.is_ok() {
        if *fault.borrow_and_update() == Fault::Reset {
            return;
        }
    }
    std::future::pending().await
}

async fn serve(shared: &Arc<Shared>, stream: &mut TcpStream, serial: u64) -> io::Result<End> {
    let mut wire = Wire::new(stream);
    while let Some(request) = wire.read().await? {
        let fault = shared.fault.borrow().clone();
        let reply = if request.wants_upgrade() {
            shared.count(|stats| stats.last_handshake = Some(request.clone()));
            match handshake(shared, &request, &fault, serial) {
                Ok(session) => {
                    // Before the client knows that it is connected: it misses nothing from then on.
                    let news = (shared.events.subscribe(), shared.fault.subscribe());
                    let Some(ws) = wire.upgrade(&request).await? else {
                        return Ok(End::Close);
                    };
                    let socket = WebSocket::new(shared, ws, session, news);
                    return Ok(socket.run().await.unwrap_or(End::Close));
                }
                Err(reply) => reply,
            }
        } else {
            shared.count(|stats| {
                stats.requests += 1;
                stats.last_request = Some(request.clone());
            });
            answer(shared, &request, &fault)
        };
        match wire.write(reply).await? {
            End::KeepAlive => {}
            end => return Ok(end),
        }
    }
    Ok(End::Close)
}

fn handshake(shared: &Shared, request: &Request, fault: &Fault, serial: u64) -> Result<Box<dyn Session>, Reply> {
    if let Some(reply) = in_place_of_an_answer(shared, request, fault) {
        return Err(reply);
    }
    let now = shared.clock.now();
    let within = shared.floor().connects.as_mut().is_none_or(|connects| connects.admit(now));
    if !within {
        shared.count(|stats| stats.violation("too many connection attempts".into()));
        if shared.options.enforce_limits {
            return Err(shared.kind.too_many_requests().into());
        }
    }
    shared.kind.open(&request.target, serial, &shared.world(&shared.floor().market, fault)).map_err(Reply::Send)
}

fn answer(shared: &Shared, request: &Request, fault: &Fault) -> Reply {
    match fault {
        Fault::CloseAfterAccept => return Reply::Close,
        Fault::Garbage => return Response::json(200, "{\"price\":\u{1}\"12.").into(),
        Fault::HugeBody(size) => return Reply::Filler(*size),
        _ => {}
    }
    if let Some(reply) = in_place_of_an_answer(shared, request, fault) {
        return reply;
    }
    let now = shared.clock.now();
    let (weight, limit) = shared.kind.request_weight(request);
    let used = shared.floor().spent.spend(now, weight);
    if used > limit {
        shared.count(|stats| stats.violation(format!("{used} of {limit} requests by weight in one minute")));
        if shared.options.enforce_limits {
            let rest = Minute::rest(now).to_string();
            return shared.kind.too_many_requests().with_header("retry-after", rest).into();
        }
    }
    let response = shared.kind.answer(request, used, &shared.world(&shared.floor().market, fault));
    match fault {
        Fault::SlowBody => Reply::Trickle(response, Duration::from_millis(100)),
        Fault::TruncatedBody => Reply::Truncate(response),
        _ => response.into(),
    }
}

/// The faults that HTTP requests and WebSocket handshakes have in common.
fn in_place_of_an_answer(shared: &Shared, request: &Request, fault: &Fault) -> Option<Reply> {
    let response = match fault {
        Fault::Hang => return Some(Reply::Hang),
        Fault::Reset => return Some(Reply::Reset),
        Fault::Status { code, retry_after } => {
            let response = Response::json(*code, shared.kind.error_body(*code));
            match retry_after {
                Some(after) => response.with_header("retry-after", after),
                None => response,
            }
        }
        Fault::Html => Response::html(200),
        Fault::EmptyBody => Response::json(200, ""),
        Fault::ErrorInside200 => Response::json(200, shared.kind.error_body(503)),
        Fault::RedirectLoop => Response::redirect(&format!("{}{}", shared.http_origin(), request.target)),
        Fault::RedirectTo(url) => Response::redirect(url),
        _ => return None,
    };
    Some(response.into())
}

/// One open WebSocket and its session.
struct WebSocket<'a> {
    shared: &'a Arc<Shared>,
    ws: WebSocketStream<&'a mut TcpStream>,
    session: Box<dyn Session>,
    events: broadcast::Receiver<Event>,
    faults: watch::Receiver<Fault>,
    fault: Fault,
    presence: Presence,
    out: Vec<Out>,
    garbage: usize,
}

impl<'a> WebSocket<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        ws: WebSocketStream<&'a mut TcpStream>,
        session: Box<dyn Session>,
        (events, mut faults): (broadcast::Receiver<Event>, watch::Receiver<Fault>),
    ) -> Self {
        // The fault that is set already strikes first.
        faults.mark_changed();
        Self {
            shared,
            ws,
            session,
            events,
            faults,
            fault: Fault::None,
            presence: Presence::new(Arc::clone(shared)),
            out: Vec::new(),
            garbage: 0,
        }
    }

    async fn run(mut self) -> Result<End, tungstenite::Error> {
        self.strike();
        self.tell(Session::on_open);
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut due = None;
        loop {
            if self.fault == Fault::Hang {
                http::ignore(self.ws.get_mut()).await?;
                return Ok(End::Close);
            }
            if let Some(end) = self.flush().await? {
                return Ok(end);
            }
            if due != self.session.deadline() {
                due = self.session.deadline();
                timer.as_mut().reset(self.shared.clock.instant(due.unwrap_or_default()));
            }
            // A fault that was set before something happened holds for it, whichever is seen first.
            tokio::select! {
                frame = self.ws.next() => {
                    self.strike();
                    match frame {
                        Some(frame) => self.on_frame(frame?),
                        None => return Ok(End::Close),
                    }
                }
                event = self.events.recv() => {
                    self.strike();
                    match event {
                        Ok(event) => self.on_event(event, &self.shared.floor().market),
                        Err(_) => self.on_lag(),
                    }
                }
                () = &mut timer, if due.is_some() => {
                    due = None;
                    self.strike();
                    self.tell(Session::on_timer);
                }
                Ok(()) = self.faults.changed() => {
                    self.faults.mark_changed();
                    self.strike();
                }
            }
        }
    }

    /// Takes note of a new fault and does what it does by itself.
    fn strike(&mut self) {
        if !self.faults.has_changed().unwrap_or_default() {
            return;
        }
        self.fault = self.faults.borrow_and_update().clone();
        match self.fault {
            Fault::CloseAfterAccept => self.out.push(Out::Close(1001, "going away")),
            Fault::HugeBody(size) => self.out.push(Out::Raw(Message::text(" ".repeat(size)))),
            Fault::Garbage => self.out.push(Out::Text(String::new())),
            _ => {}
        }
    }

    fn on_frame(&mut self, frame: Message) {
        match frame {
            Message::Text(text) => {
                self.shared.count(|stats| stats.message(&text));
                self.tell(|session, world, out| session.on_message(&text, world, out));
            }
            // No venue here is spoken to in binary.
            Message::Binary(_) => self.shared.count(|stats| stats.message("(binary)")),
            Message::Ping(_) => {
                self.shared.count(|stats| stats.pings += 1);
                self.tell(Session::on_ping);
            }
            Message::Pong(payload) => {
                self.shared.count(|stats| stats.pongs += 1);
                self.tell(|session, world, out| session.on_pong(&payload, world, out));
            }
            // The library answers a close, and ends the stream once that is done.
            Message::Close(_) | Message::Frame(_) => {}
        }
    }

    /// Lets the session speak with the market as it stands. Everything published before is
    /// delivered first, so that no snapshot is followed by an older price.
    fn tell(&mut self, call: impl FnOnce(&mut (dyn Session + 'static), &World<'_>, &mut Vec<Out>)) {
        let shared = self.shared;
        let floor = shared.floor();
        loop {
            match self.events.try_recv() {
                Ok(event) => self.on_event(event, &floor.market),
                Err(TryRecvError::Lagged(_)) => self.on_lag(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let world = shared.world(&floor.market, &self.fault);
        call(&mut *self.session, &world, &mut self.out);
        drop(floor);
        self.presence.update(self.session.subscribed());
    }

    fn on_event(&mut self, event: Event, market: &Market) {
        let world = self.shared.world(market, &self.fault);
        match event {
            Event::Prices(_) if world.silent => {}
            Event::Prices(changes) => self.session.on_prices(&changes, &world, &mut self.out),
            Event::Notice(notice) => self.session.on_notice(notice, &world, &mut self.out),
            Event::Raw(frame) => self.out.push(Out::Raw(frame)),
        }
    }

    /// Real venues disconnect those who do not keep up; skipping in silence would be a lie.
    fn on_lag(&mut self) {
        self.out.extend([Out::Violation("slow reader".into()), Out::Reset]);
    }

    /// Sends what the session put out. `Some` is the end of the connection.
    async fn flush(&mut self) -> Result<Option<End>, tungstenite::Error> {
        let mut sent = 0;
        let mut out = std::mem::take(&mut self.out);
        for out in out.drain(..) {
            let frame = match out {
                Out::Text(_) | Out::Gzip(_) | Out::Binary(_) if self.fault == Fault::Garbage => self.next_garbage(),
                Out::Text(text) => Message::text(text),
                Out::Gzip(text) => Message::binary(gzip(&text)),
                Out::Binary(bytes) => Message::binary(bytes),
                Out::Raw(frame) => frame,
                Out::Ping(payload) => Message::Ping(payload.into()),
                Out::Violation(text) => {
                    self.shared.count(|stats| stats.violation(text));
                    continue;
                }
                Out::Close(code, reason) => {
                    self.close(code, reason).await?;
                    return Ok(Some(End::Close));
                }
                Out::Reset => return Ok(Some(End::Reset)),
            };
            sent += u64::from(frame.is_text() || frame.is_binary());
            self.ws.feed(frame).await?;
        }
        // Also for the pongs that the library has queued.
        self.ws.flush().await?;
        self.out = out;
        if sent > 0 {
            self.shared.count(|stats| stats.sent += sent);
        }
        Ok(None)
    }

    /// Says goodbye, and gives the client a moment to do the same.
    async fn close(&mut self, code: u16, reason: &'static str) -> Result<(), tungstenite::Error> {
        self.ws.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await?;
        let rest = async { while let Some(Ok(_)) = self.ws.next().await {} };
        // A client that does not answer is left alone.
        let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
        Ok(())
    }

    fn next_garbage(&mut self) -> Message {
        self.garbage += 1;
        match self.garbage % 7 {
            0 => Message::text("null"),
            1 => Message::text("{\"stream\":\"btcusdt@miniTicker\",\"data\":{\"c\":\"1"),
            2 => Message::binary(vec![0xff, 0x00, 0xfe, 0x80, 0x1f, 0x8b]),
            3 => Message::text("[".repeat(4096)),
            4 => Message::text("{\"data\":[{\"last\":9e999999}],\"events\":7,\"stream\":null}"),
            5 => Message::text(""),
            _ => Message::text("[1,[null,null,null,null,null,null,\"\\ud800\"]]"),
        }
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory does not fail.
    let _ = packer.write_all(text.as_bytes());
    packer.finish().unwrap_or_default()
}

/// Keeps the statistics of one open WebSocket right, also when its task is aborted.
struct Presence {
    shared: Arc<Shared>,
    subscribed: Vec<usize>,
}

impl Presence {
    fn new(shared: Arc<Shared>) -> Self {
        shared.count(|stats| {
            stats.connects += 1;
            stats.open += 1;
        });
        Self { shared, subscribed: Vec::new() }
    }

    fn update(&mut self, subscribed: Vec<usize>) {
        if subscribed != self.subscribed {
            let ids = |indices: &[usize]| -> Vec<String> {
                indices.iter().map(|index| self.shared.options.prices[*index].0.clone()).collect()
            };
            let (before, after) = (ids(&self.subscribed), ids(&subscribed));
            self.shared.count(|stats| stats.resubscribe(&before, &after));
            self.subscribed = subscribed;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.update(Vec::new());
        self.shared.count(|stats| stats.open -= 1);
    }
}

#[cfg(test)]
mod tests;
