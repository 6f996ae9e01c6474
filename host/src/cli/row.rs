//! One id as a line of a table: what `get`, `watch`, `providers --ids` and `demo` show.

use std::time::Duration;

use super::table::{Cell, Column, Tone};
use super::width::fit;
use crate::api::{Observation, Value};
use crate::contract::observation::Decimal;
use crate::store::{Reading, State};

/// Wider values are cut: the table is for people, `--json` has the whole.
const MAX_VALUE: usize = 48;

/// One id, ready to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub provider: String,
    pub id: String,
    /// `None` before the first value.
    pub value: Option<String>,
    pub age: Option<Duration>,
    pub state: String,
    pub reason: String,
}

impl From<&Observation> for Row {
    fn from(observation: &Observation) -> Self {
        Self {
            provider: observation.provider.clone(),
            id: observation.id.clone(),
            value: observation.value.as_ref().map(shown),
            age: observation.age_ms.map(Duration::from_millis),
            state: observation.state.clone(),
            reason: observation.reason.clone(),
        }
    }
}

impl From<&Reading> for Row {
    fn from(reading: &Reading) -> Self {
        Self::from(&Observation::new(reading, None))
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Flag(flag) => flag.to_string(),
        Value::Bytes { b64 } => format!("base64:{b64}"),
    }
}

/// How a value differs from the one before.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Move {
    Up,
    Down,
    Other,
}

impl Move {
    pub(super) fn between(old: &Row, new: &Row) -> Option<Self> {
        if old.value == new.value {
            return None;
        }
        let number = |row: &Row| -> Option<f64> {
            let text = row.value.as_ref()?;
            // Only an arrow hangs on it, so the nearest float will do.
            text.parse::<Decimal>().ok().and_then(|_| text.parse().ok())
        };
        Some(match number(old).zip(number(new)) {
            Some((old, new)) if new > old => Self::Up,
            Some((old, new)) if new < old => Self::Down,
            _ => Self::Other,
        })
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Up => "▲",
            Self::Down => "▼",
            Self::Other => "•",
        }
    }
}

pub(super) const COLUMNS: [Column; 6] = [
    Column::left("PROVIDER"),
    Column::left("ID"),
    Column::right("VALUE"),
    Column::right("AGE"),
    Column::left("STATE"),
    Column::left("REASON"),
];

impl Row {
    /// The cells of [`COLUMNS`].
    pub(super) fn cells(&self) -> Vec<Cell> {
        self.cells_with("", Tone::Plain)
    }

    /// The same, with room for a mark beside the value, so that a change does not shift the column.
    pub(super) fn marked_cells(&self, moved: Option<Move>) -> Vec<Cell> {
        match moved {
            Some(moved) => self.cells_with(&format!(" {}", moved.mark()), Tone::Changed),
            None => self.cells_with("  ", Tone::Plain),
        }
    }

    fn cells_with(&self, mark: &str, tone: Tone) -> Vec<Cell> {
        let value = self.value.as_deref().map_or_else(|| "-".to_owned(), |value| fit(value, MAX_VALUE));
        vec![
            Cell::plain(&self.provider),
            Cell::plain(&self.id),
            Cell::new(&format!("{value}{mark}"), tone),
            Cell::plain(&self.age.map_or_else(|| "-".to_owned(), age)),
            Cell::new(&self.state, tone_of(&self.state)),
            Cell::new(&self.reason, Tone::Faint),
        ]
    }
}

fn tone_of(state: &str) -> Tone {
    match State::ALL.into_iter().find(|known| known.as_str() == state) {
        Some(State::Fresh) => Tone::Good,
        Some(State::Stale | State::Waiting) => Tone::Doubtful,
        Some(State::Rejected | State::Unresolved | State::ProviderDown) | None => Tone::Bad,
    }
}

/// A duration in two units at most.
pub(super) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
pub(super) fn example(id: &str, value: &str, state: State) -> Observation {
    Observation {
        provider: "venue".to_owned(),
        id: id.to_owned(),
        state: state.as_str().to_owned(),
        reason: if state == State::Fresh { String::new() } else { "a reason".to_owned() },
        value: (!value.is_empty()).then(|| Value::Text(value.to_owned())),
        kind: None,
        observed_at: None,
        received_at: None,
        age_ms: (!value.is_empty()).then_some(1_500),
        max_age_ms: 10_000,
        sequence: None,
        connection: None,
        subscription: None,
        missed: 0,
        older: 0,
        duplicate: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_well() {
        for (millis, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1m 00s"),
            (3_599_000, "59m 59s"),
            (3_660_000, "1h 01m"),
            (90_000_000, "1d 01h"),
        ] {
            assert_eq!(age(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_move_has_a_direction_where_values_are_numbers() {
        let check = |old: &str, new: &str, expected| {
            let [old, new] = [old, new].map(|value| Row::from(&example("a", value, State::Fresh)));
            assert_eq!(Move::between(&old, &new), expected, "{old:?} {new:?}");
        };
        check("1", "2", Some(Move::Up));
        check("2", "1.99", Some(Move::Down));
        check("1", "1", None);
        check("1", "1.0", Some(Move::Other));
        check("inf", "1", Some(Move::Other));
        check("", "1", Some(Move::Other));
        check("1", "words", Some(Move::Other));
    }
}
