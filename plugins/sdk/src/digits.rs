//! Whole numbers from their digits, eight at a time: what decimals, times and JSON numbers are all read with. No signs, no
//! points, no exponents.

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

/// Where this byte stands first.
#[inline]
pub(crate) fn place(byte: u8, text: &[u8]) -> Option<usize> {
    match (text.first_chunk(), text.last_chunk()) {
        // Two words, which overlap where they are less than sixteen.
        (Some(first), Some(last)) if text.len() <= 16 => {
            let found = |word| first_of(byte, u64::from_le_bytes(word));
            found(*first).or_else(|| found(*last).map(|place| text.len() - 8 + place))
        }
        _ => text.iter().position(|other| *other == byte),
    }
}

/// The same in one word, whose lowest byte is the first.
#[inline]
fn first_of(byte: u8, word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zeros = word ^ (ONES * u64::from(byte));
    let found = zeros.wrapping_sub(ONES) & !zeros & ONES << 7;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

/// Eight digits, all zero.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// The same of one to eight.
#[inline(always)]
pub(crate) fn few_digits(text: &[u8]) -> Option<u64> {
    // The digits behind so many zeros that they are eight.
    let zeros = 8 * (8 - text.len());
    let text = match (text.first_chunk(), text.last_chunk()) {
        // Two halves, which overlap where they are less than eight.
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << zeros | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => match *text {
            [one] => u64::from(one) << 56,
            [one, two] => u64::from(u16::from_le_bytes([one, two])) << 48,
            [one, two, three] => u64::from(one) << 40 | u64::from(u16::from_le_bytes([two, three])) << 48,
            _ => return None,
        },
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

    #[test]
    fn the_first_is_found() {
        for length in 0..=24 {
            for at in 0..=length {
                let mut text = vec![b'7'; length];
                if let Some(rest) = text.get_mut(at..) {
                    // What comes behind it changes nothing: neither the same byte nor one that is close to it.
                    rest.iter_mut().zip([b'.', b'/', b'.'].iter().cycle()).for_each(|(byte, other)| *byte = *other);
                }
                assert_eq!(place(b'.', &text), (at < length).then_some(at), "{at} of {length}");
            }
        }
    }
}
