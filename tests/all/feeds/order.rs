//! Newer wins: by the venue's time, by its sequence, by receipt. And times that cannot be are no times.

use std::time::Duration;

use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Options, ScriptedWs};

use super::{STREAM, redirected_section, scripted, section, venue};
use crate::support::Running;

/// Milliseconds since the epoch, `ago` before now.
fn millis(ago: i64) -> i64 {
    feedgate::store::wall_clock().0 / 1_000_000 - ago
}

fn mini_ticker(symbol: &str, price: &str, time: i64) -> String {
    let (stream, data) = (symbol.to_lowercase(), format!(r#""E":{time},"s":"{symbol}","c":"{price}""#));
    format!(r#"{{"stream":"{stream}@miniTicker","data":{{"e":"24hrMiniTicker",{data}}}}}"#)
}

fn book_ticker(symbol: &str, bid: &str, ask: &str, update: u64) -> String {
    let (stream, data) = (symbol.to_lowercase(), format!(r#""u":{update},"s":"{symbol}","b":"{bid}","a":"{ask}""#));
    format!(r#"{{"stream":"{stream}@bookTicker","data":{{{data},"B":"1","A":"1"}}}}"#)
}

fn kraken_ticker(symbol: &str, price: &str, time: i64) -> String {
    let nanos = i128::from(time) * 1_000_000;
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("in range");
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second, milli) = (clock.hour(), clock.minute(), clock.second(), clock.millisecond());
    let stamp = format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day()
    );
    format!(
        r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"{symbol}","last":{price},"timestamp":"{stamp}"}}]}}"#
    )
}

/// A server that takes the subscription, says these frames, and then listens.
async fn saying(frames: Vec<String>) -> ScriptedWs {
    let server = ScriptedWs::start(move |mut peer| {
        let frames = frames.clone();
        async move {
            peer.recv().await;
            for frame in frames {
                let _ = peer.send(frame).await;
            }
            peer.gone().await;
        }
    });
    server.await.expect("loopback has a free port")
}

/// Each row: plugin, origin, id, settings, frames, the value that stays, how many were older, and how many came twice.
#[tokio::test(flavor = "multi_thread")]
async fn older_data_never_overwrites_newer() {
    const BINANCE: &str = "wss://stream.binance.com:9443";
    let mid = "settings = { price = \"mid\" }";
    let rows = [
        (
            "binance",
            BINANCE,
            "BTCUSDT",
            "",
            vec![
                mini_ticker("BTCUSDT", "2.50", millis(1_000)),
                mini_ticker("BTCUSDT", "1.50", millis(9_000)),
                mini_ticker("BTCUSDT", "1.60", millis(2_000)),
            ],
            "2.50",
            2,
            0,
        ),
        (
            "kraken",
            "wss://ws.kraken.com",
            "BTC/USD",
            "",
            vec![kraken_ticker("BTC/USD", "2.50", millis(1_000)), kraken_ticker("BTC/USD", "1.50", millis(9_000))],
            "2.50",
            1,
            0,
        ),
        (
            "binance",
            BINANCE,
            "BTCUSDT",
            mid,
            vec![
                book_ticker("BTCUSDT", "2.49", "2.51", 400),
                book_ticker("BTCUSDT", "1.49", "1.51", 399),
                book_ticker("BTCUSDT", "1.39", "1.41", 1),
            ],
            "2.50",
            2,
            0,
        ),
        // The same twice, then the same number with another price: it has been there.
        (
            "binance",
            BINANCE,
            "BTCUSDT",
            mid,
            vec![
                book_ticker("BTCUSDT", "2.49", "2.51", 400),
                book_ticker("BTCUSDT", "2.49", "2.51", 400),
                book_ticker("BTCUSDT", "1.49", "1.51", 400),
            ],
            "2.50",
            0,
            2,
        ),
    ];
    let mut config = String::new();
    let mut servers = Vec::new();
    for (number, (plugin, origin, id, settings, frames, stays, older, twice)) in rows.into_iter().enumerate() {
        let server = saying(frames).await;
        let provider = format!("p{number}");
        let more = format!("ids = [\"{id}\"]\n{settings}\n{STREAM}");
        config += &scripted(&provider, plugin, origin, &server.origin(), &more);
        servers.push((provider, id, stays, (older, twice), server));
    }
    let daemon = Running::start(&config, &["binance", "kraken"]).await;
    for (provider, id, stays, dropped, server) in servers {
        let counted = || (daemon.outcomes(&provider, "older"), daemon.outcomes(&provider, "duplicate"));
        daemon.until(&format!("{provider}: all came"), |_| counted() == dropped).await;
        daemon.value(&provider, id, stays).await;
        assert_eq!(server.connects(), 1, "{provider}");
    }
    daemon.stop().await;
}

