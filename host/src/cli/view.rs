//! The live table, as lines: what is shown of which ids, which values just changed, what is scrolled out of sight.
//! Pure: time, size and answers are arguments. `screen` paints it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::input::Pressed;
use super::row::{COLUMNS, Move, Row};
use super::table::{Line, Tone, layout};

/// How long a change stays marked: long enough to be seen, short enough to mean now.
const MARKED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct View {
    title: String,
    /// Below the table, where there is room.
    notes: Vec<String>,
    rows: BTreeMap<(String, String), Shown>,
    answered: Instant,
    /// Why the last question had no answer.
    error: Option<String>,
    /// Rows above the first that is shown.
    offset: usize,
    /// How many rows were shown last.
    page: usize,
}

#[derive(Debug)]
struct Shown {
    row: Row,
    moved: Option<(Move, Instant)>,
}

impl View {
    pub(super) fn new(title: &str, notes: &[String], now: Instant) -> Self {
        Self {
            title: title.to_owned(),
            notes: notes.to_vec(),
            rows: BTreeMap::new(),
            answered: now,
            error: None,
            offset: 0,
            page: 1,
        }
    }

    /// Takes the next look at the store.
    pub(super) fn update(&mut self, next: impl IntoIterator<Item = Row>, now: Instant) {
        let mut before = std::mem::take(&mut self.rows);
        for row in next {
            let key = (row.provider.clone(), row.id.clone());
            let moved = before.remove(&key).and_then(|old| {
                let moved = Move::between(&old.row, &row).map(|moved| (moved, now));
                moved.or(old.moved)
            });
            self.rows.insert(key, Shown { row, moved });
        }
        self.answered = now;
        self.error = None;
    }

    /// There was no answer: what is shown is no longer known to be so.
    pub(super) fn lost(&mut self, error: String) {
        self.error = Some(error);
    }

    pub(super) fn scroll(&mut self, pressed: Pressed) {
        self.offset = match pressed {
            Pressed::Up => self.offset.saturating_sub(1),
            Pressed::Down => self.offset.saturating_add(1),
            Pressed::PageUp => self.offset.saturating_sub(self.page),
            Pressed::PageDown => self.offset.saturating_add(self.page),
            Pressed::Home => 0,
            Pressed::End => usize::MAX,
            Pressed::Quit | Pressed::Resized => self.offset,
        };
    }

    /// What fills a terminal of this size.
    pub(super) fn lines(&mut self, (width, height): (usize, usize), now: Instant) -> Vec<Line> {
        let unanswered = now.saturating_duration_since(self.answered);
        let mut lines = vec![self.heading(width, unanswered)];
        // Title, headings and the last line; notes only where no row makes room for them.
        let notes = if height >= 3 + self.rows.len() + self.notes.len() { self.notes.len() } else { 0 };
        self.page = height.saturating_sub(3 + notes).max(1);
        self.offset = self.offset.min(self.rows.len().saturating_sub(self.page));
        let cells: Vec<_> = self.rows.values().map(|shown| self.cells(shown, unanswered, now)).collect();
        // Laid out whole, so that columns keep their places while scrolling.
        let mut table = layout(&COLUMNS, &cells, Some(width)).into_iter();
        lines.extend(table.next());
        lines.extend(table.skip(self.offset).take(self.page));
        lines.push(Line::new(&self.footing(), Tone::Faint, width));
        lines.extend(self.notes.iter().take(notes).map(|note| Line::new(note, Tone::Plain, width)));
        lines.truncate(height);
        lines
    }

    fn cells(&self, shown: &Shown, unanswered: Duration, now: Instant) -> Vec<super::table::Cell> {
        let moved = shown.moved.filter(|(_, at)| now.saturating_duration_since(*at) < MARKED).map(|(moved, _)| moved);
        if self.error.is_none() {
            return shown.row.marked_cells(moved);
        }
        // Old news must not look like news.
        let row = Row {
            age: shown.row.age.map(|age| age.saturating_add(unanswered)),
            state: "unknown".to_owned(),
            reason: format!("was {} when the daemon last answered", shown.row.state),
            ..shown.row.clone()
        };
        row.marked_cells(None)
    }

