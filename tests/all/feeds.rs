//! Feeds: a running daemon with the real compiled plugins, against the simulated venues.
//!
//! One daemon serves many rows: each row of a table is a provider with a venue of its own.

mod chains;
mod connections;
mod network;
mod order;
mod overlap;
mod places;
mod polls;
mod rejections;
mod requests;
mod sockets;
mod sources;
mod streams;
mod values;

use std::collections::BTreeSet;

use feedgate::contract::observation::ValueKind;
use feedgate::status::ConnectionInfo;
use feedgate_tests::{Kind, Venue};

use crate::support::{self, Running, venue};

/// One way to one venue, with the plugin's default ids.
#[derive(Copy, Clone)]
struct Feed {
    /// The venue, and `ws` or `http`.
    name: &'static str,
    kind: Kind,
    ids: &'static [&'static str],
    /// What the section needs to use this way, quickly.
    more: &'static str,
    /// What its values are, and whether the venue gives them a time.
    value: ValueKind,
    timed: bool,
    /// Ids that are refused, with words of the venue or the plugin.
    bad: &'static [(&'static str, &'static str)],
    /// What is said of every id when the venue refuses everything.
    refusal: &'static str,
}

/// A venue that lists nothing says nothing of any id: none is rejected.
const EMPTY_LIST: &str = "an empty list, which says nothing of any id";

