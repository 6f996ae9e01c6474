//! Exact decimals from text, and exact arithmetic with them. Nothing here knows JSON: a number of a payload is
//! `json::Number`.

use std::borrow::Cow;

use crate::{
    Decimal, Malformed, Value,
    digits::{TENS, digits, few_digits, place},
};

/// The digits that a 256-bit coefficient can have. Longer numbers are refused here, where the frame is known.
const MOST_DIGITS: usize = 78;

/// The exponents that the contract allows.
const EXPONENTS: std::ops::RangeInclusive<i64> = -1000..=1000;

/// The exact value of a decimal number's text: `-`, digits, perhaps a fraction, perhaps an exponent, as in JSON but
/// with leading zeros allowed. Trailing zeros are kept.
///
/// What fits 64 bits becomes a [`Value::Decimal`]; longer numbers are handed on as a [`Value::Literal`].
///
/// ```
/// # use feedgate_sdk::{Decimal, Value, decimal};
/// assert_eq!(decimal("65114.20"), Ok(Value::Decimal(Decimal { coefficient: 6511420, exponent: -2 })));
/// assert_eq!(decimal("-1.5e-7"), Ok(Value::Decimal(Decimal { coefficient: -15, exponent: -8 })));
/// assert_eq!(decimal("42694.599999999998544808477155"), Ok(Value::Literal("42694.599999999998544808477155".into())));
/// assert!(decimal("NaN").is_err());
/// ```
pub fn decimal(text: &str) -> Result<Value, Malformed> {
    if let Some(decimal) = short(text) {
        return Ok(Value::Decimal(decimal));
    }
    let parts = Parts::read(text)?;
    Ok(match parts.coefficient() {
        Some(coefficient) => Value::Decimal(Decimal { coefficient, exponent: parts.exponent }),
        None => Value::Literal(text.to_owned()),
    })
}

/// Exactly half way between the two sides of a book. A side that is zero or less is none, and a book of one side has no
/// middle: that is an error, not half of the other side.
///
/// ```
/// # use feedgate_sdk::{Decimal, Malformed, Value, decimal, mid};
/// # fn main() -> Result<(), Malformed> {
/// let mid = mid(&decimal("0.3521")?, &decimal("0.3526")?);
/// assert_eq!(mid, Ok(Value::Decimal(Decimal { coefficient: 35235, exponent: -5 })));
/// assert!(feedgate_sdk::mid(&decimal("0")?, &decimal("0.3526")?).is_err());
/// # Ok(())
/// # }
/// ```
pub fn mid(low: &Value, high: &Value) -> Result<Value, Malformed> {
    if let (Value::Decimal(low), Value::Decimal(high)) = (low, high)
        && let Some(decimal) = short_mid(*low, *high)
    {
        return Ok(Value::Decimal(decimal));
    }
    if is_no_price(low) || is_no_price(high) {
        return Err(Malformed::new("no mid: a side of the book is zero or less"));
    }
    let (low, high) = (spelled(low)?, spelled(high)?);
    let (low, high) = (Parts::read(&low)?, Parts::read(&high)?);
    let exponent = low.exponent.min(high.exponent);
    let sum = low.at(exponent).zip(high.at(exponent)).and_then(|(low, high)| low.checked_add(high));
    // An odd sum needs one digit more: x / 2 is 5x / 10.
    let half = match sum {
        Some(sum) if sum % 2 == 0 => Some((sum / 2, exponent)),
        Some(sum) if EXPONENTS.contains(&(i64::from(exponent) - 1)) => {
            sum.checked_mul(5).map(|half| (half, exponent - 1))
        }
        _ => None,
    };
    let (coefficient, exponent) = half.ok_or(Malformed::new("too many digits for a mid"))?;
    Ok(match i64::try_from(coefficient) {
        Ok(coefficient) => Value::Decimal(Decimal { coefficient, exponent }),
        Err(_) => Value::Literal(format!("{coefficient}e{exponent}")),
    })
}

fn is_no_price(side: &Value) -> bool {
    match side {
        Value::Decimal(decimal) => decimal.coefficient <= 0,
        Value::Literal(text) => text.starts_with('-'),
        Value::Text(_) | Value::Flag(_) | Value::Bytes(_) => false,
    }
}

