//! Connections that are replaced: the new one delivers before the old one closes, and nobody notices.

use std::time::Duration;

use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Notice, Options, ScriptedWs, Venue};

use super::{connection, scripted, section, venue};
use crate::support::{Running, without_a_gap};

/// Everything is old after this: a gap of a reconnect would show.
const QUICK: &str = "transports = [\"websocket\"]\nmax_age_ms = 1500\nrefused_wait_ms = 100\n";

fn lively() -> Options {
    Options { tick: Some(Duration::from_millis(20)), ..Options::default() }
}

const IDS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

async fn streaming(venue: &Venue, more: &str) -> Running {
    let daemon = Running::start(&section("p", venue, &format!("{QUICK}{more}")), &["binance"]).await;
    for id in IDS {
        daemon.state("p", id, State::Fresh).await;
    }
    daemon
}

/// Both seeds reconnect by closing first. Here the venue sees the second connection while it still serves the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_on_command_leaves_no_gap() {
    let venue = venue(Kind::Binance, lively()).await;
    let daemon = streaming(&venue, "").await;
    for round in 2..=4 {
        daemon.daemon.control().rotate_soon();
        without_a_gap(&daemon, "p", &IDS, "the successor serves alone", || {
            venue.stats().connects == round && venue.stats().open == 1
        })
        .await;
        let (reason, _) = connection(&daemon, "p").and_then(|c| c.last_end).expect("one was replaced");
        assert_eq!(reason, "closed by us: a rotation was asked for");
    }
    assert_eq!(venue.stats().violations, [""; 0]);
    assert_eq!(venue.stats().subscriptions, 2);
    daemon.stop().await;
}

/// Binance cuts each connection after 24 hours. This one does after two seconds, and finds nobody on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_replaced_before_the_venue_cuts_it() {
    let age = Duration::from_secs(2);
    let venue = venue(Kind::Binance, Options { max_age: Some(age), ..lively() }).await;
    let daemon = streaming(&venue, "websocket = { max_connection_age_ms = 2000, backoff_first_ms = 20 }").await;
    without_a_gap(&daemon, "p", &IDS, "three were replaced", || venue.stats().connects >= 4).await;
    let ends = daemon.metrics();
    let ended = |cause: &str| ends.contains(&format!("feedgate_disconnects_total{{provider=\"p\",cause=\"{cause}\"}}"));
    assert!(ended("replaced") && !ended("closed") && !ended("max-age"), "{ends}");
    daemon.stop().await;
}

/// The venue gives notice; the old connection serves until the new one delivers.
#[tokio::test(flavor = "multi_thread")]
async fn a_venue_that_gives_notice_is_left_without_a_gap() {
    let venue = venue(Kind::Binance, lively()).await;
    let daemon = streaming(&venue, "").await;
    venue.announce(Notice::Restart);
    without_a_gap(&daemon, "p", &IDS, "the successor serves alone", || {
        venue.stats().connects == 2 && venue.stats().open == 1
    })
    .await;
    daemon.stop().await;
}

/// A venue that lets nobody in keeps whom it has: the successor waits, visibly, and the old one serves.
#[tokio::test(flavor = "multi_thread")]
async fn while_no_successor_gets_in_the_old_connection_serves() {
    let venue = venue(Kind::Binance, lively()).await;
    let daemon = streaming(&venue, "websocket = { backoff_first_ms = 20, backoff_max_ms = 100 }").await;
    venue.set_fault(Fault::Status { code: 503, retry_after: None });
    daemon.daemon.control().rotate_soon();
    let accepts = venue.stats().accepts;
    without_a_gap(&daemon, "p", &IDS, "three attempts failed", || venue.stats().accepts >= accepts + 3).await;
    assert!(connection(&daemon, "p").is_some_and(|c| c.phase == "open" && c.successor.is_some()));
    venue.set_fault(Fault::None);
    without_a_gap(&daemon, "p", &IDS, "the successor serves alone", || {
        venue.stats().connects == 2 && venue.stats().open == 1
    })
    .await;
    daemon.until("nobody is to follow", |_| connection(&daemon, "p").is_some_and(|c| c.successor.is_none())).await;
    daemon.stop().await;
}

