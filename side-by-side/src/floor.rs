//! The floor: what waiting for the feed and reading it costs anybody. Of the frames only the headers are looked at, for the
//! ping that ends a turn.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{self, Message};

const PING: u8 = 9;

/// An empty pong, masked with zeros.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Runs until it is killed.
pub fn run(url: &str) {
    let (mut socket, _) = tungstenite::connect(url).expect("the feed is there");
    socket.send(Message::Text(r#"{"id":1}"#.to_owned())).expect("the feed is there");
    // Its answer is the last that it sends before it is told to: nothing is left in the library's buffer.
    socket.read().expect("the feed is there");
    let MaybeTlsStream::Plain(stream) = socket.get_ref() else { panic!("the feed is on loopback") };
    let stream = stream.try_clone().expect("a socket");
    stream.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async { read(TcpStream::from_std(stream).expect("a socket")).await });
}

async fn read(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    let mut held = 0;
    loop {
        match stream.read(&mut buffer[held..]).await {
            Ok(read @ 1..) => held += read,
            _ => return,
        }
        let mut at = 0;
        while let Some((opcode, length)) = header(&buffer[at..held])
            && at + length <= held
        {
            if opcode == PING {
                stream.write_all(&PONG).await.expect("the feed is there");
            }
            at += length;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
    }
}

/// Of a frame from a server: its opcode, and how long it is with its header.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let length = match short {
        0..126 => 2 + usize::from(short),
        126 => 4 + usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        _ => panic!("the feed sends no such frames"),
    };
    Some((first & 0xf, length))
}
