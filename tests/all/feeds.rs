//! Feeds: a running daemon with the real compiled plugins, against the simulated venues.
//!
//! One daemon serves many rows: each row of a table is a provider with a venue of its own.

mod connections;
mod order;
mod polls;
mod rejections;
mod streams;
mod values;

use feedgate::status::ConnectionInfo;
use feedgate_tests::{Kind, Venue};

use crate::support::{self, Running, venue};

/// One way to one venue, with the plugin's default ids.
#[derive(Copy, Clone)]
struct Feed {
    name: &'static str,
    kind: Kind,
    ids: &'static [&'static str],
    /// What the section needs to use this way, quickly.
    more: &'static str,
}

/// Every venue over every transport that it has. Kraken and CoinGecko limit requests; the others may be asked often.
const FEEDS: [Feed; 7] = [
    Feed { name: "binance-ws", kind: Kind::Binance, ids: &["BTCUSDT", "ETHUSDT"], more: STREAM },
    Feed { name: "binance-http", kind: Kind::Binance, ids: &["BTCUSDT", "ETHUSDT"], more: POLL },
    Feed { name: "coinbase-ws", kind: Kind::Coinbase, ids: &["BTC-USD", "ETH-USD"], more: STREAM },
    Feed { name: "kraken-ws", kind: Kind::Kraken, ids: &["BTC/USD", "ETH/USD"], more: STREAM },
    Feed { name: "kraken-http", kind: Kind::Kraken, ids: &["BTC/USD", "ETH/USD"], more: POLL },
    Feed { name: "bitfinex-ws", kind: Kind::Bitfinex, ids: &["tBTCUSD", "tETHUSD"], more: STREAM },
    Feed { name: "coingecko-http", kind: Kind::CoinGecko, ids: &["bitcoin", "ethereum"], more: SLOW_POLL },
];

/// Waits of milliseconds where there would be seconds.
const STREAM: &str = "transports = [\"websocket\"]
websocket = { backoff_first_ms = 20, backoff_max_ms = 100, connect_timeout_ms = 2000, idle_timeout_ms = 2000 }";
const POLL: &str = "transports = [\"http\"]
http = { poll_interval_ms = 50, backoff_first_ms = 20, backoff_max_ms = 100 }";
const SLOW_POLL: &str = "transports = [\"http\"]\nhttp = { poll_interval_ms = 1000, backoff_first_ms = 500 }";

fn feed(name: &str) -> Feed {
    FEEDS.into_iter().find(|feed| feed.name == name).expect("a name of the table")
}

/// All plugins of the table.
const PLUGINS: [&str; 5] = ["binance", "bitfinex", "coinbase", "coingecko", "kraken"];

/// A section of the configuration, for a provider that meets this venue in place of the real one.
fn section(name: &str, venue: &Venue, more: &str) -> String {
    redirected_section(name, venue.kind().name(), &support::redirected(venue), more)
}

/// A section for a provider whose one origin leads to a scripted server.
fn scripted(name: &str, plugin: &str, real: &str, origin: &str, more: &str) -> String {
    redirected_section(name, plugin, &format!("redirect_origins = {{ \"{real}\" = \"{origin}\" }}"), more)
}

fn redirected_section(name: &str, plugin: &str, redirects: &str, more: &str) -> String {
    format!("[provider.{name}]\nplugin = \"{plugin}\"\nloosen_limits = true\n{redirects}\n{more}\n")
}

fn ids_line(ids: &[&str]) -> String {
    format!("ids = {ids:?}\n")
}

/// A provider's first connection, as the status shows it.
fn connection(daemon: &Running, provider: &str) -> Option<ConnectionInfo> {
    daemon.status().provider(provider).info().connections.get(&0).cloned()
}

/// How many of the client's last messages name an id.
fn mentions(venue: &Venue, id: &str) -> usize {
    let quoted = format!("\"{id}");
    let lower = quoted.to_lowercase();
    venue.stats().messages.iter().filter(|message| message.contains(&quoted) || message.contains(&lower)).count()
}
