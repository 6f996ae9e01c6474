//! The price of a pool of tokens on a chain, from the square root that the pool holds. How a node is asked for it, and what
//! its answer looks like, is the plugin's.

pub use num_bigint::BigUint;

use crate::{Malformed, Value, decimal};

/// How many significant digits are kept at most.
const MOST_DIGITS: i32 = 30;

/// How many decimal digits a root surely has: more of the price would be noise, since the pool knows its root no better
/// than to its last digit. By 0.30103, the logarithm of 2, for each bit but the first.
fn digits_of(root: &BigUint) -> i32 {
    let bits = i32::try_from(root.bits()).unwrap_or(i32::MAX / 2);
    ((bits.min(1_000) - 1) * 30_103 / 100_000 + 1).clamp(1, MOST_DIGITS)
}

/// The price of a whole token, from its square root in fixed point.
///
/// `root` is √price × 2^`bits`, where the price is how much of token 1 one of token 0 costs, both in their smallest units.
/// `shift` is the number of decimals of token 0 less that of token 1. With `invert` it is the price of token 1 in token 0.
///
/// The price has as many significant digits as the root, and 30 at most, the last one rounded half up; zeros at the end are
/// left out.
pub fn price(root: &BigUint, bits: u64, shift: i32, invert: bool) -> Result<Value, Malformed> {
    if *root == BigUint::ZERO {
        return Err(Malformed::new("a square root of zero"));
    }
    let (square, one) = (root * root, BigUint::from(1_u8) << (2 * bits));
    let (over, under, shift) = if invert { (one, square, -shift) } else { (square, one, shift) };
    // Near enough that a step or two lead to the right number of digits.
    let length = |number: &BigUint| i32::try_from(number.bits()).unwrap_or(i32::MAX / 2);
    let digits = digits_of(root);
    let mut places = digits - (length(&over) - length(&under)) * 3 / 10;
    let (least, most) = (ten_to(digits - 1), ten_to(digits));
    while quotient(&over, &under, places) >= most {
        places -= 1;
    }
    while quotient(&over, &under, places) < least {
        places += 1;
    }
    let (over, under) = scaled(&over, &under, places);
    let mut coefficient = (over * 2_u8 + &under) / (under * 2_u8);
    let mut exponent = shift - places;
    while exponent < 0 && &coefficient % 10_u8 == BigUint::ZERO {
        coefficient /= 10_u8;
        exponent += 1;
    }
    decimal(&format!("{coefficient}e{exponent}"))
}

fn ten_to(power: i32) -> BigUint {
    BigUint::from(10_u8).pow(power.unsigned_abs())
}

/// `over` × 10^`places` / `under`, as two whole numbers.
fn scaled(over: &BigUint, under: &BigUint, places: i32) -> (BigUint, BigUint) {
    if places >= 0 { (over * ten_to(places), under.clone()) } else { (over.clone(), under * ten_to(places)) }
}

fn quotient(over: &BigUint, under: &BigUint, places: i32) -> BigUint {
    let (over, under) = scaled(over, under, places);
    over / under
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with rational numbers elsewhere.
    #[test]
    fn prices() {
        for (root, bits, shift, invert, expected) in [
            ("1000000000000000000000000", 96, 0, false, "1e0"),
            ("2000000000000000000000000", 96, 0, false, "4e0"),
            ("2000000000000000000000000", 96, 0, true, "25e-2"),
            ("3000000000000000000000000", 96, 0, true, "111111111111111111111111111111e-30"),
            ("3e8000000000000000000000000", 96, -12, true, "1000000e0"),
            ("42112d84d230cc0d5627075bcd15", 96, -12, true, "349582408965620447974815563966e-26"),
            ("19ede21455847da5be51b30007", 96, 2, false, "672325017571944465610436197674e-25"),
            ("1000276a3", 96, 0, false, "2938956809e-48"),
            ("1000276a3", 96, 0, true, "3402567867e29"),
            ("fffd8963efd1fc6a506488495d951d5263988d25", 96, 0, false, "340256786836388094070642339900e9"),
            ("fffd8963efd1fc6a506488495d951d5263988d25", 96, 18, true, "293895680758558483870341727477e-86"),
            ("10000000000000000", 64, 0, false, "1e0"),
            ("69e89e1c27f0ec35", 64, 3, false, "1711524170945707806e-16"),
            ("69e89e1c27f0ec35", 64, 3, true, "584274541356577515e-20"),
            ("100013b50", 64, 0, false, "542121463e-28"),
            ("fffec4b1845c1aa94e69579b", 64, -6, true, "5421214630269581920957857537e-41"),
        ] {
            let parsed = BigUint::parse_bytes(root.as_bytes(), 16).expect("hexadecimal");
            let found = price(&parsed, bits, shift, invert);
            assert_eq!(found, decimal(expected), "{root} {bits} {shift} {invert}");
        }
        assert!(price(&BigUint::ZERO, 96, 0, false).is_err());
    }
}
