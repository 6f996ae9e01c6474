//! WebSockets that fail, each in its own way: every id says why while it lasts, nobody hammers, and everything comes
//! back by itself.

use std::time::{Duration, Instant};

use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Notice, Options, ScriptedWs, Venue};

use super::{Feed, STREAM, connection, feed, scripted, section, venue};
use crate::support::Running;

const BACKOFF: Duration = Duration::from_millis(40);

/// Everything is old after a third of a second.
const SHORT: &str = "transports = [\"websocket\"]
refused_wait_ms = 100
max_age_ms = 300
websocket = { backoff_first_ms = 40, backoff_max_ms = 160, connect_timeout_ms = 400, idle_timeout_ms = 400, \
ack_timeout_ms = 100, max_message_kib = 64 }";

/// Name, fault, what ids then say, and whether connections end by it.
fn faults() -> Vec<(&'static str, Fault, &'static [&'static str], bool)> {
    let status = |code, after: Option<&str>| Fault::Status { code, retry_after: after.map(str::to_owned) };
    vec![
        ("refuse", Fault::Refuse, &["reset", "connect", "lost"], true),
        ("reset", Fault::Reset, &["reset", "lost"], true),
        ("hang", Fault::Hang, &["nothing was received", "did not open in time"], true),
        ("close", Fault::CloseAfterAccept, &["closed by the venue with code 1001 going away"], true),
        ("garbage", Fault::Garbage, &["could not be read"], false),
        ("silent", Fault::Silent, &["last known to be true"], false),
        ("forbidden", status(403, None), &["status 403"], true),
        ("busy", status(429, None), &["status 429"], true),
        ("down", status(503, None), &["status 503"], true),
        ("broken", status(500, None), &["status 500"], true),
        ("told", status(429, Some("1")), &["status 429"], true),
        ("huge", Fault::HugeBody(1 << 20), &["max_message_kib"], true),
        ("html", Fault::Html, &["status 200"], true),
        ("elsewhere", Fault::RedirectTo("http://127.0.0.1:9/".to_owned()), &["status 302"], true),
    ]
}

/// Each row's provider is fresh, then ill, then fresh again. All rows at once.
async fn ill_and_well(feed: Feed, only: impl Fn(&str) -> bool) {
    let mut config = String::new();
    let mut rows = Vec::new();
    for row in faults().into_iter().filter(|row| only(row.0)) {
        let options = Options { tick: Some(Duration::from_millis(20)), ..Options::default() };
        let venue = venue(feed.kind, options).await;
        config += &section(row.0, &venue, SHORT);
        rows.push((row, venue));
    }
    let daemon = Running::start(&config, &[feed.kind.name()]).await;
    for ((name, ..), _) in &rows {
        for id in feed.ids {
            daemon.state(name, id, State::Fresh).await;
        }
    }
    let began = Instant::now();
    for ((_, fault, ..), venue) in &rows {
        venue.set_fault(fault.clone());
        if !matches!(fault, Fault::Garbage | Fault::Silent) {
            venue.cut();
        }
    }
    for ((name, fault, words, ends), venue) in &rows {
        for id in feed.ids {
            let says = |reading: &feedgate::store::Reading| {
                reading.state != State::Fresh && words.iter().any(|word| reading.reason.contains(word))
            };
            daemon.reading(name, id, &format!("{words:?}"), says).await;
        }
        // One that is told to stay away does.
        let failures = u32::from(*ends) * if *name == "told" { 1 } else { 3 };
        daemon
            .until("several attempts failed", |_| {
                connection(&daemon, name).is_some_and(|connection| connection.failures >= failures)
            })
            .await;
        let attempts = venue.stats().accepts;
        let most = 3 + began.elapsed().as_millis() / (BACKOFF / 2).as_millis();
        assert!(u128::from(attempts) <= most, "{name}: {attempts} attempts after {fault:?}");
    }
    let before: Vec<_> = rows.iter().map(|(_, venue)| venue.stats().connects).collect();
    for (_, venue) in &rows {
        venue.set_fault(Fault::None);
    }
    for (((name, _, _, ends), venue), before) in rows.iter().zip(before) {
        for id in feed.ids {
            daemon.state(name, id, State::Fresh).await;
            assert!(venue.stats().subscribed.contains_key(*id), "{name}: {id} was not asked for again");
        }
        // Of a channel whose number was garbage only a new connection can tell.
        if feed.kind != Kind::Bitfinex || *name != "garbage" {
            assert_eq!(venue.stats().connects > before, *ends, "{name}: connected again");
        }
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_binance() {
    ill_and_well(feed("binance-ws"), |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_kraken() {
    ill_and_well(feed("kraken-ws"), |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_coinbase() {
    ill_and_well(feed("coinbase-ws"), |_| true).await;
}

/// Packed messages.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_htx() {
    ill_and_well(feed("htx-ws"), |_| true).await;
}

/// Messages that are not text.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_mexc() {
    ill_and_well(feed("mexc-ws"), |_| true).await;
}

/// Thirty connections a minute, and a request before each, which meets the faults of connecting first.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_kucoin() {
    ill_and_well(feed("kucoin-ws"), |name| matches!(name, "garbage" | "told" | "silent" | "busy")).await;
}

/// Twenty connections a minute are all that Bitfinex allows, and all that the host makes.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_bitfinex() {
    ill_and_well(feed("bitfinex-ws"), |name| matches!(name, "garbage" | "told" | "close" | "silent")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_bybit() {
    ill_and_well(feed("bybit-ws"), |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_bitstamp() {
    ill_and_well(feed("bitstamp-ws"), |_| true).await;
}

/// Whose first second is silent, so that a few rows are enough.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_crypto_com() {
    ill_and_well(feed("crypto-com-ws"), |name| matches!(name, "garbage" | "close" | "silent" | "hang")).await;
}

/// Three connections a second are all that OKX allows to everybody together.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_okx() {
    ill_and_well(feed("okx-ws"), |name| matches!(name, "garbage" | "told" | "close" | "silent")).await;
}

/// A heartbeat that wants an answer gets it, with its number, and nothing else keeps the connection.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_of_a_venue_are_answered() {
    let options = Options { heartbeat: Some(Duration::from_millis(100)), ..Options::still() };
    let venue = venue(Kind::CryptoCom, options).await;
    let daemon = Running::start(&section("crypto-com", &venue, STREAM), &["crypto-com"]).await;
    let answers = || venue.stats().messages.iter().filter(|text| text.contains("public/respond-heartbeat")).count();
    daemon.until("five answers", |_| answers() >= 5).await;
    assert_eq!((venue.stats().connects, venue.stats().open), (1, 1));
    assert_eq!(venue.stats().violations, [""; 0]);
    daemon.stop().await;
}

/// HTX, Bothan: a restart, or a new connection, forgot to subscribe.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_subscription_comes_back_after_a_reconnect() {
    let mut config = String::new();
    let mut rows = Vec::new();
    let names = [
        "binance-ws",
        "bitfinex-ws",
        "bitstamp-ws",
        "bybit-ws",
        "coinbase-ws",
        "crypto-com-ws",
        "gate-ws",
        "htx-ws",
        "kraken-ws",
        "kucoin-ws",
        "mexc-ws",
        "okx-ws",
    ];
    for name in names {
        let feed = feed(name);
        let venue = venue(feed.kind, Options::default()).await;
        config += &section(name, &venue, STREAM);
        rows.push((feed, venue));
    }
    let plugins: Vec<&str> = rows.iter().map(|(feed, _)| feed.kind.name()).collect();
    let daemon = Running::start(&config, &plugins).await;
    for round in 1..=3 {
        for (feed, venue) in &rows {
            let subscribed = || {
                let stats = venue.stats();
                stats.connects >= round && feed.ids.iter().all(|id| stats.subscribed.contains_key(*id))
            };
            daemon.until("everything is subscribed", |_| subscribed()).await;
            let price = format!("{round}.50");
            for id in feed.ids {
                venue.push_price(id, &price);
                daemon.value(feed.name, id, &price).await;
            }
            venue.cut();
        }
    }
    daemon.stop().await;
}

/// A token is good for what it was given for: the attempt that asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_before_every_attempt() {
    let venue = venue(Kind::Kucoin, Options::default()).await;
    let daemon = Running::start(&section("kucoin", &venue, STREAM), &["kucoin"]).await;
    let mut seen = Vec::new();
    for round in 1..=3 {
        let subscribed = || {
            let stats = venue.stats();
            stats.connects == round && stats.subscribed.contains_key("BTC-USDT")
        };
        daemon.until("it is subscribed", |_| subscribed()).await;
        let stats = venue.stats();
        assert_eq!(stats.requests, round);
        seen.push(stats.last_handshake.and_then(|handshake| handshake.parameter("connectId")).expect("an id"));
        venue.cut();
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    assert_eq!(venue.stats().violations, [""; 0]);
    daemon.stop().await;
}

/// What a venue announces of itself is obeyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_venue_that_says_it_restarts_is_connected_to_again() {
    let rows = [
        ("bitfinex-ws", Notice::Restart),
        ("bitfinex-ws", Notice::MaintenanceEnd),
        ("bitstamp-ws", Notice::Restart),
        ("gate-ws", Notice::Restart),
        ("okx-ws", Notice::Restart),
        // Kraken wants five seconds after maintenance.
        ("kraken-ws", Notice::MaintenanceStart),
    ];
    let mut config = String::new();
    let mut venues = Vec::new();
    for (number, (name, notice)) in rows.into_iter().enumerate() {
        let feed = feed(name);
        let venue = venue(feed.kind, Options::default()).await;
        let provider = format!("p{number}");
        config += &section(&provider, &venue, STREAM);
        venues.push((provider, feed, notice, venue));
    }
    let daemon = Running::start(&config, &["bitfinex", "bitstamp", "gate", "kraken", "okx"]).await;
    for (provider, feed, notice, venue) in &venues {
        daemon.state(provider, feed.ids[0], State::Fresh).await;
        venue.announce(*notice);
    }
    for (provider, feed, notice, venue) in &venues {
        let subscribed = || {
            let stats = venue.stats();
            stats.connects == 2 && feed.ids.iter().all(|id| stats.subscribed.contains_key(*id))
        };
        daemon.until(&format!("{provider}: a second connection after {notice:?}"), |_| subscribed()).await;
        let ended = || connection(&daemon, provider).and_then(|connection| connection.last_end);
        daemon.until("the first one is left", |_| ended().is_some()).await;
        let (reason, _) = ended().expect("just seen");
        assert_eq!(reason, "closed by us: the venue asked for a new connection");
    }
    daemon.stop().await;
}

/// Bitfinex pauses for two minutes: the ids say so, and when the next attempt is can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_venue_in_maintenance_is_left_in_peace() {
    let venue = venue(Kind::Bitfinex, Options::default()).await;
    let more = format!("max_age_ms = 200\n{STREAM}");
    let daemon = Running::start(&section("bitfinex", &venue, &more), &["bitfinex"]).await;
    daemon.state("bitfinex", "tBTCUSD", State::Fresh).await;
    venue.announce(Notice::MaintenanceStart);
    let reading = daemon.state("bitfinex", "tBTCUSD", State::ProviderDown).await;
    assert!(reading.reason.contains("the venue asked for a new connection"), "{}", reading.reason);
    let next = connection(&daemon, "bitfinex").and_then(|connection| connection.next_attempt).expect("it waits");
    assert!(next > tokio::time::Instant::now() + Duration::from_secs(100));
    daemon.stop().await;
}

/// umee #509: whoever does not obey is banned. No connection is tried before the time is over, and then one is enough.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_a_handshake_is_obeyed() {
    for code in [429, 503, 418, 403] {
        let venue = venue(Kind::Kraken, Options::default()).await;
        venue.set_fault(Fault::Status { code, retry_after: Some("1".to_owned()) });
        let daemon = Running::start(&section("kraken", &venue, STREAM), &["kraken"]).await;
        daemon.until("it was told", |_| connection(&daemon, "kraken").is_some_and(|c| c.failures == 1)).await;
        let told = Instant::now();
        venue.set_fault(Fault::None);
        daemon.state("kraken", "BTC/USD", State::Fresh).await;
        assert!(told.elapsed() >= Duration::from_millis(800), "{code}: came back after {:?}", told.elapsed());
        assert_eq!(venue.stats().accepts, 2, "{code}");
        daemon.stop().await;
    }
}

