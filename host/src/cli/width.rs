//! Text in terminal columns: how wide it is, how to cut it, and how to keep what venues wrote from moving the cursor.

use std::fmt::Write;

/// The text with nothing left that a terminal would obey: values and reasons come from outside.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        // Signs that reorder what stands around them.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// How many columns the text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The text, cut with an ellipsis where it is wider than `limit`.
pub(super) fn fit(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        // One column is kept for the ellipsis.
        if used + columns(c) >= limit {
            break;
        }
        used += columns(c);
        cut.push(c);
    }
    if limit > 0 {
        cut.push('…');
    }
    cut
}

/// The text in exactly `wanted` columns, if it is not wider.
pub(super) fn pad(text: &str, wanted: usize, right: bool) -> String {
    let gap = wanted.saturating_sub(width(text));
    let mut padded = String::with_capacity(text.len() + gap);
    // Writing into a string cannot fail.
    let _ = if right { write!(padded, "{:gap$}{text}", "") } else { write!(padded, "{text}{:gap$}", "") };
    padded
}

/// Columns of one character. Ids and values are ASCII nearly always; the ranges below are the wide and the combining
/// ones that may yet occur in names, and an error here costs alignment, nothing more.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfeff => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_and_cut_by_columns() {
        for (text, limit, expected) in [
            ("BTC/USD", 7, "BTC/USD"),
            ("BTC/USD", 6, "BTC/U…"),
            ("BTC/USD", 1, "…"),
            ("BTC/USD", 0, ""),
            ("", 0, ""),
            ("比特币", 6, "比特币"),
            ("比特币", 5, "比特…"),
            ("比特币", 4, "比…"),
            ("e\u{301}a", 2, "e\u{301}a"),
        ] {
            assert_eq!(fit(text, limit), expected, "{text} in {limit}");
        }
        assert_eq!(pad("比", 4, true), "  比");
        assert_eq!(pad("ab", 4, false), "ab  ");
        assert_eq!(pad("abcde", 4, false), "abcde");
    }

    #[test]
    fn nothing_from_outside_is_obeyed_by_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{202e}d\u{9b}e"), "a\u{fffd}[2Jb c\u{fffd}d\u{fffd}e");
    }
}
