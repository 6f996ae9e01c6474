//! Parsers of venues' messages as a good native program would have them: `serde_json::from_slice`, typed, borrowing from
//! the message, prices exact. What plugins are measured against, in benchmarks only; nothing runs on them.
//!
//! Each reads the one shape that its venue sends all the time, and takes everything else for an error.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};
use serde_json::{Error, value::RawValue};

/// One price of one symbol: `coefficient` × 10^`exponent`, exactly as the venue wrote it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Price<'a> {
    pub symbol: &'a str,
    pub coefficient: i64,
    pub exponent: i32,
    /// The venue's own time, since the Unix epoch.
    pub millis: Option<i64>,
    pub sequence: Option<u64>,
}

impl<'a> Price<'a> {
    fn new(symbol: &'a str, Exact { coefficient, exponent }: Exact) -> Self {
        Self { symbol, coefficient, exponent, millis: None, sequence: None }
    }
}

/// Binance, a combined stream: the last price. 217 bytes.
pub fn mini_ticker(frame: &[u8]) -> Result<Price<'_>, Error> {
    #[derive(Deserialize)]
    struct Ticker<'a> {
        #[serde(rename = "E")]
        millis: i64,
        #[serde(rename = "s")]
        symbol: &'a str,
        #[serde(rename = "c")]
        last: Exact,
    }
    let Enveloped { data: Ticker { millis, symbol, last } } = serde_json::from_slice(frame)?;
    Ok(Price { millis: Some(millis), ..Price::new(symbol, last) })
}

/// Binance, a combined stream: half way between best bid and best ask.
pub fn book_ticker(frame: &[u8]) -> Result<Price<'_>, Error> {
    #[derive(Deserialize)]
    struct Ticker<'a> {
        #[serde(rename = "u")]
        update: u64,
        #[serde(rename = "s")]
        symbol: &'a str,
        #[serde(rename = "b")]
        bid: Exact,
        #[serde(rename = "a")]
        ask: Exact,
    }
    let Enveloped { data: Ticker { update, symbol, bid, ask } } = serde_json::from_slice(frame)?;
    Ok(Price { sequence: Some(update), ..Price::new(symbol, mid(bid, ask)?) })
}

#[derive(Deserialize)]
struct Enveloped<T> {
    data: T,
}

/// Binance, polled: the last price of many symbols.
pub fn polled_prices(body: &[u8]) -> Result<impl Iterator<Item = Price<'_>>, Error> {
    #[derive(Deserialize)]
    struct Ticker<'a> {
        symbol: &'a str,
        price: Exact,
    }
    let tickers: Vec<Ticker<'_>> = serde_json::from_slice(body)?;
    Ok(tickers.into_iter().map(|Ticker { symbol, price }| Price::new(symbol, price)))
}

/// Binance, polled: half way between best bid and best ask of many symbols.
pub fn polled_books(body: &[u8]) -> Result<impl Iterator<Item = Price<'_>>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ticker<'a> {
        symbol: &'a str,
        bid_price: Exact,
        ask_price: Exact,
    }
    let tickers: Vec<Ticker<'_>> = serde_json::from_slice(body)?;
    let prices = tickers.into_iter();
    let prices = prices.map(|ticker| Ok(Price::new(ticker.symbol, mid(ticker.bid_price, ticker.ask_price)?)));
    Ok(prices.collect::<Result<Vec<_>, Error>>()?.into_iter())
}

/// Coinbase, the ticker channel: the last price of each product that a message is about.
pub fn coinbase(frame: &[u8]) -> Result<impl Iterator<Item = Price<'_>>, Error> {
    #[derive(Deserialize)]
    struct Message<'a> {
        timestamp: &'a str,
        sequence_num: u64,
        #[serde(borrow)]
        events: Vec<Part<'a>>,
    }
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        tickers: Vec<Ticker<'a>>,
    }
    #[derive(Deserialize)]
    struct Ticker<'a> {
        product_id: &'a str,
        price: Exact,
    }
    let Message { timestamp, sequence_num, events } = serde_json::from_slice(frame)?;
    let (millis, sequence) = (Some(rfc3339(timestamp)?), Some(sequence_num));
    let tickers = events.into_iter().flat_map(|part| part.tickers);
    Ok(tickers.map(move |ticker| Price { millis, sequence, ..Price::new(ticker.product_id, ticker.price) }))
}

