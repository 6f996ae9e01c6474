//! One WebSocket: dialed within bounds, read in batches, written without ever holding the reader up. What messages mean,
//! and when to dial or to close, is decided elsewhere.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

use super::end::End;
use crate::access::secret::Secrets;
use crate::contract::codec::{Endpoint, Frame};
use crate::contract::header::is_hosts_own;
use crate::contract::limits::DialLimits;
use crate::contract::origin::Admitted;
use crate::transport::http::retry_after;
use crate::transport::network::{Network, connect_through, through};

/// Bounds of one socket.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SocketLimits {
    pub max_message: usize,
    /// How long the venue may take nothing of what we send.
    pub write_timeout: Duration,
}

/// Runs one step towards an open socket, within its time.
async fn within<T>(
    limit: Duration,
    stage: &'static str,
    knob: &'static str,
    step: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    tokio::time::timeout(limit, step).await.unwrap_or(Err(End::TooSlow { stage, knob, limit }))
}

/// Dials an endpoint that was admitted: names resolved and checked, then TCP, TLS and the handshake. Or through a proxy.
pub(super) async fn dial(
    admitted: Admitted,
    endpoint: Endpoint,
    secrets: Arc<Secrets>,
    network: Network,
    steps: DialLimits,
    limits: SocketLimits,
) -> Result<Socket, End> {
    let request = request(&admitted, &endpoint, &secrets)?;
    let connecting = connect(&admitted, &network);
    let stream = within(steps.tcp, "no TCP connection in time", "tcp_timeout_ms", connecting).await?;
    // Small frames go out at once: a heartbeat must not wait for company.
    stream.set_nodelay(true).map_err(|e| End::Connect(e.to_string()))?;
    let stream = if admitted.url.scheme() == "wss" {
        let encrypting = encrypt(&admitted, stream, network.tls().clone());
        within(steps.tls, "the TLS handshake did not end in time", "tls_timeout_ms", encrypting).await?
    } else {
        MaybeTlsStream::Plain(stream)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message))
        .max_write_buffer_size(MAX_UNSENT);
    let shaking = async {
        let opened = client_async_with_config(request, stream, Some(config)).await;
        opened.map_err(|error| end_of(error, limits.max_message).shown(&secrets))
    };
    let stage = "the WebSocket handshake did not end in time";
    let (stream, _) = within(steps.handshake, stage, "handshake_timeout_ms", shaking).await?;
    Ok(Socket { stream, limits, unsent_since: None, ended: None, drained: false, batches: 0 })
}

fn request(admitted: &Admitted, endpoint: &Endpoint, secrets: &Secrets) -> Result<Request, End> {
    let bad = |what: String| End::BadEndpoint(what);
    let mut request = admitted.url.as_str().into_client_request().map_err(|e| bad(e.to_string()))?;
    let headers = request.headers_mut();
    for (name, value) in &endpoint.headers {
        let shown: String = name.chars().take(80).collect();
        if is_hosts_own(name) {
            return Err(bad(format!("header {shown:?} is written by the host: a plugin may not set it")));
        }
        let filled = secrets.fill(value).map_err(|e| bad(e.to_string()))?;
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&filled)) else {
            return Err(bad(format!("header {shown:?} has a name or a value that HTTP does not allow")));
        };
        headers.insert(name, value);
    }
    if !endpoint.subprotocols.is_empty() {
        let value = HeaderValue::from_str(&endpoint.subprotocols.join(", "))
            .map_err(|_| bad("the subprotocols hold what HTTP does not allow".to_owned()))?;
        headers.insert("sec-websocket-protocol", value);
    }
    Ok(request)
}

async fn encrypt(
    admitted: &Admitted,
    stream: TcpStream,
    tls: Arc<rustls::ClientConfig>,
) -> Result<MaybeTlsStream<TcpStream>, End> {
    let host = admitted.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|e| End::Tls(e.to_string()))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|e| End::Tls(e.to_string()))?;
    Ok(MaybeTlsStream::Rustls(stream))
}