/// To have connected is no success: a venue that accepts and closes is dialled less and less often.
#[tokio::test(flavor = "multi_thread")]
async fn accept_and_close_slows_down() {
    let venue = venue(Kind::Kraken, Options::default()).await;
    venue.set_fault(Fault::CloseAfterAccept);
    let more = "websocket = { backoff_first_ms = 20, backoff_max_ms = 100000 }";
    let daemon = Running::start(&section("kraken", &venue, more), &["kraken"]).await;
    daemon.until("six failures", |_| connection(&daemon, "kraken").is_some_and(|c| c.failures >= 6)).await;
    // Each that was accepted counts as a failure, and so as a longer wait; the last one may still be open.
    let connects = venue.stats().connects;
    daemon
        .until("all are counted", |_| connection(&daemon, "kraken").is_some_and(|c| u64::from(c.failures) >= connects))
        .await;
    daemon.stop().await;
}

/// Bothan: idle sockets were dropped; Connect: a fixed read timeout cut quiet venues. Nothing to say is no death: both
/// sides ping, both answer, and the connection stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_venue_is_asked_whether_it_lives_and_stays_connected() {
    let hour = Some(Duration::from_secs(3600));
    let quiet = venue(Kind::Binance, Options { heartbeat: hour, ..Options::still() }).await;
    let pinging = Options { heartbeat: Some(Duration::from_millis(300)), ..Options::still() };
    let pinging = venue(Kind::Binance, pinging).await;
    let more = "websocket = { idle_timeout_ms = 1000 }";
    let config = section("quiet", &quiet, more) + &section("pinging", &pinging, more);
    let daemon = Running::start(&config, &["binance"]).await;
    daemon.until("three pings of ours", |_| quiet.stats().pings >= 3).await;
    daemon.until("three pongs of ours", |_| pinging.stats().pongs >= 3).await;
    for (name, venue) in [("quiet", &quiet), ("pinging", &pinging)] {
        assert_eq!((venue.stats().connects, venue.stats().open), (1, 1), "{name}");
        assert_eq!(venue.stats().violations, [""; 0], "{name}");
    }
    daemon.stop().await;
}