/// The value of what nearly every price is: at most eighteen digits, with or without a point. None for anything else, and
/// for what is no number.
#[inline]
fn short(text: &str) -> Option<Decimal> {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    if unsigned.len() > 19 {
        return None;
    }
    let (coefficient, places) = match place(b'.', unsigned) {
        Some(point) => {
            let (whole, fraction) = (unsigned.get(..point)?, unsigned.get(point + 1..)?);
            let tens = TENS.get(fraction.len())?;
            match (whole.len(), fraction.len()) {
                // As nearly all: without a call.
                (1..=8, 1..=8) => (few_digits(whole)? * tens + few_digits(fraction)?, fraction.len()),
                _ => (digits(whole)? * tens + digits(fraction)?, fraction.len()),
            }
        }
        None if unsigned.len() < 19 => (digits(unsigned)?, 0),
        None => return None,
    };
    let size = i64::try_from(coefficient).ok()?;
    Some(Decimal { coefficient: if negative { -size } else { size }, exponent: -i32::try_from(places).ok()? })
}

/// A number's text.
fn spelled(value: &Value) -> Result<Cow<'_, str>, Malformed> {
    match value {
        Value::Decimal(decimal) => Ok(format!("{}e{}", decimal.coefficient, decimal.exponent).into()),
        Value::Literal(text) => Ok(text.into()),
        Value::Text(_) | Value::Flag(_) | Value::Bytes(_) => Err(Malformed::new("a mid of what is no number")),
    }
}

/// The middle where 64 bits are enough for all of it, and both sides are there.
fn short_mid(low: Decimal, high: Decimal) -> Option<Decimal> {
    if low.coefficient <= 0 || high.coefficient <= 0 {
        return None;
    }
    let exponent = low.exponent.min(high.exponent);
    let at = |decimal: Decimal| {
        let tens = TENS.get(usize::try_from(decimal.exponent.checked_sub(exponent)?).ok()?)?;
        product(decimal.coefficient, *tens)
    };
    let sum = at(low)?.checked_add(at(high)?)?;
    Some(match sum % 2 {
        0 => Decimal { coefficient: sum / 2, exponent },
        _ => Decimal { coefficient: product(sum, 5)?, exponent: exponent.checked_sub(1)? },
    })
}

/// Where it surely fits: `checked_mul` would take 128 bits, for which WebAssembly has no instruction.
#[inline]
fn product(number: i64, factor: u64) -> Option<i64> {
    let bits = |number: u64| u64::BITS - number.leading_zeros();
    let fits = bits(number.unsigned_abs()) + bits(factor) <= 63;
    fits.then(|| number * factor.cast_signed())
}

/// A number taken apart and checked: whole and fraction are digits only.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    /// Of the last digit of the fraction.
    exponent: i32,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, Malformed> {
        let not_a_number = || Malformed::new(format!("not a decimal number: {:?}", beginning(text)));
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, shift) = match rest.split_once(['e', 'E']) {
            Some((mantissa, shift)) => (mantissa, shift_of(shift).ok_or_else(not_a_number)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return Err(not_a_number()),
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(not_a_number());
        }
        let digits = whole.bytes().chain(fraction.bytes()).skip_while(|byte| *byte == b'0').count();
        if digits > MOST_DIGITS {
            return Err(Malformed::new(format!("a number of {digits} digits")));
        }
        let exponent = i64::try_from(fraction.len()).ok().and_then(|places| shift.checked_sub(places));
        let exponent = exponent.filter(|exponent| EXPONENTS.contains(exponent));
        let exponent = exponent.and_then(|exponent| i32::try_from(exponent).ok());
        let exponent = exponent.ok_or(Malformed::new("a number beyond the exponents -1000 to 1000"))?;
        Ok(Self { negative, whole, fraction, exponent })
    }

    /// The signed coefficient, when 64 bits hold it.
    fn coefficient(&self) -> Option<i64> {
        self.wide().and_then(|wide| i64::try_from(wide).ok())
    }

    /// The signed coefficient, when 128 bits hold it.
    fn wide(&self) -> Option<i128> {
        let digits = self.whole.bytes().chain(self.fraction.bytes()).map(|byte| i128::from(byte - b'0'));
        let mut wide = 0_i128;
        for digit in digits {
            wide = wide.checked_mul(10)?.checked_add(digit)?;
        }
        Some(if self.negative { -wide } else { wide })
    }

    /// The coefficient at a smaller exponent.
    fn at(&self, exponent: i32) -> Option<i128> {
        let places = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        match self.wide()? {
            0 => Some(0),
            wide => wide.checked_mul(10_i128.checked_pow(places)?),
        }
    }
}

