//! What the venue pushes: `PushDataV3ApiWrapper` and the two bodies that hold a last price.
//!
//! Field numbers are those of <https://github.com/mexcdevelop/websocket-proto>.

use feedgate_sdk::{Malformed, Timestamp};

use crate::{Source, protobuf::Fields};

/// Fields of the wrapper.
const CHANNEL: u64 = 1;
const SYMBOL: u64 = 3;
const CREATED: u64 = 5;
const SENT: u64 = 6;
const MINI_TICKER: u64 = 309;
const AGGREGATED_DEALS: u64 = 314;

/// Of `PublicMiniTickerV3Api`.
const TICKER_PRICE: u64 = 2;

/// Of `PublicAggreDealsV3Api`, and of each deal in it.
const DEALS: u64 = 1;
const DEAL_PRICE: u64 = 1;
const DEAL_TIME: u64 = 4;

/// A last price.
#[derive(Debug, PartialEq)]
pub(crate) struct Push<'a> {
    pub(crate) symbol: &'a str,
    /// Empty where there is none.
    pub(crate) price: &'a str,
    pub(crate) time: Option<Timestamp>,
}

/// Reads a message; `None` is one of another channel.
pub(crate) fn read(message: &[u8], source: Source) -> Result<Option<Push<'_>>, Malformed> {
    let wanted = match source {
        Source::Ticker => MINI_TICKER,
        Source::Deals => AGGREGATED_DEALS,
    };
    let (mut channel, mut symbol, mut created, mut sent, mut body) = (None, None, None, None, None);
    for field in Fields::new(message) {
        match field? {
            (CHANNEL, value) => channel = Some(value.text()?),
            (SYMBOL, value) => symbol = Some(value.text()?),
            (CREATED, value) => created = Some(value.integer()?),
            (SENT, value) => sent = Some(value.integer()?),
            (number, value) if number == wanted => body = Some(value.bytes()?),
            _ => {}
        }
    }
    let channel = channel.ok_or(Malformed::new("a push without a channel"))?;
    let Some(body) = body else { return Ok(None) };
    let symbol = symbol.ok_or_else(|| Malformed::new(format!("a push of {channel} without a symbol")))?;
    let sent = sent.or(created).map(Timestamp::Millis);
    let (price, time) = match source {
        Source::Ticker => (ticker(body)?, None),
        Source::Deals => deals(body)?,
    };
    Ok(Some(Push { symbol, price, time: time.map(Timestamp::Millis).or(sent) }))
}

fn ticker(body: &[u8]) -> Result<&str, Malformed> {
    let mut price = "";
    for field in Fields::new(body) {
        if let (TICKER_PRICE, value) = field? {
            price = value.text()?;
        }
    }
    Ok(price)
}

/// The price and the time of the latest deal; of several at one time the one that stands last.
fn deals(body: &[u8]) -> Result<(&str, Option<i64>), Malformed> {
    let mut latest = ("", None);
    for field in Fields::new(body) {
        let (DEALS, deal) = field? else { continue };
        let (mut price, mut time) = ("", None);
        for field in Fields::new(deal.bytes()?) {
            match field? {
                (DEAL_PRICE, value) => price = value.text()?,
                (DEAL_TIME, value) => time = Some(value.integer()?),
                _ => {}
            }
        }
        if time >= latest.1 {
            latest = (price, time);
        }
    }
    Ok(latest)
}
