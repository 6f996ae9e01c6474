//! A venue that sends as fast as it is read, or at a rate, for `feedgate bench`: a process of its own that is told what to
//! do by lines on stdin.
//!
//! It speaks one venue's combined streams, and of those only what a load needs: every subscription is accepted. Frames are
//! made before they are sent; only the time and the price in them are written each time, and the price says when the frame
//! was sent. Threads and blocking sockets, because tokio's timers are too coarse for ten thousand frames a second.

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio_tungstenite::tungstenite::{self, Message};

/// The plugin that it feeds.
pub const PLUGIN: &str = "binance";

/// Connections that may wait to be accepted: all of them, where all were cut at once.
const BACKLOG: i32 = 4096;

/// What is written in one go where the socket takes as much as it can.
const CHUNK: usize = 64 << 10;

/// How long it is waited for connections.
const PATIENCE_NS: u64 = 30_000_000_000;

/// A price counts time in steps of ten nanoseconds, 10¹² of them before it begins anew: almost three hours.
const STEP_NS: u64 = 10;
const STEPS: u64 = 1_000_000_000_000;
const DECIMALS: i16 = 8;

/// The name of an id, as long as most symbols.
pub fn id(number: usize) -> String {
    format!("T{number:05}T")
}

/// Nanoseconds on a clock that all processes share and that never goes back.
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// How many nanoseconds before `now` a frame was sent whose price is `coefficient` × 10^`exponent`. `None`: it is no price
/// of this venue.
pub fn since_sent(coefficient: u64, exponent: i16, now: u64) -> Option<u64> {
    let zeros = u32::try_from(exponent.checked_add(DECIMALS)?).ok().filter(|zeros| *zeros <= 8)?;
    let sent = coefficient.checked_mul(10_u64.pow(zeros))?.checked_sub(STEPS)?;
    Some((now / STEP_NS % STEPS + STEPS - sent) % STEPS * STEP_NS)
}

/// Prints its address and does what stdin says, a line each, until that ends: `full CONNECTIONS FRAMES`, `paced CONNECTIONS
/// FRAMES RATE BURST` or `cut`. Answers each, when it is done, with how many frames it sent. Sends nothing before exactly so
/// many connections are subscribed: those of a client that is gone may still be there.
pub fn run() -> io::Result<()> {
    // A sleep is otherwise up to 50 µs too long: a fifth of them at the usual rate. Where it cannot be set, the rate that is
    // told is lower.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    rustix::net::listen(&listener, BACKLOG)?;
    println!("{}", listener.local_addr()?);
    let clients = Clients::default();
    let accepted = clients.clone();
    std::thread::spawn(move || accept(&listener, &accepted));
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<usize>().map_err(|_| io::Error::other(format!("{word:?} is no number")));
        let sent = match words[..] {
            ["full", connections, frames] => full(&clients.subscribed(number(connections)?)?, number(frames)?)?,
            ["paced", connections, frames, rate, burst] => {
                let subscribed = clients.subscribed(number(connections)?)?;
                paced(&subscribed, number(frames)?, number(rate)?, number(burst)?)?
            }
            ["cut"] => clients.cut(),
            _ => return Err(io::Error::other(format!("{line:?} is not understood"))),
        };
        println!("{sent}");
    }
    Ok(())
}

fn accept(listener: &TcpListener, clients: &Clients) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let clients = clients.clone();
                let thread = std::thread::Builder::new().stack_size(256 << 10);
                // Without a thread the connection is dropped, which the other side sees.
                let _ = thread.spawn(move || clients.serve(stream));
            }
            // Out of descriptors: others must end first.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Everybody who is connected.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<Vec<Arc<Client>>>>);

impl Clients {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Client>>> {
        lock(&self.0)
    }

    /// Everybody, once they are so many and each is subscribed to something.
    fn subscribed(&self, connections: usize) -> io::Result<Vec<Arc<Client>>> {
        let deadline = monotonic() + PATIENCE_NS;
        while monotonic() < deadline {
            let all = self.all().clone();
            if all.len() == connections && all.iter().all(|client| !lock(&client.frames).is_empty()) {
                return Ok(all);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other(format!("not {connections} connections are subscribed")))
    }

    /// One connection, until it ends.
    fn serve(&self, stream: TcpStream) {
        // It is no loss if it cannot be set.
        let _ = stream.set_nodelay(true);
        let wire = Wire(Arc::new((stream, Mutex::new(()))));
        let Ok(mut socket) = tungstenite::accept(wire.clone()) else { return };
        let client = Arc::new(Client { wire, frames: Mutex::default(), next: AtomicUsize::new(0) });
        self.all().push(client.clone());
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message
                && client.answer(&text, |reply| socket.send(Message::text(reply))).is_err()
            {
                break;
            }
        }
        self.all().retain(|other| !Arc::ptr_eq(other, &client));
    }

    fn cut(&self) -> usize {
        for client in self.all().iter() {
            // Gone already, if it fails.
            let _ = client.wire.0.0.shutdown(Shutdown::Both);
        }
        0
    }
}

/// As fast as the sockets take it.
fn full(clients: &[Arc<Client>], frames: usize) -> io::Result<usize> {
    let mut left = frames;
    let mut buffer = Vec::with_capacity(2 * CHUNK);
    for client in clients.iter().cycle() {
        if left == 0 {
            break;
        }
        buffer.clear();
        left -= client.fill(&mut buffer, left);
        client.wire.clone().write_all(&buffer)?;
    }
    Ok(frames)
}