/// A venue's numbers begin anew on a new connection and must not be taken for old ones. Gaps are counted and no reason to
/// stop: prices are whole each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_may_begin_anew_after_a_reconnect_and_may_have_gaps() {
    let mut config = String::new();
    let mut rows = Vec::new();
    for (kind, id) in [(Kind::Bitfinex, "tBTCUSD"), (Kind::Coinbase, "BTC-USD")] {
        let options = Options { tick: Some(Duration::from_millis(2)), ..Options::default() };
        let (counting, gaps) = (venue(kind, options).await, venue(kind, Options::default()).await);
        gaps.set_fault(Fault::SequenceGaps);
        let (name, with_gaps) = (kind.name(), format!("{}-gaps", kind.name()));
        config += &section(name, &counting, STREAM);
        config += &section(&with_gaps, &gaps, STREAM);
        rows.push((name, id, counting, with_gaps, gaps));
    }
    let daemon = Running::start(&config, &["bitfinex", "coinbase"]).await;
    for (name, id, counting, with_gaps, gaps) in rows {
        for price in ["1.50", "2.50"] {
            daemon.state(&with_gaps, id, State::Fresh).await;
            gaps.push_price(id, price);
            daemon.value(&with_gaps, id, price).await;
        }
        assert_eq!(daemon.outcomes(&with_gaps, "older") + daemon.outcomes(&with_gaps, "duplicate"), 0, "{name}");
        assert_eq!(gaps.stats().connects, 1, "{name}");
        // One message is left out before each that comes.
        daemon.until(&format!("{with_gaps}: gaps are counted"), |_| daemon.outcomes(&with_gaps, "missed") >= 2).await;
        let series = |cause: &str| format!("feedgate_outcomes_total{{provider=\"{with_gaps}\",cause=\"{cause}\"}}");
        assert!(daemon.metrics().contains(&series("missed")), "{name}");
        // They are the connection's, not the id's.
        assert_eq!(daemon.read(&with_gaps, id).map(|reading| reading.missed), Some(0), "{name}");

        let sequence = || daemon.read(name, id).and_then(|reading| reading.held?.sequence).unwrap_or_default();
        daemon.until("the numbers have grown", |_| sequence() > 1_000).await;
        let before = sequence();
        counting.cut();
        counting.wait(|stats| stats.connects == 2).await;
        counting.push_price(id, "2.50");
        daemon.value(name, id, "2.50").await;
        assert!(sequence() < before, "{name} goes on counting: the test is void");
        assert_eq!(daemon.outcomes(name, "missed"), 0, "{name}");
    }
    daemon.stop().await;
}

/// Bothan af2e10f: eight weeks of milliseconds compared with seconds. HTX: a time of 0.
#[tokio::test(flavor = "multi_thread")]
async fn milliseconds_taken_for_seconds_are_refused() {
    let now = millis(0);
    let rows = [
        ("seconds", now / 1_000),
        ("micros", now * 1_000),
        ("nanos", now.saturating_mul(1_000_000)),
        ("zero", 0),
        ("negative", -1),
        ("tomorrow", now + 86_400_000),
        ("most", i64::MAX),
        ("least", i64::MIN),
    ];
    let mut config = String::new();
    let mut servers = Vec::new();
    for (name, time) in rows {
        let server = saying(vec![mini_ticker("BTCUSDT", "1.50", time)]).await;
        let more = format!("ids = [\"BTCUSDT\"]\n{STREAM}");
        config += &scripted(name, "binance", "wss://stream.binance.com:9443", &server.origin(), &more);
        servers.push((name, server));
    }
    let daemon = Running::start(&config, &["binance"]).await;
    for (name, server) in servers {
        let reading = daemon.state(name, "BTCUSDT", State::Unresolved).await;
        assert!(reading.held.is_none(), "{name}: {reading:?}");
        assert!(reading.reason.contains("time"), "{name}: {}", reading.reason);
        assert_eq!((daemon.outcomes(name, "unusable"), daemon.outcomes(name, "observed")), (1, 0), "{name}");
        assert_eq!(server.connects(), 1, "{name}");
    }
    daemon.stop().await;
}