/// Every venue over every transport that it has. Some limit requests; the others may be asked often.
const FEEDS: &[Feed] = &[
    Feed {
        name: "binance-http",
        kind: Kind::Binance,
        ids: &["BTCUSDT", "ETHUSDT"],
        more: POLL,
        value: ValueKind::LastTrade,
        timed: false,
        bad: &[("NOPEUSDT", "Invalid symbol."), ("BTC USDT", "not a symbol")],
        refusal: "Invalid symbol",
    },
    Feed {
        name: "binance-ws",
        kind: Kind::Binance,
        ids: &["BTCUSDT", "ETHUSDT"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("BTC-USDT", "invalid stream (code 2)"), ("BTC USDT", "not a symbol")],
        refusal: "invalid stream",
    },
    Feed {
        name: "bitfinex-ws",
        kind: Kind::Bitfinex,
        ids: &["tBTCUSD", "tETHUSD"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: false,
        bad: &[("tNOPUSD", "symbol: invalid (code 10300)"), ("BTCUSD", "not a trading pair")],
        refusal: "invalid",
    },
    Feed {
        name: "bitstamp-http",
        kind: Kind::Bitstamp,
        ids: &["BTC/USD", "ETH/USD"],
        more: SLOW_POLL,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE/USD", "left out of 3 answers"), ("BTC USD", "not a market")],
        refusal: EMPTY_LIST,
    },
    Feed {
        name: "bitstamp-ws",
        kind: Kind::Bitstamp,
        ids: &["BTC/USD", "ETH/USD"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("BTC USD", "not a market")],
        refusal: "Invalid channel provided.",
    },
    Feed {
        name: "bybit-ws",
        kind: Kind::Bybit,
        ids: &["BTCUSDT", "ETHUSDT"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPEUSDT", "Invalid symbol :[tickers.NOPEUSDT]"), ("BTC-USDT", "not a spot symbol")],
        refusal: "Invalid symbol",
    },
    Feed {
        name: "coinbase-http",
        kind: Kind::Coinbase,
        ids: &["BTC-USD", "ETH-USD"],
        more: POLL,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE-USD", "NOT_FOUND: valid product_id is required"), ("BTCUSD", "not a product")],
        refusal: "NOT_FOUND",
    },
    Feed {
        name: "coinbase-ws",
        kind: Kind::Coinbase,
        ids: &["BTC-USD", "ETH-USD"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("BTCUSD", "not a product")],
        refusal: "authentication failure",
    },
    Feed {
        name: "coingecko-http",
        kind: Kind::CoinGecko,
        ids: &["bitcoin", "ethereum"],
        more: SLOW_POLL,
        value: ValueKind::Index,
        timed: true,
        bad: &[("nope", "left out of 3 answers")],
        refusal: EMPTY_LIST,
    },
    Feed {
        name: "coinmarketcap-http",
        kind: Kind::CoinMarketCap,
        ids: &["1", "1027"],
        more: KEYED_POLL,
        value: ValueKind::Index,
        timed: true,
        bad: &[("999999", "left out of 3 answers")],
        refusal: EMPTY_LIST,
    },
    Feed {
        name: "crypto-com-ws",
        kind: Kind::CryptoCom,
        ids: &["BTC_USD", "ETH_USD"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE_USD", "Unknown symbol (code 40003)"), ("BTCUSD", "not an instrument")],
        refusal: "Unknown symbol",
    },
    Feed {
        name: "dydx-http",
        kind: Kind::Dydx,
        ids: &["BTC-USD", "ETH-USD"],
        more: POLL,
        value: ValueKind::Index,
        timed: false,
        bad: &[("NOPE-USD", "left out of 3 answers"), ("BTC", "not a market")],
        refusal: EMPTY_LIST,
    },
    Feed {
        name: "gate-ws",
        kind: Kind::Gate,
        ids: &["BTC_USDT", "ETH_USDT"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE_USDT", "unknown currency pair NOPE_USDT (code 2)"), ("BTCUSDT", "not a currency pair")],
        refusal: "unknown currency pair",
    },
    Feed {
        name: "geckoterminal-http",
        kind: Kind::GeckoTerminal,
        ids: &["eth/0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", "eth/0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"],
        more: SLOW_POLL,
        value: ValueKind::Index,
        timed: false,
        bad: &[("eth/0xab", "left out of 3 answers")],
        refusal: EMPTY_LIST,
    },
    Feed {
        name: "htx-ws",
        kind: Kind::Htx,
        ids: &["btcusdt", "ethusdt"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("nopeusdt", "invalid topic market.nopeusdt.ticker (bad-request)"), ("BTC-USDT", "not a symbol")],
        refusal: "invalid topic",
    },
    Feed {
        name: "kraken-http",
        kind: Kind::Kraken,
        ids: &["BTC/USD", "ETH/USD"],
        more: POLL,
        value: ValueKind::LastTrade,
        timed: false,
        bad: &[("NOPEUSD", "EQuery:Unknown asset pair")],
        refusal: "Unknown asset pair",
    },
    Feed {
        name: "kraken-ws",
        kind: Kind::Kraken,
        ids: &["BTC/USD", "ETH/USD"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE/USD", "Currency pair not supported NOPE/USD"), ("NOPE", "not a streamed pair")],
        refusal: "not supported",
    },
    Feed {
        name: "kucoin-ws",
        kind: Kind::Kucoin,
        ids: &["BTC-USDT", "ETH-USDT"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE-USDT", "topic /market/ticker:NOPE-USDT is not found (code 404)"), ("BTCUSDT", "not a symbol")],
        refusal: "is not found",
    },
    Feed {
        name: "mexc-ws",
        kind: Kind::Mexc,
        ids: &["BTCUSDT", "ETHUSDT"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("BTC-USDT", "not a symbol")],
        refusal: "Blocked!",
    },
    Feed {
        name: "okx-ws",
        kind: Kind::Okx,
        ids: &["BTC-USDT", "ETH-USDT"],
        more: STREAM,
        value: ValueKind::LastTrade,
        timed: true,
        bad: &[("NOPE-USDT", "instId:NOPE-USDT doesn't exist"), ("BTCUSDT", "not an instrument")],
        refusal: "doesn't exist",
    },
    Feed {
        name: "polymarket-http",
        kind: Kind::Polymarket,
        ids: &[
            "71321045679252212594626385532706912750332728571942532289631379312455583992563",
            "52114319501245915516055106046884209969926127482827954674443846427813813222426",
        ],
        more: POLL,
        value: ValueKind::Mid,
        timed: false,
        bad: &[("123", "left out of 3 answers"), ("yes", "not a token")],
        refusal: EMPTY_LIST,
    },
];

/// Waits of milliseconds where there would be seconds.
const STREAM: &str = "transports = [\"websocket\"]
refused_wait_ms = 100
websocket = { backoff_first_ms = 20, backoff_max_ms = 100, connect_timeout_ms = 2000, idle_timeout_ms = 2000 }";
const POLL: &str = "transports = [\"http\"]
http = { poll_interval_ms = 50, backoff_first_ms = 20, backoff_max_ms = 100 }";
const SLOW_POLL: &str = "transports = [\"http\"]\nhttp = { poll_interval_ms = 1000, backoff_first_ms = 500 }";
/// The venue wants a key, and the simulated one takes any.
const KEYED_POLL: &str = concat!(
    "transports = [\"http\"]\nhttp = { poll_interval_ms = 2000, backoff_first_ms = 500 }\n",
    "secrets = { api_key = { file = \"",
    env!("CARGO_MANIFEST_DIR"),
    "/all/feeds/any.key\" } }"
);

fn feed(name: &str) -> Feed {
    *FEEDS.iter().find(|feed| feed.name == name).expect("a name of the table")
}

/// All plugins of the table.
fn plugins() -> Vec<&'static str> {
    let names: BTreeSet<_> = FEEDS.iter().map(|feed| feed.kind.name()).collect();
    names.into_iter().collect()
}

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

/// How many of the client's last messages name an id, after a quotation mark or the name of a channel.
fn mentions(venue: &Venue, id: &str) -> usize {
    let spellings = [format!("\"{id}"), format!(".{id}\""), format!("_{id}\"")];
    let spellings: Vec<_> = spellings.iter().flat_map(|spelling| [spelling.clone(), spelling.to_lowercase()]).collect();
    let names = |message: &String| spellings.iter().any(|spelling| message.contains(spelling));
    venue.stats().messages.iter().filter(|message| names(message)).count()
}