/// Kraken, the ticker channel of version 2: the last price.
pub fn kraken(frame: &[u8]) -> Result<Price<'_>, Error> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        data: [Ticker<'a>; 1],
    }
    #[derive(Deserialize)]
    struct Ticker<'a> {
        symbol: &'a str,
        // A number, which would lose digits on its way through a float.
        #[serde(borrow)]
        last: &'a RawValue,
        timestamp: &'a str,
    }
    let Message { data: [Ticker { symbol, last, timestamp }] } = serde_json::from_slice(frame)?;
    Ok(Price { millis: Some(rfc3339(timestamp)?), ..Price::new(symbol, exact(last)?) })
}

/// Bitfinex, a ticker with a sequence number behind it: the last price. `symbol_of` knows the channels by their numbers.
pub fn bitfinex<'a>(frame: &[u8], symbol_of: impl FnOnce(u64) -> Option<&'a str>) -> Result<Price<'a>, Error> {
    type Skipped = serde::de::IgnoredAny;
    type Ticker<'a> = (Skipped, Skipped, Skipped, Skipped, Skipped, Skipped, &'a RawValue, Skipped, Skipped, Skipped);
    let (channel, ticker, sequence): (u64, Ticker<'_>, u64) = serde_json::from_slice(frame)?;
    let symbol = symbol_of(channel).ok_or_else(|| Error::custom("an unknown channel"))?;
    Ok(Price { sequence: Some(sequence), ..Price::new(symbol, exact(ticker.6)?) })
}

/// Bybit, the tickers of its spot market: the last price.
pub fn bybit(frame: &[u8]) -> Result<Price<'_>, Error> {
    #[derive(Deserialize)]
    struct Message<'a> {
        ts: i64,
        cs: u64,
        #[serde(borrow)]
        data: Ticker<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ticker<'a> {
        symbol: &'a str,
        last_price: Exact,
    }
    let Message { ts, cs, data: Ticker { symbol, last_price } } = serde_json::from_slice(frame)?;
    Ok(Price { millis: Some(ts), sequence: Some(cs), ..Price::new(symbol, last_price) })
}

/// A decimal number, out of a string.
#[derive(Copy, Clone)]
struct Exact {
    coefficient: i64,
    exponent: i32,
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        impl Visitor<'_> for Digits {
            type Value = Exact;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Exact, E> {
                decimal(text).ok_or_else(|| E::custom("not a number of at most 18 digits"))
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

fn exact(number: &RawValue) -> Result<Exact, Error> {
    decimal(number.get()).ok_or_else(|| Error::custom("not a number of at most 18 digits"))
}

/// Trailing zeros stay: `1.50` is 150 × 10^-2.
fn decimal(text: &str) -> Option<Exact> {
    let (mantissa, power) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse().ok()?),
        None => (text, 0_i32),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa),
    };
    let (mut coefficient, mut count, mut fraction) = (0_i64, 0, None);
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                coefficient = coefficient.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                count += 1;
            }
            b'.' if fraction.is_none() => fraction = Some(count),
            _ => return None,
        }
    }
    let places = fraction.map_or(0, |at| count - at);
    let coefficient = if negative { -coefficient } else { coefficient };
    (count > 0).then_some(Exact { coefficient, exponent: power.checked_sub(places)? })
}

fn mid(bid: Exact, ask: Exact) -> Result<Exact, Error> {
    let exponent = bid.exponent.min(ask.exponent);
    let aligned = |price: Exact| {
        let factor = 10_i64.checked_pow(price.exponent.abs_diff(exponent))?;
        price.coefficient.checked_mul(factor)
    };
    let sum = || aligned(bid)?.checked_add(aligned(ask)?);
    // An odd sum needs one digit more: x / 2 is 5x / 10.
    let half = match sum() {
        Some(sum) if sum % 2 == 0 => Some((sum / 2, exponent)),
        Some(sum) => sum.checked_mul(5).map(|half| (half, exponent - 1)),
        None => None,
    };
    let (coefficient, exponent) = half.ok_or_else(|| Error::custom("too many digits"))?;
    Ok(Exact { coefficient, exponent })
}

