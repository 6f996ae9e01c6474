//! Whole numbers from their digits, eight at a time.

/// The number that these digits spell, if they are all digits and not so many that it might not fit.
#[inline]
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    match text.len() {
        0 => None,
        1..=8 => few_digits(text),
        9..=16 => {
            let (first, rest) = text.split_first_chunk()?;
            Some(eight_digits(u64::from_le_bytes(*first) ^ ZEROS)? * TENS[rest.len()] + few_digits(rest)?)
        }
        17..=19 => {
            let (first, rest) = text.split_at(16);
            Some(digits(first)? * TENS[rest.len()] + few_digits(rest)?)
        }
        _ => None,
    }
}

/// The powers of ten that belong to so many places.
pub(crate) const TENS: [u64; 19] = {
    let mut tens = [1; 19];
    let mut place = 1;
    while place < tens.len() {
        tens[place] = tens[place - 1] * 10;
        place += 1;
    }
    tens
};

/// Eight digits, all zero.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// One to eight.
#[inline]
fn few_digits(text: &[u8]) -> Option<u64> {
    // The digits behind so many zeros that they are eight.
    let zeros = 8 * (8 - text.len());
    let text = match (text.first_chunk(), text.last_chunk()) {
        // Two halves, which overlap where they are less than eight.
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << zeros | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => text.iter().fold(0, |all, byte| all >> 8 | u64::from(*byte) << 56),
    };
    eight_digits(text ^ ZEROS << zeros)
}

/// The values of eight digits, the first in the lowest byte: neighbours are joined to pairs, pairs to fours, fours to the
/// whole.
#[inline]
fn eight_digits(digits: u64) -> Option<u64> {
    const NINES: u64 = u64::from_ne_bytes([0x80 - 10; 8]);
    if (digits | digits.wrapping_add(NINES)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_or_refused() {
        for text in [
            "0",
            "7",
            "12",
            "123",
            "1234",
            "1234567",
            "12345678",
            "123456789",
            "0000000000000000001",
            "9999999999999999999",
            "1763700000251",
            "1234567890123456",
            "12345678901234567",
        ] {
            assert_eq!(digits(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "-1", "1.5", "1234567a", "12345678:", "/2345678", "12345678901234567890", "1234567\u{b1}"] {
            assert_eq!(digits(text.as_bytes()), None, "{text}");
        }
    }
}