/// Should the old connection be lost in the middle, the new one is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_during_a_rotation_costs_nothing_more_than_a_cut() {
    let venue = venue(Kind::Binance, lively()).await;
    let daemon = streaming(&venue, "websocket = { backoff_first_ms = 20, backoff_max_ms = 100 }").await;
    venue.set_fault(Fault::Hang);
    daemon.daemon.control().rotate_soon();
    let accepts = venue.stats().accepts;
    daemon.until("a successor is on its way", |_| venue.stats().accepts > accepts).await;
    venue.cut();
    venue.set_fault(Fault::None);
    daemon
        .until("one connection serves everything", |_| {
            let stats = venue.stats();
            stats.open == 1 && stats.subscriptions == 2 && IDS.iter().all(|id| stats.subscribed.contains_key(*id))
        })
        .await;
    for id in IDS {
        daemon.state("p", id, State::Fresh).await;
    }
    daemon.stop().await;
}

const KRAKEN: &str = "wss://ws.kraken.com";

fn ticker(symbol: &str) -> String {
    let now = feedgate::store::wall_clock().to_rfc3339();
    let data = format!(r#"{{"symbol":"{symbol}","last":1.50,"timestamp":"{now}"}}"#);
    format!(r#"{{"channel":"ticker","type":"update","data":[{data}]}}"#)
}

fn acknowledged(symbol: &str) -> String {
    let result = format!(r#"{{"channel":"ticker","symbol":"{symbol}","snapshot":true}}"#);
    format!(r#"{{"method":"subscribe","result":{result},"success":true}}"#)
}

/// A venue that acknowledges both and feeds `BTC/USD`. It feeds `ETH/USD` once that was asked for so many times, over
/// all connections, and says what it was asked.
async fn forgetful(feeds_after: usize) -> (ScriptedWs, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let said = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = said.clone();
    let script = move |mut peer: feedgate_tests::Peer| {
        let said = heard.clone();
        async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            let mut fed = vec!["BTC/USD"];
            loop {
                tokio::select! {
                    text = peer.recv() => {
                        let Some(text) = text else { return };
                        for symbol in ["BTC/USD", "ETH/USD"].iter().filter(|symbol| text.contains(**symbol)) {
                            if text.contains("\"subscribe\"") && peer.send(acknowledged(symbol)).await.is_err() {
                                return;
                            }
                        }
                        let asked = |text: &&String| text.contains("\"subscribe\"") && text.contains("ETH/USD");
                        let mut said = said.lock().expect("nobody panicked");
                        said.push(text);
                        if said.iter().filter(asked).count() > feeds_after {
                            fed.push("ETH/USD");
                        }
                    }
                    _ = ticks.tick() => {
                        for symbol in &fed {
                            if peer.send(ticker(symbol)).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        }
    };
    (ScriptedWs::start(script).await.expect("a free port"), said)
}

/// The feed that looks connected and is dead, for one id of two. It is asked for anew, alone, and the other one never
/// notices; where that does not help, a new connection does.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_id_on_a_live_connection_is_asked_for_alone_and_then_costs_the_connection() {
    for (feeds_after, connects) in [(1, 1), (3, 2)] {
        let (server, said) = forgetful(feeds_after).await;
        let more = "ids = [\"BTC/USD\", \"ETH/USD\"]\nmax_age_ms = 400\nwebsocket = { revive_gap_ms = 100 }";
        let daemon = Running::start(&scripted("p", "kraken", KRAKEN, &server.origin(), more), &["kraken"]).await;
        daemon.state("p", "BTC/USD", State::Fresh).await;
        let alive = || daemon.read("p", "ETH/USD").is_some_and(|reading| reading.state == State::Fresh);
        without_a_gap(&daemon, "p", &["BTC/USD"], "the dead id lives", alive).await;
        assert_eq!(server.connects(), connects);
        let said = said.lock().expect("nobody panicked").clone();
        let alone = said.iter().filter(|text| text.contains("\"unsubscribe\"") && !text.contains("BTC/USD")).count();
        assert!((1..=2).contains(&alone), "{said:?}");
        assert_eq!(daemon.outcomes("p", "rejected"), 0);
        daemon.stop().await;
        server.shutdown().await;
    }
}
