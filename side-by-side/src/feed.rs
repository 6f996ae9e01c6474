//! The feed: a WebSocket server on loopback, in a process of its own, that sends 217-byte frames when it is told to.
//!
//! It says its port on its first line, `connected` once a client has subscribed, and `done` when the client has answered
//! a ping that stood behind the last frame. It is told `full N` or `paced N` on its input.

use std::io::{BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// Frames that differ in their price, sent again and again.
const DIFFERENT: u64 = 256;

/// One frame a wake-up: 10,000 a second.
const GAP: Duration = Duration::from_micros(100);

pub fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    say(&listener.local_addr().expect("it listens").port().to_string());
    let (stream, _) = listener.accept().expect("a client");
    stream.set_nodelay(true).expect("a socket");
    let mut socket = tungstenite::accept(stream).expect("a WebSocket client");
    subscribed(&mut socket);
    let frames: Vec<Vec<u8>> = (0..DIFFERENT).map(|number| framed(&ticker(number))).collect();
    say("connected");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let (pace, count) = line.split_once(' ').expect("a pace and a count");
        let count: usize = count.parse().expect("a number");
        match pace {
            "full" => full(socket.get_mut(), &frames, count),
            _ => paced(socket.get_mut(), &frames, count),
        }
        socket.send(Message::Ping(Vec::new())).expect("the client is there");
        while !matches!(socket.read().expect("the client is there"), Message::Pong(_)) {}
        say("done");
    }
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("somebody listens");
}

/// Waits for the subscription and confirms it.
fn subscribed(socket: &mut WebSocket<TcpStream>) {
    loop {
        if let Message::Text(text) = socket.read().expect("the client is there") {
            let request: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let answer = format!("{{\"result\":null,\"id\":{}}}", request["id"]);
            return socket.send(Message::Text(answer)).expect("the client is there");
        }
    }
}

fn ticker(number: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let cents = 10 + number % 90;
    format!(
        r#"{{"stream":"btcusdt@miniTicker","data":{{"e":"24hrMiniTicker","E":{now},"s":"BTCUSDT","c":"91250.{cents}000000","o":"91000.00000000","h":"92000.00000000","l":"90000.00000000","v":"12345.67890000","q":"1126543210.12"}}}}"#
    )
}

/// A server's text frame: final, unmasked, its length in two bytes.
fn framed(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    [&[0x81, 126, length[0], length[1]], text.as_bytes()].concat()
}

/// As fast as the client takes them.
fn full(stream: &mut TcpStream, frames: &[Vec<u8>], count: usize) {
    let all = frames.concat();
    let one = all.len() / frames.len();
    let mut left = count;
    while left > 0 {
        let now = left.min(frames.len());
        stream.write_all(&all[..now * one]).expect("the client is there");
        left -= now;
    }
}

/// One by one, [`GAP`] apart; a gap that was overslept is not made up for.
fn paced(stream: &mut TcpStream, frames: &[Vec<u8>], count: usize) {
    let mut next = Instant::now();
    for frame in frames.iter().cycle().take(count) {
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        stream.write_all(frame).expect("the client is there");
        next = (next + GAP).max(Instant::now());
    }
}
