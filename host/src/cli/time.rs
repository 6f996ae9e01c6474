//! Times on the command line.

use std::time::Duration;

/// `500ms`, `10s`, `2m`, `1h`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number and a unit: 500ms, 10s, 2m, 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a number of {unit}"))?;
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| "longer than any clock runs".to_owned())
}
