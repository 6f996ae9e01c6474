//! Real sockets at both ends.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{Fault, Kind, Message, Notice, Options, Reply, Response, ScriptedHttp, ScriptedWs, Venue};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn binance() -> Venue {
    Venue::start_with(Kind::Binance, Options::still()).await.expect("a free port")
}

async fn connect(venue: &Venue, path: &str) -> Client {
    let url = format!("{}{path}", venue.ws_origin().expect("a WebSocket"));
    connect_async(url).await.expect("a handshake").0
}

/// The next frame that is neither ping nor pong; `None` at the end or at an error.
async fn next(client: &mut Client) -> Option<Message> {
    loop {
        match client.next().await?.ok()? {
            Message::Ping(_) | Message::Pong(_) => {}
            frame => return Some(frame),
        }
    }
}

async fn next_text(client: &mut Client) -> String {
    next(client).await.expect("a frame").to_text().expect("text").to_owned()
}

/// Sends a request by hand and returns all that comes back.
async fn raw(venue: &Venue, request: &str) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect(venue.address()).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn get(venue: &Venue, target: &str) -> Result<String, std::io::Error> {
    raw(venue, &format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn prices_walk_for_whoever_is_subscribed() {
    let options = Options { tick: Some(Duration::from_millis(1)), ..Options::default() };
    for (kind, path, subscribe) in [
        (Kind::Binance, "/ws/btcusdt@miniTicker", ""),
        (Kind::Bitfinex, "/ws/2", r#"{"event":"subscribe","channel":"ticker","symbol":"tBTCUSD"}"#),
        (Kind::Coinbase, "/", r#"{"type":"subscribe","channel":"ticker","product_ids":["BTC-USD"]}"#),
        (Kind::Kraken, "/v2", r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"]}}"#),
    ] {
        let venue = Venue::start_with(kind, options.clone()).await.expect("a free port");
        let mut client = connect(&venue, path).await;
        if !subscribe.is_empty() {
            client.send(Message::text(subscribe)).await.expect("an open socket");
        }
        venue.wait(|stats| stats.subscriptions == 1 && stats.sent >= 6).await;
        let mut texts = Vec::new();
        for _ in 0..6 {
            texts.push(next_text(&mut client).await);
        }
        texts.dedup();
        assert_eq!(texts.len(), 6, "{kind:?}: {texts:?}");
        assert_eq!(venue.stats().violations, [""; 0]);
    }
}

#[tokio::test]
async fn a_pushed_price_is_sent_and_held() {
    let venue = binance().await;
    let mut client = connect(&venue, "/stream?streams=btcusdt@miniTicker").await;
    venue.push_price("ETHUSDT", "1");
    venue.push_price("BTCUSDT", "12345.67890");
    let text = next_text(&mut client).await;
    assert!(text.contains(r#""s":"BTCUSDT","c":"12345.67890""#), "{text}");
    let answer = get(&venue, "/api/v3/ticker/price?symbol=BTCUSDT").await.expect("an answer");
    assert!(answer.contains("200") && answer.ends_with(r#"{"symbol":"BTCUSDT","price":"12345.67890"}"#));
    let stats = venue.stats();
    assert_eq!((stats.connects, stats.open, stats.requests, stats.sent), (1, 1, 1, 1));
    assert_eq!(stats.last_request.expect("one").target, "/api/v3/ticker/price?symbol=BTCUSDT");
    assert_eq!(stats.subscribed.into_iter().collect::<Vec<_>>(), [("BTCUSDT".to_owned(), 1)]);
}

#[tokio::test]
async fn a_cut_resets_everyone_and_new_connections_are_welcome() {
    let venue = binance().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(connect(&venue, "/ws/btcusdt@miniTicker").await);
    }
    venue.wait(|stats| stats.subscriptions == 3).await;
    venue.cut();
    for client in &mut clients {
        let error = client.next().await.expect("an error").expect_err("no close frame");
        assert!(error.to_string().contains("reset"), "{error}");
    }
    venue.wait(|stats| stats.open == 0 && stats.subscriptions == 0 && stats.subscribed.is_empty()).await;
    let mut client = connect(&venue, "/ws/btcusdt@miniTicker").await;
    venue.wait(|stats| stats.open == 1).await;
    venue.push_price("BTCUSDT", "1");
    assert!(next_text(&mut client).await.contains("\"c\":\"1\""));
}

#[tokio::test]
async fn three_hundred_connections_hear_the_same_price() {
    let venue = binance().await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(connect(&venue, "/ws/btcusdt@miniTicker").await);
    }
    venue.wait(|stats| stats.open == 300).await;
    venue.push_price("BTCUSDT", "7.77");
    for client in &mut clients {
        assert!(next_text(client).await.contains("\"c\":\"7.77\""));
    }
    let refused = connect_async(format!("{}/ws", venue.ws_origin().expect("a WebSocket"))).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("429")));
    assert_eq!(venue.stats().violations, ["too many connection attempts"]);
}

#[tokio::test]
async fn faults_of_http_requests() {
    let venue = binance().await;
    let target = "/api/v3/ticker/price?symbol=BTCUSDT";
    let place = format!("location: {}{target}", venue.http_origin().expect("HTTP"));
    for (fault, pieces) in [
        (Fault::None, vec!["200", "67250.01000000\"}"]),
        (Fault::too_many_requests("7"), vec!["429", "retry-after: 7", "-1003"]),
        (Fault::Status { code: 418, retry_after: None }, vec!["418"]),
        (Fault::Html, vec!["200", "text/html", "<html>"]),
        (Fault::EmptyBody, vec!["200", "content-length: 0"]),
        (Fault::HugeBody(100_000), vec!["200", "content-length: 100000", "     "]),
        (Fault::ErrorInside200, vec!["200", "\"code\":-1000"]),
        (Fault::RedirectLoop, vec!["302", &place]),
        (Fault::RedirectTo("http://127.0.0.1:1/x".into()), vec!["302", "location: http://127.0.0.1:1/x"]),
        (Fault::RejectAll, vec!["400", "-1121"]),
        (Fault::Garbage, vec!["200", "{\"price\":\u{1}"]),
    ] {
        venue.set_fault(fault.clone());
        let answer = get(&venue, target).await.expect("an answer");
        let complete = pieces.iter().all(|piece| answer.contains(piece));
        assert!(complete, "{fault:?}: {answer}");
    }
    venue.set_fault(Fault::TruncatedBody);
    let half = get(&venue, target).await.expect("half an answer");
    assert!(half.contains("content-length: 45") && half.ends_with("{\"symbol\":\"BTCUSDT\",\"p"));
    venue.set_fault(Fault::CloseAfterAccept);
    assert_eq!(get(&venue, target).await.expect("the end"), "");
    for fault in [Fault::Refuse, Fault::Reset] {
        venue.set_fault(fault);
        assert!(get(&venue, target).await.is_err());
    }
    venue.set_fault(Fault::Hang);
    let before = venue.stats().requests;
    let (answer, ()) = tokio::join!(get(&venue, target), async {
        venue.wait(|stats| stats.requests > before).await;
        venue.cut();
    });
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn faults_of_handshakes() {
    let venue = binance().await;
    let request = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, close\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (fault, piece) in [
        (Fault::too_many_requests("9"), "429"),
        (Fault::Html, "200"),
        (Fault::ErrorInside200, "200"),
        (Fault::RedirectLoop, "302"),
    ] {
        venue.set_fault(fault.clone());
        let mut stream = TcpStream::connect(venue.address()).await.expect("an open port");
        stream.write_all(request.as_bytes()).await.expect("an open socket");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer[9..], piece.as_bytes(), "{fault:?}");
    }
    for fault in [Fault::Refuse, Fault::Reset] {
        venue.set_fault(fault.clone());
        assert!(raw(&venue, request).await.is_err(), "{fault:?}");
    }
    venue.set_fault(Fault::None);
    let strict = [("13", "12", "426"), ("GET", "POST", "400"), ("ZQ==", "ZQ", "400"), ("/ws ", "/no ", "404")];
    for (from, to, status) in strict {
        let mut request = request.replacen(from, to, 1);
        request = request.replace("Upgrade, close", if status == "400" { "close, upgrade" } else { "upgrade" });
        let mut stream = TcpStream::connect(venue.address()).await.expect("an open port");
        stream.write_all(request.as_bytes()).await.expect("an open socket");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer[9..], status.as_bytes(), "{to}");
    }
}

#[tokio::test]
async fn faults_of_live_connections() {
    let venue = binance().await;
    let mut client = connect(&venue, "/ws/btcusdt@miniTicker").await;
    venue.wait(|stats| stats.open == 1).await;

    venue.set_fault(Fault::Silent);
    venue.push_price("BTCUSDT", "1");
    client.send(Message::text(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)).await.expect("open");
    assert_eq!(next_text(&mut client).await, r#"{"result":["btcusdt@miniTicker"],"id":1}"#);

    venue.set_fault(Fault::RejectAll);
    client.send(Message::text(r#"{"method":"SUBSCRIBE","params":["a@b"],"id":2}"#)).await.expect("open");
    assert!(next_text(&mut client).await.contains("invalid stream"));

    venue.set_fault(Fault::HugeBody(100_000));
    assert_eq!(next(&mut client).await.expect("a frame").len(), 100_000);

    venue.set_fault(Fault::Garbage);
    for _ in 0..10 {
        venue.push_price("BTCUSDT", "2");
    }
    // One more comes by itself.
    for _ in 0..11 {
        let frame = next(&mut client).await.expect("a frame");
        assert!(!frame.to_text().is_ok_and(|text| text.contains("24hrMiniTicker")), "{frame}");
    }

    venue.set_fault(Fault::None);
    venue.announce(Notice::Restart);
    venue.send_raw("anything");
    assert!(next_text(&mut client).await.contains("serverShutdown"));
    assert_eq!(next_text(&mut client).await, "anything");

    venue.set_fault(Fault::Hang);
    venue.push_price("BTCUSDT", "3");
    client.send(Message::Ping("x".into())).await.expect("open");
    venue.cut();
    assert!(client.next().await.expect("an error").is_err(), "nothing comes from a server that hangs");

    venue.set_fault(Fault::CloseAfterAccept);
    let mut client = connect(&venue, "/ws/btcusdt@miniTicker").await;
    let close = CloseFrame { code: 1001.into(), reason: "going away".into() };
    assert_eq!(next(&mut client).await, Some(Message::Close(Some(close))));
    assert_eq!(next(&mut client).await, None);
    venue.wait(|stats| stats.open == 0).await;

    venue.set_fault(Fault::None);
    let mut client = connect(&venue, "/ws/btcusdt@miniTicker").await;
    venue.set_fault(Fault::Reset);
    assert!(client.next().await.expect("an error").is_err());
}

#[tokio::test]
async fn a_slow_reader_is_cut() {
    let venue = binance().await;
    let _client = connect(&venue, "/ws/btcusdt@miniTicker").await;
    venue.wait(|stats| stats.open == 1).await;
    let frame = Message::text("x".repeat(1000));
    for _ in 0..10_000 {
        venue.send_raw(frame.clone());
    }
    venue.wait(|stats| stats.open == 0).await;
    assert_eq!(venue.stats().violations, ["slow reader"]);
}

#[tokio::test]
async fn the_venue_pings_and_counts_pongs() {
    let options = Options { heartbeat: Some(Duration::from_millis(250)), ..Options::still() };
    let venue = Venue::start_with(Kind::Binance, options).await.expect("a free port");
    let mut client = connect(&venue, "/ws").await;
    tokio::select! {
        () = venue.wait(|stats| stats.pongs == 2) => {}
        end = next(&mut client) => panic!("{end:?}"),
    }
    client.send(Message::Ping("x".into())).await.expect("open");
    assert_eq!(client.next().await.expect("a pong").expect("open"), Message::Pong("x".into()));
    venue.wait(|stats| stats.pings == 1).await;
}

#[tokio::test]
async fn after_shutdown_nobody_listens() {
    for &kind in Kind::ALL {
        let venue = Venue::start(kind).await.expect("a free port");
        let address = venue.address();
        assert_eq!(venue.ids().len(), 10);
        assert!(venue.origins().iter().all(|(_, simulated)| simulated.ends_with(&address.to_string())));
        let _stream = TcpStream::connect(address).await.expect("an open port");
        venue.wait(|stats| stats.accepts == 1).await;
        venue.shutdown().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn bad_options_are_errors() {
    for prices in [[("A", "1"), ("A", "2")], [("A", "1"), ("B", "1e5")]] {
        let options = Options::still().with_prices(prices);
        assert!(Venue::start_with(Kind::Binance, options).await.is_err());
    }
}

#[tokio::test]
async fn a_scripted_websocket_does_what_the_script_says() {
    let server = ScriptedWs::start(|mut peer| async move {
        assert_eq!((peer.request().path(), peer.serial()), ("/here", 0));
        let text = peer.recv().await.expect("a text");
        peer.send(text + "!").await.expect("open");
        peer.raw(&[0x82, 1, 7]).await.expect("open");
        peer.close(4000, "done").await.expect("open");
    })
    .await
    .expect("a free port");
    let (mut client, _) = connect_async(format!("{}/here", server.origin())).await.expect("a handshake");
    client.send(Message::text("hello")).await.expect("open");
    assert_eq!(next(&mut client).await, Some(Message::text("hello!")));
    assert_eq!(next(&mut client).await, Some(Message::binary(vec![7])));
    assert!(matches!(next(&mut client).await, Some(Message::Close(Some(frame))) if frame.code == 4000.into()));
    assert_eq!(next(&mut client).await, None);
    server.connected(1).await;
    server.shutdown().await;
}

#[tokio::test]
#[should_panic(expected = "the script's own words")]
async fn a_panic_in_a_script_comes_out_of_shutdown() {
    let server = ScriptedWs::start(|_| async { panic!("the script's own words") }).await.expect("a free port");
    let (mut client, _) = connect_async(server.origin()).await.expect("a handshake");
    assert_eq!(next(&mut client).await, None);
    server.shutdown().await;
}

#[tokio::test]
async fn a_scripted_http_server_answers_as_told() {
    let server = ScriptedHttp::start(|request| match request.path() {
        "/json" => Response::json(200, "{}").into(),
        "/raw" => Reply::Raw(b"what is HTTP?".to_vec()),
        _ => Reply::Reset,
    })
    .await
    .expect("a free port");
    let address = server.origin().replace("http://", "");
    for (path, expected) in [("/json", Some("{}")), ("/raw", Some("what is HTTP?")), ("/reset", None)] {
        let mut stream = TcpStream::connect(&address).await.expect("an open port");
        let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("an open socket");
        let mut answer = String::new();
        let end = stream.read_to_string(&mut answer).await;
        assert_eq!(end.ok().map(|_| answer.ends_with(expected.unwrap_or_default())), expected.map(|_| true));
    }
    server.requested(3).await;
    assert_eq!(server.requests(), 3);
    server.shutdown().await;
}
