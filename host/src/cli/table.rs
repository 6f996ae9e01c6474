//! Aligned columns of text. Knows nothing of what they mean, nor of a terminal: a cell has a tone, and `screen` decides
//! what that looks like.

use std::fmt;

use super::width::{clean, fit, pad, width};

const GAP: usize = 2;

/// What a piece of text wants to say beside its words.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Doubtful,
    Bad,
    Changed,
    Faint,
}

/// A heading, and on which side the cells stand.
#[derive(Copy, Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) right: bool,
}

impl Column {
    pub(super) const fn left(name: &'static str) -> Self {
        Self { name, right: false }
    }

    pub(super) const fn right(name: &'static str) -> Self {
        Self { name, right: true }
    }
}

/// One cell, safe to print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: &str, tone: Tone) -> Self {
        Self { text: clean(text), tone }
    }

    pub(super) fn plain(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// One line, its columns padded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line(pub(super) Vec<(String, Tone)>);

impl Line {
    /// A line of its own, cut to `limit` columns.
    pub(super) fn new(text: &str, tone: Tone, limit: usize) -> Self {
        Self(vec![(fit(&clean(text), limit), tone)])
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole: String = self.0.iter().map(|(text, _)| text.as_str()).collect();
        f.write_str(whole.trim_end())
    }
}

/// The headings and one line for each row. With a `limit`, what is wider is cut: the last column first, since it holds
/// the longest text.
pub(super) fn layout(columns: &[Column], rows: &[Vec<Cell>], limit: Option<usize>) -> Vec<Line> {
    let headings = columns.iter().map(|column| Cell::new(column.name, Tone::Heading)).collect();
    let all: Vec<&Vec<Cell>> = std::iter::once(&headings).chain(rows).collect();
    let widest = |at: usize| all.iter().filter_map(|row| Some(width(&row.get(at)?.text))).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(widest).collect();
    all.into_iter().map(|row| line(columns, row, &widths, limit.unwrap_or(usize::MAX))).collect()
}

fn line(columns: &[Column], row: &[Cell], widths: &[usize], limit: usize) -> Line {
    let mut left = limit;
    let mut pieces = Vec::new();
    for (at, ((column, cell), wanted)) in columns.iter().zip(row).zip(widths).enumerate() {
        if at > 0 {
            let gap = GAP.min(left);
            pieces.push((" ".repeat(gap), Tone::Plain));
            left -= gap;
        }
        let last = at + 1 == columns.len();
        // Padding behind the last column would only wrap.
        let padded = if last && !column.right { cell.text.clone() } else { pad(&cell.text, *wanted, column.right) };
        let fitted = fit(&padded, left);
        left -= width(&fitted).min(left);
        pieces.push((fitted, cell.tone));
    }
    Line(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: Option<usize>, expected: &[&str]) {
        let columns = [Column::left("ID"), Column::right("VALUE"), Column::left("REASON")];
        let row = |cells: [&str; 3]| cells.map(Cell::plain).to_vec();
        let rows = [row(["BTC/USD", "65114.20", ""]), row(["比", "0.1", "the venue\nsays no"])];
        let lines = layout(&columns, &rows, limit);
        assert_eq!(lines.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        assert!(lines.iter().all(|line| limit.is_none_or(|limit| width(&line.to_string()) <= limit)));
    }

    #[test]
    fn columns_are_aligned_and_cut_from_the_right() {
        check(None, &["ID          VALUE  REASON", "BTC/USD  65114.20", "比            0.1  the venue says no"]);
        check(Some(26), &["ID          VALUE  REASON", "BTC/USD  65114.20", "比            0.1  the ve…"]);
        check(Some(12), &["ID         …", "BTC/USD  65…", "比         …"]);
        check(Some(0), &["", "", ""]);
    }
}