const KRAKEN: &str = "wss://ws.kraken.com";

async fn script<F>(run: impl Fn(feedgate_tests::Peer) -> F + Send + Sync + 'static) -> ScriptedWs
where
    F: Future<Output = ()> + Send + 'static,
{
    ScriptedWs::start(run).await.expect("loopback has a free port")
}

/// Connect e58099cb: a dead socket was read for ever. This one takes the subscription and never says a word.
#[tokio::test(flavor = "multi_thread")]
async fn silence_right_after_subscribing_ends_by_the_idle_timeout() {
    let server = script(|mut peer| async move {
        peer.recv().await;
        std::future::pending::<()>().await;
    })
    .await;
    let more = "websocket = { idle_timeout_ms = 300, backoff_first_ms = 20 }";
    let daemon = Running::start(&scripted("dumb", "kraken", KRAKEN, &server.origin(), more), &["kraken"]).await;
    server.connected(3).await;
    let reading = daemon.state("dumb", "BTC/USD", State::ProviderDown).await;
    assert_eq!(&*reading.reason, "closed by us: nothing was received for too long");
    daemon.stop().await;
    server.shutdown().await;
}

/// It talks and talks and takes nothing: the answers to its pings pile up until the write timeout ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_hits_the_write_timeout() {
    let server = script(|mut peer| async move {
        let payload = "x".repeat(125);
        while peer.ping(&payload).await.is_ok() {}
    })
    .await;
    let more = "websocket = { write_timeout_ms = 300, backoff_first_ms = 20 }";
    let daemon = Running::start(&scripted("deaf", "kraken", KRAKEN, &server.origin(), more), &["kraken"]).await;
    let says = |reading: &feedgate::store::Reading| reading.reason.contains("the venue took nothing for 300 ms");
    daemon.reading("deaf", "BTC/USD", "timed out", says).await;
    daemon.stop().await;
    server.shutdown().await;
}

