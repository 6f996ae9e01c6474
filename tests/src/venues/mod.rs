//! One file for each venue's language, and the table of what differs between venues besides it.
//!
//! Protocol files are pure: messages and prices in, messages out. They name no socket and read no
//! clock.

use std::time::Duration;

use num_bigint::BigUint;

use crate::http::{Request, Response};
use crate::session::{Opened, World, quoted};

/// √`price` × 2^`bits`, rounded down, for tokens with so many decimals. A price that is written `0x…` is the root
/// itself, so that a test can name what no decimal gives. `None`: neither.
fn square_root(price: &str, decimals: [u32; 2], bits: u32) -> Option<BigUint> {
    if let Some(root) = price.strip_prefix("0x") {
        return BigUint::parse_bytes(root.as_bytes(), 16);
    }
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    let coefficient = BigUint::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
    let ten = |power: u32| BigUint::from(10_u8).pow(power);
    let places = u32::try_from(fraction.len()).ok()?;
    Some((((coefficient * ten(decimals[1])) << (2 * bits)) / ten(places + decimals[0])).sqrt())
}

/// What one venue is. Each file has one, and is free in how it does the rest.
pub(crate) struct Profile {
    /// In lower case, as plugins are called.
    name: &'static str,
    /// Where the real venue is.
    origins: &'static [&'static str],
    /// The ids that are listed unless [`Options`](crate::Options) say otherwise, with their prices
    /// at the start.
    prices: &'static [(&'static str, &'static str)],
    /// How many connections one address may open within how many seconds.
    connects: Option<(usize, u64)>,
    /// What one request costs.
    weight: fn(&Request) -> u64,
    /// What all requests of a minute may cost.
    budget: u64,
    /// A new WebSocket at a target, the so manieth connection of the venue.
    open: fn(&str, u64, &World<'_>) -> Opened,
    /// An HTTP answer, when the minute's requests have cost so much so far.
    answer: fn(&Request, u64, &World<'_>) -> Response,
    /// An error in the words of the venue's HTTP API: a status, and a text that is quoted already.
    error: fn(u16, &str) -> String,
}

impl Profile {
    /// A venue without limits that has neither transport; a file writes what it has.
    const PLAIN: Self = Self {
        name: "",
        origins: &[],
        prices: &[],
        connects: None,
        weight: |_| 1,
        budget: u64::MAX,
        open: |_, _, _| Err(Response::html(404)),
        answer: |_, _, _| Response::new(426, "text/plain", "Upgrade Required"),
        error: |_, text| format!("{{\"error\":{text}}}"),
    };
}

macro_rules! venues {
    ($($(#[$doc:meta])* $kind:ident = $module:ident,)*) => {
        $(mod $module;)*

        /// Which venue to be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            fn profile(self) -> &'static Profile {
                match self {
                    $(Self::$kind => &$module::PROFILE,)*
                }
            }
        }
    };
}

venues! {
    /// Spot market streams, and `GET /api/v3/ticker/price`.
    Binance = binance,
    /// Bitfinex' public WebSocket, version 2.
    Bitfinex = bitfinex,
    /// Live trades, and `GET /api/v2/ticker/`.
    Bitstamp = bitstamp,
    /// Public spot tickers, version 5.
    Bybit = bybit,
    /// Coinbase Advanced Trade's market data WebSocket, and its public market trades.
    Coinbase = coinbase,
    /// `GET /api/v3/simple/price`.
    CoinGecko = coingecko,
    /// `GET /v2/cryptocurrency/quotes/latest`, with a key.
    CoinMarketCap = coinmarketcap,
    /// Tickers of the Crypto.com Exchange.
    CryptoCom = crypto_com,
    /// `GET /v4/perpetualMarkets`.
    Dydx = dydx,
    /// An Ethereum node: `eth_blockNumber` and `eth_call` of `slot0()`.
    EvmPool = evm_pool,
    /// Gate's spot WebSocket, version 4.
    Gate = gate,
    /// `GET /api/v2/simple/networks/NETWORK/token_price/ADDRESSES`.
    GeckoTerminal = geckoterminal,
    /// HTX' market data WebSocket.
    Htx = htx,
    /// WebSocket v2, and `GET /0/public/Ticker`.
    Kraken = kraken,
    /// KuCoin's public WebSocket, and the token that leads to it.
    Kucoin = kucoin,
    /// MEXC' spot market streams.
    Mexc = mexc,
    /// Public tickers over WebSocket v5.
    Okx = okx,
    /// `POST /midpoints`.
    Polymarket = polymarket,
    /// A Solana node: `getMultipleAccounts` of Raydium's pools.
    SolanaAccount = solana_account,
}

impl Kind {
    /// In lower case, as plugins are called.
    pub fn name(self) -> &'static str {
        self.profile().name
    }

    /// The ids that are listed unless [`Options`](crate::Options) say otherwise, with their prices
    /// at the start.
    pub fn default_prices(self) -> &'static [(&'static str, &'static str)] {
        self.profile().prices
    }

    pub fn has_websocket(self) -> bool {
        self.real_origins().iter().any(|origin| origin.starts_with("wss:"))
    }

    pub fn has_http(self) -> bool {
        self.real_origins().iter().any(|origin| origin.starts_with("https:"))
    }

    /// Where the real venue is.
    pub(crate) fn real_origins(self) -> &'static [&'static str] {
        self.profile().origins
    }

    /// How many connections one address may open within how long.
    pub(crate) fn connect_limit(self) -> Option<(usize, Duration)> {
        self.profile().connects.map(|(count, seconds)| (count, Duration::from_secs(seconds)))
    }

    /// What one request costs, and what all requests of a minute may cost.
    pub(crate) fn request_weight(self, request: &Request) -> (u64, u64) {
        ((self.profile().weight)(request), self.profile().budget)
    }

    /// A new WebSocket, the `serial`th connection of the venue.
    pub(crate) fn open(self, target: &str, serial: u64, world: &World<'_>) -> Opened {
        (self.profile().open)(target, serial, world)
    }

    /// An HTTP answer, when the minute's requests have cost `used` so far.
    pub(crate) fn answer(self, request: &Request, used: u64, world: &World<'_>) -> Response {
        (self.profile().answer)(request, used, world)
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
        (self.profile().error)(status, &text)
    }
}
