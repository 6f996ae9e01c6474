//! How long a venue asks to be left alone, in the forms that are out there: whole seconds, fractions, units, lists. Dates
//! need a clock and are read by whoever has one.

use std::time::Duration;

/// The units that venues write, with their milliseconds. The longer ones of the same beginning come first.
const UNITS: [(&str, f64); 9] = [
    ("milliseconds", 1.0),
    ("ms", 1.0),
    ("minutes", 60_000.0),
    ("min", 60_000.0),
    ("m", 60_000.0),
    ("seconds", 1_000.0),
    ("sec", 1_000.0),
    ("s", 1_000.0),
    ("", 1_000.0),
];

/// `120`, `299.997`, `300s`, `300, 300`: a fraction of a second is rounded up, of a list the longest counts. `None`: no
/// such form.
pub fn read(text: &str) -> Option<Duration> {
    text.split(',').map(one).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn one(text: &str) -> Option<Duration> {
    let text = text.trim().trim_matches('"').trim_start_matches('+').to_ascii_lowercase();
    let unit_at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    let seconds = number.parse::<f64>().ok()? * factor / 1_000.0;
    // A float that is larger saturates.
    Some(Duration::from_secs(seconds.ceil() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_is_out_there_is_heard() {
        for (text, seconds) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("+300", Some(300)),
            ("299.997", Some(300)),
            (".5", Some(1)),
            ("300s", Some(300)),
            ("300 sec", Some(300)),
            ("1500ms", Some(2)),
            ("2m", Some(120)),
            ("\"30\"", Some(30)),
            ("300, 300", Some(300)),
            ("5,60 , 10", Some(60)),
            ("soon", None),
            ("", None),
            ("-5", None),
            ("1e9", None),
            ("1.2.3", None),
            ("12 parsecs", None),
            ("5, soon", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(read(text), seconds.map(Duration::from_secs), "{text:?}");
        }
        assert!(read("99999999999999999999999").is_some_and(|wait| wait > Duration::from_secs(1 << 60)));
    }
}
