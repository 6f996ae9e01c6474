//! What the chains of this folder have between them.

use num_bigint::BigUint;

/// √`price` × 2^`bits`, rounded down, for tokens with so many decimals. A price that is written `0x…` is the root
/// itself, so that a test can name what no decimal gives. `None`: neither.
pub(super) fn square_root(price: &str, decimals: [u32; 2], bits: u32) -> Option<BigUint> {
    if let Some(root) = price.strip_prefix("0x") {
        return BigUint::parse_bytes(root.as_bytes(), 16);
    }
    let (whole, fraction) = price.split_once('.').unwrap_or((price, ""));
    let coefficient = BigUint::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
    let ten = |power: u32| BigUint::from(10_u8).pow(power);
    let places = u32::try_from(fraction.len()).ok()?;
    Some((((coefficient * ten(decimals[1])) << (2 * bits)) / ten(places + decimals[0])).sqrt())
}
