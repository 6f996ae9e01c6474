//! Addresses: 32 bytes in base 58. A node refuses a whole request for one that is none, without naming it.

use feedgate_sdk::pool::BigUint;

const ALPHABET: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

pub(crate) fn is_address(text: &str) -> bool {
    if !(32..=44).contains(&text.len()) {
        return false;
    }
    let mut number = BigUint::ZERO;
    for byte in text.bytes() {
        let Some(digit) = ALPHABET.iter().position(|letter| *letter == byte) else { return false };
        number = number * 58_u8 + digit;
    }
    // Each `1` in front is a byte of zero.
    let zeros = text.bytes().take_while(|byte| *byte == b'1').count() as u64;
    zeros + number.bits().div_ceil(8) == 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("3ucNos4NbumPLZNWztqGHNFFgkHeRMBQAVemeeomsUxv", true),
            ("So11111111111111111111111111111111111111112", true),
            ("11111111111111111111111111111111", true),
            ("1111111111111111111111111111111", false),
            ("111111111111111111111111111111111", false),
            ("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", false),
            ("3ucNos4NbumPLZNWztqGHNFFgkHeRMBQAVemeeomsUx0", false),
            ("SOL/USDC", false),
            ("", false),
        ] {
            assert_eq!(is_address(text), expected, "{text}");
        }
    }
}