    fn heading(&self, width: usize, unanswered: Duration) -> Line {
        match &self.error {
            None => Line::new(&self.title, Tone::Heading, width),
            Some(error) => {
                let text = format!("NO ANSWER for {:.1} s: {error}", unanswered.as_secs_f64());
                Line::new(&text, Tone::Bad, width)
            }
        }
    }

    fn footing(&self) -> String {
        let all = self.rows.len();
        let last = (self.offset + self.page).min(all);
        let fresh = self.rows.values().filter(|shown| shown.row.state == "fresh").count();
        let fresh = if self.error.is_none() { format!("{fresh} of {all} fresh") } else { format!("{all} ids") };
        if all > self.page {
            format!("{fresh}; {}-{last} shown, arrows scroll, q quits", self.offset + 1)
        } else {
            format!("{fresh}; q quits")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::example;
    use super::*;
    use crate::store::State;

    fn rows(values: &[(&str, &str)]) -> Vec<Row> {
        values.iter().map(|(id, value)| Row::from(&example(id, value, State::Fresh))).collect()
    }

    fn text(view: &mut View, size: (usize, usize), now: Instant) -> Vec<String> {
        view.lines(size, now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_are_sorted_and_changes_are_marked_for_a_while() {
        let start = Instant::now();
        let mut view = View::new("title", &[], start);
        view.update(rows(&[("b", "2"), ("a", "1")]), start);
        view.update(rows(&[("b", "1"), ("a", "1")]), start);
        assert_eq!(
            text(&mut view, (80, 10), start),
            [
                "title",
                "PROVIDER  ID  VALUE    AGE  STATE  REASON",
                "venue     a     1    1.5 s  fresh",
                "venue     b     1 ▼  1.5 s  fresh",
                "2 of 2 fresh; q quits",
            ]
        );
        // Still marked while nothing changes, then no longer.
        view.update(rows(&[("b", "1"), ("a", "1")]), start);
        assert!(text(&mut view, (80, 10), start + MARKED / 2)[3].contains('▼'));
        assert!(!text(&mut view, (80, 10), start + MARKED)[3].contains('▼'));
    }

    #[test]
    fn what_the_daemon_does_not_confirm_is_not_shown_as_fresh() {
        let start = Instant::now();
        let mut view = View::new("title", &[], start);
        view.update(rows(&[("a", "1")]), start);
        view.lost("refused".to_owned());
        let lines = text(&mut view, (80, 10), start + Duration::from_secs(2));
        assert_eq!(lines[0], "NO ANSWER for 2.0 s: refused");
        assert_eq!(lines[2], "venue     a     1    3.5 s  unknown  was fresh when the daemon last answered");
        assert_eq!(lines[3], "1 ids; q quits");
        view.update(rows(&[("a", "1")]), start);
        assert_eq!(text(&mut view, (80, 10), start)[0], "title");
    }

    #[test]
    fn every_size_of_terminal_is_filled_and_not_more() {
        let start = Instant::now();
        let mut view = View::new("a long title", &[], start);
        let ids: Vec<String> = (0..20).map(|n| format!("id{n:02}")).collect();
        let values: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "1")).collect();
        view.update(rows(&values), start);
        for (width, height) in [(0, 0), (1, 1), (5, 2), (30, 3), (80, 8), (200, 100)] {
            let lines = text(&mut view, (width, height), start);
            assert_eq!(lines.len(), height.min(23));
            assert!(lines.iter().all(|line| super::super::width::width(line) <= width));
        }
        let shown = |view: &mut View| {
            let lines = text(view, (80, 8), start);
            (lines[2].clone(), lines[7].clone())
        };
        assert!(shown(&mut view).0.contains("id00"));
        view.scroll(Pressed::PageDown);
        let (first, last) = shown(&mut view);
        assert!(first.contains("id05") && last.contains("6-10 shown"), "{first} {last}");
        view.scroll(Pressed::End);
        assert!(shown(&mut view).0.contains("id15"));
        view.scroll(Pressed::Down);
        assert!(shown(&mut view).0.contains("id15"));
        view.scroll(Pressed::Up);
        assert!(shown(&mut view).0.contains("id14"));
        view.scroll(Pressed::Home);
        assert!(shown(&mut view).0.contains("id00"));
    }
}
