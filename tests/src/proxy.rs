//! Proxies that lead every name to this machine and remember what they were asked for: HTTP `CONNECT` and SOCKS5.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::scripted::Server;

/// A running proxy. Whatever host it is asked for, it connects to 127.0.0.1.
pub struct ScriptedProxy {
    server: Server,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ScriptedProxy {
    /// Speaks `CONNECT`. `authorization`: the header that it wants to see, or 407.
    pub async fn http(authorization: Option<&'static str>) -> io::Result<Self> {
        Self::start("http", move |stream| async move {
            let (target, mut stream) = connect_request(stream, authorization).await?;
            let onward = onward(&target).await?;
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
            Ok((target, stream, onward))
        })
        .await
    }

    /// Speaks SOCKS5. `credentials`: the user and the password that it wants.
    pub async fn socks5(credentials: Option<(&'static str, &'static str)>) -> io::Result<Self> {
        Self::start("socks5", move |stream| async move {
            let (target, mut stream) = socks_request(stream, credentials).await?;
            let onward = onward(&target).await?;
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            Ok((target, stream, onward))
        })
        .await
    }

    async fn start<F>(scheme: &'static str, accept: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> io::Result<Self>
    where
        F: Future<Output = io::Result<(String, TcpStream, TcpStream)>> + Send + 'static,
    {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let targets = asked.clone();
        let connect = move |stream, _, _: watch::Sender<u64>| {
            let (accepting, targets) = (accept(stream), targets.clone());
            async move {
                // Whoever is refused or goes away is no matter of the test's.
                if let Ok((target, mut stream, mut onward)) = accepting.await {
                    targets.lock().unwrap_or_else(PoisonError::into_inner).push(target);
                    let _ = copy_bidirectional(&mut stream, &mut onward).await;
                }
            }
        };
        Ok(Self { server: Server::start(connect).await?, scheme, asked })
    }

    /// `http://127.0.0.1:PORT`, with `user` before the host where there is one (`me:secret@`).
    pub fn url(&self, user: &str) -> String {
        format!("{}://{user}{}", self.scheme, self.server.address)
    }

    /// The places it was asked for, `HOST:PORT`, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

async fn onward(target: &str) -> io::Result<TcpStream> {
    let port =
        target.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).ok_or(io::ErrorKind::InvalidData)?;
    TcpStream::connect(("127.0.0.1", port)).await
}

async fn connect_request(mut stream: TcpStream, wanted: Option<&str>) -> io::Result<(String, TcpStream)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut lines = head.split("\r\n");
    let target = lines.next().and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next());
    let target = target.ok_or(io::ErrorKind::InvalidData)?.to_owned();
    let known = |line: &str| {
        line.split_once(": ")
            .is_some_and(|(name, value)| name.eq_ignore_ascii_case("proxy-authorization") && Some(value) == wanted)
    };
    if wanted.is_some() && !lines.any(known) {
        stream.write_all(b"HTTP/1.1 407 Who are you\r\n\r\n").await?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok((target, stream))
}

async fn socks_request(mut stream: TcpStream, wanted: Option<(&str, &str)>) -> io::Result<(String, TcpStream)> {
    async fn bytes(stream: &mut TcpStream, count: u8) -> io::Result<Vec<u8>> {
        let mut found = vec![0; count.into()];
        stream.read_exact(&mut found).await?;
        Ok(found)
    }
    async fn counted(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let count = stream.read_u8().await?;
        bytes(stream, count).await
    }
    let _version = stream.read_u8().await?;
    let _methods = counted(&mut stream).await?;
    stream.write_all(&[5, if wanted.is_some() { 2 } else { 0 }]).await?;
    if let Some((user, password)) = wanted {
        let _version = stream.read_u8().await?;
        let known = counted(&mut stream).await? == user.as_bytes();
        let known = counted(&mut stream).await? == password.as_bytes() && known;
        stream.write_all(&[1, u8::from(!known)]).await?;
        if !known {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    let head = bytes(&mut stream, 4).await?;
    let host = match head[3] {
        1 => bytes(&mut stream, 4).await?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        3 => String::from_utf8(counted(&mut stream).await?).map_err(|_| io::ErrorKind::InvalidData)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let port = stream.read_u16().await?;
    Ok((format!("{host}:{port}"), stream))
}
