//! Many ids: several connections, within the venue's limits, touched one at a time.

use feedgate::store::State;
use feedgate_tests::{Kind, Options, Venue};

use super::{ids_line, section, venue};
use crate::support::Running;

const IDS: [&str; 6] = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT"];
const SHARED: &str = "websocket = { ids_per_connection = 2, backoff_first_ms = 20 }";

fn config(name: &str, venue: &Venue, ids: &[&str]) -> String {
    section(name, venue, &format!("{}{SHARED}", ids_line(ids)))
}

/// How many ids a provider's connections serve, as the status shows it.
fn served(daemon: &Running, provider: &str) -> usize {
    let connections = daemon.status().provider(provider).info().connections;
    connections.values().map(|connection| connection.ids).sum()
}

/// Connect a5b1d3d3: overlapping slices, and one connection too many at exact multiples.
#[tokio::test(flavor = "multi_thread")]
async fn ids_are_spread_over_as_many_connections_as_they_need() {
    let mut text = String::new();
    let mut rows = Vec::new();
    for (count, connections) in [(1, 1), (2, 1), (3, 2), (4, 2), (6, 3)] {
        let (name, venue) = (format!("of{count}"), venue(Kind::Binance, Options::default()).await);
        text += &config(&name, &venue, &IDS[..count]);
        rows.push((name, count, connections, venue));
    }
    let daemon = Running::start(&text, &["binance"]).await;
    for (name, count, connections, venue) in rows {
        for id in &IDS[..count] {
            daemon.state(&name, id, State::Fresh).await;
        }
        let stats = venue.stats();
        assert_eq!(stats.connects, connections, "{name}");
        assert_eq!(stats.subscriptions, count, "{name}: {:?}", stats.subscribed);
        assert!(stats.subscribed.values().all(|times| *times == 1), "{name}: {:?}", stats.subscribed);
        assert_eq!(served(&daemon, &name), count, "{name}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_ids_touches_the_connections_concerned_and_no_other() {
    let venue = venue(Kind::Binance, Options::default()).await;
    let daemon = Running::start(&config("binance", &venue, &IDS), &["binance"]).await;
    for id in IDS {
        daemon.state("binance", id, State::Fresh).await;
    }
    let before = venue.stats();
    assert_eq!((before.connects, before.open), (3, 3));

    // One goes.
    daemon.write_config(&config("binance", &venue, &IDS[1..]));
    daemon.until("it is given up at the venue", |_| venue.stats().subscriptions == 5).await;
    let after = venue.stats();
    assert_eq!((after.connects, after.open, after.received), (3, 3, before.received + 1));
    assert!(daemon.read("binance", IDS[0]).is_none());
    daemon.until("the status counts five", |_| served(&daemon, "binance") == 5).await;

    // It comes back, on a connection that is there.
    daemon.write_config(&config("binance", &venue, &IDS));
    daemon.state("binance", IDS[0], State::Fresh).await;
    let after = venue.stats();
    assert_eq!((after.connects, after.open, after.received), (3, 3, before.received + 2));

    // All of two connections go: those close.
    daemon.write_config(&config("binance", &venue, &IDS[..1]));
    daemon.until("one connection is left", |_| venue.stats().open == 1).await;
    daemon.state("binance", IDS[0], State::Fresh).await;
    assert_eq!(venue.stats().connects, 3);

    // And opens again when it is needed.
    daemon.write_config(&config("binance", &venue, &IDS));
    for id in IDS {
        daemon.state("binance", id, State::Fresh).await;
    }
    assert_eq!(venue.stats().open, 3);
    assert_eq!(venue.stats().violations, [""; 0]);
    daemon.stop().await;
}

/// A lost connection costs its own ids a reconnect; the others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_independent() {
    let venue = venue(Kind::Binance, Options::default()).await;
    let daemon = Running::start(&config("binance", &venue, &IDS), &["binance"]).await;
    for id in IDS {
        daemon.state("binance", id, State::Fresh).await;
    }
    venue.cut();
    daemon.until("all are back", |_| venue.stats().connects == 6 && venue.stats().subscriptions == 6).await;
    assert!(venue.stats().subscribed.values().all(|times| *times == 1));
    daemon.stop().await;
}

/// Connect 3b12c3d7 and 5d8f84b3, Bothan 318444c: bursts of subscriptions were cut, long lists refused. The venues
/// enforce what they document.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_ids_stay_within_the_venues_limits() {
    let rows = [
        (Kind::Binance, 450, "COIN#USDT"),
        (Kind::Kraken, 600, "COIN#/USD"),
        (Kind::Coinbase, 300, "COIN#-USD"),
        (Kind::Bitfinex, 60, "tCOIN#:USD"),
        (Kind::Gate, 450, "COIN#_USDT"),
        (Kind::Htx, 250, "coin#usdt"),
        (Kind::Kucoin, 450, "COIN#-USDT"),
        (Kind::Mexc, 65, "COIN#USDT"),
        (Kind::Bitstamp, 250, "COIN#/USD"),
        (Kind::Bybit, 250, "COIN#USDT"),
        (Kind::CryptoCom, 250, "COIN#_USD"),
        (Kind::Okx, 250, "COIN#-USDT"),
    ];
    let mut text = String::new();
    let mut venues = Vec::new();
    for (kind, count, id) in rows {
        let ids: Vec<String> = (0..count).map(|number| id.replace('#', &number.to_string())).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let venue = venue(kind, Options::default().with_prices(ids.iter().map(|id| (*id, "1.50")))).await;
        text += &section(kind.name(), &venue, &ids_line(&ids));
        venues.push((kind, count, venue));
    }
    let plugins: Vec<&str> = rows.iter().map(|(kind, ..)| kind.name()).collect();
    let daemon = Running::start(&text, &plugins).await;
    for (kind, count, venue) in venues {
        let fresh = || {
            let readings = daemon.store().read_provider(kind.name()).unwrap_or_default();
            readings.iter().filter(|reading| reading.state == State::Fresh).count()
        };
        daemon.until(&format!("all of {kind:?} are fresh"), |_| fresh() == count).await;
        assert_eq!(venue.stats().violations, [""; 0], "{kind:?}");
        assert_eq!(venue.stats().subscriptions, count, "{kind:?}");
    }
    daemon.stop().await;
}
