//! Listening: connections, how many, how long, and their end. What is asked on them is the router's business.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::asked::Asked;
use super::guard::Guard;
use super::patience::Patient;
use super::router::router;
use super::routes::class_of;
use super::tls::acceptor;
use crate::config::ApiConfig;

/// How long open answers may take once the daemon stops: a reader that never finishes must not hold it up.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// A request's line and headers together; a list of ids may be long.
const MAX_HEAD: usize = 32 << 10;

/// Out of descriptors, for one: it goes by, or it does not, but trying without a pause helps nobody.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n\
                      retry-after: 1\r\ncontent-length: 47\r\n\r\n{\"error\":\"too many connections to the API now\"}";

/// Why the API does not start.
#[derive(Debug, thiserror::Error)]
pub enum ApiStartError {
    #[error("cannot listen on {address} (api.listen): {why}")]
    Listen { address: SocketAddr, why: io::Error },
    #[error("{field}: {why}")]
    Refused { field: &'static str, why: String },
}

/// An API that listens and does not answer yet.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
    config: ApiConfig,
    guard: Arc<Guard>,
    tls: Option<Acceptor>,
}

/// What it holds has no words of its own.
#[derive(Clone)]
struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Api {
    /// Reads the tokens and the certificate, and listens.
    pub async fn bind(config: &ApiConfig) -> Result<Self, ApiStartError> {
        let refused = |(field, why)| ApiStartError::Refused { field, why };
        let guard = Arc::new(Guard::new(config, config.read_tokens().map_err(refused)?, class_of));
        let tls = config.tls.as_ref().map(acceptor).transpose().map_err(refused)?.map(Acceptor);
        let failed = |why| ApiStartError::Listen { address: config.listen, why };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, config: config.clone(), guard, tls })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where to ask, with the scheme.
    pub fn url(&self) -> String {
        format!("{}://{}/", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Answers until `stop` completes, then finishes what was asked before, within five seconds.
    pub async fn serve(mut self, asked: Asked, stop: impl Future<Output = ()>) {
        let mut reloads = asked.control.reloads();
        let metrics = asked.status.metrics.clone();
        let router = router(asked, self.guard.clone());
        let stopping = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        let max = self.config.max_connections.get() as usize;
        let mut full = false;
        let count = |ended: Result<(), JoinError>| {
            if let Err(error) = ended
                && error.is_panic()
            {
                metrics.task_panic();
                tracing::error!(%error, "a connection of the API panicked");
            }
        };
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Ok(()) = reloads.changed() => self.read_again(),
                Some(ended) = connections.join_next() => {
                    count(ended);
                    // Not at each that comes and goes around the limit.
                    full = full && connections.len() > max / 2;
                }
                socket = accept(&self.listener) => {
                    if connections.len() < max {
                        let connection =
                            Connection { tls: self.tls.clone(), router: router.clone(), patience: self.config.request_timeout };
                        connections.spawn(connection.run(socket, stopping.subscribe()));
                    } else {
                        if !full {
                            tracing::warn!(max, "the API has too many connections (knob: api.max_connections)");
                        }
                        full = true;
                        self.turn_away(socket);
                    }
                }
            }
        }
        // No new ones from here on.
        drop(self.listener);
        stopping.send_replace(true);
        let all = async {
            while let Some(ended) = connections.join_next().await {
                count(ended);
            }
        };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!("readers of the API did not finish within {GRACE:?}: cut off");
            connections.shutdown().await;
        }
    }

    /// The tokens and the certificate may have been replaced in their files. What cannot be used changes nothing.
    fn read_again(&mut self) {
        let refused = |(field, why): (&str, String)| tracing::warn!(field, why, "the API goes on with what it had");
        match self.config.read_tokens() {
            Ok(tokens) => self.guard.set_tokens(tokens),
            Err(error) => refused(error),
        }
        match self.config.tls.as_ref().map(acceptor).transpose() {
            Ok(tls) => self.tls = tls.map(Acceptor),
            Err(error) => refused(error),
        }
    }

    /// Says so where that needs no handshake. A socket that was just opened takes these few bytes without waiting; if it
    /// does not, its end says enough.
    fn turn_away(&self, socket: TcpStream) {
        if self.tls.is_none()
            && let Ok(mut socket) = socket.into_std()
        {
            let _ = socket.write_all(FULL);
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }
}

/// The next connection. One that is gone before it is accepted is none.
async fn accept(listener: &TcpListener) -> TcpStream {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error)
                if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) => {}
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept connections now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What one connection needs.
struct Connection {
    tls: Option<Acceptor>,
    router: Router,
    patience: Duration,
}

impl Connection {
    async fn run(self, socket: TcpStream, stopping: watch::Receiver<bool>) {
        // Answers are written whole: waiting for more to send only adds delay.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "an API connection keeps Nagle's delay");
        }
        let socket = Patient::new(socket, self.patience);
        match &self.tls {
            None => self.answer(socket, stopping).await,
            Some(Acceptor(tls)) => match timeout(self.patience, tls.accept(socket)).await {
                Ok(Ok(stream)) => self.answer(stream, stopping).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake with the API failed"),
                Err(_) => tracing::debug!("a TLS handshake with the API took too long"),
            },
        }
    }

    async fn answer(&self, stream: impl AsyncRead + AsyncWrite + Unpin, mut stopping: watch::Receiver<bool>) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Also how long a connection may be idle: its next head is due from the last answer on.
            .header_read_timeout(self.patience)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router.clone()));
        let mut connection = pin!(connection);
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of the API ended");
        }
    }
}