/// Milliseconds since the Unix epoch; UTC only, as venues write it.
fn rfc3339(text: &str) -> Result<i64, Error> {
    let read = || {
        let bytes = text.strip_suffix('Z')?.as_bytes();
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
        };
        let part = |from: usize, to: usize| number(bytes.get(from..to)?);
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks.iter().any(|&(at, mark)| bytes.get(at) != Some(&mark)) {
            return None;
        }
        let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
        // Years begin in March here, so that the odd day comes last.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
        let seconds = ((days * 24 + part(11, 13)?) * 60 + part(14, 16)?) * 60 + part(17, 19)?;
        let fraction = match bytes.get(19..) {
            None | Some([]) => 0,
            Some([b'.', digits @ ..]) => {
                let kept = &digits[..digits.len().min(3)];
                number(digits)?;
                number(kept)? * 10_i64.pow(3 - kept.len() as u32)
            }
            Some(_) => return None,
        };
        Some(seconds * 1_000 + fraction)
    };
    read().ok_or_else(|| Error::custom("not a time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        got: Result<Price<'_>, Error>,
        symbol: &str,
        price: (i64, i32),
        millis: Option<i64>,
        sequence: Option<u64>,
    ) {
        let (coefficient, exponent) = price;
        assert_eq!(got.ok(), Some(Price { symbol, coefficient, exponent, millis, sequence }));
    }

    #[test]
    fn each_shape_is_read() {
        let time = Some(1_763_700_000_251);
        let mini = br#"{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1763700000251,"s":"BTCUSDT","c":"91250.10000000","o":"1"}}"#;
        check(mini_ticker(mini), "BTCUSDT", (9_125_010_000_000, -8), time, None);
        let book =
            br#"{"stream":"btcusdt@bookTicker","data":{"u":4,"s":"BTCUSDT","b":"91250.10","B":"1","a":"91250.3","A":"2"}}"#;
        check(book_ticker(book), "BTCUSDT", (9_125_020, -2), None, Some(4));
        let coinbase_ticker = br#"{"channel":"ticker","timestamp":"2025-11-21T04:40:00.251456789Z","sequence_num":7,"events":[{"type":"update","tickers":[{"product_id":"BTC-USD","price":"91250.10"}]}]}"#;
        let first = coinbase(coinbase_ticker).map(|mut prices| prices.next().expect("it holds one"));
        check(first, "BTC-USD", (9_125_010, -2), time, Some(7));
        let kraken_ticker = br#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1.0,"last":3.0115e3,"timestamp":"2025-11-21T04:40:00.251Z"}]}"#;
        check(kraken(kraken_ticker), "BTC/USD", (30_115, -1), time, None);
        let bitfinex_ticker = b"[101,[91249,12.5,91251,8.25,-120,-0.0013,91250.10,532.1,92000,90500],4]";
        let of_101 = |channel| (channel == 101).then_some("tBTCUSD");
        check(bitfinex(bitfinex_ticker, of_101), "tBTCUSD", (9_125_010, -2), None, Some(4));
        let bybit_ticker = br#"{"topic":"tickers.BTCUSDT","ts":1763700000251,"type":"snapshot","cs":1,"data":{"symbol":"BTCUSDT","lastPrice":"91250.10"}}"#;
        check(bybit(bybit_ticker), "BTCUSDT", (9_125_010, -2), time, Some(1));
        let prices = polled_prices(br#"[{"symbol":"A","price":"-0.50"},{"symbol":"B","price":"2"}]"#);
        check(prices.map(|prices| prices.last().expect("there are two")), "B", (2, 0), None, None);
        let books = polled_books(br#"[{"symbol":"A","bidPrice":"1","bidQty":"1","askPrice":"2.0","askQty":"1"}]"#);
        check(books.map(|mut prices| prices.next().expect("it holds one")), "A", (15, -1), None, None);
    }

    #[test]
    fn what_is_no_such_message_is_an_error() {
        assert!(mini_ticker(b"{\"result\":null,\"id\":1}").is_err());
        assert!(mini_ticker(b"{\"data\":{\"E\":1,\"s\":\"A\",\"c\":\"1.2.3\"}}").is_err());
        assert!(mini_ticker(b"{\"data\":{\"E\":1,\"s\":\"A\",\"c\":\"99999999999999999999\"}}").is_err());
        assert!(bitfinex(b"[101,\"hb\",4]", |_| Some("a")).is_err());
        for bad in ["", "2025-11-21", "2025-11-21T04:40:00", "2025-11-21T04:40:00+01:00", "2025-11-21T04:40:00.x1Z"] {
            assert!(rfc3339(bad).is_err(), "{bad}");
        }
        assert_eq!(rfc3339("2024-02-29T00:00:00Z").ok(), Some(1_709_164_800_000));
    }
}