/// One bad frame never costs its neighbours, and nonsense in place of a price costs the id a note and no more.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_for_one_id_does_not_touch_another() {
    for (kind, ids) in [(Kind::Binance, ["BTCUSDT", "ETHUSDT"]), (Kind::Coinbase, ["BTC-USD", "ETH-USD"])] {
        let venue = venue(kind, Options::default()).await;
        let name = kind.name();
        let daemon = Running::start(&section(name, &venue, STREAM), &[name]).await;
        for id in ids {
            daemon.state(name, id, State::Fresh).await;
        }
        let last = venue.price(ids[0]);
        for nonsense in ["NaN", "Infinity", "0x10", "1e999999", "--1", "1,5", " 1", "1 ", "\u{661}"] {
            let refused = || daemon.outcomes(name, "malformed") + daemon.outcomes(name, "unusable");
            let before = refused();
            venue.push_price(ids[0], nonsense);
            daemon.until(&format!("{name}: {nonsense:?} is refused"), |_| refused() > before).await;
        }
        venue.push_price(ids[1], "2.50");
        daemon.value(name, ids[1], "2.50").await;
        let held = daemon.read(name, ids[0]).as_ref().and_then(crate::support::shown).expect("the last good one");
        assert!(held.parse::<f64>().is_ok_and(|price| price > 2.0), "{name}: {held}, last {last:?}");
        assert_eq!(venue.stats().connects, 1, "{name}");
        daemon.stop().await;
    }
}

/// Both transports at once: the newest wins, and when one dies the other serves.
#[tokio::test(flavor = "multi_thread")]
async fn when_one_transport_dies_the_other_serves() {
    let (streamed, polled) =
        (venue(Kind::Binance, Options::still()).await, venue(Kind::Binance, Options::still()).await);
    let to = |venue: &feedgate_tests::Venue, scheme: &str| {
        let (from, to) = venue.origins().into_iter().find(|(from, _)| from.starts_with(scheme)).expect("it has one");
        format!("\"{from}\" = \"{to}\"")
    };
    let redirects = format!("redirect_origins = {{ {}, {} }}", to(&streamed, "wss:"), to(&polled, "https:"));
    let more = "transports = [\"websocket\", \"http\"]
max_age_ms = 1000
websocket = { backoff_first_ms = 20, backoff_max_ms = 100 }
http = { poll_interval_ms = 100, backoff_first_ms = 20, backoff_max_ms = 100 }";
    let daemon = Running::start(&redirected_section("both", "binance", &redirects, more), &["binance"]).await;
    daemon.state("both", "BTCUSDT", State::Fresh).await;
    daemon.until("the stream is subscribed", |_| streamed.stats().subscribed.contains_key("BTCUSDT")).await;

    // Whoever speaks last is right.
    streamed.push_price("BTCUSDT", "1.50");
    daemon.value("both", "BTCUSDT", "1.50").await;
    polled.push_price("BTCUSDT", "2.50");
    daemon.value("both", "BTCUSDT", "2.50").await;

    streamed.set_fault(Fault::Refuse);
    streamed.cut();
    polled.push_price("BTCUSDT", "3.50");
    daemon.value("both", "BTCUSDT", "3.50").await;
    daemon
        .until("the stream has failed", |status| {
            status.provider("both").info().connections.get(&0).is_some_and(|connection| connection.failures >= 3)
        })
        .await;
    daemon.state("both", "BTCUSDT", State::Fresh).await;

    streamed.set_fault(Fault::None);
    polled.set_fault(Fault::Refuse);
    polled.cut();
    daemon.until("the stream is subscribed again", |_| streamed.stats().subscribed.contains_key("BTCUSDT")).await;
    streamed.push_price("BTCUSDT", "4.50");
    daemon.value("both", "BTCUSDT", "4.50").await;

    // With both gone it says so.
    streamed.set_fault(Fault::Refuse);
    streamed.cut();
    let reading = daemon.state("both", "BTCUSDT", State::ProviderDown).await;
    assert_ne!(&*reading.reason, "");
    daemon.stop().await;
}

/// A daemon that starts again asks for everything again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_resubscribes() {
    let venue = venue(Kind::Coinbase, Options::default()).await;
    for round in 1..=2 {
        let daemon = Running::start(&section("coinbase", &venue, STREAM), &["coinbase"]).await;
        daemon.state("coinbase", "BTC-USD", State::Fresh).await;
        daemon.state("coinbase", "ETH-USD", State::Fresh).await;
        assert_eq!(venue.stats().connects, round);
        daemon.stop().await;
        venue.wait(|stats| stats.open == 0).await;
    }
}