/// A flood must not hold up what we have to say: a further subscription goes out between its messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_hold_up_a_subscription() {
    let ticker = |symbol: &str| {
        let data = format!(r#"{{"symbol":"{symbol}","last":1.50,"timestamp":"2026-08-09T21:05:48.228Z"}}"#);
        format!(r#"{{"channel":"ticker","type":"update","data":[{}]}}"#, [data.as_str(); 20].join(","))
    };
    let server = script(move |mut peer| async move {
        peer.recv().await;
        let _ = peer.send(ticker("BTC/USD")).await;
        // Without a pause, until the second subscription has come through.
        while futures_util::FutureExt::now_or_never(peer.recv()).flatten().is_none() {
            for _ in 0..1024 {
                if peer.feed(ticker("SOL/USD")).await.is_err() {
                    return;
                }
            }
        }
        let _ = peer.send(ticker("ETH/USD")).await;
        peer.gone().await;
    })
    .await;
    let more = "websocket = { write_timeout_ms = 2000 }";
    let config = |ids: &str| scripted("flood", "kraken", KRAKEN, &server.origin(), &format!("ids = {ids}\n{more}"));
    let daemon = Running::start(&config("[\"BTC/USD\"]"), &["kraken"]).await;
    daemon.value("flood", "BTC/USD", "1.50").await;
    daemon.write_config(&config("[\"BTC/USD\", \"ETH/USD\"]"));
    daemon.value("flood", "ETH/USD", "1.50").await;
    assert_eq!(server.connects(), 1, "{:?}", connection(&daemon, "flood"));
    daemon.stop().await;
    server.shutdown().await;
}

/// Sixteen subscriptions wait for two seconds because their origin allows eight a second. Meanwhile the pings
/// that keep their silent connections alive must go out.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_does_not_wait_behind_subscriptions_that_wait_for_a_limit() {
    let venue = venue(Kind::Coinbase, Options::default()).await;
    let more = "websocket = { idle_timeout_ms = 600, backoff_first_ms = 20 }";
    let names: Vec<String> = (0..8).map(|number| format!("p{number}")).collect();
    let config: String = names.iter().map(|name| section(name, &venue, more)).collect();
    let daemon = Running::start(&config, &["coinbase"]).await;
    for name in &names {
        daemon.state(name, "BTC-USD", State::Fresh).await;
    }
    assert_eq!(venue.stats().connects, 8, "a connection was given up");
    assert_eq!(venue.stats().violations, [""; 0]);
    daemon.stop().await;
}

