//! What can go wrong below a venue's language: names, TCP, handshakes, frames. Each has its own words, nobody hammers,
//! and everybody else goes on.

use std::net::SocketAddr;
use std::time::Duration;

use feedgate::store::State;
use feedgate_tests::{Message, Peer, ScriptedWs};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::{redirected_section, scripted};
use crate::support::Running;

const GUEST: &str = "wss://guest.example.com";
const QUICK: &str = "max_age_ms = 300\nids = [\"a\"]\nwebsocket = { backoff_first_ms = 50, backoff_max_ms = 100, \
                     tcp_timeout_ms = 200, tls_timeout_ms = 210, handshake_timeout_ms = 220, idle_timeout_ms = 400, \
                     max_message_kib = 64 }";

/// Accepts and says nothing, for ever.
async fn mute() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    (address, tasks)
}

/// A port at which nobody listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound")
}

/// A queue of connections that nobody accepts, full: the system drops whoever knocks.
async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("a queue");
    let address = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue has no end");
    }
    (listener, waiting)
}

/// Where a connection fails on its way, and how each reason names its step.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_connection_has_its_deadline_and_its_words() {
    let (silent, tasks) = mute().await;
    let nobody = closed().await;
    let (hole, waiting) = black_hole().await;
    let hole = hole.local_addr().map(|address| (address, hole)).expect("bound");
    let rows = [
        ("names", "wss://no-such-name.invalid".to_owned(), "cannot resolve no-such-name.invalid", "resolve"),
        ("refused", format!("ws://{nobody}"), "cannot connect: ", "connect"),
        (
            "hole",
            format!("ws://{}", hole.0),
            "no TCP connection in time (knob: websocket.tcp_timeout_ms = 200)",
            "tcp-timeout",
        ),
        (
            "tls",
            format!("wss://{silent}"),
            "the TLS handshake did not end in time (knob: websocket.tls_timeout_ms = 210)",
            "tls-timeout",
        ),
        (
            "handshake",
            format!("ws://{silent}"),
            "the WebSocket handshake did not end in time (knob: websocket.handshake_timeout_ms = 220)",
            "handshake-timeout",
        ),
    ];
    let config = rows.iter().map(|(name, origin, ..)| scripted(name, "guest", GUEST, origin, QUICK));
    let daemon = Running::start(&config.collect::<String>(), &["guest"]).await;
    for (name, _, words, cause) in &rows {
        let says = |reading: &feedgate::store::Reading| reading.reason.contains(words);
        let reading = daemon.reading(name, "a", words, says).await;
        assert_eq!(reading.state, State::ProviderDown, "{name}");
        let counted = format!("feedgate_disconnects_total{{provider=\"{name}\",cause=\"{cause}\"}}");
        daemon.until(&counted, |_| daemon.metrics().contains(&counted)).await;
    }
    daemon.stop().await;
    drop((tasks, waiting));
}

type Script = fn(Peer) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The first connection goes wrong; the second one is good. Each row: what the first does, and what is then said.
#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_protocol_cost_their_connection_and_no_more() {
    let rows: [(&str, Script, &str); 11] = [
        ("utf8", |mut peer| Box::pin(async move { drop(peer.raw(&[0x81, 2, 0xc3, 0x28]).await) }), "not UTF-8"),
        (
            "opcode",
            |mut peer| Box::pin(async move { drop(peer.raw(&[0x83, 0]).await) }),
            "broke the WebSocket protocol",
        ),
        (
            "masked",
            |mut peer| Box::pin(async move { drop(peer.raw(&[0x81, 0x81, 0, 0, 0, 0, 0]).await) }),
            "broke the WebSocket protocol",
        ),
        (
            "claim",
            |mut peer| {
                // Two to the sixty-second bytes are to follow.
                Box::pin(async move { drop(peer.raw(&[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]).await) })
            },
            "more than 65536 (knob: websocket.max_message_kib)",
        ),
        (
            "policy",
            |mut peer| Box::pin(async move { drop(peer.close(1008, "too many").await) }),
            "closed by the venue with code 1008 too many",
        ),
        (
            "restart",
            |mut peer| Box::pin(async move { drop(peer.close(1012, "").await) }),
            "closed by the venue with code 1012",
        ),
        (
            "own",
            |mut peer| Box::pin(async move { drop(peer.close(4001, "slow consumer").await) }),
            "closed by the venue with code 4001 slow consumer",
        ),
        ("no-code", |mut peer| Box::pin(async move { drop(peer.raw(&[0x88, 0]).await) }), "closed by the venue"),
        (
            "half-a-code",
            |mut peer| Box::pin(async move { drop(peer.raw(&[0x88, 1, 3]).await) }),
            "broke the WebSocket protocol",
        ),
        ("cut", |peer| Box::pin(async move { peer.reset() }), "connection lost"),
        (
            "loris",
            |mut peer| {
                Box::pin(async move {
                    // A frame of a hundred bytes that takes a second.
                    let _ = peer.raw(&[0x81, 100]).await;
                    let mut ticks = tokio::time::interval(Duration::from_millis(10));
                    while peer.raw(b"x").await.is_ok() {
                        ticks.tick().await;
                    }
                })
            },
            "nothing was received for too long",
        ),
    ];
    let mut servers = Vec::new();
    let mut config = String::new();
    for (name, script, words) in rows {
        let serve = move |mut peer: Peer| async move {
            if peer.serial() > 0 {
                return feed(&mut peer).await;
            }
            let _ = peer.recv().await;
            script(peer).await;
        };
        let server = ScriptedWs::start(serve).await.expect("a free port");
        config += &scripted(name, "guest", GUEST, &server.origin(), QUICK);
        servers.push((name, words, server));
    }
    let daemon = Running::start(&config, &["guest"]).await;
    for (name, words, server) in &servers {
        server.connected(2).await;
        daemon.state(name, "a", State::Fresh).await;
        let (reason, _) = super::connection(&daemon, name).and_then(|c| c.last_end).expect("the first ended");
        assert!(reason.contains(words), "{name}: {reason}");
    }
    daemon.stop().await;
    for (.., server) in servers {
        server.shutdown().await;
    }
}

