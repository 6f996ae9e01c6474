//! How ids, values, times and other people's words are written in a verdict.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::contract::observation::{UnixNanos, Value};

/// Most ids that one line names.
const NAMES: usize = 5;

/// Longest value or text in a line.
pub(super) const TEXT: usize = 120;

/// `2 ids: a, b`.
pub(super) fn names(ids: &BTreeSet<Arc<str>>) -> String {
    let listed: Vec<&str> = ids.iter().take(NAMES).map(|id| &**id).collect();
    let more = ids.len().saturating_sub(NAMES);
    let count = if ids.len() == 1 { "1 id".to_owned() } else { format!("{} ids", ids.len()) };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{count}: {}{more}", listed.join(", "))
}

/// A value, quoted if it is text.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Decimal(decimal) => clean(&decimal.to_string()),
        Value::Text(text) => format!("\"{}\"", clean(text)),
        Value::Flag(flag) => flag.to_string(),
        Value::Bytes(bytes) => {
            let first: String = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes {first}", bytes.len())
        }
    }
}

/// A time, or `none`.
pub(super) fn time(time: Option<UnixNanos>) -> String {
    time.map_or_else(|| "none".to_owned(), UnixNanos::to_rfc3339)
}

/// The words of a plugin or of a venue, cut and without control characters: they may be long, and may move a cursor.
pub(super) fn clean(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(TEXT).is_some() {
        cut.push('…');
    }
    cut
}