async fn connect(admitted: &Admitted, network: &Network) -> Result<TcpStream, End> {
    let host = admitted.url.host_str().unwrap_or_default();
    let port = admitted.url.port_or_known_default().unwrap_or(443);
    // The proxy looks the name up, so its addresses cannot be checked here.
    if let Some(proxy) = network.proxy() {
        let connected = connect_through(proxy, host, port).await;
        return connected.map_err(|why| End::Connect(through(proxy, &why)));
    }
    let host = host.trim_matches(['[', ']']);
    let unresolved = |why: String| End::Resolve { host: host.to_owned(), why };
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|e| unresolved(e.to_string()))?.collect();
    let mut last = unresolved("no address".to_owned());
    for address in addresses {
        admitted.address(address.ip()).map_err(End::Forbidden)?;
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = End::Connect(format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// What a socket has to say.
pub(super) enum Heard {
    Messages(Batch),
    Ended(End),
}

/// Messages that were waiting.
pub(super) struct Batch {
    /// Oldest first; pings and pongs are among them.
    pub(super) messages: Vec<Message>,
    /// How long it took to read them, for one batch in [`SAMPLE`].
    pub(super) reading: Option<Duration>,
}

/// One batch in this many is timed: a clock reading costs as much as a tenth of a small call.
const SAMPLE: u64 = 16;

/// What one read may bring. The WebSocket library fills its buffer with zeros before each read: a large one would cost a
/// lone frame more than everything else together, and each quiet connection as much memory.
const READ_BUFFER: usize = 8 << 10;

/// Most messages and bytes of one batch: what one plugin call is handed.
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Most bytes that may wait in the socket's buffer.
const MAX_UNSENT: usize = 4 << 20;

/// An open WebSocket.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    limits: SocketLimits,
    /// Since when something waits to be taken by the venue.
    unsent_since: Option<Instant>,
    /// It ended behind messages that are still to be handed out.
    ended: Option<End>,
    /// Everything that had arrived was read.
    drained: bool,
    batches: u64,
}

impl Socket {
    /// When the venue has taken nothing for too long.
    pub(super) fn write_deadline(&self) -> Option<Instant> {
        self.unsent_since.map(|since| since + self.limits.write_timeout)
    }

    /// The end, if that time has come.
    pub(super) fn check_write(&self, now: Instant) -> Result<(), End> {
        match self.write_deadline() {
            Some(deadline) if now >= deadline => Err(End::WriteTimeout(self.limits.write_timeout)),
            _ => Ok(()),
        }
    }

    /// Puts a frame into the buffer; [`Socket::next`] sends it. Never waits.
    pub(super) fn send(&mut self, frame: Frame) -> Result<(), End> {
        let message = match frame {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(bytes) => Message::binary(bytes),
            Frame::Ping(bytes) => Message::Ping(bytes.into()),
        };
        let sent = std::pin::Pin::new(&mut self.stream).start_send(message);
        sent.map_err(|error| end_of(error, self.limits.max_message))?;
        self.unsent_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Sends what waits and reads what has arrived. May be dropped at any time and called again.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some(end) = self.ended.take() {
            return Heard::Ended(end);
        }
        std::future::poll_fn(|task| {
            // To ask the WebSocket library costs a read and what it does before each.
            if self.drained && self.unsent_since.is_none() && self.poll_readable(task).is_pending() {
                return Poll::Pending;
            }
            self.drained = false;
            let started = self.batches.is_multiple_of(SAMPLE).then(Instant::now);
            // Before reading: a venue that never pauses must not hold up what we have to say, and reading may use up what
            // the runtime grants a task in one go. An error comes again below, behind what can still be read.
            if self.unsent_since.is_some()
                && let Poll::Ready(Ok(())) = std::pin::Pin::new(&mut self.stream).poll_flush(task)
            {
                self.unsent_since = None;
            }
            let max = self.limits.max_message;
            let mut messages = Vec::new();
            let mut bytes = 0;
            let mut end = loop {
                match std::pin::Pin::new(&mut self.stream).poll_next(task) {
                    Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                        let said = frame.map(|f| format!(" with code {} {}", u16::from(f.code), f.reason));
                        break Some(End::Closed(said.unwrap_or_default().trim_end().to_owned()));
                    }
                    Poll::Ready(Some(Ok(message))) => {
                        // The answer to a ping waits in the buffer like everything else.
                        if message.is_ping() {
                            self.unsent_since.get_or_insert_with(Instant::now);
                        }
                        bytes += message.len();
                        messages.push(message);
                        if messages.len() == MAX_BATCH || bytes >= MAX_BATCH_BYTES {
                            break None;
                        }
                    }
                    Poll::Ready(Some(Err(error))) => break Some(end_of(error, max)),
                    Poll::Ready(None) => break Some(End::Closed(" without a close frame".to_owned())),
                    Poll::Pending => {
                        self.drained = true;
                        break None;
                    }
                }
            };
            // The answers to pings.
            if self.unsent_since.is_some() && end.is_none() {
                match std::pin::Pin::new(&mut self.stream).poll_flush(task) {
                    Poll::Ready(Ok(())) => self.unsent_since = None,
                    Poll::Ready(Err(error)) => end = Some(end_of(error, max)),
                    Poll::Pending => {}
                }
            }
            if !messages.is_empty() {
                self.ended = end;
                self.batches += 1;
                let reading = started.map(|started| started.elapsed());
                return Poll::Ready(Heard::Messages(Batch { messages, reading }));
            }
            match end {
                Some(end) => Poll::Ready(Heard::Ended(end)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the system has something to read. An error is for whoever reads to find.
    fn poll_readable(&self, task: &mut Task<'_>) -> Poll<()> {
        let stream = match self.stream.get_ref() {
            MaybeTlsStream::Plain(stream) => stream,
            MaybeTlsStream::Rustls(stream) => stream.get_ref().0,
            _ => return Poll::Ready(()),
        };
        stream.poll_read_ready(task).map(drop)
    }

    /// Says goodbye, within `patience`.
    pub(super) async fn close(mut self, patience: Duration) {
        // Nobody is left to tell if the venue does not take it.
        let _ = tokio::time::timeout(patience, self.stream.close(None)).await;
    }
}

fn end_of(error: Error, max: usize) -> End {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::Closed(String::new()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Lost("reset by the venue".to_owned()),
        Error::Protocol(error) => End::Protocol(error.to_string()),
        Error::Utf8(error) => End::Protocol(format!("a text message is not UTF-8: {error}")),
        Error::Capacity(CapacityError::MessageTooLong { size, .. }) => {
            End::TooLarge(format!("a message of {size} bytes, more than {max} (knob: websocket.max_message_kib)"))
        }
        Error::Capacity(error) => End::TooLarge(error.to_string()),
        Error::WriteBufferFull(_) => End::TooLarge(format!("more than {} KiB wait to be sent", MAX_UNSENT >> 10)),
        Error::Io(error) => match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => End::Tls(inner.to_string()),
            _ => End::Lost(error.to_string()),
        },
        Error::Tls(error) => End::Tls(error.to_string()),
        Error::Http(response) => {
            let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
            let headers: Vec<_> =
                response.headers().iter().filter_map(|(n, v)| Some((n.to_string(), text(v)?))).collect();
            let body = response.body().as_deref().unwrap_or_default();
            End::Handshake {
                status: response.status().as_u16(),
                retry_after: retry_after(&headers),
                body: String::from_utf8_lossy(body).into_owned(),
            }
        }
        Error::Url(error) => End::BadEndpoint(error.to_string()),
        Error::HttpFormat(error) => End::BadEndpoint(error.to_string()),
        other => End::Protocol(other.to_string()),
    }
}
