//! What a venue lists and what it costs. Exact: prices are integers with a scale, and never floats.
//!
//! No clock and no sockets: the shell says when a step is due, and the same seed gives the same
//! walk.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub(crate) struct Market {
    listings: Vec<Listing>,
    by_id: HashMap<String, usize>,
    random: Random,
    step_ppm: u32,
}

pub(crate) struct Listing {
    pub(crate) id: String,
    pub(crate) quote: Quote,
    /// Day statistics that are near the price and never equal to it: a plugin that reads the wrong
    /// field is seen.
    pub(crate) day: Day,
    start: Decimal,
    price: Decimal,
    held: bool,
}

/// The texts that go out, shared by every connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quote {
    pub(crate) last: Arc<str>,
    pub(crate) bid: Arc<str>,
    pub(crate) ask: Arc<str>,
    /// When it was set: nanoseconds since the Unix epoch.
    pub(crate) at: u64,
}

pub(crate) struct Day {
    pub(crate) open: String,
    pub(crate) high: String,
    pub(crate) low: String,
    pub(crate) vwap: String,
}

/// A new quote of one listing. Lists of changes are in order of the index.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) index: usize,
    pub(crate) quote: Quote,
}

/// The new quote of listing `index`, if it is among `changes`.
pub(crate) fn changed(changes: &[Change], index: usize) -> Option<&Quote> {
    changes.binary_search_by_key(&index, |change| change.index).ok().map(|at| &changes[at].quote)
}

impl Market {
    /// The error names the first price that is no plain decimal, or the first id that comes twice.
    pub(crate) fn new(prices: &[(String, String)], seed: u64, step_ppm: u32, now: u64) -> Result<Self, String> {
        let mut market = Self {
            listings: Vec::with_capacity(prices.len()),
            by_id: HashMap::with_capacity(prices.len()),
            random: Random::new(seed),
            step_ppm,
        };
        for (id, price) in prices {
            let start = Decimal::parse(price).ok_or_else(|| format!("{id}: {price:?} is not a plain decimal"))?;
            if market.by_id.insert(id.clone(), market.listings.len()).is_some() {
                return Err(format!("{id} is listed twice"));
            }
            let day = Day {
                open: start.percent(95).to_string(),
                high: start.percent(201).to_string(),
                low: start.percent(49).to_string(),
                vwap: start.percent(97).to_string(),
            };
            let quote = Quote::around(&start, now);
            market.listings.push(Listing { id: id.clone(), quote, day, price: start.clone(), start, held: false });
        }
        Ok(market)
    }

    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn listing(&self, index: usize) -> &Listing {
        &self.listings[index]
    }

    pub(crate) fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// Moves every price that is not held by one random step.
    pub(crate) fn walk(&mut self, now: u64) -> Vec<Change> {
        let (random, step_ppm) = (&mut self.random, self.step_ppm);
        let free = self.listings.iter_mut().enumerate().filter(|(_, listing)| !listing.held);
        free.map(|(index, listing)| {
            listing.price.step(&listing.start, step_ppm, random);
            listing.quote = Quote::around(&listing.price, now);
            Change { index, quote: listing.quote.clone() }
        })
        .collect()
    }

    /// Sets a price to exactly this text, which need not be a number, and keeps it there.
    pub(crate) fn hold(&mut self, index: usize, text: &str, now: u64) -> Change {
        let listing = &mut self.listings[index];
        listing.held = true;
        listing.quote = match Decimal::parse(text) {
            Some(price) => Quote { last: text.into(), ..Quote::around(&price, now) },
            None => Quote { last: text.into(), bid: text.into(), ask: text.into(), at: now },
        };
        Change { index, quote: listing.quote.clone() }
    }
}

impl Quote {
    /// One unit of the last digit on either side, so that the middle of bid and ask is the price
    /// itself.
    fn around(price: &Decimal, at: u64) -> Self {
        let unit = u128::from(price.coefficient > 0);
        let side = |coefficient| Decimal { coefficient, scale: price.scale }.to_string().into();
        Self {
            last: price.to_string().into(),
            bid: side(price.coefficient - unit),
            ask: side(price.coefficient + unit),
            at,
        }
    }
}

/// `coefficient` × 10^-`scale`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decimal {
    coefficient: u128,
    scale: u32,
}