/// Connect ca2a9e1d: markets that trade seldom aged out although their feed was alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_of_a_channel_keeps_its_quiet_value_fresh() {
    let options = Options { heartbeat: Some(Duration::from_millis(50)), ..Options::still() };
    let venue = venue(Kind::Bitfinex, options).await;
    let more = format!("max_age_ms = 500\n{STREAM}");
    let daemon = Running::start(&section("bitfinex", &venue, &more), &["bitfinex"]).await;
    let older_than_max_age = |reading: &feedgate::store::Reading| {
        let now = feedgate::store::wall_clock();
        let received = reading.held.as_ref().map(|held| now.since(held.received_at));
        reading.state == State::Fresh && received.is_some_and(|age| age > 1_000_000_000)
    };
    daemon.reading("bitfinex", "tBTCUSD", "old and fresh", older_than_max_age).await;
    // And only while they come.
    venue.set_fault(Fault::Hang);
    let reading = daemon.reading("bitfinex", "tBTCUSD", "not fresh", |reading| reading.state != State::Fresh).await;
    assert_ne!(&*reading.reason, "");
    daemon.stop().await;
}

/// Connect's liveness by connection: heartbeats of Kraken are for the connection, and say nothing of an id.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_of_the_connection_confirms_no_value() {
    let options = Options { heartbeat: Some(Duration::from_millis(20)), ..Options::still() };
    let venue = venue(Kind::Kraken, options).await;
    let more = format!("max_age_ms = 300\n{STREAM}");
    let daemon = Running::start(&section("kraken", &venue, &more), &["kraken"]).await;
    let reading = daemon.state("kraken", "BTC/USD", State::Stale).await;
    assert!(reading.reason.contains("max_age is 0.3 s"), "{}", reading.reason);
    assert_eq!((venue.stats().connects, venue.stats().open), (1, 1));
    daemon.stop().await;
}

/// Stopping says goodbye to everyone, also in the middle of an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_closes_politely_and_ends_attempts() {
    let (good, hanging) = (Venue::start(Kind::Kraken).await, Venue::start(Kind::Kraken).await);
    let (good, hanging) = (good.expect("loopback"), hanging.expect("loopback"));
    hanging.set_fault(Fault::Hang);
    let config = section("good", &good, STREAM) + &section("hanging", &hanging, "");
    let daemon = Running::start(&config, &["kraken"]).await;
    daemon.state("good", "BTC/USD", State::Fresh).await;
    daemon.until("an attempt is under way", |_| hanging.stats().accepts > 0).await;
    daemon.stop().await;
    good.wait(|stats| stats.open == 0).await;
}
