//! HTTP/1.1 by hand, as much as a venue needs: read a request, write a reply or something that is
//! none, upgrade.
//!
//! Written here because the faults are below what an HTTP library lets through: half a body, a
//! reset, raw bytes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// One HTTP request, the handshake of a WebSocket included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub method: String,
    /// The path and the query as they came, still percent-encoded.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The parameters of the query in order, decoded.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (percent_decode(name), percent_decode(value)))
            .collect()
    }

    /// The first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query().into_iter().find_map(|(found, value)| (found == name).then_some(value))
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn wants_upgrade(&self) -> bool {
        self.header("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target, version) = (first.next()?, first.next()?, first.next()?);
        if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return None;
        }
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        });
        Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect::<Option<_>>()?,
            body: Vec::new(),
        })
    }
}

/// One HTTP answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
    }

    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body)
    }

    pub fn html(status: u16) -> Self {
        let page =
            format!("<!DOCTYPE html><html><head><title>{status}</title></head><body>Just a moment…</body></html>");
        Self::new(status, "text/html; charset=utf-8", page)
    }

    pub fn redirect(location: &str) -> Self {
        Self::new(302, "text/plain", "").with_header("location", location)
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Simulated\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n").into_bytes()
    }
}

/// What a server does about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Send(Response),
    /// The head at once, then the body one byte each so often.
    Trickle(Response, Duration),
    /// The head, half of the body, and the end of the connection.
    Truncate(Response),
    /// Status 200 and a body of so many spaces, which is made while it is sent.
    Filler(usize),
    /// These bytes, whatever they are, and the end of the connection.
    Raw(Vec<u8>),
    /// The end of the connection.
    Close,
    /// A TCP reset.
    Reset,
    /// Nothing, until the client gives up.
    Hang,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Send(response)
    }
}

/// What becomes of a connection.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    KeepAlive,
    Close,
    Reset,
}

/// A connection that speaks HTTP. `S` is a stream or a loan of one, so that its owner can still
/// reset it.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
    /// The client wants no further answer on this connection.
    last: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), last: false }
    }

    /// `None` is the end of the connection between two requests.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head = str::from_utf8(&self.buffer[..end]).ok().and_then(Request::parse);
        let mut request = head.ok_or(io::ErrorKind::InvalidData)?;
        let length = request.header("content-length").map_or(Ok(0), str::parse::<usize>);
        let length = length.ok().filter(|length| *length <= MAX_BODY).ok_or(io::ErrorKind::InvalidData)?;
        while self.buffer.len() < end + 4 + length {
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        request.body = self.buffer[end + 4..end + 4 + length].to_vec();
        self.buffer.drain(..end + 4 + length);
        let close = |value: &str| value.eq_ignore_ascii_case("close");
        self.last = request.header("connection").is_some_and(close);
        Ok(Some(request))
    }

    pub(crate) async fn write(&mut self, reply: Reply) -> io::Result<End> {
        let sent = if self.last { End::Close } else { End::KeepAlive };
        match reply {
            Reply::Send(response) => {
                let mut bytes = response.head();
                bytes.extend_from_slice(&response.body);
                self.stream.write_all(&bytes).await?;
                Ok(sent)
            }
            Reply::Trickle(response, every) => {
                self.stream.write_all(&response.head()).await?;
                for byte in response.body {
                    tokio::time::sleep(every).await;
                    self.stream.write_all(&[byte]).await?;
                }
                Ok(sent)
            }
            Reply::Truncate(response) => {
                self.stream.write_all(&response.head()).await?;
                self.stream.write_all(&response.body[..response.body.len() / 2]).await?;
                Ok(End::Close)
            }
            Reply::Filler(mut rest) => {
                let head = format!("HTTP/1.1 200 Simulated\r\ncontent-length: {rest}\r\n\r\n");
                self.stream.write_all(head.as_bytes()).await?;
                while rest > 0 {
                    let part = rest.min(SPACES.len());
                    self.stream.write_all(&SPACES[..part]).await?;
                    rest -= part;
                }
                Ok(sent)
            }
            Reply::Raw(bytes) => {
                self.stream.write_all(&bytes).await?;
                Ok(End::Close)
            }
            Reply::Close => Ok(End::Close),
            Reply::Reset => Ok(End::Reset),
            Reply::Hang => {
                self.ignore().await?;
                Ok(End::Close)
            }
        }
    }

    /// Answers the handshake. What is no valid handshake is refused and gives `None`.
    pub(crate) async fn upgrade(mut self, request: &Request) -> io::Result<Option<WebSocketStream<S>>> {
        let key = request.header("sec-websocket-key").filter(|key| key.len() == 24);
        let upgrades = |value: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
        let valid = request.method == "GET" && request.header("connection").is_some_and(upgrades);
        let (true, Some(key)) = (valid, key) else {
            self.write(Response::new(400, "text/plain", "Bad Request").into()).await?;
            return Ok(None);
        };
        if request.header("sec-websocket-version") != Some("13") {
            let refusal = Response::new(426, "text/plain", "").with_header("sec-websocket-version", "13");
            self.write(refusal.into()).await?;
            return Ok(None);
        }
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await?;
        // Hundreds of idle connections should cost little; clients send little.
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = 4096;
        Ok(Some(WebSocketStream::from_partially_read(self.stream, self.buffer, Role::Server, Some(config)).await))
    }

    /// Reads and forgets until the client ends it.
    pub(crate) async fn ignore(&mut self) -> io::Result<()> {
        ignore(&mut self.stream).await
    }

    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

