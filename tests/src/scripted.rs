//! Servers without a venue: the test writes what happens, on a real socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use crate::http::{End, Reply, Request, Wire};
use crate::shell;

/// A WebSocket server that runs one script for each connection. Any path is accepted.
///
/// ```no_run
/// # use feedgate_tests::ScriptedWs;
/// # async fn example() -> std::io::Result<()> {
/// let server = ScriptedWs::start(|mut peer| async move {
///     let subscribe = peer.recv().await;
///     let _ = peer.send(r#"{"ok":true}"#).await;
///     let _ = peer.ping("are you there").await;
///     let _ = peer.close(1001, "going away").await;
/// })
/// .await?;
/// println!("{}", server.origin());
/// # Ok(())
/// # }
/// ```
pub struct ScriptedWs(Server);

impl ScriptedWs {
    /// The connection ends when its script returns.
    pub async fn start<F>(script: impl Fn(Peer) -> F + Send + Sync + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        let connect = move |stream, serial, connects: watch::Sender<u64>| {
            let script = Arc::clone(&script);
            async move {
                let mut wire = Wire::new(stream);
                let Ok(Some(request)) = wire.read().await else {
                    return;
                };
                if let Ok(Some(ws)) = wire.upgrade(&request).await {
                    connects.send_modify(|count| *count += 1);
                    script(Peer { ws, request, serial }).await;
                }
            }
        };
        Server::start(connect).await.map(Self)
    }

    /// `ws://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("ws://{}", self.0.address)
    }

    /// How many connections there were.
    pub fn connects(&self) -> u64 {
        *self.0.count.borrow()
    }

    /// Returns once there were so many connections.
    pub async fn connected(&self, count: u64) {
        self.0.counted(count).await;
    }

    /// Ends every script. Panics if one has panicked.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

/// The client at the other end, in the hands of a script.
pub struct Peer {
    ws: WebSocketStream<TcpStream>,
    request: Request,
    serial: u64,
}

impl Peer {
    /// The handshake: its path and headers.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Which TCP connection of the server this is, from 0.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The next frame of any kind; `None` when the client is gone.
    pub async fn frame(&mut self) -> Option<Message> {
        self.ws.next().await?.ok()
    }

    /// The next text, skipping everything else; `None` when the client is gone.
    pub async fn recv(&mut self) -> Option<String> {
        loop {
            if let Message::Text(text) = self.frame().await? {
                return Some(text.to_string());
            }
        }
    }

    /// Sends and flushes. Text from `&str` and `String`, binary from `Vec<u8>`, anything as a
    /// [`Message`].
    pub async fn send(&mut self, frame: impl Into<Message>) -> io::Result<()> {
        self.ws.send(frame.into()).await.map_err(io_error)
    }

    /// Sends without flushing, for floods. [`flush`](Self::flush) at the end.
    pub async fn feed(&mut self, frame: impl Into<Message>) -> io::Result<()> {
        self.ws.feed(frame.into()).await.map_err(io_error)
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        self.ws.flush().await.map_err(io_error)
    }

    pub async fn ping(&mut self, payload: &str) -> io::Result<()> {
        self.send(Message::Ping(payload.to_owned().into())).await
    }

    /// Sends a close frame and reads until the client has closed too.
    pub async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.ws.close(Some(frame)).await.map_err(io_error)?;
        self.gone().await;
        Ok(())
    }

    /// Writes bytes past the protocol.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush().await?;
        self.ws.get_mut().write_all(bytes).await
    }

    /// Ends the connection with a TCP reset.
    pub fn reset(self) {
        let _ = self.ws.get_ref().set_zero_linger();
    }

    /// Answers pings and forgets the rest until the client is gone.
    pub async fn gone(&mut self) {
        while self.frame().await.is_some() {}
    }
}

/// An HTTP server that is one function from a request to a reply.
pub struct ScriptedHttp(Server);

impl ScriptedHttp {
    pub async fn start(script: impl Fn(Request) -> Reply + Send + Sync + 'static) -> io::Result<Self> {
        let script = Arc::new(script);
        let connect = move |mut stream: TcpStream, _, requests: watch::Sender<u64>| {
            let script = Arc::clone(&script);
            async move {
                let mut wire = Wire::new(&mut stream);
                let mut end = End::KeepAlive;
                while end == End::KeepAlive {
                    let Ok(Some(request)) = wire.read().await else {
                        return;
                    };
                    requests.send_modify(|count| *count += 1);
                    end = wire.write(script(request)).await.unwrap_or(End::Close);
                }
                if end == End::Reset {
                    let _ = stream.set_zero_linger();
                }
            }
        };
        Server::start(connect).await.map(Self)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        *self.0.count.borrow()
    }

    /// How many TCP connections there were.
    pub fn connections(&self) -> u64 {
        self.0.accepts.load(Ordering::Relaxed)
    }

    /// Returns once there were so many requests.
    pub async fn requested(&self, count: u64) {
        self.0.counted(count).await;
    }

    /// Panics if the script has panicked.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

/// What all have in common: an address, a count, and tasks that end with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// TCP connections that were accepted.
    accepts: Arc<AtomicU64>,
    count: watch::Sender<u64>,
    closing: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start<F>(
        connect: impl Fn(TcpStream, u64, watch::Sender<u64>) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (count, closing) = (watch::Sender::new(0), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        let (counter, accepts) = (count.clone(), Arc::<AtomicU64>::default());
        let accepted = accepts.clone();
        tasks.spawn(shell::listen(listener, closing.subscribe(), move |stream, serial| {
            accepted.fetch_add(1, Ordering::Relaxed);
            connect(stream, serial, counter.clone())
        }));
        Ok(Self { address, accepts, count, closing, tasks })
    }

    async fn counted(&self, least: u64) {
        let _ = self.count.subscribe().wait_for(|count| *count >= least).await;
    }

    pub(crate) async fn shutdown(mut self) {
        self.closing.send_replace(true);
        shell::join(&mut self.tasks).await;
    }
}

fn io_error(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