/// The number behind an `e`. Too large ones are clamped, to be refused with the rest of the exponent.
fn shift_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(i64::from(i32::MAX));
    Some(if text.starts_with('-') { -size } else { size })
}

/// Enough of a text to recognize it.
pub(crate) fn beginning(text: &str) -> &str {
    match text.char_indices().nth(40) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(coefficient: i64, exponent: i32) -> Result<Value, Malformed> {
        Ok(Value::Decimal(Decimal { coefficient, exponent }))
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal("0"), exact(0, 0));
        assert_eq!(decimal("-0.00"), exact(0, -2));
        assert_eq!(decimal("007.50"), exact(750, -2));
        assert_eq!(decimal("1e3"), exact(1, 3));
        assert_eq!(decimal("1.50E+3"), exact(150, 1));
        assert_eq!(decimal("9223372036854775807"), exact(i64::MAX, 0));
        assert_eq!(decimal("-9223372036854775808"), exact(i64::MIN, 0));
        assert_eq!(decimal("9223372036854775808"), Ok(Value::Literal("9223372036854775808".into())));
        assert_eq!(decimal("0.0000000000000000000000000000000000000000001"), exact(1, -43));
        let longest = "9".repeat(78);
        assert_eq!(decimal(&longest), Ok(Value::Literal(longest.clone())));
        assert_eq!(decimal("1e1000"), exact(1, 1000));
    }

    /// Both ways give the same, wherever the short one gives anything.
    #[test]
    fn the_short_way_agrees_with_the_long_one() {
        let whole = ["0", "7", "00", "91250", "12345678", "123456789012345678", "9223372036854775807", "", "1a"];
        let fraction = ["", ".", ".0", ".10000000", ".123456789", ".123456789012345678", ".1.2", ".5e3", ". 5"];
        for text in whole.iter().flat_map(|whole| fraction.map(|fraction| format!("{whole}{fraction}"))) {
            for text in [format!("-{text}"), text] {
                let long = Parts::read(&text)
                    .ok()
                    .and_then(|parts| Some(Decimal { coefficient: parts.coefficient()?, exponent: parts.exponent }));
                assert!(short(&text).is_none() || short(&text) == long, "{text}: {:?} {long:?}", short(&text));
            }
        }
        assert_eq!(short("91250.10000000"), Some(Decimal { coefficient: 9_125_010_000_000, exponent: -8 }));
        assert_eq!(short("123456789012345.678"), Some(Decimal { coefficient: 123_456_789_012_345_678, exponent: -3 }));
    }

    #[test]
    fn not_decimals() {
        let longer = "9".repeat(79);
        for text in [
            "",
            "-",
            "+1",
            ".5",
            "5.",
            "1..2",
            "1.2.3",
            "1e",
            "1e+",
            "e5",
            "1e5.0",
            "0x10",
            "NaN",
            "inf",
            "Infinity",
            " 1",
            "1 ",
            "1,000",
            "--1",
            "1_000",
            "٣",
            "1e1001",
            "1e-1001",
            "0.1e-1000",
            "1e99999999999999999999",
            &longer,
        ] {
            assert!(decimal(text).is_err(), "{text:?}");
        }
    }

    fn middle(low: &str, high: &str) -> Result<Value, Malformed> {
        mid(&decimal(low)?, &decimal(high)?)
    }

    #[test]
    fn mids() {
        assert_eq!(middle("0.35210000", "0.35260000"), exact(35235000, -8));
        assert_eq!(middle("1", "2"), exact(15, -1));
        assert_eq!(middle("1.5", "2"), exact(175, -2));
        assert_eq!(middle("1e2", "1"), exact(505, -1));
        assert_eq!(middle("9223372036854775807", "9223372036854775807"), exact(i64::MAX, 0));
        assert_eq!(
            middle("9223372036854775807", "9223372036854775806"),
            Ok(Value::Literal("92233720368547758065e-1".into()))
        );
        assert!(middle("1e1000", "1e-1000").is_err());
        assert!(middle("1", "x").is_err());
        for side in ["0", "0.000", "-1", "-9223372036854775809", "0e-30"] {
            assert!(middle(side, "2").is_err() && middle("2", side).is_err(), "{side}");
        }
    }
}