pub(crate) async fn ignore(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        let code = match byte {
            b'%' => {
                let hex = bytes.as_slice().get(..2).and_then(|hex| str::from_utf8(hex).ok());
                hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            b'+' => Some(b' '),
            _ => None,
        };
        if byte == b'%' && code.is_some() {
            bytes.nth(1);
        }
        decoded.push(code.unwrap_or(byte));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 1024 * 1024;
static SPACES: [u8; 64 * 1024] = [b' '; 64 * 1024];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        for (target, query) in [
            ("/a", vec![]),
            ("/a?", vec![]),
            ("/a?x=1&y=b%2Cc", vec![("x", "1"), ("y", "b,c")]),
            ("/a?symbols=%5B%22BTCUSDT%22%5D", vec![("symbols", "[\"BTCUSDT\"]")]),
            ("/a?pair=BTC/USD&z", vec![("pair", "BTC/USD"), ("z", "")]),
            ("/a?x=%zz+%4", vec![("x", "%zz %4")]),
        ] {
            let request = Request { target: target.into(), ..Request::default() };
            let expected: Vec<_> = query.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(request.query(), expected, "{target}");
            assert_eq!(request.path(), "/a");
        }
    }

    #[tokio::test]
    async fn requests_are_read_one_after_the_other_whatever_the_pieces() {
        let bytes = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        for size in [1, 7, bytes.len()] {
            let (mut client, server) = tokio::io::duplex(size);
            let mut wire = Wire::new(server);
            let (_, (first, second, end)) = tokio::join!(
                async move {
                    client.write_all(bytes).await.expect("the server reads");
                },
                async { (wire.read().await, wire.read().await, wire.read().await) }
            );
            let first = first.expect("valid").expect("one request");
            assert_eq!((first.path(), first.body.as_slice(), first.header("HOST")), ("/a", &b"abc"[..], Some("x")));
            assert_eq!(second.expect("valid").expect("another").target, "/");
            assert_eq!(end.expect("a clean end"), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_request_is_an_error() {
        for bytes in
            ["\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET x HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno\r\n\r\n", "GET"]
        {
            let result = Wire::new(tokio::io::join(bytes.as_bytes(), tokio::io::sink())).read().await;
            assert!(result.is_err(), "{bytes:?} was read as {result:?}");
        }
    }
}