/// At a rate, `burst` frames to one connection in one go. Whoever comes too late does not hurry: that would make bursts
/// of what was to come alone.
fn paced(clients: &[Arc<Client>], frames: usize, rate: usize, burst: usize) -> io::Result<usize> {
    let burst = burst.max(1);
    let interval = (burst * 1_000_000_000 / rate.max(1)) as u64;
    let mut buffer = Vec::new();
    let mut next = monotonic();
    let mut left = frames;
    for client in clients.iter().cycle() {
        if left == 0 {
            break;
        }
        let now = monotonic();
        if now < next {
            std::thread::sleep(Duration::from_nanos(next - now));
        } else {
            next = now;
        }
        next += interval;
        buffer.clear();
        left -= client.fill(&mut buffer, left.min(burst));
        client.wire.clone().write_all(&buffer)?;
    }
    Ok(frames)
}

struct Client {
    wire: Wire,
    frames: Mutex<Vec<Frame>>,
    /// Which of them is next.
    next: AtomicUsize,
}

impl Client {
    fn answer<E>(&self, text: &str, send: impl FnOnce(String) -> Result<(), E>) -> Result<(), E> {
        let Ok(request) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(()) };
        let streams = request["params"].as_array().into_iter().flatten().filter_map(|stream| stream.as_str());
        let reply = format!("{{\"result\":null,\"id\":{}}}", request["id"]);
        match request["method"].as_str() {
            Some("SUBSCRIBE") => {
                // Nothing is sent before it is confirmed.
                send(reply)?;
                lock(&self.frames).extend(streams.map(Frame::new));
                Ok(())
            }
            Some("UNSUBSCRIBE") => {
                let gone: Vec<&str> = streams.collect();
                lock(&self.frames).retain(|frame| !gone.contains(&&*frame.stream));
                send(reply)
            }
            _ => Ok(()),
        }
    }

    /// Adds at most `most` frames, as many as one write takes. Answers how many.
    fn fill(&self, buffer: &mut Vec<u8>, most: usize) -> usize {
        let frames = lock(&self.frames);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let sent = monotonic() / STEP_NS % STEPS;
        let mut count = 0;
        while count < most && buffer.len() < CHUNK {
            let Some(frame) = frames.get(self.next.fetch_add(1, Ordering::Relaxed) % frames.len().max(1)) else {
                break;
            };
            // Frames of one write differ, if only by nothing that can be measured.
            frame.write(buffer, wall, (sent + count as u64 % 100) % STEPS);
            count += 1;
        }
        count
    }
}

/// One message of a stream, with its header.
struct Frame {
    stream: String,
    bytes: Vec<u8>,
    time_at: usize,
    price_at: usize,
}

const TIME: &str = "1763700000251";
const PRICE: &str = "91250.10000000";

impl Frame {
    fn new(stream: &str) -> Self {
        let symbol = stream.split('@').next().unwrap_or_default().to_uppercase();
        let text = format!(
            "{{\"stream\":\"{stream}\",\"data\":{{\"e\":\"24hrMiniTicker\",\"E\":{TIME},\"s\":\"{symbol}\",\"c\":\"{PRICE}\",\
             \"o\":\"91000.00000000\",\"h\":\"92000.00000000\",\"l\":\"90000.00000000\",\"v\":\"12345.67890000\",\
             \"q\":\"126543210.12\"}}}}"
        );
        let length = u16::try_from(text.len()).expect("a stream's name is short").to_be_bytes();
        // A whole text message whose length takes two bytes.
        let header = [0x81, 126, length[0], length[1]];
        let at = |part: &str| header.len() + text.find(part).expect("it was just written");
        let (time_at, price_at) = (at(TIME), at(PRICE));
        Self { stream: stream.to_owned(), bytes: [&header[..], text.as_bytes()].concat(), time_at, price_at }
    }

    fn write(&self, buffer: &mut Vec<u8>, millis: u64, sent: u64) {
        let start = buffer.len();
        buffer.extend_from_slice(&self.bytes);
        let frame = &mut buffer[start..];
        digits(&mut frame[self.time_at..][..TIME.len()], millis);
        // The point stays where it is, and a leading 1 keeps the zeros.
        let price = &mut frame[self.price_at..][..PRICE.len()];
        let (whole, fraction) = price.split_at_mut(PRICE.len() - DECIMALS as usize - 1);
        let one = 10_u64.pow(DECIMALS as u32);
        digits(whole, (STEPS + sent) / one);
        digits(&mut fraction[1..], sent % one);
    }
}

fn digits(into: &mut [u8], mut number: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A socket that is read by one thread and written by two, each write whole.
#[derive(Clone)]
struct Wire(Arc<(TcpStream, Mutex<()>)>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0.0).read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _whole = lock(&self.0.1);
        (&self.0.0).write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: u64, now: u64, age: u64) {
        let frame = Frame::new("t00000t@miniTicker");
        let mut buffer = Vec::new();
        frame.write(&mut buffer, 1_800_000_000_000, sent);
        let text = std::str::from_utf8(&buffer[4..]).expect("a text message");
        assert_eq!(text.len(), 217);
        let price = crate::native::mini_ticker(text.as_bytes()).expect("the venue's shape");
        assert_eq!((price.symbol, price.millis), ("T00000T", Some(1_800_000_000_000)));
        let coefficient = u64::try_from(price.coefficient).expect("a price");
        assert_eq!(since_sent(coefficient, i16::try_from(price.exponent).expect("small"), now), Some(age));
    }

    #[test]
    fn a_price_says_when_its_frame_was_sent() {
        check(0, 0, 0);
        check(123_456_789, 1_234_567_990, 100);
        check(999_999_999_990, 10_000_000_000_000, 100);
        // The count has begun anew in between.
        check(999_999_999_999, 20, 30);
    }
}
