//! Looking at text eight bytes at a time. WebAssembly pays for every turn of a loop, so turns are few.

use std::num::NonZeroU64;

/// Eight bytes of a text; zeros where it ends. Each search gives the place of the first byte that it looks for.
#[derive(Clone, Copy)]
pub(super) struct Window(u64);

/// The same byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

impl Window {
    pub(super) const SIZE: usize = 8;

    #[inline]
    pub(super) fn at(text: &[u8], at: usize) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        match rest.first_chunk() {
            Some(bytes) => Self(u64::from_le_bytes(*bytes)),
            None => Self(rest.iter().rev().fold(0, |window, byte| window << 8 | u64::from(*byte))),
        }
    }

    /// What ends a string or is special in it: a quote, a backslash, a control character. So is the end of the text.
    #[inline]
    pub(super) fn in_string(self) -> Option<usize> {
        self.first(self.marks(b'"') | self.marks(b'\\') | self.marks_below(0x20))
    }

    /// What ends a number or a word: a comma, a closing bracket, white space. So does the end of the text.
    #[inline]
    pub(super) fn in_scalar(self) -> Option<usize> {
        self.first(self.marks(b',') | self.lower().marks(b'}') | self.marks_below(0x21))
    }

    /// Brackets and quotes; and the control characters that differ from a quote by a bit only.
    #[inline]
    pub(super) fn in_brackets(self) -> Option<usize> {
        let lower = self.lower();
        self.first(lower.marks(b'"') | lower.marks(b'{') | lower.marks(b'}'))
    }

    /// Square brackets made curly ones.
    #[inline]
    fn lower(self) -> Self {
        Self(self.0 | all(0x20))
    }

    /// The top bit of each byte that is this one. Behind the first there may be some too many.
    #[inline]
    fn marks(self, byte: u8) -> u64 {
        let zeros = self.0 ^ all(byte);
        zeros.wrapping_sub(all(1)) & !zeros & all(0x80)
    }

    /// The same of each that is smaller.
    #[inline]
    fn marks_below(self, byte: u8) -> u64 {
        self.0.wrapping_sub(all(byte)) & !self.0 & all(0x80)
    }

    #[inline]
    fn first(self, marks: u64) -> Option<usize> {
        NonZeroU64::new(marks).map(|marks| (marks.trailing_zeros() / 8) as usize)
    }
}

/// The number that these digits spell, if they are all digits and not so many that it might not fit.
#[inline]
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let (eights, rest) = text.as_chunks::<8>();
    let mut number = 0;
    for eight in eights {
        number = number * 100_000_000 + eight_digits(u64::from_le_bytes(*eight))?;
    }
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// Eight at once: neighbours are joined to pairs, pairs to fours, fours to the whole.
#[inline]
fn eight_digits(text: u64) -> Option<u64> {
    let digits = text ^ all(b'0');
    if (digits | digits.wrapping_add(all(0x80 - 10))) & all(0x80) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// Whether JSON spells numbers so.
pub(super) fn is_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = unsigned.split_at(leading_digits(unsigned));
    if whole.is_empty() || whole.len() > 1 && whole[0] == b'0' {
        return false;
    }
    let rest = match rest {
        [b'.', fraction @ ..] => match leading_digits(fraction) {
            0 => return false,
            places => &fraction[places..],
        },
        _ => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', power @ ..] | [b'e' | b'E', power @ ..] => {
            !power.is_empty() && leading_digits(power) == power.len()
        }
        _ => false,
    }
}

/// Whether it is a number or one of JSON's words.
pub(super) fn is_scalar(text: &[u8]) -> bool {
    matches!(text, b"null" | b"true" | b"false") || is_number(text)
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_find_what_they_look_for() {
        #[track_caller]
        fn check(search: impl Fn(Window) -> Option<usize>, wanted: impl Fn(u8) -> bool) {
            for place in 0..8 {
                for byte in 0..=255 {
                    let mut text = [b'x'; 8];
                    text[place] = byte;
                    let found = search(Window::at(&text, 0));
                    assert_eq!(found, wanted(byte).then_some(place), "{byte} at {place}");
                    // What follows never hides it, nor shows where there is nothing.
                    text[place + 1..].fill(byte.wrapping_add(1));
                    let found = search(Window::at(&text, 0)).filter(|found| *found <= place);
                    assert_eq!(found, wanted(byte).then_some(place), "{byte} at {place} before others");
                }
            }
        }
        check(Window::in_string, |byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        check(Window::in_scalar, |byte| matches!(byte, b',' | b'}' | b']' | 0..=0x20));
        check(Window::in_brackets, |byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | 0x02));
    }

    #[test]
    fn a_text_ends_in_zeros() {
        assert_eq!(Window::at(b"abc", 1).in_string(), Some(2));
        assert_eq!(Window::at(b"abc", 3).in_string(), Some(0));
        assert_eq!(Window::at(b"abc", 9).in_string(), Some(0));
        assert_eq!(Window::at(b"abc\"", 1).in_string(), Some(2));
        assert_eq!(Window::at(b"abc", 0).in_brackets(), None);
    }

    #[test]
    fn digits_are_read_or_refused() {
        for text in ["0", "7", "12345678", "123456789", "0000000000000000001", "9999999999999999999", "1763700000251"] {
            assert_eq!(digits(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "-1", "1.5", "1234567a", "12345678:", "/2345678", "12345678901234567890", "1234567\u{b1}"] {
            assert_eq!(digits(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_as_json_spells_them() {
        for text in ["0", "-0", "10", "1.50", "-1.5e7", "1E+7", "1e-07", "0.0"] {
            assert!(is_number(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "1.5.2", "0x1", "1 ", "NaN", "null", "--1", "1e5.0"]
        {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }
}
