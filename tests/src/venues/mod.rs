//! One file for each venue's language, and the table of what differs between venues besides it.
//!
//! Protocol files are pure: messages and prices in, messages out. They name no socket and read no
//! clock.

use std::time::Duration;

use crate::http::{Request, Response};
use crate::session::{Opened, World, quoted};

mod binance;
mod bitfinex;
mod coinbase;
mod coingecko;
mod kraken;

/// Which venue to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Spot market streams, and `GET /api/v3/ticker/price`.
    Binance,
    /// Bitfinex' public WebSocket, version 2.
    Bitfinex,
    /// Coinbase Advanced Trade's market data WebSocket.
    Coinbase,
    /// `GET /api/v3/simple/price`.
    CoinGecko,
    /// WebSocket v2, and `GET /0/public/Ticker`.
    Kraken,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Binance, Self::Bitfinex, Self::Coinbase, Self::CoinGecko, Self::Kraken];

    /// In lower case, as plugins are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Bitfinex => "bitfinex",
            Self::Coinbase => "coinbase",
            Self::CoinGecko => "coingecko",
            Self::Kraken => "kraken",
        }
    }

    /// The ids that are listed unless [`Options`](crate::Options) say otherwise, with their prices
    /// at the start.
    pub fn default_prices(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Binance => binance::PRICES,
            Self::Bitfinex => bitfinex::PRICES,
            Self::Coinbase => coinbase::PRICES,
            Self::CoinGecko => coingecko::PRICES,
            Self::Kraken => kraken::PRICES,
        }
    }

    pub fn has_websocket(self) -> bool {
        self.real_origins().iter().any(|origin| origin.starts_with("wss:"))
    }

    pub fn has_http(self) -> bool {
        self.real_origins().iter().any(|origin| origin.starts_with("https:"))
    }

    /// Where the real venue is.
    pub(crate) fn real_origins(self) -> &'static [&'static str] {
        match self {
            Self::Binance => binance::ORIGINS,
            Self::Bitfinex => bitfinex::ORIGINS,
            Self::Coinbase => coinbase::ORIGINS,
            Self::CoinGecko => coingecko::ORIGINS,
            Self::Kraken => kraken::ORIGINS,
        }
    }

    /// How many connections one address may open within how long. Kraken's number is often quoted
    /// and nowhere documented.
    pub(crate) fn connect_limit(self) -> Option<(usize, Duration)> {
        let (count, seconds) = match self {
            Self::Binance => (300, 300),
            Self::Bitfinex => (20, 60),
            Self::Coinbase => (8, 1),
            Self::Kraken => (150, 600),
            Self::CoinGecko => return None,
        };
        Some((count, Duration::from_secs(seconds)))
    }

    /// What one request costs, and what all requests of a minute may cost.
    pub(crate) fn request_weight(self, request: &Request) -> (u64, u64) {
        match self {
            Self::Binance => (binance::rest::weight(request), 6000),
            // With a key of the free plan.
            Self::CoinGecko => (1, 100),
            Self::Bitfinex | Self::Coinbase | Self::Kraken => (1, u64::MAX),
        }
    }

    /// A new WebSocket, the `serial`th connection of the venue.
    pub(crate) fn open(self, target: &str, serial: u64, world: &World<'_>) -> Opened {
        match self {
            Self::Binance => binance::open(target, world),
            Self::Bitfinex => bitfinex::open(target, serial, world),
            Self::Coinbase => coinbase::open(target, world),
            Self::Kraken => kraken::open(target, serial, world),
            Self::CoinGecko => Err(Response::html(404)),
        }
    }

    /// An HTTP answer, when the minute's requests have cost `used` so far.
    pub(crate) fn answer(self, request: &Request, used: u64, world: &World<'_>) -> Response {
        match self {
            Self::Binance => binance::rest::answer(request, used, world),
            Self::CoinGecko => coingecko::answer(request, world),
            Self::Kraken => kraken::rest::answer(request, world),
            Self::Bitfinex | Self::Coinbase => Response::new(426, "text/plain", "Upgrade Required"),
        }
    }

    pub(crate) fn too_many_requests(self) -> Response {
        Response::json(429, self.error_body(429))
    }

    /// An error in the words of the venue's HTTP API, where it has one.
    pub(crate) fn error_body(self, status: u16) -> String {
        let text = quoted(match status {
            401 | 403 => "Access denied",
            429 => "Too many requests",
            451 => "Service unavailable from a restricted location",
            500.. => "Service unavailable",
            _ => "Request refused",
        });
        match self {
            Self::Binance => {
                let code = if status == 429 { -1003 } else { -1000 };
                format!("{{\"code\":{code},\"msg\":{text}}}")
            }
            Self::Bitfinex => format!("[\"error\",{status},{text}]"),
            Self::CoinGecko => {
                format!("{{\"status\":{{\"error_code\":{status},\"error_message\":{text}}}}}")
            }
            Self::Coinbase => format!("{{\"type\":\"error\",\"message\":{text}}}"),
            Self::Kraken if status == 429 => "{\"error\":[\"EGeneral:Too many requests\"]}".into(),
            Self::Kraken => "{\"error\":[\"EService:Unavailable\"]}".into(),
        }
    }
}
