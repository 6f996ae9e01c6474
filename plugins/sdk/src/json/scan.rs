//! Looking at text many bytes at a time. WebAssembly pays for every turn of a loop, so turns are few.

use super::block::{Block, Marks, SIZE};

/// Where a string ends that holds `at`, or has something special: a quote, a backslash, a control character. The text's
/// length if nowhere.
#[inline(always)]
pub(super) fn string_end(text: &[u8], at: usize) -> usize {
    find(text, at, |block| block.is(b'"').or(block.is(b'\\')).or(block.is_up_to(0x1f)))
}

/// Where a number or a word ends: at a comma, a closing bracket, white space. The text's length if nowhere.
#[inline(always)]
pub(super) fn scalar_end(text: &[u8], at: usize) -> usize {
    find(text, at, |block| block.is(b',').or(block.lower().is(b'}')).or(block.is_up_to(b' ')))
}

/// Where the next bracket or quote stands, or a control character that differs from a quote by a bit only. The text's
/// length if nowhere.
#[inline(always)]
pub(super) fn bracket(text: &[u8], at: usize) -> usize {
    find(text, at, |block| {
        let lower = block.lower();
        lower.is(b'"').or(lower.is(b'{')).or(lower.is(b'}'))
    })
}

/// Two bytes as one number, the first the lower: compared in a register. Compared as bytes, what they are compared with is
/// written to memory and read back at once, for which a processor waits longer than for all the rest of it.
#[inline(always)]
pub(super) fn two(text: &[u8], at: usize) -> Option<u16> {
    text.get(at..)?.first_chunk().map(|two| u16::from_le_bytes(*two))
}

/// The place of the first byte from `at` on that is wanted. The text's length if there is none.
#[inline(always)]
fn find(text: &[u8], at: usize, wanted: impl Fn(Block) -> Marks) -> usize {
    // Nearly always near, where nothing turns and nothing is called.
    match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => match wanted(Block::read(bytes)).first() {
            Some(place) => at + place,
            None => find_far(text, at + SIZE, wanted),
        },
        None => find_last(text, at, wanted),
    }
}

/// The same, however far.
#[inline(never)]
fn find_far(text: &[u8], mut at: usize, wanted: impl Fn(Block) -> Marks) -> usize {
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(place) = wanted(Block::read(bytes)).first() {
            return at + place;
        }
        at += SIZE;
    }
    find_last(text, at, wanted)
}

/// The same where less than a block is left.
#[inline(never)]
fn find_last(text: &[u8], at: usize, wanted: impl Fn(Block) -> Marks) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let block = match text.last_chunk() {
        Some(bytes) => Block::read_end(bytes, rest.len()),
        None => {
            let mut bytes = [0; SIZE];
            for (byte, given) in bytes.iter_mut().zip(rest) {
                *byte = *given;
            }
            Block::read(&bytes)
        }
    };
    // The zeros behind it may be wanted.
    wanted(block).first().map_or(text.len(), |place| text.len().min(at + place))
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
    fn searches_find_the_first_that_is_wanted() {
        #[track_caller]
        fn check(search: impl Fn(&[u8], usize) -> usize, wanted: impl Fn(u8) -> bool) {
            // In the first block, in the second, in what is left, in a text that is shorter than a block.
            for (length, place) in [(40, 0), (40, 15), (40, 20), (40, 33), (40, 39), (17, 16), (9, 0), (9, 8), (0, 0)] {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; length];
                    if let Some(rest) = text.get_mut(place..) {
                        // What is wanted behind it changes nothing, nor does what is wanted before the beginning.
                        rest.fill(b'"');
                    }
                    if let Some(at) = text.get_mut(place) {
                        *at = byte;
                    }
                    for at in [0, place / 2, place] {
                        let expected = (at..length).find(|place| wanted(text[*place])).unwrap_or(length);
                        assert_eq!(search(&text, at), expected, "{byte} at {place} of {length} from {at}");
                    }
                    assert_eq!(search(&text, length + 3), length, "behind the end");
                }
            }
        }
        check(string_end, |byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        check(scalar_end, |byte| matches!(byte, b',' | b'}' | b']' | 0..=0x20));
        check(bracket, |byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | 0x02));
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
