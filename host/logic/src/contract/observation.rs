//! Plain data: what one value of one id is.
//!
//! Nothing here knows of plugins, sockets or configuration. Times are Unix time in nanoseconds, decimals are exact.
//! Not `Serialize`: each output writes its own shape (`api/`, `replay`).

use std::fmt;
use std::str::FromStr;

use ethnum::U256;

/// The number of one subscribed id within one provider. Small and dense: it indexes the provider's slots.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u32);

impl Key {
    /// The slot's place.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A point in time: nanoseconds since the Unix epoch.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// RFC 3339 in UTC, with 0, 3, 6 or 9 fractional digits: the fewest that are exact.
    pub fn to_rfc3339(self) -> String {
        let seconds = self.0.div_euclid(1_000_000_000);
        let fraction = match self.0.rem_euclid(1_000_000_000) {
            0 => String::new(),
            n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
            n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
            n => format!(".{n:09}"),
        };
        let (year, month, day) = civil_date(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }

    /// The distance from `earlier` in nanoseconds, 0 if `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0)
    }
}

/// Year, month and day, so many days after 1970-01-01. Years begin in March here, so that a leap day is the last of its
/// year, and repeat after 400 of them, which are 146,097 days.
fn civil_date(days: i64) -> (i64, i64, i64) {
    // Since 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on are 31, 30, 31, 30, 31 days long, over and over.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// An exact decimal: sign, up to 256 bits of coefficient, and a power of ten. Trailing zeros are kept, so a price
/// prints as the venue wrote it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Decimal {
    negative: bool,
    exponent: i16,
    coefficient: U256,
}

/// Why a literal is not a decimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecimalError {
    NotANumber,
    TooLong,
    Exponent,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => f.write_str("not a finite decimal number"),
            Self::TooLong => f.write_str("more digits than 256 bits hold"),
            Self::Exponent => write!(f, "exponent beyond ±{}", Decimal::MAX_EXPONENT),
        }
    }
}

impl std::error::Error for DecimalError {}

impl Decimal {
    /// The largest power of ten, either way. It bounds the length of the printed form.
    pub const MAX_EXPONENT: i16 = 1000;

    /// `coefficient` × 10^`exponent`.
    pub fn new(coefficient: i64, exponent: i32) -> Result<Self, DecimalError> {
        Self::from_parts(coefficient < 0, U256::from(coefficient.unsigned_abs()), i64::from(exponent))
    }

    /// Sign, magnitude and exponent.
    pub fn from_parts(negative: bool, coefficient: U256, exponent: i64) -> Result<Self, DecimalError> {
        let exponent = i16::try_from(exponent).map_err(|_| DecimalError::Exponent)?;
        if exponent.unsigned_abs() > Self::MAX_EXPONENT.unsigned_abs() {
            return Err(DecimalError::Exponent);
        }
        Ok(Self { negative, exponent, coefficient })
    }

    /// Sign, magnitude and exponent.
    pub fn parts(self) -> (bool, U256, i16) {
        (self.negative, self.coefficient, self.exponent)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    /// JSON's number grammar, loosened to what venues write: a leading `+`, leading zeros, `.5` and `5.` are fine;
    /// `NaN`, `inf`, spaces and an empty string are not. Never rounds.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            None => (unsigned, 0),
            Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(DecimalError::NotANumber);
        }
        let mut coefficient = U256::ZERO;
        let mut small: u64 = 0;
        for (place, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            if !digit.is_ascii_digit() {
                return Err(DecimalError::NotANumber);
            }
            let digit = digit - b'0';
            // Nineteen digits always fit 64 bits, where arithmetic is many times cheaper.
            if place < 19 {
                small = small * 10 + u64::from(digit);
                continue;
            }
            if place == 19 {
                coefficient = U256::from(small);
            }
            coefficient = coefficient
                .checked_mul(U256::from(10u8))
                .and_then(|c| c.checked_add(U256::from(digit)))
                .ok_or(DecimalError::TooLong)?;
        }
        if whole.len() + fraction.len() <= 19 {
            coefficient = U256::from(small);
        }
        let places = i64::try_from(fraction.len()).map_err(|_| DecimalError::TooLong)?;
        Self::from_parts(negative, coefficient, exponent - places)
    }
}

fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    // Longer than any exponent that could fit, whatever its leading zeros.
    text.parse::<i64>().map_err(|_| DecimalError::Exponent)
}

impl fmt::Display for Decimal {
    /// Plain notation, never an exponent: `65114.20`, `0.00000015`, `1200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.coefficient.to_string();
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            let zeros = if digits == "0" { 0 } else { usize::from(self.exponent.unsigned_abs()) };
            return write!(f, "{sign}{digits}{:0<zeros$}", "");
        }
        let places = usize::from(self.exponent.unsigned_abs());
        if digits.len() > places {
            let (whole, fraction) = digits.split_at(digits.len() - places);
            write!(f, "{sign}{whole}.{fraction}")
        } else {
            write!(f, "{sign}0.{digits:0>places$}")
        }
    }
}