impl Decimal {
    /// Digits with at most one point. Anything else, and more than 30 digits, is `None`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let plain = !whole.is_empty() && !text.ends_with('.') && digits().all(|digit| digit.is_ascii_digit());
        if !plain || digits().count() > 30 {
            return None;
        }
        let coefficient = digits().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        Some(Self { coefficient, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// This part of it, with the digits kept and the rest cut off.
    pub(crate) fn percent(&self, percent: u128) -> Self {
        Self { coefficient: self.coefficient * percent / 100, scale: self.scale }
    }

    /// Rounded half up to at most `scale` digits after the point.
    pub(crate) fn round(&self, scale: u32) -> Self {
        if scale >= self.scale {
            return self.clone();
        }
        let unit = 10_u128.pow(self.scale - scale);
        Self { coefficient: (self.coefficient + unit / 2) / unit, scale }
    }

    /// Without zeros at the end of the fraction, as JavaScript venues print numbers.
    pub(crate) fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.coefficient.is_multiple_of(10) {
            self.coefficient /= 10;
            self.scale -= 1;
        }
        self
    }

    /// At most `ppm` millionths of `start` up or down and never none, between half and twice of it.
    fn step(&mut self, start: &Self, ppm: u32, random: &mut Random) {
        if ppm == 0 {
            return;
        }
        let span = (start.coefficient * u128::from(ppm) / 1_000_000).max(1);
        let moved = (self.coefficient + u128::from(random.next()) % (2 * span + 1)).saturating_sub(span);
        let (low, high) = (start.coefficient / 2, start.coefficient * 2);
        let moved = moved.clamp(low, high);
        // A walk does not stand still, so that whoever waits for a change gets one.
        self.coefficient = match moved == self.coefficient {
            true if moved < high => moved + 1,
            true => moved.saturating_sub(1).max(low),
            false => moved,
        };
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(width) = (self.scale as usize).checked_sub(1) else {
            return write!(f, "{}", self.coefficient);
        };
        let unit = 10_u128.pow(self.scale);
        write!(f, "{}.{:02$}", self.coefficient / unit, self.coefficient % unit, width + 1)
    }
}

/// A xorshift generator: small, fast and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds would begin alike, and zero would stay zero.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn market(price: &str, seed: u64) -> Market {
        Market::new(&[("A".into(), price.into()), ("B".into(), "1.5".into())], seed, 1000, 0).expect("valid")
    }

    #[test]
    fn decimals_keep_every_digit() {
        for text in ["0", "0.10", "42000.50", "0.00000001", "123456789012345678901234.567890"] {
            assert_eq!(Decimal::parse(text).expect(text).to_string(), text);
        }
        for text in ["", ".", "1.", ".5", "1e3", "-1", "1.2.3", "NaN", "1234567890123456789012345678901"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rounding_and_trimming() {
        for (text, scale, rounded) in [("1.25", 1, "1.3"), ("1.24", 1, "1.2"), ("9.99", 0, "10"), ("1.50", 5, "1.5")] {
            assert_eq!(Decimal::parse(text).expect(text).round(scale).trimmed().to_string(), rounded);
        }
    }

    #[test]
    fn the_same_seed_walks_the_same_way_and_stays_near_the_start() {
        let (mut a, mut b) = (market("100.00", 7), market("100.00", 7));
        let mut before: Arc<str> = "".into();
        for step in 0..10_000 {
            let change = a.walk(step).swap_remove(0);
            assert_ne!(change.quote.last, before, "step {step}");
            assert_eq!(change.quote, b.walk(step)[0].quote);
            before = change.quote.last.clone();
            let price = Decimal::parse(&change.quote.last).expect("a decimal").coefficient;
            assert!((5_000..=20_000).contains(&price), "{price} at step {step}");
        }
        assert_ne!(a.walk(0)[0].quote, market("100.00", 8).walk(0)[0].quote);
    }

    #[test]
    fn a_held_price_is_verbatim_and_does_not_walk() {
        let mut market = market("100.00", 1);
        for (text, bid) in [("7.50", "7.49"), ("0.0", "0.0"), ("1e-7", "1e-7"), ("NaN", "NaN")] {
            let quote = market.hold(0, text, 5).quote;
            assert_eq!((&*quote.last, &*quote.bid, quote.at), (text, bid, 5));
            assert_eq!(market.walk(6).iter().map(|change| change.index).collect::<Vec<_>>(), [1]);
            assert_eq!(&*market.listing(0).quote.last, text);
        }
    }
}