/// Values every 20 ms for whatever is asked, until the client is gone.
async fn feed(peer: &mut Peer) {
    let Some(key) = peer.recv().await.and_then(|text| Some(text.split(' ').nth(1)?.to_owned())) else { return };
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while peer.send(format!("{key} 1.50")).await.is_ok() {
        ticks.tick().await;
    }
}

/// A message in pieces with a ping between them, a packed message that unpacks to far too much, one that is no gzip:
/// the first is one value, the others cost themselves only, and the connection stays.
#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_put_together_and_what_cannot_be_unpacked_costs_itself() {
    let script = |mut peer: Peer| async move {
        let Some(key) = peer.recv().await.and_then(|text| Some(text.split(' ').nth(1)?.to_owned())) else { return };
        let _ = peer.send(Message::Binary(bomb().into())).await;
        let _ = peer.send(Message::Binary(vec![1, 2, 3].into())).await;
        let text = format!("{key} 42.50");
        let (first, rest) = text.as_bytes().split_at(1);
        let mut pieces = vec![0x01, 1];
        pieces.extend_from_slice(first);
        pieces.extend_from_slice(&[0x89, 2, b'h', b'i']);
        pieces.extend_from_slice(&[0x80, u8::try_from(rest.len()).expect("short")]);
        pieces.extend_from_slice(rest);
        let _ = peer.raw(&pieces).await;
        loop {
            match peer.frame().await {
                Some(Message::Pong(payload)) if &payload[..] == b"hi" => break,
                Some(_) => {}
                None => return,
            }
        }
        let _ = peer.send(format!("{key} 43.50")).await;
        peer.gone().await;
    };
    let server = ScriptedWs::start(script).await.expect("a free port");
    let more = "ids = [\"a\"]\nwebsocket = { max_message_kib = 64 }";
    let redirects = format!("redirect_origins = {{ \"{GUEST}\" = \"{}\" }}", server.origin());
    let daemon = Running::start(&redirected_section("p", "guest", &redirects, more), &["guest"]).await;
    // The second value comes after our pong for the ping in the middle of the first.
    daemon.value("p", "a", "43.50").await;
    assert_eq!((daemon.outcomes("p", "observed"), daemon.outcomes("p", "malformed")), (2, 2));
    assert_eq!(server.connects(), 1);
    daemon.stop().await;
    server.shutdown().await;
}

/// A venue that closes whoever does not answer its ping within half a second, with the same payload, and says nothing else
/// for a while: the answers are the host's, and need neither the plugin nor a timer of ours.
#[tokio::test(flavor = "multi_thread")]
async fn the_pings_of_a_venue_are_answered_within_their_deadline() {
    let script = |mut peer: Peer| async move {
        let Some(key) = peer.recv().await.and_then(|text| Some(text.split(' ').nth(1)?.to_owned())) else { return };
        for number in 0..20 {
            let payload = format!("ping {number}");
            let _ = peer.ping(&payload).await;
            let answered = async {
                loop {
                    match peer.frame().await {
                        Some(Message::Pong(answer)) if answer[..] == *payload.as_bytes() => return true,
                        Some(_) => {}
                        None => return false,
                    }
                }
            };
            if !tokio::time::timeout(Duration::from_millis(500), answered).await.unwrap_or(false) {
                let _ = peer.close(1008, "Pong timeout").await;
                return;
            }
        }
        let _ = peer.send(format!("{key} 1.50")).await;
        peer.gone().await;
    };
    let server = ScriptedWs::start(script).await.expect("a free port");
    let daemon = Running::start(&scripted("p", "guest", GUEST, &server.origin(), "ids = [\"a\"]"), &["guest"]).await;
    daemon.value("p", "a", "1.50").await;
    assert_eq!(server.connects(), 1);
    daemon.stop().await;
    server.shutdown().await;
}

/// Ten megabytes of nothing, in a few kilobytes.
fn bomb() -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![0; 10 << 20]).expect("into memory");
    packer.finish().expect("into memory")
}