/// One value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Decimal(Decimal),
    Text(String),
    Flag(bool),
    Bytes(Vec<u8>),
}

/// What a provider's numbers are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ValueKind {
    LastTrade,
    Mid,
    Vwap,
    Index,
    Other,
}

impl ValueKind {
    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastTrade => "last-trade",
            Self::Mid => "mid",
            Self::Vwap => "vwap",
            Self::Index => "index",
            Self::Other => "other",
        }
    }
}

/// One value of one id, as a codec gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    pub key: Key,
    pub value: Value,
    /// When the venue says that it was true.
    pub observed_at: Option<UnixNanos>,
    /// The venue's number, growing within one connection.
    pub sequence: Option<u64>,
}

/// When and where an observation arrived. Stamped by the host, once for all frames of one read.
#[derive(Copy, Clone, Debug)]
pub struct Receipt {
    /// Wall clock.
    pub at: UnixNanos,
    /// Monotonic nanoseconds, from the store's own start.
    pub monotonic: u64,
    /// The connection or poller it came by: sequences of different epochs do not compare.
    pub epoch: u64,
    pub writer: Writer,
}

/// Who writes: one running provider. While one replaces another, two of them write the same slots.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Writer {
    /// Never used twice in a process; 0 is nobody.
    pub number: u64,
    /// It is to take the place of the one that serves: what it delivers is its own from then on, and nothing else is.
    pub heir: bool,
}

/// The times that can be true: further past or future, and a unit or a clock is wrong.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PlausibleTimes {
    pub past: std::time::Duration,
    pub future: std::time::Duration,
}

impl Default for PlausibleTimes {
    /// Ten years back, for feeds of slow things; a minute ahead, for clocks that differ. Milliseconds taken for
    /// seconds, or the other way round, lie far outside.
    fn default() -> Self {
        Self { past: std::time::Duration::from_secs(10 * 365 * 86_400), future: std::time::Duration::from_secs(60) }
    }
}

impl PlausibleTimes {
    /// Whether `time` can be true, seen at `now`.
    pub fn admit(self, time: UnixNanos, now: UnixNanos) -> bool {
        u128::from(now.since(time)) <= self.past.as_nanos() && u128::from(time.since(now)) <= self.future.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(literal: &str, expected: Result<&str, DecimalError>) {
        let found = literal.parse::<Decimal>().map(|d| d.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{literal:?}");
    }

    #[test]
    fn literals_come_out_as_they_went_in() {
        let max = U256::MAX.to_string();
        for exact in ["65114.20", "0.00000001", "0", "0.00", "-12.5", "42694.6", "100000000000000000000000.5", &max] {
            check(exact, Ok(exact));
        }
        check("1.5e-7", Ok("0.00000015"));
        check("12E+2", Ok("1200"));
        check("0e9", Ok("0"));
        check("+5", Ok("5"));
        check(".5", Ok("0.5"));
        check("5.", Ok("5"));
        check("007.10", Ok("007.10".trim_start_matches("00")));
        check("-0.0", Ok("-0.0"));
        check("12345678901234567890", Ok("12345678901234567890"));
    }

    #[test]
    fn what_is_no_finite_decimal_is_refused() {
        for bad in [
            "",
            "NaN",
            "nan",
            "inf",
            "-Infinity",
            ".",
            "-",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "1_0",
            "0x10",
            "1,5",
            "½",
            "1e5.0",
        ] {
            check(bad, Err(DecimalError::NotANumber));
        }
        check(&format!("{}0", U256::MAX), Err(DecimalError::TooLong));
        check("1e1001", Err(DecimalError::Exponent));
        check("1e99999999999999999999", Err(DecimalError::Exponent));
        check("1e-1001", Err(DecimalError::Exponent));
    }

    #[test]
    fn times_print_with_the_fewest_exact_digits() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_786_309_548_228_000_000, "2026-08-09T21:05:48.228Z"),
            (1_786_309_548_228_568_804, "2026-08-09T21:05:48.228568804Z"),
            (1_786_309_548_228_568_000, "2026-08-09T21:05:48.228568Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (951_868_799_999_999_999, "2000-02-29T23:59:59.999999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
            (1_735_689_599_000_000_000, "2024-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(UnixNanos(nanos).to_rfc3339(), text);
        }
    }

    #[test]
    fn a_time_in_the_wrong_unit_is_not_plausible() {
        let now = UnixNanos(1_786_309_548_000_000_000);
        let admit = |time| PlausibleTimes::default().admit(UnixNanos(time), now);
        assert!(admit(now.0) && admit(now.0 + 30_000_000_000) && admit(now.0 - 86_400_000_000_000));
        assert!(!admit(now.0 + 61_000_000_000), "beyond the allowed skew");
        assert!(!admit(1_786_309_548_000_000), "micros taken for nanos");
        assert!(!admit(0), "the epoch: HTX once sent 0 as its time");
    }
}
